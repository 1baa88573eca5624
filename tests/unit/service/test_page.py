"""The page before whatever model: who is there, what is wrong, how it looks, what it asks for."""

import socket
from urllib.parse import urlsplit

import pytest

from tests.support.devtools import open_tab
from tests.support.live_service import live_service
from tests.support.page_visits import choose, restore
from tests.support.served import GREY, let_answer, register
from tests.unit.service.conftest import MODELS

pytestmark = pytest.mark.service


# -- champions ---------------------------------------------------------------------------------


def test_the_page_lists_the_champions_and_what_they_do(tab, address):
    tab.open(address)
    tab.wait_for(f"document.querySelectorAll('.model').length === {len(MODELS)}")
    words = tab.text("#models").replace("\u00a0", " ")
    assert "enlarge\nenlarges pictures in colour 2 times\nversion 1, since" in words
    assert "clothes\ngenerates images in grey, 16 × 16" in words
    assert "grey\nrestores pictures in grey" in words


def test_a_model_is_chosen_by_keyboard_alone_and_the_back_button_goes_back(tab, address):
    choose(tab, address, "clothes")
    assert tab.get(
        "[document.querySelector('#restorer').hidden, document.querySelector('#generator').hidden]"
    ) == [True, False]
    tab.get("document.querySelector('.model :checked').focus()")
    tab.press("ArrowDown")
    tab.wait_for("document.title.startsWith('colour')")
    assert tab.get("document.activeElement.value") == "colour"
    assert tab.get("location.hash") == "#model=colour"
    tab.get("history.back()")
    tab.wait_for("document.title.startsWith('clothes')")


def test_only_settings_that_a_model_has_are_shown(tab, address):
    shown = "['#sigma', '#iterations'].map((s) => document.querySelector(s).checkVisibility())"
    choose(tab, address, "colour")
    assert tab.get(shown) == [True, False]
    choose(tab, address, "grey")
    assert tab.get(shown) == [False, False]


# -- mistakes, and what changes ----------------------------------------------------------------


def test_the_reason_of_a_refusal_stands_beside_what_was_tried(tab, address, tmp_path):
    path = tmp_path / "letter.png"
    path.write_bytes(b"no picture at all")
    choose(tab, address, "colour")
    tab.give_file("#file", path)
    tab.wait_for_text("#refusal", "colour could not restore letter.png: the picture can't be used")
    assert not tab.get("document.querySelector('#result').checkVisibility()")
    tab.open(f"{address}/#model=clothes&seed=1&truncation=0")
    tab.wait_for_text("#refusal", "truncation: Input should be greater than 0")
    tab.open(f"{address}/#model=clothes&seed=1&class=hat")
    tab.wait_for_text("#refusal", "no class hat; its classes: shirt, shoe, bag.")
    tab.open(f"{address}/#model=nobody")
    tab.wait_for_text("#news", "nobody is not served here")


def test_a_full_server_is_asked_once_more(browser, champions, picture_file, tmp_path):
    path = picture_file("holiday.png", "RGB")
    with (
        live_service(champions, tmp_path, waiting=1) as address,
        open_tab(browser, tmp_path / "profile", address) as tab,
    ):
        choose(tab, address, "colour")
        crowd = [_send_half(address) for _ in range(4)]
        tab.give_file("#file", path)
        tab.wait_for_text("#status", "Trying once more in 1 s.")
        tab.wait_for_text(
            "#refusal", "colour could not restore holiday.png: 4 requests are at work"
        )
        tab.give_file("#file", path)
        tab.wait_for_text("#status", "Trying once more in 1 s.")
        for connection in crowd:
            connection.close()
        tab.wait_for_text("#status", "restored holiday.png")


def _send_half(address):
    """A request that goes on being sent."""
    place = urlsplit(address)
    connection = socket.create_connection((place.hostname, place.port))
    head = f"POST /restore/colour HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: 1000\r\n"
    kind = "Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
    connection.sendall((head + kind).encode())
    return connection


