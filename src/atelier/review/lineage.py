"""What a registered version was made of, and what was made of it; a link that leads nowhere is named."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from atelier.data.versions import recovery
from atelier.errors import ProvenanceError, UsageError
from atelier.factory.fingerprint import digest
from atelier.machine.git import knows
from atelier.registry import Registry, RunRecord, Version
from atelier.review.worktree import described

Link = Literal["run", "code", "params", "environment", "data", "source", "flow run", "evaluation"]
# What a training leaves in the tags of its version, and which link it is. An empty value leads nowhere, too.
TAGS: dict[str, Link] = {
    "fingerprint": "run",
    "seed": "params",
    "params.sha256": "params",
    "data.md5": "data",
    "git.commit": "code",
    "git.dirty": "code",
    "prefect.flow_run_id": "flow run",
}
EMPTY = {
    "data.md5": "no version of data/ was tracked when it was trained",
    "git.commit": "the project was no git repository, or had no commit, when it was trained",
    "prefect.flow_run_id": "it was not trained by a Prefect flow",
}
EVALUATED = (
    "evaluated."  # and the md5 of the data: a tag for each version of data/ that it was scored on
)
ROLES = ("training", "evaluation")  # of data
NEEDED_PARAMS = ("device", "threads", "processes")  # of the run: they decide how sums are rounded


@dataclass
class Trace:
    """What is known of a version.

    Attributes:
        version: of which.
        run: that trained it; None if MLflow has it no more.
        inputs: what its fingerprint was made from.
        params: the resolved parameters.
        packages: what was installed, as a requirements file.
        diff: the uncommitted changes.
        missing: links that lead nowhere, and why.
    """

    version: Version
    run: RunRecord | None
    inputs: dict[str, Any]
    params: dict[str, Any]
    packages: str
    diff: bytes
    missing: list[tuple[Link, str]] = field(default_factory=list)

    def require(self, *links: Link) -> None:
        """Refuse to go on without these links.

        Raises:
            ProvenanceError: naming all that are missing.
        """
        if problems := [f"{link}: {problem}" for link, problem in self.missing if link in links]:
            raise ProvenanceError(
                f"{self.version} can't be traced back:\n  " + "\n  ".join(problems)
            )


def trace(registry: Registry, version: Version) -> Trace:
    """Follow every link from a version back to what it was made of."""
    runs, run_id = registry.runs, version.run_id
    found = Trace(
        version,
        runs.record(run_id),
        runs.read_json(run_id, "fingerprint.json") or {},
        runs.read_json(run_id, "params.json") or {},
        (runs.read_bytes(run_id, "packages.txt") or b"").decode("utf-8"),
        runs.read_bytes(run_id, "uncommitted.diff") or b"",
    )
    found.missing += [
        *_missing_tags(found),
        *_missing_of_run(found),
        *_missing_code(registry, found),
    ]
    if (md5 := version.tags.get("data.md5")) and (
        problem := recovery.explain_loss(registry.project.root, md5)
    ):
        found.missing.append(("data", f"version {md5} of data/: {problem}"))
    for source in filter(
        None, {version.tags.get("built.from", ""), found.inputs.get("source", "")}
    ):
        found.missing += _missing_version(registry, "source", "it was built from", source)
    found.missing += _missing_of_evaluation(registry, version)
    return found


def _missing_tags(found: Trace) -> Iterator[tuple[Link, str]]:
    for tag, link in TAGS.items():
        if tag not in found.version.tags:
            yield link, f"tag {tag} is missing"
        elif not found.version.tags[tag]:
            yield link, EMPTY.get(tag, f"tag {tag} is empty")


def _missing_of_run(found: Trace) -> Iterator[tuple[Link, str]]:
    tags, run_id = found.version.tags, found.version.run_id
    if found.run is None:
        yield "run", f"MLflow has no run {run_id}"
        return
    if found.run.deleted:
        yield (
            "run",
            f"run {run_id} was deleted (`mlflow gc` has not removed it yet: it can be restored)",
        )
    for name in NEEDED_PARAMS:
        if name not in found.run.params:
            yield "run", f"run {run_id} has no parameter {name}"
    if digest(found.inputs) != tags.get("fingerprint"):
        yield "run", _is_not("fingerprint.json", "fingerprint", bool(found.inputs))
    if digest(found.params) != tags.get("params.sha256"):
        yield "params", _is_not("params.json", "params.sha256", bool(found.params))
    if not found.packages:
        yield "environment", "packages.txt is missing in the run's artifacts"


def _is_not(file: str, tag: str, there: bool) -> str:
    return (
        f"{file} is not what tag {tag} says"
        if there
        else f"{file} is missing in the run's artifacts"
    )


def _missing_code(registry: Registry, found: Trace) -> Iterator[tuple[Link, str]]:
    commit = found.version.tags.get("git.commit")
    try:
        if commit and not knows(registry.project.root, commit):
            where = "fetch it, or find the repository that has it"
            yield "code", f"git knows no commit {commit}: {where}"
    except ProvenanceError as error:
        yield "code", f"whether git has commit {commit} can't be known: {error}"
    if problem := found.version.tags.get("git.problem"):
        yield "code", f"when it was trained, {problem}"


def _described(root: Path, commit: str) -> dict[str, str]:
    """Of a commit, what can be had: what can't is among the missing."""
    try:
        return described(root, commit) if commit else {}
    except ProvenanceError:
        return {}


