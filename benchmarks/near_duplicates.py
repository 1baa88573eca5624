"""How many copies of photographs are recognised, and how many pictures are taken for copies.

`python benchmarks/near_duplicates.py [FOLDER]`: the table of docs/decisions/0007. FOLDER holds the
sets of pictures that ../shared/data/SOURCES.md lists (default: ../shared/data); what is not there
is left out. Two minutes.
"""

from __future__ import annotations

import io
import sys
import tarfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from atelier.data.ingest.perceptual import DISTANCE, Thumbnails, perceptual_hash
from atelier.data.ingest.validation import validate
from atelier.data.sources.opening import open_source
from atelier.data.sources.pictures import Candidate, content_hash
from atelier.params import Dataset, Source
from atelier.project import find_project

PHOTOGRAPHS = (
    "bsds500_color",
    "set14",
    "grocery64",
)  # copies are made of up to 300 pictures of each
NUM_PHOTOGRAPHS = 300
ACROSS = "near duplicate across splits"


def pictures(path: Path) -> Iterator[Image.Image]:
    """All pictures of a folder and of the archives in it, in the order of their names."""
    for file in sorted(path.rglob("*.*")):
        if file.suffix == ".zip":
            with zipfile.ZipFile(file) as archive:
                for name in sorted(archive.namelist()):
                    if name.endswith(".png"):
                        yield Image.open(io.BytesIO(archive.read(name)))
        elif file.suffix == ".xz":
            with tarfile.open(file) as archive:
                for member in archive:
                    if member.name.endswith(".jpg"):
                        yield Image.open(io.BytesIO(archive.extractfile(member).read()))
        elif file.suffix in (".png", ".jpg", ".bmp"):
            yield Image.open(file)


def jpeg(quality: int) -> Callable[[Image.Image], Image.Image]:
    """Compressed once more."""

    def copy(image: Image.Image) -> Image.Image:
        content = io.BytesIO()
        image.save(content, "JPEG", quality=quality)
        return Image.open(content)

    return copy


def scaled(factor: float) -> Callable[[Image.Image], Image.Image]:
    """Larger or smaller."""
    return lambda image: image.resize((round(image.width * factor), round(image.height * factor)))


def cropped(left: float, right: float) -> Callable[[Image.Image], Image.Image]:
    """Without these shares of width and height at the left and top, and at the right and bottom."""
    return lambda image: image.crop(
        (
            round(image.width * left),
            round(image.height * left),
            round(image.width * (1 - right)),
            round(image.height * (1 - right)),
        )
    )


def noisy(sigma: float) -> Callable[[Image.Image], Image.Image]:
    """With white noise, in grey levels."""

    def copy(image: Image.Image) -> Image.Image:
        values = np.asarray(image) + np.random.default_rng(0).normal(
            0, sigma, np.asarray(image).shape
        )
        return Image.fromarray(values.clip(0, 255).round().astype(np.uint8))

    return copy


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    **{f"JPEG {quality}": jpeg(quality) for quality in (10, 30, 50, 75, 95)},
    **{f"scaled by {factor}": scaled(factor) for factor in (0.5, 1.5)},
    **{
        f"brightness {f}": lambda image, f=f: ImageEnhance.Brightness(image).enhance(f)
        for f in (0.9, 1.1)
    },
    **{
        f"contrast {f}": lambda image, f=f: ImageEnhance.Contrast(image).enhance(f)
        for f in (0.9, 1.1)
    },
    "noise of 5": noisy(5),
    "1 % cut off all round": cropped(0.01, 0.01),
    "2 % cut off all round": cropped(0.02, 0.02),
    "5 % cut off all round": cropped(0.05, 0.05),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
}


def recognised(originals: list[Image.Image], copy: Callable[[Image.Image], Image.Image]) -> float:
    """Share of pictures whose copy is found.

    A hash within the distance, and a thumbnail that confirms it.
    """
    found = 0
    for original in originals:
        pair = [np.asarray(original), np.asarray(copy(original))]
        first, second = map(perceptual_hash, pair)
        if (first ^ second).bit_count() <= DISTANCE:
            found += bool(Thumbnails(2, pair.__getitem__).same(0, np.array([1]))[0])
    return found / len(originals)


def touched(
    candidates: list[Candidate], images: list[np.ndarray], near_duplicates: str
) -> tuple[Counter, float]:
    """Reasons for which pictures of a set are quarantined, and the seconds that this took."""
    dataset = Dataset(
        sources=(Source(source="folder", path="x"),),
        channels=1,
        near_duplicates=near_duplicates,
        test_fraction=0.1,
    )
    started = time.perf_counter()
    result = validate(
        candidates, {}, dataset, lambda candidate: images[candidate.position], np.empty(0)
    )
    return Counter(item.reason for item in result.quarantined), time.perf_counter() - started


def candidate(
    number: int, pixels_HWC: np.ndarray, class_name: str = "", split: str = ""
) -> Candidate:
    """The row that reading makes of a picture; its position is its number."""
    return Candidate(
        f"{number:06d}", 0, class_name, split, content_hash(pixels_HWC), *pixels_HWC.shape, number,
        perceptual_hash(pixels_HWC), float(pixels_HWC.mean()), float(pixels_HWC.std()),
    )  # fmt: skip


def main() -> None:
    """Print two Markdown tables."""
    project = find_project()
    shared = Path(sys.argv[1]) if len(sys.argv) > 1 else project.root.parent / "shared" / "data"
    sets = [name for name in PHOTOGRAPHS if (shared / name).is_dir()]
    originals = {
        name: [image.convert("RGB") for image in list(pictures(shared / name))[:NUM_PHOTOGRAPHS]]
        for name in sets
    }
    print(f"| copies recognised | {' | '.join(sets)} |\n|{'---|' * (1 + len(sets))}")
    for kind, copy in COPIES.items():
        print(
            f"| {kind} | {' | '.join(f'{recognised(originals[name], copy):.1%}' for name in sets)} "
            "|",
            flush=True,
        )

    print(
        "\n| set | pictures | near duplicates | across splits | if kept: across splits | s "
        "|\n|---|---|---|---|---|---|"
    )
    for name in ("bsds500_color", "bsd400_gray180", "grocery64", "cifar10_jpeg", "fashion-mnist"):
        if name == "fashion-mnist":
            items = list(open_source(project.root, Source(source="fashion-mnist")).items)
            images = [item.pixels_HWC for item in items]
            rows = [
                candidate(n, item.pixels_HWC, item.class_name, item.split)
                for n, item in enumerate(items)
            ]
        elif (shared / name).is_dir():
            images = [np.atleast_3d(np.asarray(image)) for image in pictures(shared / name)]
            rows = [candidate(number, image) for number, image in enumerate(images)]
        else:
            continue
        (both, seconds), (kept, _) = (
            touched(rows, images, "quarantine"),
            touched(rows, images, "keep"),
        )
        counts = [both["near duplicate"], both[ACROSS], kept[ACROSS]]
        print(
            f"| {name} | {len(rows):,} | {' | '.join(f'{count:,}' for count in counts)} | "
            f"{seconds:.1f} |"
        )


if __name__ == "__main__":
    main()
