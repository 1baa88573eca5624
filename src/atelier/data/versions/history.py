"""Any version of `data/`: which there are in git's history, and what they hold.

The working copy is not touched.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from atelier.data.manifest import Manifest, read_manifest
from atelier.data.splits import Split
from atelier.data.store import StoredDataset, open_version
from atelier.data.versions import objects
from atelier.data.versions.dvc import DATA, DATA_DVC, data_md5
from atelier.data.versions.pointer import parse_data_dvc
from atelier.errors import DataError, LostError, UsageError
from atelier.machine import git

NOW = "now"  # the working copy, as a revision
MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")
MD5_PREFIX = re.compile(r"[0-9a-f]{6,31}")


@dataclass(frozen=True)
class Commit:
    """A commit that changed `data.dvc`."""

    revision: str  # full hash
    date: str  # ISO 8601, of the commit
    subject: str
    md5: str | None  # None: it removed data.dvc, or left it damaged
    size: int  # bytes


@dataclass(frozen=True)
class Snapshot:
    """One version of `data/`, or the working copy.

    Its files are fetched when they are asked for.
    """

    revision: str  # as it was asked for
    md5: str | None  # None: the working copy
    paths: tuple[str, ...]  # within data/
    locate: Callable[[str], Path]  # one of the paths -> a file on this machine

    @property
    def names(self) -> list[str]:
        """The datasets."""
        return sorted(
            path.removesuffix("/dataset.json")
            for path in self.paths
            if path.count("/") == 1 and "/dataset.json" in path
        )

    def description(self, name: str) -> dict[str, Any]:
        """What dataset.json says.

        Raises:
            DataError: if it is damaged, or lost.
        """
        try:
            path = self.locate(f"{name}/dataset.json")
            content = json.loads(path.read_text(encoding="utf-8"))
            class_names = list(content["class_names"])
            counts = dict(content["counts"])
            return {**content, "class_names": class_names, "counts": counts}
        except DataError:
            raise
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _damage_error(self, name, error) from None

    def manifest(self, name: str) -> Manifest:
        """One row an image.

        Raises:
            DataError: if it is damaged, or lost.
        """
        try:
            return read_manifest(self.locate(f"{name}/manifest.csv").read_bytes())
        except DataError:
            raise
        except (OSError, ValueError, KeyError) as error:
            raise _damage_error(self, name, error) from None

    def dataset(self, name: str) -> StoredDataset:
        """The dataset with its pixels, read from where they lie; all of its files are fetched.

        Raises:
            UsageError: if this version has no such dataset.
            DataError: if it is damaged, or lost.
        """
        if name not in self.names:
            raise UsageError(
                f"{self.revision} has no dataset {name!r}. "
                f"Its datasets: {', '.join(self.names) or 'none'}."
            )
        return open_version(name, lambda file: self.locate(f"{name}/{file}"))


def commits(project_root: Path) -> list[Commit]:
    """The commits of HEAD's history that changed `data.dvc`, newest first; empty outside of git.

    Raises:
        ProvenanceError: if git fails.
    """
    return _commits(project_root, "HEAD")


def open_snapshot(project_root: Path, revision: str) -> Snapshot:
    """A version of `data/`.

    Args:
        project_root: the project's folder.
        revision: of git; or the md5 of a version of `data/`, or its first digits, at least 6; or
            NOW.

    Raises:
        UsageError: if there is no such version.
        DataError: if neither cache nor remote has it.
        RemoteError: if the remote is needed and can't be reached.
    """
    if revision == NOW:
        folder = project_root / DATA
        here = [path for path in folder.glob("*/*") if path.is_file()]
        paths = sorted(path.relative_to(folder).as_posix() for path in here)
        return Snapshot(NOW, None, tuple(paths), folder.joinpath)
    md5 = resolve(project_root, revision)
    try:
        files = objects.listing(project_root, md5)
    except LostError as error:
        raise DataError(
            f"{revision} is version {md5} of {DATA}/, which can't be read: {error}"
        ) from None
    places = objects.places_in_cache(project_root, files.values())

    def locate(path: str) -> Path:
        if path not in files:
            raise DataError(f"version {md5} of {DATA}/ is damaged: it has no {path}.")
        place = places[files[path]]
        if not place.is_file():
            objects.fetch(project_root, [files[path]])
        return place

    return Snapshot(revision, md5, tuple(files), locate)


def counts_of(project_root: Path, md5s: Iterable[str]) -> dict[str, dict[str, dict[Split, int]]]:
    """Images by dataset and split of each version.

    Versions that are lost or out of reach are left out.
    """
    _fetch_what_can_be_had(project_root, set(md5s))
    places = objects.places_in_cache(project_root, set(md5s))
    descriptions = {}
    for md5, place in places.items():
        if place.is_file():
            descriptions[md5] = _descriptions(objects.listing(project_root, md5))
    wanted = set(chain.from_iterable(files.values() for files in descriptions.values()))
    _fetch_what_can_be_had(project_root, wanted)
    places = objects.places_in_cache(project_root, wanted)
    counts = {}
    for md5, files in descriptions.items():
        if all(places[file_md5].is_file() for file_md5 in files.values()):
            counts[md5] = {name: _counts_in(places[file]) for name, file in files.items()}
    return counts


def _descriptions(files: Mapping[str, str]) -> dict[str, str]:
    """The md5 of each dataset's dataset.json, by the dataset's name, from a version's files."""
    return {
        path.split("/")[0]: file_md5
        for path, file_md5 in files.items()
        if path.endswith("/dataset.json")
    }


