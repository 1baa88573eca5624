"""What a registered version was made of; a link that leads nowhere is named."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from atelier.data.versions import recovery
from atelier.errors import ProvenanceError, UsageError
from atelier.factory.fingerprint import digest
from atelier.machine.git import knows
from atelier.registry import Registry, RunRecord, Version

Link = Literal["run", "code", "params", "environment", "data", "source", "flow run", "evaluation"]
Missing = Iterator[tuple[Link, str]]  # a link, and why it leads nowhere
# What a training leaves in the tags of its version, and which link it is. An empty value leads
# nowhere, too.
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
        problems = [f"{link}: {problem}" for link, problem in self.missing if link in links]
        if problems:
            raise ProvenanceError(
                f"{self.version} can't be traced back:\n  " + "\n  ".join(problems)
            )


def trace(registry: Registry, version: Version) -> Trace:
    """Follow every link from a version back to what it was made of."""
    runs = registry.runs
    run_id = version.run_id
    trail = Trace(
        version=version,
        run=runs.record(run_id),
        inputs=runs.read_json(run_id, "fingerprint.json") or {},
        params=runs.read_json(run_id, "params.json") or {},
        packages=(runs.read_bytes(run_id, "packages.txt") or b"").decode("utf-8"),
        diff=runs.read_bytes(run_id, "uncommitted.diff") or b"",
    )
    trail.missing += _missing_tags(version)
    trail.missing += _missing_of_run(trail)
    trail.missing += _missing_code(registry, version)
    trail.missing += _missing_data(registry, version)
    for source in {version.tags.get("built.from", ""), trail.inputs.get("source", "")}:
        if source:
            trail.missing += _missing_version(registry, "source", "it was built from", source)
    trail.missing += _missing_of_evaluation(registry, version)
    return trail


def evaluation_inputs(registry: Registry, version: Version) -> dict[str, Any]:
    """What a version's scores were made from; empty if it was not evaluated.

    That is asked first: to look for an artifact that isn't there takes as long as to read it.
    """
    if "evaluation.fingerprint" not in version.tags:
        return {}
    return registry.runs.read_json(version.run_id, "evaluation/fingerprint.json") or {}


def _missing_tags(version: Version) -> Missing:
    for tag, link in TAGS.items():
        if tag not in version.tags:
            yield link, f"tag {tag} is missing"
        elif not version.tags[tag]:
            yield link, EMPTY.get(tag, f"tag {tag} is empty")


def _missing_of_run(trail: Trace) -> Missing:
    tags = trail.version.tags
    run_id = trail.version.run_id
    if trail.run is None:
        yield "run", f"MLflow has no run {run_id}"
        return
    if trail.run.deleted:
        way_back = "`mlflow gc` has not removed it yet: it can be restored"
        yield "run", f"run {run_id} was deleted ({way_back})"
    for name in NEEDED_PARAMS:
        if name not in trail.run.params:
            yield "run", f"run {run_id} has no parameter {name}"
    if digest(trail.inputs) != tags.get("fingerprint"):
        yield "run", _explain_difference("fingerprint.json", "fingerprint", bool(trail.inputs))
    if digest(trail.params) != tags.get("params.sha256"):
        yield "params", _explain_difference("params.json", "params.sha256", bool(trail.params))
    if not trail.packages:
        yield "environment", "packages.txt is missing in the run's artifacts"


def _explain_difference(file: str, tag: str, is_there: bool) -> str:
    if is_there:
        return f"{file} is not what tag {tag} says"
    return f"{file} is missing in the run's artifacts"


def _missing_code(registry: Registry, version: Version) -> Missing:
    commit = version.tags.get("git.commit")
    try:
        if commit and not knows(registry.project.root, commit):
            way_out = "fetch it, or find the repository that has it"
            yield "code", f"git knows no commit {commit}: {way_out}"
    except ProvenanceError as error:
        yield "code", f"whether git has commit {commit} can't be known: {error}"
    problem = version.tags.get("git.problem")
    if problem:
        yield "code", f"when it was trained, {problem}"


def _missing_data(registry: Registry, version: Version) -> Missing:
    md5 = version.tags.get("data.md5")
    problem = recovery.explain_loss(registry.project.root, md5) if md5 else ""
    if problem:
        yield "data", f"version {md5} of data/: {problem}"


def _missing_of_evaluation(registry: Registry, version: Version) -> Missing:
    if "evaluation.fingerprint" not in version.tags:
        return  # not evaluated yet: a state, not a loss
    inputs = evaluation_inputs(registry, version)
    if digest(inputs) != version.tags["evaluation.fingerprint"]:
        file = "evaluation/fingerprint.json"
        yield "evaluation", _explain_difference(file, "evaluation.fingerprint", bool(inputs))
    for key in ("extractor", "compared"):
        reference = inputs.get(key)
        if reference:
            yield from _missing_version(registry, "evaluation", f"{key}:", reference)


def _missing_version(registry: Registry, link: Link, role: str, reference: str) -> Missing:
    try:
        registry.resolve(reference)
    except UsageError as error:
        yield link, f"{role} {reference}: {error}"
