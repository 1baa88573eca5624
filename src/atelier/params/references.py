"""Models that need another one: a restorer that a GAN's images extend, a GAN that draws through one, a comparison."""

from __future__ import annotations

from collections.abc import Collection

from atelier.params.models import GanModel, Model, Params, RestorationModel


def source_of(model: Model) -> str:
    """The registered model that this one is built from: `name`, `name@alias` or `name/number`; empty if none is."""
    if isinstance(model, GanModel):
        return model.refine or ""
    if isinstance(model, RestorationModel) and model.data.extend is not None:
        return model.data.extend.gan
    return ""


def model_of(reference: str) -> str:
    """The name in a reference."""
    return reference.partition("/")[0].partition("@")[0]


def needed_first(params: Params, name: str) -> list[str]:
    """The models of this file that have to be up to date before this one; a source with a number is what it is."""
    model = params.models[name]
    source, compared = source_of(model), model.compare_with if isinstance(model, RestorationModel) else None
    wanted = [model_of(source)] if "/" not in source else []
    return [other for other in [*wanted, compared] if other in params.models and other is not None]


def in_order(params: Params, names: Collection[str]) -> list[str]:
    """These models and those that they need, in the order of the file, but each after what it needs."""
    ordered: dict[str, None] = {}

    def add(name: str) -> None:
        for needed in needed_first(params, name):
            add(needed)
        ordered[name] = None

    for name in params.models:
        if name in names:
            add(name)
    return list(ordered)
