"""What is stale, and why: compares the desired state (params, data, code) with the registry, and changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from atelier.data.ingest.stages import dataset_state
from atelier.data.store import dataset_digest
from atelier.errors import UsageError
from atelier.fingerprint import datasets_of, differences, digest, evaluation_inputs, training_inputs, uses_extractor
from atelier.params import Params, RestorationModel
from atelier.params.errors import nearest
from atelier.params.references import in_order, model_of, source_of
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
    """

    name: str
    kind: str
    state: State
    reasons: tuple[str, ...] = ()
    action: Literal["ingest", "train", "evaluate", "judge", ""] = ""
    version: Version | None = None

    def as_json(self) -> dict[str, Any]:
        """The four public fields."""
        return {"name": self.name, "kind": self.kind, "state": self.state, "reasons": list(self.reasons)}


def make_plan(project: Project, params: Params, registry: Registry, models: Sequence[str] = ()) -> list[Item]:
    """The plan for all models, or for those named and what they need.

    Raises:
        UsageError: if a name isn't a model of params.yaml, or the extractor's version doesn't exist.
    """
    names = selected_models(params, models)
    if params.evaluation.classifier_version and any(uses_extractor(params, name) for name in names):
        _extractor(params, registry)  # before anything runs: a version that was chosen has to be there
    datasets = dict.fromkeys(dataset for name in names for dataset in datasets_of(params.models[name]))
    if not models:
        datasets |= dict.fromkeys(params.datasets)
    plan = [plan_dataset(project, params, name) for name in datasets]
    pending = {item.name for item in plan if item.action}
    for name in names:
        item = plan_model(project, params, registry, name, frozenset(pending))
        plan.append(item)
        if item.action == "train":
            pending.add(name)
    return plan


def selected_models(params: Params, models: Sequence[str]) -> list[str]:
    """The named models (all if none is) and those that they need, in the order in which they are made."""
    for name in models:
        if name not in params.models:
            raise UsageError(f"{name!r} is not a model of params.yaml.{nearest(name, list(params.models))}")
    wanted = in_order(params, models or params.models)
    classifier = params.evaluation.classifier
    if not params.evaluation.classifier_version and any(uses_extractor(params, name) for name in wanted):
        wanted = in_order(params, [classifier, *wanted])
    return sorted(wanted, key=lambda name: name != classifier)


def plan_dataset(project: Project, params: Params, name: str) -> Item:
    """Whether a dataset has to be ingested."""
    state, reasons = dataset_state(project.root, name, params.datasets[name])
    return Item(name, "dataset", state, tuple(reasons), "" if state == "fresh" else "ingest")


def plan_model(
    project: Project, params: Params, registry: Registry, name: str, pending: frozenset[str] = frozenset()
) -> Item:
    """Whether a model has to be trained, evaluated or judged.

    Args:
        project: where the data lie.
        params: the desired state.
        registry: what there is.
        name: the model.
        pending: datasets and models that are going to change before this one's turn comes.
    """
    model = params.models[name]
    versions = registry.versions(name)
    if reasons := _waits_for(params, registry, name, pending):
        return Item(name, model.kind, "stale" if versions else "missing", tuple(reasons), "train")
    inputs = training_inputs(params, name, _digests(project, params, name), source_version(params, registry, name))
    fingerprint = digest(inputs)
    fresh = next((version for version in reversed(versions) if version.tags.get("fingerprint") == fingerprint), None)
    if fresh is None:
        if not versions:
            return Item(name, model.kind, "missing", ("no version is registered",), "train")
        before = registry.runs.read_json(versions[-1].run_id, "fingerprint.json") or {}
        return Item(name, model.kind, "stale", tuple(differences(before, inputs)), "train")
    return _plan_evaluation(project, params, registry, fresh, pending)


