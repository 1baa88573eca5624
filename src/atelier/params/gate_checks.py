"""Gates that no version could pass, because nothing measures what they ask for."""

from __future__ import annotations

from collections.abc import Iterator

from atelier.params.errors import nearest
from atelier.params.extractors import NUM_FEATURES
from atelier.params.measures import distances, metrics
from atelier.params.models import Params
from atelier.params.promotion import Gate


def gate_errors(params: Params) -> Iterator[str]:
    """One line for each metric of a gate that an evaluation can't measure."""
    for kind, gate in params.promotion:
        if not isinstance(gate, Gate):  # approval, alpha
            continue
        where = f"promotion.{kind}"
        yield from _metric_errors(f"{where}.metric", gate.metric, kind, params)
        for metric in gate.floors:
            yield from _metric_errors(f"{where}.floors.{metric}", metric, kind, params)


def _metric_errors(key: str, metric: str, kind: str, params: Params) -> Iterator[str]:
    evaluation = params.evaluation
    num_features = NUM_FEATURES.get(evaluation.extractor, 0)
    measurable = metrics(kind, evaluation.extractor)
    elsewhere: set[str] = set()
    for extractor in ("classifier", *NUM_FEATURES):
        elsewhere.update(metrics(kind, extractor))
    # A gate that nothing comes to may be the default.
    is_used = any(model.kind == kind for model in params.models.values())
    where = f"{key}: {metric!r}"
    if metric not in elsewhere:
        yield f"{where} is not measured there.{nearest(metric, measurable)}"
    elif metric not in measurable and is_used:
        features = "without an extractor"
        if evaluation.features:
            features = f"with evaluation.features = {evaluation.features}"
        yield f"{where} is not measured {features}. Measured are: {', '.join(measurable)}."
    elif metric in distances(evaluation.extractor)[:1] and evaluation.num_images <= num_features:
        yield (
            f"{where} needs more images than {evaluation.features} has features, {num_features}, "
            f"but evaluation.num_images = {evaluation.num_images}. "
            f"Raise it, or use {measurable[1]}."
        )
