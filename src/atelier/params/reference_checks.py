"""References between models that can't serve, found before anything runs.

Others are looked up in the registry.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from atelier.params.errors import nearest
from atelier.params.models import GanModel, Params, RestorationModel, TranslationModel
from atelier.params.references import needed_first, source_of


def reference_errors(params: Params) -> Iterator[str]:
    """One line for each reference to a model of this file that can't serve.

    Others are looked up in the registry.
    """
    for name, model in params.models.items():
        if model.dataset not in params.datasets:
            continue  # an error of its own
        if isinstance(model, RestorationModel):
            yield from _extend_errors(f"models.{name}.data.extend", model, params)
            yield from _comparison_errors(f"models.{name}.compare_with", name, model, params)
        if isinstance(model, GanModel):
            yield from _refine_errors(f"models.{name}.refine", model, params)
        way = _way_back(params, name)
        if way and name == min(way, key=list(params.models).index):
            yield (
                f"models.{name}: each of {' -> '.join(way)} would have to be made before itself. "
                f"Name a version instead of an alias ({way[1]}/1), or remove one of their "
                "`extend`, `refine` and `compare_with`."
            )


def schedule_errors(params: Params) -> Iterator[str]:
    """One line for each model of a schedule that this file lacks."""
    for name, schedule in params.schedules.items():
        for model in schedule.models:
            if model not in params.models:
                hint = nearest(model, list(params.models))
                yield f"schedules.{name}.models: {model!r} is not one of models.{hint}"


def _extend_errors(where: str, model: RestorationModel, params: Params) -> Iterator[str]:
    source = source_of(model)
    if source is None:
        return
    name = source.model
    if (gan := params.models.get(name)) is None:
        if params.datasets[model.dataset].image_size is None:
            yield (
                f"{where}: a GAN draws images of one size. Add "
                f"datasets.{model.dataset}.image_size, or remove it."
            )
    elif not isinstance(gan, GanModel):
        gans = [key for key, other in params.models.items() if isinstance(other, GanModel)]
        yield f"{where}.gan: {name!r} is a {gan.kind} model, not a GAN.{_known_names(gans)}"
    elif gan.dataset != model.dataset:
        yield (
            f"{where}.gan: {name!r} learns {gan.dataset!r}, this model {model.dataset!r}. Name a "
            "GAN of the same dataset: another one's images may differ in size, or show what is "
            "test data here."
        )


def _refine_errors(where: str, model: GanModel, params: Params) -> Iterator[str]:
    source = source_of(model)
    restorer = params.models.get(source.model) if source else None
    if source is None or restorer is None:
        return
    name = source.model
    if not isinstance(restorer, RestorationModel | TranslationModel):
        restorers = [
            key
            for key, other in params.models.items()
            if other.kind in ("restoration", "translation")
        ]
        known = _known_names(restorers)
        yield f"{where}: {name!r} is a {restorer.kind} model, not a restorer.{known}"
        return
    if any(step.downsample is not None for step in restorer.degradation or ()):
        yield (
            f"{where}: {name!r} undoes downsample, so it would enlarge the images. Name a restorer "
            "that keeps them."
        )
    used = params.datasets.get(restorer.dataset)
    if used is not None and used.channels != params.datasets[model.dataset].channels:
        yield (
            f"{where}: {name!r} restores images of datasets.{restorer.dataset}.channels = "
            f"{used.channels}, the GAN draws images of datasets.{model.dataset}.channels = "
            f"{params.datasets[model.dataset].channels}. Name a restorer of the same channels."
        )


def _comparison_errors(
    where: str, own: str, model: RestorationModel, params: Params
) -> Iterator[str]:
    if model.compare_with is None:
        return
    other = params.models.get(model.compare_with)
    if not isinstance(other, RestorationModel) or model.compare_with == own:
        restorers = [
            key
            for key, item in params.models.items()
            if isinstance(item, RestorationModel) and key != own
        ]
        hint = _known_names(restorers) if other else nearest(model.compare_with, restorers)
        yield (
            f"{where} = {model.compare_with!r} is not another restoration model of this file.{hint}"
        )
    elif (other.dataset, other.degradation) != (model.dataset, model.degradation):
        yield (
            f"{where}: {model.compare_with!r} restores something else. Both need the same dataset "
            "and degradation."
        )


def _known_names(names: Sequence[str]) -> str:
    """Those that would do; the name that was given is right, but of another kind."""
    return f" Known: {', '.join(names)}." if names else ""


def _way_back(params: Params, name: str) -> list[str]:
    """A shortest way from a model over what it needs to itself; empty if there is none."""
    ways, seen = [[name]], {name}
    for way in ways:
        for needed in needed_first(params, way[-1]):
            if needed == name and len(way) > 1:
                return [*way, name]
            if needed not in seen:
                seen.add(needed)
                ways.append([*way, needed])
    return []
