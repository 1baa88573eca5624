"""What differs from a commit, as a patch that was proven to make the same files of that commit."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from atelier.errors import ProvenanceError
from atelier.machine import git

MAX_FILE_BYTES = 5 * 2**20  # of a file that git doesn't know yet
MAX_BYTES = 50 * 2**20  # of all of them
MAX_FILES = 1000
# The first to be stored, where not all can be: what a training imports or reads.
CODE = (".py", ".pyi", ".yaml", ".yml", ".toml", ".cfg", ".ini", ".json", ".txt", ".dvc")
# Atelier's own state; it changes while a model is trained.
OWN = (".atelier", ".prefect", "mlflow.db", "mlflow.db-*", "mlruns", "data", ".dvcstore")
# Never stored in a registry that others may read.
SECRETS = (".env", ".env.*", "*.pem", "*.key", ".netrc", "id_rsa*", "id_ed25519*")
SHOWN = 5
# The copy of the index is a whole one, and line ends that git would convert are no error.
PLAIN = ("-c", "core.splitIndex=false", "-c", "core.fsmonitor=false", "-c", "core.safecrlf=false")
APPLY = ("apply", "--whitespace=nowarn", "--no-ignore-whitespace")
# For plumbing, which does not read what the user's configuration shows to people.
PATCH = (
    "diff-index", "-p", "--cached", "--binary", "--full-index", "--no-ext-diff", "--no-textconv",
    "--no-relative", "--no-color", "--submodule=short", "--ignore-submodules=none",
    "--src-prefix=a/", "--dst-prefix=b/", "HEAD",
)  # fmt: skip


@dataclass(frozen=True)
class Uncommitted:
    """What differs from a commit.

    Attributes:
        diff: in the form of `git diff --binary`; bytes, whatever the encoding of the files.
        left_out: which changes are not in it, and why; empty if it has all.
        problem: why it does not make these files of its commit; empty if that was proven.
    """

    diff: bytes = b""
    left_out: str = ""
    problem: str = ""


NOTHING = Uncommitted()


def take(root: Path, top: Path) -> Uncommitted:
    """What differs from HEAD, also in files that git doesn't know yet and does not ignore.

    The index, the files and the objects of the repository stay as they are.

    Args:
        root: the project's folder.
        top: of the working tree that it is in.

    Raises:
        ProvenanceError: if git fails.
    """
    new, left_out = _new_files(root, top)
    with _scratch_index(top) as variables:
        git.answer(top, *PLAIN, "add", "--update", "--", ".", variables=variables)
        # --remove: what went away since it was listed is no error.
        adding = ("update-index", "--add", "--remove", "-z", "--stdin")
        git.answer(top, *PLAIN, *adding, given=b"\0".join(new), variables=variables)
        left_out += _changed_submodules(top)
        diff = git.answer(top, *PATCH, variables=variables)
        problem = _why_not_the_same(top, diff, variables)
    return Uncommitted(diff, _sentence(left_out), problem)


@contextmanager
def _scratch_index(top: Path) -> Iterator[dict[str, str]]:
    """Variables by which git works on a copy of the index, and writes objects elsewhere."""
    paths = git.answer(top, "rev-parse", "--git-path", "index", "--git-path", "objects")
    index, objects = (top / os.fsdecode(line) for line in paths.splitlines())
    with tempfile.TemporaryDirectory(prefix="atelier-") as scratch:
        copy = Path(scratch) / "index"
        if index.exists():
            shutil.copyfile(index, copy)  # with it git need not read again what did not change
        inherited = os.environ.get("GIT_ALTERNATE_OBJECT_DIRECTORIES")
        alternates = filter(None, [str(objects), inherited])
        yield {
            "GIT_INDEX_FILE": str(copy),
            "GIT_OBJECT_DIRECTORY": scratch,
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": os.pathsep.join(alternates),
        }


def _why_not_the_same(top: Path, diff: bytes, variables: dict[str, str]) -> str:
    """Why a patch does not make the tree of an index of the tree of HEAD; empty if it does."""
    wanted = git.answer(top, "write-tree", variables=variables)
    proof = {**variables, "GIT_INDEX_FILE": variables["GIT_INDEX_FILE"] + ".proof"}
    git.answer(top, "read-tree", "HEAD", variables=proof)
    if diff:
        applied = git.ask(top, *APPLY, "--cached", "-", given=diff, variables=proof)
        if applied.returncode:
            return f"the uncommitted changes do not apply to their commit: {git.reason(applied)}"
    if git.answer(top, "write-tree", variables=proof) != wanted:
        return "the uncommitted changes make other files of their commit than there were"
    return ""


def _new_files(root: Path, top: Path) -> tuple[list[bytes], list[str]]:
    """Files that git doesn't know and does not ignore: those to store, and the others in words."""
    listed = git.answer(top, "ls-files", "--others", "--exclude-standard", "-z").split(b"\0")
    sizes: dict[str, int] = {}
    for name in map(os.fsdecode, filter(None, listed)):
        with suppress(FileNotFoundError):  # somebody works in this folder
            if not _is_own(top / name, root.resolve()):
                sizes[name] = (top / name).lstat().st_size
    stored: list[bytes] = []
    left_out: list[str] = []
    total = 0
    for name in sorted(sizes, key=lambda name: (Path(name).suffix not in CODE, sizes[name])):
        why = _why_not(top / name, sizes[name], len(stored), total)
        if why:
            left_out.append(f"{name} ({why})")
        else:
            stored.append(os.fsencode(name))
            total += sizes[name]
    return stored, left_out