def _counts_in(description: Path) -> dict[Split, int]:
    counts: dict[Split, int] = json.loads(description.read_text(encoding="utf-8"))["counts"]
    return counts


def resolve(project_root: Path, revision: str) -> str:
    """The md5, 32 digits and `.dir`, of a version.

    A git revision names it, its md5, or the first digits of that.

    Raises:
        UsageError: if there is no such version, or several.
    """
    if MD5.fullmatch(revision):
        return revision.removesuffix(".dir") + ".dir"
    md5s = set()
    if MD5_PREFIX.fullmatch(revision):
        md5s = {md5 for md5 in _all_md5s(project_root) if md5.startswith(revision)}
    is_commit = git.knows(project_root, revision)
    committed = md5_at(project_root, revision) if is_commit else None
    if committed:
        md5s.add(committed)
    if len(md5s) > 1:
        raise UsageError(f"{revision!r} may be one of {', '.join(sorted(md5s))}. Give more digits.")
    if md5s:
        return md5s.pop()
    if is_commit:
        raise UsageError(
            f"git revision {revision} has no {DATA_DVC} that names a version: "
            "no data were tracked then."
        )
    raise UsageError(
        f"{revision!r} is no version of {DATA}/: "
        "neither a git revision nor the first digits (6 or more) of an md5. "
        "`atelier data list` shows them."
    )


def md5_at(project_root: Path, revision: str) -> str | None:
    """The version that `data.dvc` of a git revision names; None if there is none.

    Raises:
        ProvenanceError: if git fails.
    """
    if not git.knows(project_root, revision):
        return None
    (content,) = _contents_at(project_root, [revision])
    md5, _ = _md5_and_size(content)
    return md5


def _fetch_what_can_be_had(project_root: Path, md5s: Collection[str]) -> None:
    with suppress(DataError):
        objects.fetch(project_root, md5s)


def _all_md5s(project_root: Path) -> Iterable[str]:
    """The md5s that the history of all branches, `data.dvc` and the cache know."""
    committed = {commit.md5 for commit in _commits(project_root, "--all")}
    md5s = {*committed, data_md5(project_root), *objects.listings_in_cache(project_root)}
    return {md5 for md5 in md5s if md5}


def _commits(project_root: Path, which: str) -> list[Commit]:
    if git.repository(project_root) is None or not git.head(project_root):
        return []
    shape = "--format=%H%x1f%cI%x1f%s"
    plain = ("-c", "log.showSignature=false")
    log = git.answer(project_root, *plain, "log", which, shape, "--", DATA_DVC)
    text = log.decode("utf-8", errors="replace")
    lines = [line.split("\x1f") for line in text.split("\n") if line]
    contents = _contents_at(project_root, [revision for revision, _, _ in lines])
    all_commits = []
    for (revision, date, subject), content in zip(lines, contents, strict=True):
        md5, size = _md5_and_size(content)
        all_commits.append(Commit(revision, date, subject, md5, size))
    return all_commits


def _contents_at(project_root: Path, revisions: Iterable[str]) -> Iterable[bytes]:
    """What `data.dvc` of each revision says; empty where there is none."""
    names = "".join(f"{revision}:./{DATA_DVC}\n" for revision in revisions)
    return _batch(git.answer(project_root, "cat-file", "--batch", given=names.encode()))


def _batch(answer: bytes) -> Iterable[bytes]:
    """Contents that `git cat-file --batch` answers; empty for what is missing."""
    while answer:
        head, _, answer = answer.partition(b"\n")
        size = 0 if head.endswith(b" missing") else int(head.split()[-1]) + 1  # and a line break
        yield answer[:size]
        answer = answer[size:]


def _md5_and_size(content: bytes) -> tuple[str | None, int]:
    try:
        output = parse_data_dvc(content)["outs"][0]
    except ValueError:
        return None, 0
    return output["md5"], int(output.get("size", 0))


def _damage_error(snapshot: Snapshot, name: str, error: Exception) -> DataError:
    return DataError(
        f"data/{name} of {snapshot.revision} is damaged: {type(error).__name__}: {error}."
    )
