"""The report's contents, read from the registry in a few calls however many runs there are."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from atelier.errors import EvaluationError
from atelier.factory.card import CAPTIONS
from atelier.metrics.directions import higher_is_better
from atelier.params import Params
from atelier.promotion import find_disagreements
from atelier.registry import (
    CHALLENGER,
    CHAMPION,
    Decision,
    Fleet,
    Registry,
    RunRecord,
    Version,
    read_fleet,
)
from atelier.registry.records import reasons_in, scores_in
from atelier.review.lineage import EVALUATED
from atelier.review.report.contents import History, Line, ModelHistory, Score, Verdict
from atelier.review.report.thumbnails import MAIN, Thumbnails
from atelier.ui.tables import SHOWN_METRICS

BROKEN = ("FAILED", "KILLED")


def gather(registry: Registry, params: Params) -> History:
    """Read all that the report tells.

    Args:
        registry: of the project.
        params: its desired state, which names the metric that decides in each kind of model.

    Raises:
        RegistryError: if MLflow fails.
    """
    fleet = read_fleet(registry)
    names = [*params.models, *(name for name in fleet.models if name not in params.models)]
    trainings = defaultdict(list)
    for run in fleet.runs:
        trainings[fleet.experiments[run.experiment_id]].append(run)
    thumbnails = Thumbnails(registry, len(fleet.models))
    runs = {run.run_id: run for run in fleet.runs}
    models = [_model(name, params, fleet, runs, trainings[name], thumbnails) for name in names]
    return History(
        registry.project.root.name,
        registry.uri,
        tuple(models),
        tuple(
            (fleet.experiments[run.experiment_id], run)
            for run in fleet.runs
            if run.status in BROKEN
        ),
        len(fleet.runs),
        sum(run.metrics.get("minutes", 0.0) for run in fleet.runs),
        tuple(thumbnails.problems),
    )


def _model(
    name: str,
    params: Params,
    fleet: Fleet,
    runs: Mapping[str, RunRecord],
    trainings: Sequence[RunRecord],
    thumbnails: Thumbnails,
) -> ModelHistory:
    """One model; `runs` are all by their id, `trainings` those of its experiment, newest first."""
    versions, entries = fleet.models.get(name, ()), fleet.ledgers.get(name, ())
    kind = params.models[name].kind if name in params.models else _kind(versions, runs)
    gate = getattr(params.promotion, kind, None)
    metric = _metric(gate.metric if gate else "", versions, runs)
    decisions = tuple(entry.decision for entry in entries)
    lines = tuple(_lines(versions, runs, metric, decisions))
    distrusted = fleet.distrusted.get(name)
    return ModelHistory(
        name,
        kind,
        metric,
        _better(metric),
        lines,
        decisions,
        (
            *([distrusted] if distrusted else find_disagreements(name, entries, versions)),
            *_warnings(lines, trainings),
        ),
        tuple(_remarks(lines, trainings, name in params.models)),
        CAPTIONS.get(MAIN.get(kind, ""), ""),
        tuple(
            (line, picture)
            for line in shown(lines, thumbnails.limit)
            if (picture := thumbnails.of(line.version, kind)) is not None
        ),
    )


def _kind(versions: Sequence[Version], runs: Mapping[str, RunRecord]) -> str:
    """The kind of a model that is no more in params.yaml."""
    kinds = [
        runs[version.run_id].params.get("kind", "")
        for version in versions
        if version.run_id in runs
    ]
    return kinds[-1] if kinds else ""


def _metric(gate: str, versions: Sequence[Version], runs: Mapping[str, RunRecord]) -> str:
    """The gate's metric; where no version was scored by it, the first of the usual ones that any was scored by."""
    known = [runs[version.run_id] for version in versions if version.run_id in runs]
    scored = {name for run in known for name in scores_in(run.metrics)}
    return next((name for name in (gate, *SHOWN_METRICS, *sorted(scored)) if name in scored), "")


def _better(metric: str) -> str:
    try:
        return "higher" if higher_is_better(metric) else "lower"
    except EvaluationError:
        return ""


def _lines(
    versions: Sequence[Version],
    runs: Mapping[str, RunRecord],
    metric: str,
    decisions: Sequence[Decision],
) -> Iterator[Line]:
    scores = {version.number: _score(runs.get(version.run_id), metric) for version in versions}
    newest = next((version for version in reversed(versions) if scores[version.number]), None)
    for version in versions:
        known = [decision for decision in decisions if decision.knows(version)]
        about = [decision for decision in known if decision.version == version.number]
        verdicts = [
            Verdict(decision.action, decision.reasons, decision.at, decision.who)
            for decision in about
        ]
        yield Line(
            version,
            runs.get(version.run_id),
            scores[version.number],
            tuple(verdicts or _tagged(version)),
            any(decision.champion == version.number for decision in known)
            or CHAMPION in version.aliases,
            newest is None or _scored_on(version) == _scored_on(newest),
        )


def _score(run: RunRecord | None, metric: str) -> Score | None:
    found = scores_in(run.metrics).get(metric) if run else None
    return found if found and all(map(math.isfinite, found.values())) else None


def _tagged(version: Version) -> list[Verdict]:
    """The newest verdict by the tags of a version, for where the ledger has none; anybody may edit a tag."""
    if "verdict" not in version.tags:
        return []
    tags = version.tags
    reasons = reasons_in(tags)
    return [
        Verdict(tags["verdict"], reasons, tags.get("verdict.at", ""), tags.get("verdict.by", ""))
    ]


def _scored_on(version: Version) -> str:
    """The version of data/ that its scores were made on; empty if the tags don't say it."""
    fingerprint = version.tags.get("evaluation.fingerprint")
    marks = (
        tag
        for tag, value in version.tags.items()
        if tag.startswith(EVALUATED) and value == fingerprint
    )
    return next(marks, "")


def _warnings(lines: Sequence[Line], trainings: Sequence[RunRecord]) -> Iterator[str]:
    if lines and not any(line.is_champion for line in lines):
        yield "no version is champion"
    if trainings and trainings[0].status in BROKEN:
        yield f"newest training {trainings[0].status}, see Failures"
    if lost := [str(line.version.number) for line in lines if line.run is None]:
        yield f"MLflow has the run of version {', '.join(lost)} no more"


def _remarks(lines: Sequence[Line], trainings: Sequence[RunRecord], wanted: bool) -> Iterator[str]:
    if not lines:
        yield "no version yet"
    if not wanted:
        yield "not in params.yaml"
    if waiting := [
        str(line.version.number) for line in lines if line.version.tags.get("verdict") == "waiting"
    ]:
        yield f"version {', '.join(waiting)} waits for approval"
    if unjudged := [str(line.version.number) for line in lines if not line.verdicts]:
        yield f"version {', '.join(unjudged)} was not judged"
    if trainings and trainings[0].status == "RUNNING":
        yield f"a training is open since {trainings[0].started}"


def shown(lines: Sequence[Line], limit: int) -> list[Line]:
    """Whose pictures are shown: who was champion, and the newest of the others if it came after them.

    Args:
        lines: all versions, oldest first.
        limit: how many at most; the champion is among them.
    """
    champions = [line for line in lines if line.was_champion]
    challenger = [
        line for line in lines if CHALLENGER in line.version.aliases or line is lines[-1]
    ][:1]
    now = [line for line in champions if line.is_champion]
    wanted = [*now, *(line for line in challenger if not line.is_champion)]
    wanted += [line for line in reversed(champions) if line not in wanted]
    return sorted(wanted[:limit], key=lambda line: line.version.number)
