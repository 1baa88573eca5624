"""What people wrote is shown as they wrote it, in whatever it is shown."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from atelier.cli.tables import data, history, review
from atelier.factory.card import cell
from atelier.ui import tables

# Of what rich and Markdown give a meaning to, much more often than chance would.
SIGNS = st.lists(
    st.sampled_from(
        ["[", "]", "/", "\\", "bold", "[/]", "[red]", ":smile:", "a", " ", "[link=x]", "|"]
    )
)
TEXTS = SIGNS.map("".join) | st.text(
    st.characters(min_codepoint=32, max_codepoint=126), max_size=30
)


@pytest.fixture(scope="module")
def screen():
    def shown(print_it):
        wide = Console(width=2000, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
        originals = [(module, module.console) for module in (tables, history, review, data)]
        for module, _ in originals:
            module.console = lambda: wide
        try:
            print_it()
        finally:
            for module, original in originals:
                module.console = original
        return wide.export_text()

    return shown


def entry(text):
    return {
        "model": "m",
        "version": 1,
        "aliases": [text],
        "created": "now",
        "metrics": {},
        "verdict": "rejected",
        "reasons": [text],
        "built_from": text,
    }


@given(text=TEXTS)
def test_a_table_shows_reasons_and_aliases_letter_by_letter(screen, text):
    assert screen(lambda: history.print_history([entry(text)])).count(text.strip()) >= 3


@given(text=TEXTS)
def test_warnings_are_shown_letter_by_letter(screen, text):
    assert text in screen(lambda: tables.print_warnings([text]))


@given(text=TEXTS)
def test_a_picture_is_described_letter_by_letter(screen, text):
    assert text.strip() in screen(lambda: data.print_picture({"name": text}))


@given(text=TEXTS)
def test_users_of_data_are_shown_letter_by_letter(screen, text):
    found = {"md5": "0", "trained": [text], "evaluated": []}
    assert text.strip() in screen(lambda: review.print_users(found))


def test_no_text_moves_the_cursor():
    assert tables.plain("a\x1b[2Jb\r").plain == "a\\x1b[2Jb\\r"


@given(text=TEXTS)
def test_a_cell_of_markdown_is_the_text_without_its_escapes(text):
    shown = cell(text)
    unescaped = (
        re.sub(r"\\([\\`*~|\[\]_#>+-])", r"\1", shown).replace("&lt;", "<").replace("&amp;", "&")
    )
    assert unescaped == " ".join(text.split())
    assert not re.search(r"(?<!\\)(\\\\)*[|`*\[\]]", re.sub(r"\\.", "", shown))
    assert "<" not in shown
