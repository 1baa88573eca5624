"""A folder as people have them: 300 files, 40 of them with a defect of one of 12 kinds.

Every one has to be found.
"""

import io
import os
import random
import shutil
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from skimage import data as photographs

from atelier.data.ingest import stages
from atelier.data.manifest import read_csv
from atelier.data.store import read_dataset
from atelier.params import Dataset
from tests.support.stored import ingest_all_stages

SIDE = 64
NUM_FILES, NUM_DEFECTS = 300, 40


@pytest.fixture(scope="module")
def patches():
    """Distinct patches of real photographs (scikit-image's), as RGB."""
    found = []
    for name in ("astronaut", "coffee", "rocket", "chelsea", "retina"):
        photo = getattr(photographs, name)()
        for top in range(0, photo.shape[0] - SIDE + 1, SIDE):
            for left in range(0, photo.shape[1] - SIDE + 1, SIDE):
                patch = photo[top : top + SIDE, left : left + SIDE]
                if patch.std() > 12:  # sky and studio walls look alike
                    found.append(patch)
    return found


def encoded(pixels, file_format, **options):
    buffer = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def png_header(width, height):
    """A PNG file that claims a size and holds next to nothing: a decompression bomb."""

    def chunk(kind, content):
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (
        chunk(b"IHDR", header),
        chunk(b"IDAT", zlib.compress(bytes(1000))),
        chunk(b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def defective_files(next_patch):
    """(name, reason, content) of what can be seen in one file alone."""
    png = encoded(next_patch(), "PNG")
    jpeg = encoded(next_patch(), "JPEG", quality=95)
    broken = bytearray(encoded(next_patch(), "PNG"))
    broken[len(broken) // 2] ^= 0x55
    photo = Image.fromarray(next_patch())
    small = Image.fromarray(next_patch()[:40, :50])
    yield "text.png", "not a picture", b"I was a picture once"
    yield "noise.jpg", "not a picture", random.Random(1).randbytes(5000)
    yield "page.gif", "not a picture", b"<html><body>404 not found</body></html>"
    yield "script.tif", "not a picture", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n"
    for number in range(3):
        yield f"empty-{number}.png", "empty", b""
    yield "cut.png", "truncated or damaged", png[: len(png) // 2]
    yield "cut.jpg", "truncated or damaged", jpeg[: len(jpeg) // 2]
    yield "broken.png", "truncated or damaged", bytes(broken)
    yield "short.bmp", "truncated or damaged", encoded(photo, "BMP")[:-500]
    yield "bomb.png", "too many pixels", png_header(30_000, 30_000)
    yield "long-bomb.png", "too many pixels", png_header(90_000_001, 1)
    yield "huge-bomb.png", "too many pixels", png_header(2**31 - 1, 2**31 - 1)
    for file_format in ("PNG", "JPEG", "WEBP", "GIF"):
        yield f"small.{file_format.lower()}", "too small", encoded(small, file_format)
    yield "print.jpg", "wrong channels", encoded(photo.convert("CMYK"), "JPEG")
    yield "lab.tif", "wrong channels", encoded(photo.convert("LAB"), "TIFF")
    yield "float.tif", "wrong channels", encoded(photo.convert("L").convert("F"), "TIFF")
    yield "deep.tif", "wrong channels", encoded(photo.convert("L").convert("I"), "TIFF")
    yield "notes.txt", "other file", b"remember to sort these"
    yield "Thumbs.db", "other file", bytes(100)
    yield "list.csv", "other file", b"a,b\n"


def fill(folder, patches, seed=1):
    """Write the 300 files.

    Returns {name: reason}, and for pairs of which either may go {names: reason}.
    """
    order = random.Random(seed).sample(range(len(patches)), len(patches))
    unused = iter(order)

    def next_patch():
        return patches[next(unused)]

    reasons, either = {}, {}

    def write(name, content):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return name

    for number, (name, reason, content) in enumerate(defective_files(next_patch)):
        reasons[
            write(f"{('train', 'test')[number % 2]}/{'ab'[number // 2 % 2]}/{name}", content)
        ] = reason
    (folder / "train" / "a" / "broken-link.png").symlink_to(folder / "nowhere.png")
    (folder / "train" / "a" / "folder.png").symlink_to(folder / "test")
    os.mkfifo(folder / "train" / "b" / "pipe.png")
    reasons |= dict.fromkeys(
        ("train/a/broken-link.png", "train/a/folder.png", "train/b/pipe.png"), "not a file"
    )
    for number, file_format in enumerate(("PNG", "BMP", "TIFF")):
        patch = next_patch()
        pair = (
            write(f"train/a/twin-{number}.png", encoded(patch, "PNG")),
            write(f"train/a/twin-{number}-copy.{file_format.lower()}", encoded(patch, file_format)),
        )
        either[pair] = "exact duplicate"
    for number, quality in enumerate((40, 60, 90)):
        patch = next_patch()
        pair = (
            write(f"train/b/again-{number}.png", encoded(patch, "PNG")),
            write(f"train/b/again-{number}.jpg", encoded(patch, "JPEG", quality=quality)),
        )
        either[pair] = "near duplicate"
    for number in range(2):
        patch = next_patch()
        write(f"test/a/seen-{number}.png", encoded(patch, "PNG"))
        leak = write(f"train/a/leak-{number}.jpg", encoded(patch, "JPEG", quality=80))
        reasons[leak] = "near duplicate across splits"
    for number in range(2):
        patch = next_patch()
        for label in "ab":
            reasons[write(f"train/{label}/which-{number}.png", encoded(patch, "PNG"))] = (
                "two labels"
            )
    number = 0
    # os.walk lists folder.png as a folder.
    while sum(len(files) for _, _, files in os.walk(folder)) + 1 < NUM_FILES:
        number += 1
        split = ("train", "train", "train", "test")[number % 4]
        name = f"{split}/{'ab'[number // 4 % 2]}/{number:03d}.png"
        write(name, encoded(next_patch(), "PNG"))
    return reasons, either


@pytest.mark.parametrize("image_size", [SIDE, None])
def test_every_defect_is_found_for_the_right_reason_and_everything_else_is_kept(
    tmp_path, patches, image_size
):
    reasons, either = fill(tmp_path / "raw", patches)
    assert len(reasons) + len(either) == NUM_DEFECTS
    assert len({*reasons.values(), *either.values()}) == 12
    every = {
        str(path.relative_to(tmp_path / "raw"))
        for path in (tmp_path / "raw").rglob("*")
        if "." in path.name
    }
    assert len(every) == NUM_FILES
    before = {path: path.read_bytes() for path in (tmp_path / "raw").rglob("*") if path.is_file()}
    dataset = Dataset(
        source="folder", path="raw", image_size=image_size, channels=3, max_quarantined=0.2
    )

    record = ingest_all_stages(tmp_path, "found", dataset)

    header, *rows = read_csv((tmp_path / "data" / "found" / "quarantine.csv").read_bytes())
    assert header == ["name", "reason", "detail"]
    found = {name: reason for name, reason, _ in rows}
    for pair, reason in either.items():
        (gone,) = set(pair) & found.keys()
        assert found.pop(gone) == reason
        every.discard(gone)
    assert found == reasons
    kept = {
        name for name, _ in read_csv((tmp_path / "data" / "found" / "names.csv").read_bytes())[1:]
    }
    assert kept == every - found.keys()
    assert (
        len(read_dataset(tmp_path, "found").manifest)
        == NUM_FILES - record.num_quarantined
        == len(kept)
    )
    assert before == {
        path: path.read_bytes() for path in (tmp_path / "raw").rglob("*") if path.is_file()
    }


def test_they_are_found_whatever_the_files_are_called_and_however_many_cores_look(
    tmp_path, patches, monkeypatch
):
    digests, tables = set(), set()
    for number, cores in enumerate((1, 5)):
        project = tmp_path / str(number)
        fill(project / "raw", patches)
        if number:
            for count, path in enumerate(sorted((project / "raw").rglob("*"), reverse=True)):
                if path.is_file() and not path.is_symlink():
                    path.rename(path.with_name(f"renamed-{count}{path.suffix}"))
        monkeypatch.setattr("atelier.data.ingest.reading.num_cores", lambda cores=cores: cores)
        monkeypatch.setattr("atelier.data.ingest.reading.WORTH_A_THREAD", 0.0)
        dataset = Dataset(
            source="folder", path="raw", image_size=SIDE, channels=3, max_quarantined=0.2
        )
        digests.add(ingest_all_stages(project, "found", dataset).digest)
        tables.add(
            tuple(
                sorted(
                    row["reason"]
                    for row in stages.quarantine_rows(project, "found", project / "data" / "found")
                )
            )
        )
        shutil.rmtree(project)
    assert len(digests) == len(tables) == 1


def test_the_photographs_are_enough(patches):
    assert len(patches) > NUM_FILES
    assert len({patch.tobytes() for patch in patches}) == len(patches)
    assert np.array(patches).shape[1:] == (SIDE, SIDE, 3)
