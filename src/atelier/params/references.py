"""How models name other models, and which models need another one to be made before them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from atelier.errors import UsageError
from atelier.params.models import GanModel, Model, Params, RestorationModel


@dataclass(frozen=True)
class Reference:
    """A registered model as people name it: NAME (its champion), NAME@ALIAS or NAME/VERSION.

    Attributes:
        model: the name.
        number: of the version; None: an alias decides.
        alias: that decides; empty: the champion.
    """

    model: str
    number: int | None = None
    alias: str = ""

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read what somebody wrote.

        Raises:
            UsageError: if it is none of the three.
        """
        name, slash, number = text.partition("/")
        model, at, alias = name.partition("@")
        if not slash:
            return cls(model, alias=alias)
        if at or not number.isdecimal():
            raise UsageError(f"{text!r} is not a model: write NAME, NAME@ALIAS or NAME/VERSION.")
        return cls(model, int(number))

    @property
    def is_fixed(self) -> bool:
        """Whether it names one version for good."""
        return self.number is not None

    def __str__(self) -> str:
        if self.number is not None:
            return f"{self.model}/{self.number}"
        return f"{self.model}@{self.alias}" if self.alias else self.model


def source_of(model: Model) -> Reference | None:
    """The registered model that this one is built from; None if it is built from none."""
    if isinstance(model, GanModel):
        return Reference.parse(model.refine) if model.refine else None
    if isinstance(model, RestorationModel) and model.data.extend is not None:
        return Reference.parse(model.data.extend.gan)
    return None


def is_made_here(params: Params, source: Reference) -> bool:
    """Whether a model of this file decides what a reference names.

    A version's number decides for good.
    """
    return not source.is_fixed and source.model in params.models


def needed_first(params: Params, name: str) -> list[str]:
    """The models of this file that have to be up to date before this one."""
    model = params.models[name]
    needed = []
    source = source_of(model)
    if source is not None and is_made_here(params, source):
        needed.append(source.model)
    if isinstance(model, RestorationModel) and model.compare_with in params.models:
        needed.append(model.compare_with)
    return needed


def in_order(params: Params, names: Collection[str]) -> list[str]:
    """These models and those that they need: in the file's order, but each after what it needs."""
    ordered: dict[str, None] = {}

    def add(name: str) -> None:
        for needed in needed_first(params, name):
            add(needed)
        ordered[name] = None

    for name in params.models:
        if name in names:
            add(name)
    return list(ordered)
