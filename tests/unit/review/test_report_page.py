import re

import pytest

from atelier.review.report import links, render_report
from atelier.review.report.page import duration, moment, short
from tests.support.browser import open_browser
from tests.support.histories import change, history_with, line_of, model_of
from tests.unit.review.test_comparison import HOSTILE, Page

NOW = "2026-11-24T08:30:00Z"


@pytest.fixture(autouse=True)
def no_servers(monkeypatch):
    for name in ("PREFECT_API_URL", "PREFECT_UI_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("text", [*HOSTILE, "javascript:alert(1)", '"><svg onload=alert(1)>'])
def test_nothing_that_people_or_data_wrote_becomes_markup(text):
    harmless, hostile = (Page(render_report(history_with(word), NOW)) for word in ("plain", text))
    assert hostile.tags == harmless.tags
    assert [key for key, _ in hostile.attributes] == [key for key, _ in harmless.attributes]
    assert not {"script", "iframe", "object", "form", "base", "link"} & set(hostile.tags)
    assert not [key for key, _ in hostile.attributes if key.startswith("on")]
    assert hostile.text.count(text) >= harmless.text.count("plain") > 60


@pytest.mark.parametrize("text", HOSTILE)
def test_no_name_becomes_part_of_an_address(text, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:4200/api")
    history = history_with(text)
    page = Page(
        render_report(type(history)(**{**vars(history), "uri": "http://127.0.0.1:5000"}), NOW)
    )
    addresses = [
        value for key, value in page.attributes if key == "href" and not value.startswith("#")
    ]
    assert len(addresses) > 30
    assert all(
        re.fullmatch(r"http://127\.0\.0\.1:(5000|4200)[\w/#%.-]*", address) for address in addresses
    )


def test_the_page_is_one_file_that_loads_nothing():
    page = render_report(history_with("plain"), NOW)
    parsed = Page(page)
    sources = [
        value for key, value in parsed.attributes if key in ("src", "srcset", "data", "poster")
    ]
    assert len(sources) == 2 and all(value.startswith("data:image/") for value in sources)
    assert "url(" not in page and "@import" not in page
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert policy in [value for key, value in parsed.attributes if key == "content"]


def test_runs_are_linked_where_mlflow_is_a_server_and_else_named(monkeypatch):
    history = history_with("plain")
    page = render_report(history, NOW)
    assert 'href="http' not in page and "mlflow ui" in page and ">plain13</code>" in page
    served = type(history)(**{**vars(history), "uri": "https://me:secret@tracking.example/mlflow/"})
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:4200/api")
    page = render_report(served, NOW)
    assert 'href="https://tracking.example/mlflow/#/experiments/5/runs/plain13"' in page
    assert 'href="https://tracking.example/mlflow/#/models/plain/versions/13"' in page
    assert 'href="http://127.0.0.1:4200/runs/flow-run/plain"' in page
    assert "secret" not in page and "mlflow ui" not in page


def test_no_password_is_shown_and_only_web_addresses_become_links(monkeypatch):
    assert links.without_password("postgresql://me:se@cret@db/x") == "postgresql://db/x"
    assert links.without_password("sqlite:////a/b@c.db") == "sqlite:////a/b@c.db"
    assert links.mlflow_address("sqlite:///x") == links.mlflow_address("javascript:alert(1)") == ""
    monkeypatch.setenv("PREFECT_API_URL", "https://me:secret@prefect.example/api/")
    assert links.prefect_address() == "https://prefect.example"
    monkeypatch.setenv("PREFECT_UI_URL", "https://ui.example/")
    assert links.prefect_address() == "https://ui.example"
    monkeypatch.setenv("PREFECT_UI_URL", "javascript:alert(1)")
    assert links.prefect_address() == ""
    monkeypatch.delenv("PREFECT_UI_URL")
    monkeypatch.setenv("PREFECT_API_URL", "https://api.prefect.cloud/api/accounts/a/workspaces/b")
    assert links.prefect_address() == ""  # its pages have other addresses than its API


def test_long_tables_are_folded_but_whole():
    page = render_report(history_with("plain"), NOW)
    assert "4 older versions" in page and "2 older ones" in page
    assert all(f">plain{number}</code>" in page for number in range(1, 15))


def test_numbers_read_as_people_write_them():
    assert [duration(minutes) for minutes in (0.2158, 12.5, 99.4, 336.0)] == [
        "13 s",
        "12 min",
        "99 min",
        "5.6 h",
    ]
    assert [short(number) for number in (18.8912, 731.0, 7312.4)] == ["18.89", "731", "7,312"]
    assert moment("2026-11-23T19:38:05Z") == "2026-11-23 19:38" and moment("") == ""


# -- in a browser ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with open_browser(tmp_path_factory.mktemp("browser") / "profile") as browser:
        yield browser


@pytest.mark.service
def test_a_browser_shows_the_models_and_asks_the_network_for_nothing(browser, tmp_path):
    control = tmp_path / "control.html"
    control.write_text(
        '<img src="http://elsewhere.test/x.png"><script>document.title = "it ran"</script>'
    )
    assert "<title>it ran</title>" in browser.dom(control)
    assert browser.asked == ["http://elsewhere.test/x.png"]  # so this test would see it
    browser.asked.clear()

    hostile = '<img src="http://elsewhere.test/x.png"><script>document.title = "it ran"</script>'
    history = history_with(hostile)
    lines = [line_of(1, 20.0), line_of(2, 22.0, aliases=("champion",))]
    good = model_of(lines, [change(1, None, 1), change(2, 1, 2)], "fashion-denoise")
    page = tmp_path / "report.html"
    page.write_text(
        render_report(type(history)(**{**vars(history), "models": (good, *history.models)}), NOW)
    )
    dom = Page(browser.dom(page))
    assert browser.asked == []
    assert "it ran" not in dom.tags and "script" not in dom.tags
    assert "fashion-denoise" in dom.text and hostile in dom.text
    assert dom.tags.count("circle") == 2 + 13 and dom.tags.count("polyline") == 2
    assert ("href", "#model-1") in dom.attributes and ("id", "model-1") in dom.attributes


@pytest.mark.service
def test_a_browser_draws_the_timeline_in_its_colours(browser, tmp_path):
    from PIL import Image

    lines = [line_of(number, 20.0 + number, was_champion=number > 1) for number in (1, 2, 3)]
    model = model_of(lines, [change(2, None, 2), change(3, 2, 3)], "fashion-denoise")
    history = history_with("plain")
    page, picture = tmp_path / "report.html", tmp_path / "report.png"
    page.write_text(
        render_report(type(history)(**{**vars(history), "models": (model,), "failures": ()}), NOW)
    )
    browser.screenshot(page, picture, "1100,800")
    colours = {colour for _, colour in Image.open(picture).convert("RGB").getcolors(1 << 24)}
    assert {
        (0x17, 0x60, 0x8F),
        (0x9A, 0xA6, 0xAF),
        (255, 255, 255),
    } <= colours  # champions, the other, the page
    assert browser.asked == []
