"""What `make docs` adds to Sphinx: pages that are written from the code, and links that hold.

A page of `docs/reference` says `<!-- generated: NAME -->` where text of `GENERATED` goes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sphinx.errors import SphinxError

from handbook import commands, endings, keys, links, metrics, stored

GENERATED: dict[str, Callable[[], str]] = {
    "commands": commands.render,
    "exit codes": endings.render,
    **{f"keys {page}": renderer for page, renderer in keys.renderers().items()},
    "metrics": metrics.render,
    "stored": stored.render,
}
MARK = re.compile(r"<!-- generated: ([a-z ]+) -->")


def fill(text: str) -> str:
    """A page with the text of its marks in it.

    Raises:
        KeyError: if a mark names nothing that is generated.
    """
    return MARK.sub(lambda mark: GENERATED[mark[1]](), text)


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("env-get-outdated", _find_outdated)
    app.connect("source-read", _read_source)
    app.connect("build-finished", _check_links)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _find_outdated(app: Any, env: Any, *changes: set[str]) -> list[str]:
    """Pages whose text is of the code: Sphinx sees only that their own files are unchanged."""
    return [page for page in env.found_docs if page.startswith("reference/")]


def _read_source(app: Any, page: str, source: list[str]) -> None:
    text = links.adapt(source[0], Path(app.srcdir) / Path(page).parent)
    source[0] = fill(text)


def _check_links(app: Any, error: Exception | None) -> None:
    if error is None and app.builder.name == "html":
        broken = links.broken_links(Path(app.outdir))
        if broken:
            raise SphinxError("links that lead nowhere:\n  " + "\n  ".join(broken))
