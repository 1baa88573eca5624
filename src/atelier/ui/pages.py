"""Pages made of the templates beside this file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment


def render(
    template: str, filters: Mapping[str, Callable[..., str]] | None = None, **values: Any
) -> str:
    """A page; in HTML whatever comes from parameters, data or people is escaped.

    Args:
        template: file in templates/.
        filters: that it uses beside jinja's own.
        values: that it shows; an unknown name in the template is an error.
    """
    pages = _templates().overlay()
    pages.filters = {**pages.filters, **(filters or {})}
    return pages.get_template(template).render(values)


@cache
def _templates() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    return Environment(
        loader=PackageLoader("atelier.ui"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