def _missing_of_evaluation(registry: Registry, version: Version) -> Iterator[tuple[Link, str]]:
    if "evaluation.fingerprint" not in version.tags:
        return  # not evaluated yet: a state, not a loss
    inputs = _evaluation_inputs(registry, version)
    if digest(inputs) != version.tags["evaluation.fingerprint"]:
        yield (
            "evaluation",
            _is_not("evaluation/fingerprint.json", "evaluation.fingerprint", bool(inputs)),
        )
    for key in ("extractor", "compared"):
        if other := inputs.get(key):
            yield from _missing_version(registry, "evaluation", f"{key}:", other)


def _missing_version(
    registry: Registry, link: Link, role: str, reference: str
) -> Iterator[tuple[Link, str]]:
    try:
        registry.resolve(reference)
    except UsageError as error:
        yield link, f"{role} {reference}: {error}"


def lineage(registry: Registry, found: Trace) -> dict[str, Any]:
    """Both directions from a version, as plain JSON types; what is missing, too."""
    version, run, root = found.version, found.run, registry.project.root
    tags = version.tags
    commit = tags.get("git.commit", "")
    evaluation = _evaluation_inputs(registry, version)
    counts = {used.name: dict(used.counts) for used in run.datasets} if run else {}
    return {
        "version": str(version),
        "created": version.created,
        "aliases": list(version.aliases),
        "fingerprint": tags.get("fingerprint"),
        "data": {
            "md5": tags.get("data.md5"),
            "datasets": {
                name: {"digest": value, "images": counts.get(name, {})}
                for name, value in found.inputs.get("data", {}).items()
            },
        },
        "code": {
            "commit": commit,
            **_described(root, commit),
            "dirty": tags.get("git.dirty"),
            "left_out": tags.get("git.left_out") or None,
            "uncommitted_lines": len(found.diff.splitlines()),
            "modules": found.inputs.get("code", {}),
        },
        "params": {
            "sha256": tags.get("params.sha256"),
            "seed": tags.get("seed"),
            "resolved": found.params,
        },
        "packages": found.packages.splitlines(),
        "run": {
            "id": version.run_id,
            "status": run.status if run else None,
            "started": run.started if run else None,
            "ended": run.ended if run else None,
            "settings": {name: run.params.get(name) for name in NEEDED_PARAMS} if run else {},
            "prefect_flow_run": tags.get("prefect.flow_run_id"),
        },
        "built_from": tags.get("built.from"),
        "evaluation": {
            "fingerprint": tags.get("evaluation.fingerprint"),
            "extractor": evaluation.get("extractor") or None,
            "compared": evaluation.get("compared") or None,
            "data": evaluation.get("data", {}),
        },
        "reproduced": tags.get("reproduced"),
        **_made_of_it(registry, version),
        "missing": [{"link": link, "problem": problem} for link, problem in found.missing],
    }


def _evaluation_inputs(registry: Registry, version: Version) -> dict[str, Any]:
    """Empty if it was not evaluated: to look for an artifact that isn't there takes as long as to read it."""
    if "evaluation.fingerprint" not in version.tags:
        return {}
    return registry.runs.read_json(version.run_id, "evaluation/fingerprint.json") or {}


def _made_of_it(registry: Registry, version: Version) -> dict[str, list[str]]:
    built, scored = [], []
    for other in every_version(registry):
        if other.tags.get("built.from") == str(version):
            built.append(str(other))
        inputs = _evaluation_inputs(registry, other)
        if str(version) in (inputs.get("extractor"), inputs.get("compared")):
            scored.append(str(other))
    return {"built_from_it": built, "scored_with_it": scored}


def every_version(registry: Registry) -> Iterator[Version]:
    """All versions of all models, by name, oldest first."""
    for name in registry.model_names():
        yield from registry.versions(name)


def users_of_data(registry: Registry, md5: str) -> dict[str, Any]:
    """All versions that were trained or evaluated on a version of `data/`, as plain JSON types.

    Args:
        registry: that holds the versions.
        md5: its first digits, 6 or more; with or without `.dir`.

    Raises:
        UsageError: if several versions of data/ begin so.
        ProvenanceError: if no registered version used such data, or the data are lost.
    """
    wanted = md5.removesuffix(".dir")
    uses = [(str(version), use) for version in every_version(registry) for use in _uses(version)]
    known = {used for _, (used, _) in uses}
    found = sorted(used for used in known if len(wanted) >= 6 and used.startswith(wanted))
    if len(found) > 1:
        raise UsageError(f"{md5!r} may be one of {', '.join(found)}. Give more digits.")
    if not found:
        raise ProvenanceError(
            f"no registered version was trained or evaluated on data {md5!r} (give 6 digits or more). "
            f"Known: {', '.join(sorted(known)) or 'none'}."
        )
    problem = recovery.explain_loss(registry.project.root, found[0])
    of_these = {
        role: dict.fromkeys(v for v, use in uses if use == (found[0], role)) for role in ROLES
    }
    return {
        "md5": found[0],
        "trained": list(of_these["training"]),
        "evaluated": list(of_these["evaluation"]),
        "missing": [{"link": "data", "problem": f"version {found[0]} of data/: {problem}"}]
        if problem
        else [],
    }


def _uses(version: Version) -> Iterator[tuple[str, str]]:
    """(md5 of data/, "training" or "evaluation")."""
    if trained_on := version.tags.get("data.md5"):
        yield trained_on, "training"
    # Not by the inputs of the run: of each version of a dataset MLflow keeps the first use, which was the training.
    yield from (
        (tag.removeprefix(EVALUATED), "evaluation")
        for tag in version.tags
        if tag.startswith(EVALUATED)
    )