def _waits_for(params: Params, registry: Registry, name: str, pending: frozenset[str]) -> list[str]:
    """Why it isn't known yet what a model will be made of; empty if it is.

    Raises:
        UsageError: if it is to be built from a model that neither this file nor the registry has.
    """
    model = params.models[name]
    reasons = [f"data: {dataset} will be ingested first" for dataset in datasets_of(model) if dataset in pending]
    source, made_here = source_of(model), "/" not in source_of(model) and model_of(source_of(model)) in params.models
    if made_here and model_of(source) in pending:
        return [*reasons, f"source: {model_of(source)} will be trained first"]
    try:
        source_version(params, registry, name)
    except UsageError as error:
        if not made_here:
            raise
        reasons.append(f"source: {error}")  # it may be there when this model's turn comes
    return reasons


def source_version(params: Params, registry: Registry, name: str) -> str:
    """The version that a model is to be built from today, `name/number`; empty if it is built from none.

    Raises:
        UsageError: if there is no such version.
    """
    source = source_of(params.models[name])
    try:
        return str(registry.resolve(source)) if source else ""
    except UsageError as error:
        raise UsageError(f"models.{name} is built from {source}: {error}") from None


def _plan_evaluation(
    project: Project, params: Params, registry: Registry, version: Version, pending: frozenset[str]
) -> Item:
    name, kind = version.model, params.models[version.model].kind
    classifier = params.evaluation.classifier
    if uses_extractor(params, name) and classifier in pending and not params.evaluation.classifier_version:
        reason = f"evaluation: {classifier} will be trained first"
        return Item(name, kind, "stale", (reason,), "evaluate", version)
    if (compared := _compared_with(params, name)) in pending:
        return Item(name, kind, "stale", (f"evaluation: {compared} will be trained first",), "evaluate", version)
    for candidate in versions_to_score(registry, version):
        reasons = evaluation_differences(project, params, registry, candidate)
        if reasons:
            return Item(name, kind, "stale", tuple(f"evaluation: {reason}" for reason in reasons), "evaluate", version)
    if "verdict" not in version.tags:
        return Item(name, kind, "stale", (f"version {version.number} was not judged yet",), "judge", version)
    return Item(name, kind, "fresh", (), "", version)


def versions_to_score(registry: Registry, version: Version) -> list[Version]:
    """Whose scores a decision about a version needs: its own, and the champion's unless its run is gone."""
    champion = registry.aliased(version.model, CHAMPION)
    if champion is None or champion.number == version.number or registry.why_lost(champion):
        return [version]
    return [version, champion]


def evaluation_differences(project: Project, params: Params, registry: Registry, version: Version) -> list[str]:
    """Why the scores of a version are not today's; empty if they are."""
    inputs = current_evaluation_inputs(project, params, registry, version)
    if version.tags.get("evaluation.fingerprint") == digest(inputs):
        return []
    before = registry.runs.read_json(version.run_id, "evaluation/fingerprint.json")
    return differences(before, inputs) if before else [f"version {version.number} was not evaluated yet"]


def current_evaluation_inputs(project: Project, params: Params, registry: Registry, version: Version) -> dict[str, Any]:
    """The evaluation inputs of a version with today's data, parameters, extractor, comparison and code."""
    name = version.model
    extractor = _extractor(params, registry) if uses_extractor(params, name) else ""
    compared = registry.aliased(_compared_with(params, name), CHAMPION) if _compared_with(params, name) else None
    digests = _digests(project, params, name)
    return evaluation_inputs(params, name, str(version), digests, extractor, str(compared or ""))


def _extractor(params: Params, registry: Registry) -> str:
    """The classifier's version, `name/number`, or the published weights; empty if there is no such version yet.

    Raises:
        UsageError: if one that was chosen by its number doesn't exist.
    """
    asked = params.evaluation
    if asked.classifier_version:
        try:
            return str(registry.resolve(asked.classifier_version))
        except UsageError as error:
            raise UsageError(f"evaluation.features = {asked.features}: {error}") from None
    return asked.published or str(registry.aliased(asked.classifier, CHAMPION) or "")


def _compared_with(params: Params, name: str) -> str:
    model = params.models[name]
    return (model.compare_with if isinstance(model, RestorationModel) else None) or ""


def _digests(project: Project, params: Params, name: str) -> dict[str, str]:
    return {dataset: dataset_digest(project.root, dataset) for dataset in datasets_of(params.models[name])}
