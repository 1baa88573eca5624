"""Which registered versions used a version of `data/`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from atelier.data.versions import recovery
from atelier.errors import ProvenanceError, UsageError
from atelier.registry import Registry, Version
from atelier.review.history import every_version

# And the md5 of the data: a tag for each version of data/ that a model was scored on.
EVALUATED = "evaluated."
MIN_DIGITS = 6  # of an md5 that somebody typed


def users_of_data(registry: Registry, md5: str) -> dict[str, Any]:
    """All versions that were trained or evaluated on a version of `data/`, as plain JSON types.

    Args:
        registry: that holds the versions.
        md5: its first digits, 6 or more; with or without `.dir`.

    Raises:
        UsageError: if several versions of data/ begin so.
        ProvenanceError: if no registered version used such data, or the data are lost.
    """
    trained: dict[str, list[str]] = {}
    evaluated: dict[str, list[str]] = {}
    for version in every_version(registry):
        if trained_on := version.tags.get("data.md5"):
            trained.setdefault(trained_on, []).append(str(version))
        for scored_on in _data_of_scores(version):
            evaluated.setdefault(scored_on, []).append(str(version))
    full_md5 = _complete(md5, trained.keys() | evaluated.keys())
    problem = recovery.explain_loss(registry.project.root, full_md5)
    missing = []
    if problem:
        missing = [{"link": "data", "problem": f"version {full_md5} of data/: {problem}"}]
    return {
        "md5": full_md5,
        "trained": trained.get(full_md5, []),
        "evaluated": evaluated.get(full_md5, []),
        "missing": missing,
    }


def _complete(md5: str, versions: set[str]) -> str:
    """The one version of data/ that begins with the digits of `md5`."""
    digits = md5.removesuffix(".dir")
    matches = []
    if len(digits) >= MIN_DIGITS:
        matches = sorted(version for version in versions if version.startswith(digits))
    if len(matches) > 1:
        raise UsageError(f"{md5!r} may be one of {', '.join(matches)}. Give more digits.")
    if not matches:
        raise ProvenanceError(
            f"no registered version was trained or evaluated on data {md5!r} "
            f"(give 6 digits or more). Known: {', '.join(sorted(versions)) or 'none'}."
        )
    return matches[0]


def _data_of_scores(version: Version) -> Iterator[str]:
    """The md5 of each version of data/ that a model was scored on.

    Not by the inputs of the run: of each version of a dataset MLflow keeps the first use, which
    was the training.
    """
    for tag in version.tags:
        if tag.startswith(EVALUATED):
            yield tag.removeprefix(EVALUATED)
