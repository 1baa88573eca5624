"""What is stale, and why: the desired state (params, data, code) beside what the registry holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from atelier.data.ingest.state import dataset_state
from atelier.errors import UsageError
from atelier.factory import Factory
from atelier.factory.fingerprint import datasets_of, differences, digest, uses_extractor
from atelier.params import Params
from atelier.params.errors import nearest
from atelier.params.references import in_order, is_made_here, source_of
from atelier.project import Project
from atelier.registry import CHAMPION, Registry, Version

State = Literal["fresh", "stale", "missing"]


@dataclass(frozen=True)
class Item:
    """One line of the plan.

    Attributes:
        name: dataset or model.
        kind: "dataset", or the model's kind.
        state: fresh, stale or missing.
        reasons: why it isn't fresh; empty if it is.
        action: what a run would do: "ingest", "train", "evaluate", "judge", or "" for nothing.
        version: the version that is fresh or has to be evaluated; None if a training is needed.
        seconds: that its training takes on this machine; None: none is needed, or it isn't known.
        bytes: of disk that are needed for it; None: the same.
    """

    name: str
    kind: str
    state: State
    reasons: tuple[str, ...] = ()
    action: Literal["ingest", "train", "evaluate", "judge", ""] = ""
    version: Version | None = None
    seconds: float | None = None
    bytes: float | None = None

    def as_json(self) -> dict[str, Any]:
        """The public fields."""
        return {
            "name": self.name,
            "kind": self.kind,
            "state": self.state,
            "reasons": list(self.reasons),
            "seconds": None if self.seconds is None else round(self.seconds, 1),
            "bytes": None if self.bytes is None else round(self.bytes),
        }


def make_plan(factory: Factory, models: Sequence[str] = ()) -> list[Item]:
    """The plan for all models, or for those named and what they need.

    Raises:
        UsageError: if a name isn't a model of params.yaml, or the extractor's version isn't there.
    """
    params = factory.params
    names = selected_models(params, models)
    if params.evaluation.classifier_version and any(uses_extractor(params, name) for name in names):
        factory.extractor()  # before anything runs: a version that was chosen has to be there
    datasets: dict[str, None] = {}
    for name in names:
        datasets |= dict.fromkeys(datasets_of(params.models[name]))
    if not models:
        datasets |= dict.fromkeys(params.datasets)
    plan = [plan_dataset(factory.project, params, name) for name in datasets]
    pending = {item.name for item in plan if item.action}
    for name in names:
        item = plan_model(factory, name, frozenset(pending))
        plan.append(item)
        if item.action == "train":
            pending.add(name)
    return plan


def selected_models(params: Params, models: Sequence[str]) -> list[str]:
    """The named models (all if none is) and those that they need, in the order of their making."""
    for name in models:
        if name not in params.models:
            raise UsageError(
                f"{name!r} is not a model of params.yaml.{nearest(name, list(params.models))}"
            )
    wanted = in_order(params, models or params.models)
    classifier = params.evaluation.classifier
    if not params.evaluation.classifier_version and any(
        uses_extractor(params, name) for name in wanted
    ):
        wanted = in_order(params, [classifier, *wanted])
    return sorted(wanted, key=lambda name: name != classifier)


def plan_dataset(project: Project, params: Params, name: str) -> Item:
    """Whether a dataset has to be ingested."""
    state, reasons = dataset_state(project.root, name, params.datasets[name])
    return Item(name, "dataset", state, tuple(reasons), "" if state == "fresh" else "ingest")


def plan_model(factory: Factory, name: str, pending: frozenset[str] = frozenset()) -> Item:
    """Whether a model has to be trained, evaluated or judged.

    Args:
        factory: the desired state, and what there is.
        name: the model.
        pending: datasets and models that are going to change before this one's turn comes.
    """
    kind = factory.params.models[name].kind
    versions = factory.registry.versions(name)
    reasons = _what_it_waits_for(factory, name, pending)
    if reasons:
        return Item(name, kind, "stale" if versions else "missing", tuple(reasons), "train")
    inputs = factory.training_inputs(name)
    fresh = _newest_of(versions, digest(inputs))
    if fresh is not None:
        return _plan_evaluation(factory, fresh, pending)
    if not versions:
        return Item(name, kind, "missing", ("no version is registered",), "train")
    before = factory.registry.runs.read_json(versions[-1].run_id, "fingerprint.json") or {}
    return Item(name, kind, "stale", tuple(differences(before, inputs)), "train")


def _newest_of(versions: Sequence[Version], fingerprint: str) -> Version | None:
    """The newest version that was made of exactly this."""
    for version in reversed(versions):
        if version.tags.get("fingerprint") == fingerprint:
            return version
    return None


def _what_it_waits_for(factory: Factory, name: str, pending: frozenset[str]) -> list[str]:
    """Why it isn't known yet what a model will be made of; empty if it is.

    Raises:
        UsageError: if it is to be built from a model that neither this file nor the registry has.
    """
    model = factory.params.models[name]
    awaited = [dataset for dataset in datasets_of(model) if dataset in pending]
    reasons = [f"data: {dataset} will be ingested first" for dataset in awaited]
    source = source_of(model)
    made_here = source is not None and is_made_here(factory.params, source)
    if source is not None and made_here and source.model in pending:
        return [*reasons, f"source: {source.model} will be trained first"]
    try:
        factory.source(name)
    except UsageError as error:
        if not made_here:
            raise
        reasons.append(f"source: {error}")  # it may be there when this model's turn comes
    return reasons


def _plan_evaluation(factory: Factory, version: Version, pending: frozenset[str]) -> Item:
    name = version.model
    kind = factory.params.models[name].kind
    awaited = _what_its_scores_wait_for(factory, name, pending)
    reasons: tuple[str, ...]
    if awaited:
        reasons = (f"evaluation: {awaited} will be trained first",)
        return Item(name, kind, "stale", reasons, "evaluate", version)
    for candidate in versions_to_score(factory.registry, version):
        differing = evaluation_differences(factory, candidate)
        if differing:
            reasons = tuple(f"evaluation: {reason}" for reason in differing)
            return Item(name, kind, "stale", reasons, "evaluate", version)
    if "verdict" not in version.tags:
        reasons = (f"version {version.number} was not judged yet",)
        return Item(name, kind, "stale", reasons, "judge", version)
    return Item(name, kind, "fresh", (), "", version)


def _what_its_scores_wait_for(factory: Factory, name: str, pending: frozenset[str]) -> str:
    """The model that is going to change and that this one is scored with; empty: none."""
    evaluation = factory.params.evaluation
    if uses_extractor(factory.params, name) and not evaluation.classifier_version:
        if evaluation.classifier in pending:
            return evaluation.classifier
    compared = factory.compared_with(name)
    return compared if compared in pending else ""


def versions_to_score(registry: Registry, version: Version) -> list[Version]:
    """Whose scores a decision about a version needs: its own, and a champion's that has a run."""
    champion = registry.version_at(version.model, CHAMPION)
    if champion is None or champion.number == version.number or registry.explain_loss(champion):
        return [version]
    return [version, champion]


def evaluation_differences(factory: Factory, version: Version) -> list[str]:
    """Why the scores of a version are not today's; empty if they are."""
    inputs = factory.evaluation_inputs(version)
    if version.tags.get("evaluation.fingerprint") == digest(inputs):
        return []
    before = factory.registry.runs.read_json(version.run_id, "evaluation/fingerprint.json")
    if before is None:
        return [f"version {version.number} was not evaluated yet"]
    return differences(before, inputs)