def _is_own(path: Path, root: Path) -> bool:
    if not path.is_relative_to(root):
        return False
    first = path.relative_to(root).parts[0]
    return any(fnmatch(first, pattern) for pattern in OWN)


def _why_not(path: Path, size: int, num_stored: int, total: int) -> str:
    """Why a new file is not stored; empty if it is."""
    if path.is_dir() and not path.is_symlink():
        return "a repository of its own"
    if any(fnmatch(path.name, pattern) for pattern in SECRETS):
        return "it may hold a secret"
    if size > MAX_FILE_BYTES or total + size > MAX_BYTES or num_stored == MAX_FILES:
        return f"{size / 2**20:.1f} MiB, with which the new files would be too large"
    return "" if path.is_symlink() or os.access(path, os.R_OK) else "it can't be read"


def _changed_submodules(top: Path) -> list[str]:
    """Submodules whose own files differ from the commit that they are at."""
    status = git.answer(top, "status", "--porcelain=v2", "-z", "--ignore-submodules=none")
    changed = []
    for entry in status.decode("utf-8", errors="surrogateescape").split("\0"):
        words = entry.split(" ", 8)
        # "1 XY S<c><m><u> ...": c, another commit; m, changed files; u, files that it doesn't know.
        if words[0] == "1" and words[2][0] == "S" and words[2][2:] != "..":
            changed.append(f"{words[8]} (a submodule with uncommitted changes of its own)")
    return changed


def _sentence(left_out: list[str]) -> str:
    """Short enough for a tag."""
    more = len(left_out) - SHOWN
    text = ", ".join(left_out[:SHOWN]) + (f", and {more} more" if more > 0 else "")
    return text.encode("utf-8", "backslashreplace").decode()


def fill_submodules(source: Path, target: Path) -> None:
    """Check out the submodules of a worktree from those of the project that it was made of.

    Args:
        source: top of the project's own working tree.
        target: top of the worktree, whose index names the submodules' commits.

    Raises:
        ProvenanceError: if one of them, or its commit, is not there.
    """
    for line in git.answer(target, "ls-files", "--stage", "-z").split(b"\0"):
        mode, _, rest = line.partition(b" ")
        if mode != b"160000":
            continue
        commit = rest[:40].decode()
        name = os.fsdecode(rest.partition(b"\t")[2])
        if not git.knows(source / name, commit) or git.repository(source / name) == source:
            raise ProvenanceError(
                f"submodule {name} is needed at commit {commit[:10]}, "
                f"which {source / name} hasn't. "
                "Run: git submodule update --init"
            )
        git.answer(target, "clone", "--quiet", "--no-checkout", str(source / name), name)
        git.answer(target / name, "checkout", "--quiet", "--detach", commit)
        fill_submodules(source / name, target / name)
