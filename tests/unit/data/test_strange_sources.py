"""Ten thousand damaged and strange files.

An answer to each, and not a byte of the user's is changed.
"""

import hashlib
import os
import random
from pathlib import Path

import pytest

from atelier.data.ingest import stages
from atelier.data.ingest.state import dataset_state
from atelier.data.sources.decoding import quiet_pillow
from atelier.errors import AtelierError
from atelier.params import Dataset
from atelier.serving.files.batch import restore_files
from atelier.serving.files.listing import list_jobs
from atelier.serving.files.picture import read_picture
from atelier.serving.files.restoring import Wishes
from tests.support.picture_files import packed
from tests.unit.data.test_appearance import REFUSED, TABLE
from tests.unit.data.test_hostile_pictures import SAMPLES

ROUNDS = 100
FILES = 100  # in each
PICTURES = [*SAMPLES, *(content for content, _ in TABLE.values()), *REFUSED.values()]
OTHERS = [
    b"",
    b"about these pictures",
    b"\0" * 40,
    b"BM and so on",
    b"RIFF....WAVEfmt ",
    b"PK\3\4",
    b"%PDF-1.7",
]
STEMS = [
    "a",
    "Icon\r",
    "two\nlines",
    "a,b",
    'quo"te',
    "[bold]",
    "<b>",
    "x|y",
    "Statue No. 3 front",
    "p.png?w=640",
    "\u00e9",
    "e\u0301",
    "gr\udcfcn",
    "\udcff\udc9c",
    "-rf",
    "$HOME",
    "CON",
    "a" * 200,
    " ",
    "\u202egnp",
]
ENDINGS = [
    ".png",
    ".PNG",
    ".jpg",
    ".jfif",
    ".tif",
    ".webp",
    ".gif",
    ".bmp",
    ".heic",
    ".txt",
    ".csv",
    "",
    ".",
    ".dng",
]
FOLDERS = [
    "",
    "cat",
    "1",
    "01",
    "train/cat",
    "test",
    "train/gr\udcfcn",
    "__MACOSX",
    ".hidden",
    "val/dog",
    "x/y/z",
    "a b",
]
TABLES = [
    b"file,label\na.png,cat\n",
    b"\xef\xbb\xbffile;label\r\na.png;cat\r\n",
    "file,label\na.png,cat\n".encode("utf-16"),
    b"file\tlabel\na.png\tgr\xfcn\n",
    b'file,label\n"a.png,cat\n',
    b"file,label,label\n",
    b"",
    b"\0\0\0",
    b"label\ncat\n",
    b"file, label\nnone.png, cat\n",
]


class Echo:
    """A restorer that changes nothing."""

    def predict(self, x_NCHW, params=None):
        return x_NCHW


def content(draw):
    """A picture, most often damaged, or something else."""
    if draw.random() < 0.15:
        return draw.choice(OTHERS)
    found = bytearray(draw.choice(PICTURES))
    if draw.random() < 0.3:
        del found[draw.randrange(len(found)) :]
    for _ in range(draw.choice((0, 0, 1, 3, 20)) if found else 0):
        found[draw.randrange(len(found))] = draw.randrange(256)
    return bytes(found)


def names(draw):
    stem = f"{draw.choice(STEMS)}{draw.randrange(50) or ''}"
    return f"{draw.choice(FOLDERS)}/{stem}{draw.choice(ENDINGS)}".strip("/")


def write(folder, files):
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def make_source(draw, root):
    """A folder or archive of strange files, and the dataset that reads it."""
    files = {names(draw): content(draw) for _ in range(FILES)}
    options = {}
    if draw.random() < 0.4:
        files["labels.csv"] = draw.choice(TABLES)
        options["labels"] = "labels.csv"
    kind = draw.choice(("folder", "folder", "zip", "tar", "tar:gz"))
    if kind == "folder":
        write(root / "raw", files)
        (root / "raw" / "class link").symlink_to(root / "raw" / "cat")
        return Dataset(source="folder", path="raw", **form(draw), **options)
    packs = {
        name.encode(errors="surrogateescape").decode("latin-1"): data
        for name, data in files.items()
    }
    archive = packed(list(packs.items()), kind)
    if draw.random() < 0.3:
        archive = archive[: draw.randrange(len(archive))]
    write(root / "raw", {"pictures.bin": archive})
    return Dataset(source="archive", path="raw/pictures.bin", **form(draw), **options)


def form(draw):
    return {
        "image_size": draw.choice((None, 16)),
        "channels": draw.choice((1, 3)),
        "max_quarantined": draw.choice((0.05, 0.99)),
        "min_size": 8,
    }


def digest_of(folder):
    """Of every name, kind, time of change and byte below a folder."""
    lines = []
    for path in sorted(map(os.fsencode, folder.rglob("*"))):
        status = os.lstat(path)
        held = b"" if not os.path.isfile(path) else Path(os.fsdecode(path)).read_bytes()
        lines.append((path, status.st_mode, status.st_mtime_ns, hashlib.sha256(held).hexdigest()))
    return hashlib.sha256(repr(lines).encode()).hexdigest()


@pytest.mark.parametrize("number", range(ROUNDS))
def test_whatever_lies_in_a_source_gets_an_answer_and_stays_as_it_is(tmp_path, number):
    draw = random.Random(number)
    dataset = make_source(draw, tmp_path)
    before = digest_of(tmp_path / "raw")
    try:
        folder = stages.read(tmp_path, "pictures", dataset)
        findings = stages.validate(tmp_path, "pictures", dataset, folder)
        stages.store(tmp_path, "pictures", dataset, folder, findings)
        assert dataset_state(tmp_path, "pictures", dataset) == ("fresh", [])
    except AtelierError as error:
        str(error).encode()  # can leave the process
    assert digest_of(tmp_path / "raw") == before
    try:
        jobs = list_jobs([tmp_path / "raw"], tmp_path / "out")
    except AtelierError as error:
        str(error).encode()
        return
    report = restore_files(Echo, Wishes(3), jobs, "echo")
    for line in report.problems:
        line.encode()
    assert digest_of(tmp_path / "raw") == before
    results = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(results) == report.num_restored == len(jobs) - len(report.problems)
    with quiet_pillow():
        for result in results:
            read_picture(result.read_bytes())
