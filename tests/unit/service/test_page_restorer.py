"""The page restores pictures: in a real browser, by real champions."""

import json

import numpy as np
import pytest

from tests.support.page_visits import (
    ask_restore,
    choose,
    download,
    pixels_in,
    restore,
    rgb,
    wait_for_result,
)

pytestmark = [pytest.mark.service, pytest.mark.slow]


@pytest.mark.parametrize("model", ["colour", "enlarge"])
def test_before_and_after_are_the_picture_and_the_answer(tab, address, picture_file, model):
    path = picture_file("holiday.png", "RGB")
    choose(tab, address, model)
    restore(tab, path)
    assert np.array_equal(pixels_in(tab, "before"), rgb(path.read_bytes()))
    assert np.array_equal(pixels_in(tab, "after"), rgb(ask_restore(address, model, path)))
    boxes = (
        "['before', 'after'].map((id) => JSON.stringify("
        "document.getElementById(id).getBoundingClientRect()))"
    )
    before, after = tab.get(boxes)
    assert before == after  # also where one has more pixels
    assert f"{model} version 1 restored holiday.png." in tab.text("#status")


def test_the_download_is_the_answer_to_the_byte_in_the_format_asked_for(
    tab, address, picture_file, tmp_path
):
    path = picture_file("holiday.png", "RGB")
    choose(tab, address, "colour")
    tab.get("document.querySelector('#restorer-format').value = 'jpeg'")
    tab.write("#sigma", "0.2")
    restore(tab, path)
    content = download(tab, tmp_path).read_bytes()
    assert content == ask_restore(address, "colour", path, format="jpeg", sigma=0.2)
    assert content != ask_restore(address, "colour", path, format="jpeg", sigma=0.8)
    assert tab.get("document.querySelector('#download').download") == "holiday-colour-v1.jpg"


def test_a_picture_that_no_browser_shows_is_restored_all_the_same(
    tab, address, picture_file, tmp_path
):
    path = picture_file("scan.tif", "RGB", file_format="TIFF")
    choose(tab, address, "colour")
    restore(tab, path)
    assert "can't show TIFF: there is no before beside it" in tab.text("#caption")
    assert not tab.get("document.querySelector('#share').checkVisibility()")
    assert np.array_equal(pixels_in(tab, "after"), rgb(ask_restore(address, "colour", path)))
    assert download(tab, tmp_path).read_bytes() == ask_restore(address, "colour", path)


def test_who_answered_and_what_was_done_is_said(tab, address, champions, picture_file):
    choose(tab, address, "grey")
    restore(tab, picture_file("glass.png", "RGBA"))
    facts = tab.text("#facts")
    assert "grey, version 1" in facts
    assert champions.resolve("grey").run_id in facts
    assert "of colour went through the grey model" in facts
    assert " ms, " in facts


def test_pictures_are_dropped_and_pasted(tab, address, picture_file):
    path = picture_file("holiday.png", "RGB")
    content = json.dumps(list(path.read_bytes()))
    choose(tab, address, "colour")
    for event, kind, data in (
        ("drop", "DragEvent", "dataTransfer"),
        ("paste", "ClipboardEvent", "clipboardData"),
    ):
        tab.get(
            f"(() => {{ const data = new DataTransfer();"
            f"data.items.add(new File([new Uint8Array({content})], '{event}.png'));"
            "data.items.add(new File([], 'another.png'));"
            f"document.querySelector('#drop').dispatchEvent(new {kind}('{event}', "
            f"{{ {data}: data, bubbles: true, cancelable: true }})); }})()"
        )
        tab.wait_for_text("#status", f"restored {event}.png")
        assert "1 more: here one picture at a time" in tab.text("#facts")
        wait_for_result(tab)
        assert np.array_equal(pixels_in(tab, "after"), rgb(ask_restore(address, "colour", path)))


def test_the_slider_follows_keys_and_mouse(tab, address, picture_file):
    hidden = "getComputedStyle(document.querySelector('#before')).clipPath"
    choose(tab, address, "colour")
    restore(tab, picture_file("holiday.png", "RGB"))
    assert tab.get(hidden) == "inset(0px 50% 0px 0px)"
    tab.get("document.querySelector('#share').focus()")
    for _ in range(3):
        tab.press("ArrowRight")
    assert tab.get("document.querySelector('#share').value") == "53"
    assert tab.get(hidden) == "inset(0px 47% 0px 0px)"
    tab.press("End")
    assert tab.get(hidden) == "inset(0px 0% 0px 0px)"
    tab.click("#stage", share=0.25)
    assert tab.get("document.querySelector('#share').value") == "25"
    assert tab.get(hidden) == "inset(0px 75% 0px 0px)"
    tab.drag("#stage", 0.6, 0.8)  # from where the picture after lies on top
    assert tab.get(hidden) == "inset(0px 20% 0px 0px)"


def test_a_value_that_is_not_shown_holds_nobody_back(tab, address, picture_file):
    choose(tab, address, "colour")
    tab.write("#sigma", "7")
    tab.open(f"{address}/#model=grey")
    tab.wait_for("document.title.startsWith('grey')")
    restore(tab, picture_file("holiday.png"))
    assert "grey version 1 restored holiday.png." in tab.text("#status")


def test_a_picture_for_a_model_that_generates_is_answered_in_words(tab, address):
    choose(tab, address, "clothes")
    tab.get(
        "(() => { const data = new DataTransfer();"
        "data.items.add(new File([], 'holiday.png'));"
        "document.body.dispatchEvent(new DragEvent('drop', "
        "{ dataTransfer: data, bubbles: true, cancelable: true })); })()"
    )
    assert (
        tab.text("#refusal") == "Choose a model that restores pictures, then give it holiday.png."
    )