def test_a_promotion_is_told_and_so_is_a_server_that_went_away(
    browser, champions, picture_file, tmp_path
):
    path = picture_file("holiday.png")
    with live_service(champions, tmp_path) as address:
        place = open_tab(browser, tmp_path / "profile", address)
        tab = place.__enter__()
        choose(tab, address, "grey")
        let_answer(champions, "grey", register(champions, tmp_path, "grey", "restoration", GREY))
        try:
            tab.wait_for_text("#news", "grey is version 2 from now on; it was version 1.")
            assert "version 2, since" in tab.text(".model:has(:checked)")
            restore(tab, path)
            assert "grey version 2 restored" in tab.text("#status")
        finally:
            let_answer(champions, "grey", 1)
    try:
        tab.wait_for_text("#trouble", "The server can't be reached.")
        tab.give_file("#file", path)
        tab.wait_for_text("#refusal", "grey could not restore holiday.png: the server can't be")
    finally:
        place.__exit__(None, None, None)


# -- how it looks, and what it asks for --------------------------------------------------------


def overflow(tab):
    return tab.get("document.documentElement.scrollWidth - window.innerWidth")


def test_nothing_sticks_out_on_a_phone(tab, address, picture_file):
    tab.resize(375, 667)
    choose(tab, address, "enlarge")
    restore(tab, picture_file("a" * 80 + ".png", "RGB", (600, 40)))
    assert tab.get("innerWidth") == 375
    assert overflow(tab) <= 0
    tab.open(f"{address}/#model=clothes&seed=1&number=60")
    tab.wait_for_text("#status", "60 images")
    assert overflow(tab) <= 0
    tab.open(f"{address}/docs")
    tab.wait_for("document.querySelectorAll('pre').length")
    assert overflow(tab) <= 0


def test_dark_is_dark_and_the_focus_is_seen(tab, address):
    paper = "getComputedStyle(document.body).backgroundColor"
    choose(tab, address, "clothes")
    assert tab.get(paper) == "rgb(255, 255, 255)"
    tab.prefer(prefers_color_scheme="dark")
    assert tab.get(paper) == "rgb(20, 25, 29)"
    tab.prefer()
    seen = set()
    tab.get("document.querySelector('.model :checked').focus()")
    for _ in range(7):
        tab.press("Tab")
        seen.add(tab.get("document.activeElement.id"))
        assert tab.get("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert seen >= {"class", "seed", "another", "number", "truncation", "generate"}


def test_every_field_has_a_name(tab, address):
    choose(tab, address, "colour")
    nameless = (
        "[...document.querySelectorAll('input, select')].filter((field) => "
        "!field.labels.length && !field.ariaLabel).map(({ id }) => id)"
    )
    assert tab.get(nameless) == []


def test_nothing_is_asked_of_anybody_else_and_nothing_is_refused_by_the_policy(
    tab, browser, address, picture_file
):
    choose(tab, address, "colour")
    restore(tab, picture_file("holiday.png", "RGB"))
    tab.open(f"{address}/#model=clothes&seed=1")
    tab.wait_for_text("#status", "by seed 1")
    tab.open(f"{address}/docs")
    tab.wait_for("document.querySelectorAll('pre').length")
    allowed = (address, f"blob:{address}", "about:")
    assert [url for url in tab.requests if not url.startswith(allowed)] == []
    assert len(tab.requests) > 10
    assert tab.complaints == []
    assert browser.asked == []


def test_the_policy_holds(tab, address):
    choose(tab, address, "colour")
    tab.get("fetch('http://127.0.0.1:9/').catch(() => {})")
    tab.get("document.body.insertAdjacentHTML('beforeend', '<b onclick=\"a()\">b</b>')")
    tab.wait_for("true")
    assert any("Content Security Policy" in words for words in tab.complaints)
