"""Every key of params.yaml: what it takes, its default, what it means."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import partial

from handbook.allowed import describe
from handbook.comments import meaning_of
from handbook.filled import recipe_default, record_default
from handbook.metrics import KINDS
from handbook.sections import Key, Section, all_sections

SINCE: dict[str, str] = {}  # by dotted path, of keys that are younger than the first version
FIRST = "0.1.0"
# Page -> the beginnings of its sections; the longest one that fits decides.
PAGES = {
    "data": ("", "datasets"),
    "models": ("models",),
    "networks": (
        "models.NAME.network",
        "models.NAME.generator",
        "models.NAME.discriminator",
    ),
    "degradations": ("models.NAME.degradation",),
    "training": ("models.NAME.training",),
    "scores": ("evaluation", "promotion", "schedules"),
}


def renderers() -> dict[str, Callable[[], str]]:
    """What writes each page."""
    return {page: partial(render, page) for page in PAGES}


def page_of(section: Section) -> str:
    """The page that a section stands on."""
    best = ("", "data")
    for page, beginnings in PAGES.items():
        for beginning in beginnings:
            fits = section.prefix == beginning or section.prefix.startswith(f"{beginning}.")
            if fits and len(beginning) > len(best[0]):
                best = (beginning, page)
    return best[1]


def render(page: str) -> str:
    """The sections of a page."""
    seen: set[str] = set()
    parts = []
    for section in all_sections():
        if page_of(section) == page:
            parts += _render_section(section, seen)
    return "\n".join(parts) + "\n"


def heading_of(section: Section) -> str:
    """A section's place, what makes it this one, and the kinds of models that have it."""
    heading = f"`{section.prefix}`" if section.prefix else "The file"
    if section.tag:
        heading += f" with `{section.tag}`"
    is_of_some = 0 < len(section.kinds) < len(KINDS) and not section.tag.startswith("kind")
    return f"{heading} ({', '.join(section.kinds)})" if is_of_some else heading


def _render_section(section: Section, seen: set[str]) -> Iterator[str]:
    yield f"## {heading_of(section)}\n"
    yield f"{inspect.getdoc(section.record)}\n"
    for key in section.keys:
        yield _render_key(section, key, is_first=key.path not in seen)
        seen.add(key.path)


def _render_key(section: Section, key: Key, is_first: bool) -> str:
    lines = [f"```{{confval}} {key.path}"]
    if not is_first:  # the same path in another section: only one can be the place of its name
        lines.append(":no-index:")
    allowed = describe(key.field.annotation, key.field.metadata)
    if section.tag.startswith(f"{key.name}: "):
        allowed = f"`{section.value}`"
    lines.append(f":type: {allowed}")
    default = record_default(section, key)
    recipe = recipe_default(section, key)
    if recipe:
        default = f"{default}; recipe: {recipe}" if default else f"recipe: {recipe}"
    lines.append(f":default: {default or 'has to be given'}")
    since = SINCE.get(key.path, FIRST)
    lines += ["", f"{_meaning(section, key)} *Since {since}.*", "```", ""]
    return "\n".join(lines)


def meaning(section: Section, key: Key) -> str:
    """What the source says of a key, or of the one record that it holds; empty: nothing."""
    if section.tag.startswith(f"{key.name}: "):
        return f"Which {key.name} it is; the other keys depend on it"
    said = meaning_of(key.record, key.name)
    if said:
        return said
    documents = set()
    for other in all_sections():
        is_held = other.prefix in (key.path, f"{key.path}.NAME")
        of_one_kind = not section.kinds or not set(section.kinds).isdisjoint(other.kinds)
        if is_held and of_one_kind:
            documents.add((inspect.getdoc(other.record) or "").partition("\n")[0])
    return documents.pop() if len(documents) == 1 else ""


def _meaning(section: Section, key: Key) -> str:
    said = meaning(section, key)
    sentence = said[:1].upper() + said[1:]
    return sentence if sentence.endswith((".", "?", "!")) else f"{sentence}."
