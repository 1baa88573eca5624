"""Fashion-MNIST: finding it, fetching it without root, and trusting it by sha256 only."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from http.client import HTTPException
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atelier.data.sources.idx import parse_idx, read_bytes
from atelier.data.sources.pictures import Decoded, OpenedSource
from atelier.data.splits import Split
from atelier.data.staging import locked, scratch_folder
from atelier.errors import DataError, RemoteError
from atelier.params import Source

# sha256 of the *uncompressed* files, since Debian compressed them again. Computed from Debian's
# dataset-fashion-mnist 0.0~git20200523.55506a9-1 (.deb sha256
# 39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0), in which 60,000 + 10,000
# distinct images, 6,000 + 1,000 a class, and the published mean 0.2860 and std 0.3530 were
# verified.
SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
# https://github.com/zalandoresearch/fashion-mnist#labels
CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
PARTS: dict[str, Split] = {"t10k": "test", "train": "train"}

DEBIAN_PACKAGE = "dataset-fashion-mnist"
# Of the installed system, and inside the package.
DEBIAN_FOLDER = Path("usr/share/datasets/fashion-mnist")
# The author's repository, then the bucket of its README's
# http://fashion-mnist.s3-website.eu-central-1.amazonaws.com: S3's website endpoints speak no HTTPS
# (docs.aws.amazon.com/AmazonS3/latest/userguide/WebsiteEndpoints.html), the bucket's own endpoint
# does.
HTTPS_ADDRESSES = (
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    "https://fashion-mnist.s3.eu-central-1.amazonaws.com/",
)
APT_TIMEOUT = 600  # seconds for 9 MB of package lists, and again for the 31 MB package
HTTPS_TIMEOUT = 30  # seconds without a byte

Files = dict[str, NDArray[np.uint8]]  # the keys of SHA256


def open_source(project_root: Path, source: Source) -> OpenedSource:
    """Open Fashion-MNIST; its 10,000 test images stay the test set.

    Raises:
        DataError: if no place has the right files.
    """
    files = read_files(project_root, source.path)
    num_pictures = sum(len(files[f"{part}-labels-idx1-ubyte"]) for part in PARTS)
    return OpenedSource(CLASS_NAMES, _pictures(files), num_pictures)


def source_digest(project_root: Path, source: Source) -> str:
    """Identity of Fashion-MNIST.

    Only files with the known sums are accepted, so nothing needs to be read.
    """
    lines = "".join(f"{name} {sha256}\n" for name, sha256 in sorted(SHA256.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def read_files(project_root: Path, path: str | None) -> Files:
    """The four files, from the first place that has them all with the right contents.

    A given `path` is the only place looked into: a typo should be seen, not answered by a download.
    Otherwise: Debian's folder, an earlier fetch, a fetch by apt-get, a fetch by HTTPS.

    Raises:
        DataError: naming every place and why it failed.
    """
    if path is not None:
        return _read_folder(project_root / path)
    cache = project_root / ".atelier" / "sources" / "fashion-mnist"
    places: list[tuple[str, Callable[[], Files]]] = [
        ("Debian's folder", partial(_read_folder, Path("/") / DEBIAN_FOLDER)),
        ("an earlier fetch", partial(_read_folder, cache)),
        ("apt-get download", partial(_fetch, project_root, cache, _download_by_apt)),
    ]
    for url in HTTPS_ADDRESSES:
        places.append((url, partial(_fetch, project_root, cache, partial(_download, url))))
    failures = []
    # A second process waits, then finds the fetch of the first.
    with locked(project_root, "source-fashion-mnist"):
        for place, read in places:
            try:
                return read()
            except DataError as error:
                failures.append(f"  {place}: {error}")
    raise RemoteError(
        "fashion-mnist was not found and can't be fetched. Tried:\n"
        + "\n".join(failures)
        + "\nPut the four IDX files into a folder and name it in params.yaml: datasets.NAME.path."
    )


def _pictures(files: Files) -> Iterator[Decoded]:
    for part, split in PARTS.items():
        images_NHW = files[f"{part}-images-idx3-ubyte"]
        labels_N = files[f"{part}-labels-idx1-ubyte"]
        for position, (image_HW, label) in enumerate(zip(images_NHW, labels_N, strict=True)):
            yield Decoded(f"{part}/{position:05d}", CLASS_NAMES[label], split, image_HW[:, :, None])


def _read_folder(folder: Path) -> Files:
    files = {}
    for name, expected in SHA256.items():
        plain = folder / name
        path = plain if plain.is_file() else folder / f"{name}.gz"
        content = read_bytes(path)
        sha256 = hashlib.sha256(content).hexdigest()
        if sha256 != expected:
            raise DataError(
                f"{path}: expected the uncompressed sha256 {expected}, found {sha256} "
                f"({len(content):,} bytes). "
                "This is not Fashion-MNIST as published; fetch the file again."
            )
        files[name] = parse_idx(content, str(path))
    return files


def _fetch(project_root: Path, cache: Path, download: Callable[[Path], None]) -> Files:
    """Download into a temporary folder and check.

    Only then move it to where the next call looks first.
    """
    try:
        with scratch_folder(project_root, "fetch-fashion-mnist") as scratch:
            fetched = scratch / "fetched"
            fetched.mkdir()
            download(fetched)
            files = _read_folder(fetched)
            shutil.rmtree(cache, ignore_errors=True)
            cache.parent.mkdir(parents=True, exist_ok=True)
            fetched.rename(cache)
    except (OSError, HTTPException) as error:
        raise DataError(str(error)) from None
    return files


def _download(url: str, to: Path) -> None:
    for name in SHA256:
        with urllib.request.urlopen(f"{url}{name}.gz", timeout=HTTPS_TIMEOUT) as response:
            with (to / f"{name}.gz").open("wb") as file:
                shutil.copyfileobj(response, file)


def _download_by_apt(to: Path) -> None:
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise DataError(f"there is no {tool} here")
    # Package lists and cache of our own: they need no root, are never out of date, and leave the
    # system alone.
    state = to.parent / "apt"
    for name in ("lists/partial", "cache/archives/partial"):
        (state / name).mkdir(parents=True)
    options = [
        f"Dir::State={state}",
        f"Dir::State::Lists={state / 'lists'}",
        f"Dir::Cache={state / 'cache'}",
    ]
    apt_get = ["apt-get", "-q"]
    for option in options:
        apt_get += ["-o", option]
    # A broken third-party repository fails the update, yet Debian's own lists may be there: the
    # download decides.
    problems = [
        _run([*apt_get, "update"], state),
        _run([*apt_get, "download", DEBIAN_PACKAGE], state),
    ]
    packages = list(state.glob(f"{DEBIAN_PACKAGE}_*.deb"))
    if not packages:
        raise DataError("; ".join(filter(None, problems)) or f"no package {DEBIAN_PACKAGE}")
    unpacked = state / "unpacked"
    problem = _run(["dpkg-deb", "-x", str(packages[0]), str(unpacked)], state)
    if problem:
        raise DataError(problem)
    for path in (unpacked / DEBIAN_FOLDER).iterdir():
        path.rename(to / path.name)


def _run(command: list[str], folder: Path) -> str | None:
    """Run a command in a folder; why it failed, or None."""
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=APT_TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        return f"{command[0]} took longer than {APT_TIMEOUT} s"
    if done.returncode == 0:
        return None
    last = (done.stderr.strip() or "no message").splitlines()[-1]
    return f"{command[0]} failed with exit code {done.returncode}: {last}"
