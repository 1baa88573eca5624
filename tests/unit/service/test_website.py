"""What the server says of its pages to browsers."""

import pytest

from atelier.service.website import HEADERS, PAGES

pytestmark = pytest.mark.service


@pytest.mark.parametrize("path", ["", "docs", *sorted(page.name for page in PAGES.iterdir())])
def test_every_page_comes_with_the_policy(client, path):
    answer = client.get(f"/{path}")
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert "*" not in policy
    assert {key: answer.headers[key] for key in HEADERS} == HEADERS
    again = client.get(f"/{path}", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304


def test_the_addresses_without_and_with_html_give_one_page(client):
    assert client.get("/").content == (PAGES / "index.html").read_bytes()
    assert client.get("/docs").content == client.get("/docs.html").content
    assert client.get("/docs").content == (PAGES / "docs.html").read_bytes()


@pytest.mark.parametrize("path", ["nothing", "nothing.js", "..%2fapp.py", "docs/nothing"])
def test_nothing_else_is_given(client, path):
    assert client.get(f"/{path}").status_code == 404


def test_pages_name_nobody_else_and_hold_no_script_of_their_own():
    for page in PAGES.glob("*.html"):
        text = page.read_text()
        assert "//" not in text
        assert "style=" not in text
        assert " on" not in text.replace(" one", "").replace(" on ", "")
        assert text.count("<script") == text.count('<script type="module" src="')
