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
from atelier.review.data_use import EVALUATED
from atelier.review.report.contents import (
    History,
    Line,
    ModelHistory,
    Score,
    Thumbnail,
    Verdict,
)
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
    failures = [run for run in fleet.runs if run.status in BROKEN]
    return History(
        project=registry.project.root.name,
        uri=registry.uri,
        models=tuple(models),
        failures=tuple((fleet.experiments[run.experiment_id], run) for run in failures),
        num_runs=len(fleet.runs),
        minutes=sum(run.metrics.get("minutes", 0.0) for run in fleet.runs),
        problems=tuple(thumbnails.problems),
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
    versions = fleet.models.get(name, ())
    entries = fleet.ledgers.get(name, ())
    kind = params.models[name].kind if name in params.models else _kind(versions, runs)
    gate = getattr(params.promotion, kind, None)
    metric = _metric(gate.metric if gate else "", versions, runs)
    decisions = tuple(entry.decision for entry in entries)
    lines = tuple(_lines(versions, runs, metric, decisions))
    if name in fleet.distrusted:
        disagreements = [fleet.distrusted[name]]
    else:
        disagreements = list(find_disagreements(name, entries, versions))
    return ModelHistory(
        name=name,
        kind=kind,
        metric=metric,
        better=_better(metric),
        lines=lines,
        decisions=decisions,
        warnings=(*disagreements, *_warnings(lines, trainings)),
        remarks=tuple(_remarks(lines, trainings, name in params.models)),
        caption=CAPTIONS.get(MAIN.get(kind, ""), ""),
        pictures=tuple(_pictures(lines, kind, thumbnails)),
    )


def _pictures(
    lines: Sequence[Line], kind: str, thumbnails: Thumbnails
) -> Iterator[tuple[Line, Thumbnail]]:
    for line in choose_lines(lines, thumbnails.limit):
        picture = thumbnails.of(line.version, kind)
        if picture is not None:
            yield line, picture


def _kind(versions: Sequence[Version], runs: Mapping[str, RunRecord]) -> str:
    """The kind of a model that is no more in params.yaml."""
    kinds = [
        runs[version.run_id].params.get("kind", "")
        for version in versions
        if version.run_id in runs
    ]
    return kinds[-1] if kinds else ""


def _metric(gate: str, versions: Sequence[Version], runs: Mapping[str, RunRecord]) -> str:
    """The gate's metric; where no version was scored by it, the first usual one that any was."""
    scored: set[str] = set()
    for version in versions:
        if version.run_id in runs:
            scored |= scores_in(runs[version.run_id].metrics).keys()
    candidates = (gate, *SHOWN_METRICS, *sorted(scored))
    return next((name for name in candidates if name in scored), "")


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
        naming = [decision for decision in decisions if decision.knows(version)]
        verdicts = [
            Verdict(decision.action, decision.reasons, decision.at, decision.who)
            for decision in naming
            if decision.version == version.number
        ]
        was_crowned = any(decision.champion == version.number for decision in naming)
        yield Line(
            version=version,
            run=runs.get(version.run_id),
            score=scores[version.number],
            verdicts=tuple(verdicts or _verdicts_by_tags(version)),
            was_champion=was_crowned or CHAMPION in version.aliases,
            comparable=newest is None or _data_of_scores(version) == _data_of_scores(newest),
        )


def _score(run: RunRecord | None, metric: str) -> Score | None:
    """A score of a run; None if it has none, or none that is finite."""
    score = scores_in(run.metrics).get(metric) if run else None
    return score if score and all(map(math.isfinite, score.values())) else None


def _verdicts_by_tags(version: Version) -> list[Verdict]:
    """The newest verdict by the tags of a version, for where the ledger has none.

    Anybody may edit a tag.
    """
    tags = version.tags
    if "verdict" not in tags:
        return []
    at = tags.get("verdict.at", "")
    who = tags.get("verdict.by", "")
    return [Verdict(tags["verdict"], reasons_in(tags), at, who)]


def _data_of_scores(version: Version) -> str:
    """The version of data/ that its scores were made on; empty if the tags don't say it."""
    fingerprint = version.tags.get("evaluation.fingerprint")
    for tag, value in version.tags.items():
        if tag.startswith(EVALUATED) and value == fingerprint:
            return tag
    return ""


def _warnings(lines: Sequence[Line], trainings: Sequence[RunRecord]) -> Iterator[str]:
    if lines and not any(line.is_champion for line in lines):
        yield "no version is champion"
    if trainings and trainings[0].status in BROKEN:
        yield f"newest training {trainings[0].status}, see Failures"
    lost = [line for line in lines if line.run is None]
    if lost:
        yield f"MLflow has the run of version {_numbers(lost)} no more"


def _remarks(
    lines: Sequence[Line], trainings: Sequence[RunRecord], in_params: bool
) -> Iterator[str]:
    if not lines:
        yield "no version yet"
    if not in_params:
        yield "not in params.yaml"
    waiting = [line for line in lines if line.version.tags.get("verdict") == "waiting"]
    if waiting:
        yield f"version {_numbers(waiting)} waits for approval"
    unjudged = [line for line in lines if not line.verdicts]
    if unjudged:
        yield f"version {_numbers(unjudged)} was not judged"
    if trainings and trainings[0].status == "RUNNING":
        yield f"a training is open since {trainings[0].started}"


def _numbers(lines: Sequence[Line]) -> str:
    return ", ".join(str(line.version.number) for line in lines)


def choose_lines(lines: Sequence[Line], limit: int) -> list[Line]:
    """Choose whose pictures are shown.

    They are those that were champion, and the newest of the others if it came after them.

    Args:
        lines: all versions, oldest first.
        limit: how many at most; the champion is among them.
    """
    champions = [line for line in lines if line.was_champion]
    challengers = [
        line for line in lines if CHALLENGER in line.version.aliases or line is lines[-1]
    ]
    chosen = [line for line in champions if line.is_champion]
    chosen += [line for line in challengers[:1] if not line.is_champion]
    chosen += [line for line in reversed(champions) if line not in chosen]
    return sorted(chosen[:limit], key=lambda line: line.version.number)
