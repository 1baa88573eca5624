"""Random training crops from photographs of their own size.

Rate and peak memory, at one and at ten times the data.

`python benchmarks/crops.py` prints the table of results/crops_2cpu_202611.md. Each line is measured
in a process of its own.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

BSDS = Path(__file__).parents[2] / "shared" / "data" / "bsds500_color"
NUM_PHOTOS, CROP_SIZE, BATCH, NUM_CROPS = 400, 48, 64, 200_000


def photographs(copies: int):
    """HWC photographs: those of BSDS where they are, else noise of their size.

    Each copy has other values.
    """
    from PIL import Image

    paths = sorted(BSDS.rglob("*.jpg"))
    rng = np.random.default_rng(0)
    for copy in range(copies):
        for number in range(NUM_PHOTOS):
            if paths:
                pixels = np.asarray(Image.open(paths[number]).convert("RGB"))
            else:
                pixels = rng.integers(
                    0, 256, (481, 321, 3) if number % 2 else (321, 481, 3), np.uint8
                )
            yield pixels + np.uint8(
                copy
            )  # 255 becomes 0: for the time it takes that is all the same


def store(project: Path, copies: int) -> None:
    """Write `data/photos` as an ingest does.

    Of the pixels only one photograph is in memory at a time.
    """
    from atelier.data.ingest.records import Accepted
    from atelier.data.ingest.writer import write_dataset
    from atelier.data.sources.pictures import Candidate, content_hash
    from atelier.params import Dataset, Source

    spool, accepted = project / "spool", []
    with spool.open("wb") as file:
        for pixels in photographs(copies):
            place = file.tell()
            file.write(pixels.tobytes())
            candidate = Candidate(
                "", 0, "", "", content_hash(pixels), *pixels.shape, place, 0, 0.0, 0.0
            )
            accepted.append(Accepted(candidate, "train"))
    spooled = np.memmap(spool, np.uint8, "r")

    def pixels_of(item: Candidate) -> np.ndarray:
        shape = (item.height, item.width, item.channels)
        return spooled[item.position : item.position + int(np.prod(shape))].reshape(shape)

    folder = project / "data" / "photos"
    folder.mkdir(parents=True)
    accepted.sort(key=lambda item: item.candidate.sha256)
    dataset = Dataset(sources=(Source(source="folder", path="raw"),), channels=3)
    write_dataset(
        folder, dataset, accepted, (), None, pixels_of, {"source_digest": "", "quarantined": {}}
    )
    spool.unlink()


def measure(project: Path) -> tuple[float, float, float, float]:
    """Crops a second, of pixels alone and as batches.

    Peak memory of this process in MB, before and after.
    """
    import torch

    from atelier.data.store import read_dataset
    from atelier.training.batches import Batches
    from atelier.training.pixels import crops, sizes_of

    torch.set_num_threads(2)
    dataset = read_dataset(project, "photos")
    batches = Batches(
        dataset, "train", BATCH, seed=0, device=torch.device("cpu"), crop_size=CROP_SIZE
    )
    pixels, rng = dataset.images("train"), np.random.default_rng(0)
    sizes_N2 = sizes_of(pixels)
    before = peak_megabytes()
    started = time.perf_counter()
    for position in range(0, NUM_CROPS, BATCH):
        batches.at(position)
    whole = NUM_CROPS / (time.perf_counter() - started)
    started = time.perf_counter()
    for _ in range(0, NUM_CROPS, BATCH):
        rows = rng.integers(len(pixels), size=BATCH)
        corners = rng.integers(0, sizes_N2[rows] - CROP_SIZE + 1)
        crops(pixels, rows, corners, CROP_SIZE)
    alone = NUM_CROPS / (time.perf_counter() - started)
    return alone, whole, before, peak_megabytes()


def peak_megabytes() -> float:
    """The largest resident set that this process ever had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def in_a_process_of_its_own(function, *arguments):
    """What a function returns; its memory is that of a new process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def main() -> None:
    """Print a Markdown table."""
    print(
        "| photographs | stored, MB | crops/s | crops/s as batches | RSS before, MB | peak RSS, MB "
        "|"
    )
    print("|---|---|---|---|---|---|")
    for copies in (1, 10):
        with tempfile.TemporaryDirectory() as folder:
            in_a_process_of_its_own(store, Path(folder), copies)
            stored = sum(path.stat().st_size for path in Path(folder).rglob("shard-*")) / 1e6
            measured = in_a_process_of_its_own(measure, Path(folder))
        print(
            f"| {NUM_PHOTOS * copies:,} | {stored:,.0f} | "
            f"{' | '.join(f'{value:,.0f}' for value in measured)} |"
        )


if __name__ == "__main__":
    main()
