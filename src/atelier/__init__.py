"""Atelier: a model factory for image generation and image restoration."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atelier.api import Workshop, open

__version__ = "0.1.0"
__all__ = ["Workshop", "open"]


def __getattr__(name: str) -> Any:
    """`atelier.open` without the price of its imports for the commands."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from atelier import api

    return getattr(api, name)
