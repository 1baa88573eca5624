"""Links of the pages: what works on GitHub has to work in the site, and lead somewhere."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

DOCS = Path(__file__).resolve().parents[2]
LINK = re.compile(r"\[([^\]]+)\]\(([^)#\s]+)(?:#[^)\s]*)?\)")


def adapt(text: str, folder: Path) -> str:
    """A page whose links work in a site, which has pages and copies of files only.

    A link to a folder becomes plain text; one to a page outside of docs/ leads to a copy of its
    Markdown. Copies of other files are MyST's work.

    Args:
        text: of the page, Markdown.
        folder: that the page lies in.
    """

    def replace(link: re.Match[str]) -> str:
        name = " ".join(link[1].split())
        target = folder / link[2]
        if target.is_dir():
            return name
        is_inside = DOCS in target.resolve().parents
        if target.suffix == ".md" and target.is_file() and not is_inside:
            return f"{{download}}`{name} <{link[2]}>`"
        return link[0]

    return LINK.sub(replace, text)


class _Page(HTMLParser):
    """The places of a page, and where it leads."""

    def __init__(self) -> None:
        super().__init__()
        self.places: set[str] = set()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what can be linked to, and what is linked."""
        values = dict(attrs)
        for name in ("id", "name"):
            if values.get(name):
                self.places.add(str(values[name]))
        target = values.get("href") if tag in ("a", "link") else values.get("src")
        if target:
            self.targets.append(target)


def broken_links(site: Path) -> list[str]:
    """One line for each link within a built site that leads to no file, or to no place in it."""
    pages = {path.resolve(): _read(path) for path in sorted(site.rglob("*.html"))}
    broken = []
    for path, page in pages.items():
        for target in page.targets:
            address = urlsplit(target)
            if address.scheme or address.netloc:
                continue
            file = path
            if address.path:
                file = (path.parent / unquote(address.path)).resolve()
            if not file.exists():
                broken.append(f"{path.relative_to(site.resolve())}: {target}: no such file")
            elif not _has(pages, file, unquote(address.fragment)):
                broken.append(f"{path.relative_to(site.resolve())}: {target}: no such place")
    return broken


def _read(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def _has(pages: dict[Path, _Page], file: Path, place: str) -> bool:
    return not place or file not in pages or place in pages[file].places
