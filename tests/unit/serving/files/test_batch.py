"""Many pictures, of which some are broken, through a model in one process or several."""

import io
import os
import resource
import signal
import subprocess
import sys
import time
import tracemalloc
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from atelier.data.store import DatasetInfo
from atelier.errors import RegistryError, UsageError
from atelier.networks.restorers import build_restorer
from atelier.serving.bundle import write_bundle
from atelier.serving.files.batch import restore_files
from atelier.serving.files.listing import list_jobs
from atelier.serving.files.picture import read_picture
from atelier.serving.files.restoring import Wishes
from atelier.serving.files.workers import restore_in_processes
from atelier.serving.served_model import ServedModel
from atelier.training.session import Trained
from tests.support.echoes import DEADLY, Choosy, Echo, Enlarger, Mortal
from tests.support.picture_files import encoded, write_files

SIZE = (16, 12)
NUM_PICTURES = 12


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = {f"in/{number}.png": encoded(SIZE, number) for number in range(NUM_PICTURES)}
    write_files(tmp_path, files)
    return tmp_path


def jobs(**options):
    return list_jobs([Path("in")], Path("out"), **options)


def results(folder="out"):
    files = [path for path in Path(folder).rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def pixels(content):
    return np.asarray(Image.open(io.BytesIO(content)))


def test_every_picture_lies_under_its_name_as_it_was(root):
    report = restore_files(Echo, Wishes(3), jobs(), "echo")
    assert (report.num_restored, report.problems, report.lines()) == (NUM_PICTURES, [], [])
    for number in range(NUM_PICTURES):
        expected = pixels(encoded(SIZE, number))
        np.testing.assert_array_equal(pixels(results()[f"{number}.png"]), expected)
    assert len(results()) == NUM_PICTURES  # and nothing half-written


@pytest.mark.service
def test_two_processes_give_the_same_as_one(root):
    restore_files(Echo, Wishes(3), jobs(), "echo")
    alone = results()
    report = restore_files(Echo, Wishes(3), jobs(existing="overwrite"), "echo", 2)
    assert report.num_restored == NUM_PICTURES
    assert results() == alone


@pytest.mark.parametrize("num_processes", [1, pytest.param(2, marks=pytest.mark.service)])
def test_broken_ones_are_named_and_the_others_restored(root, num_processes):
    broken = {"in/3.png": b"", "in/5.png": b"no picture", "in/7.png": encoded(SIZE)[:-40]}
    write_files(root, broken)
    report = restore_files(Echo, Wishes(3), jobs(), "echo", num_processes)
    assert report.num_restored == NUM_PICTURES - 3 == len(results())
    assert sorted(report.problems) == [
        "in/3.png: empty.",
        "in/5.png: not a picture: none of PNG, JPEG, WEBP, BMP, TIFF, GIF.",
        "in/7.png: truncated or damaged.",
    ]


@pytest.mark.service
def test_a_process_that_is_killed_names_its_picture_and_the_others_go_on(root):
    write_files(root, {"in/4.png": encoded_as(DEADLY)})
    report = restore_files(Mortal, Wishes(3), jobs(), "mortal", 2)
    assert report.num_restored == NUM_PICTURES - 1 == len(results())
    (problem,) = report.problems
    assert problem.startswith("in/4.png: its process was ended by SIGKILL, mostly for want of mem")


def test_what_the_model_cannot_take_is_said_of_that_picture(root):
    write_files(root, {"in/3.png": encoded((10, 12))})
    report = restore_files(Choosy, Wishes(3), jobs(), "choosy")
    assert report.num_restored == 1
    assert len(report.problems) == NUM_PICTURES - 1
    assert report.problems[0] == (
        "in/0.png: its 16 x 12 pixels are not what the model can restore: sizes don't match."
    )


def test_an_animation_that_does_not_fit_is_named_and_the_others_restored(root):
    frames = [Image.new("RGB", SIZE, (level, 0, 0)) for level in (0, 99)]
    frames[0].save("in/3.png", save_all=True, append_images=frames[1:])
    report = restore_files(Echo, Wishes(3, file_format="JPEG"), jobs(file_format="JPEG"), "echo")
    assert report.problems == [
        "in/3.png: 2 frames or pages don't fit into JPEG, which holds one picture. Choose the "
        "format png, webp or tiff."
    ]
    assert len(results()) == NUM_PICTURES - 1


def encoded_as(level):
    content = io.BytesIO()
    Image.new("RGB", SIZE, (level, level, level)).save(content, "PNG")
    return content.getvalue()


def fail_to_load():
    raise RegistryError("its files are damaged")


@pytest.mark.parametrize("num_processes", [1, pytest.param(2, marks=pytest.mark.service)])
def test_a_model_that_cannot_be_loaded_is_told_once(root, num_processes):
    with pytest.raises(RegistryError, match="its files are damaged"):
        restore_files(fail_to_load, Wishes(3), jobs(), "model", num_processes)
    assert not (root / "out").exists()


@pytest.mark.service
def test_a_process_that_dies_before_it_has_its_model_ends_the_command(root):
    with pytest.raises(UsageError, match="exit code 3 while it loaded the model"):
        restore_files(partial(os._exit, 3), Wishes(3), jobs(), "model", 2)


@pytest.mark.service
def test_no_process_is_left_when_nobody_asks_any_more(root):
    outcomes = restore_in_processes(Echo, Wishes(3), jobs(), 2)
    next(outcomes)
    outcomes.close()
    assert [child for child in children() if "spawn_main" in child] == []


def children():
    """Command lines of this process's children."""
    found = []
    for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        found.append(Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " "))
    return found


AT_WORK = """
from pathlib import Path
from atelier.serving.files.batch import restore_files
from atelier.serving.files.listing import list_jobs
from atelier.serving.files.restoring import Wishes
from tests.support.echoes import Sleeper
restore_files(Sleeper, Wishes(3), list_jobs([Path("in")], Path("out")), "sleeper", 2)
"""


@pytest.mark.service
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_a_command_that_is_ended(root, number):
    with subprocess.Popen([sys.executable, "-c", AT_WORK], stderr=subprocess.DEVNULL) as command:
        workers = []
        wait_until(lambda: len(worker_ids(command.pid, workers)) == 2)
        time.sleep(3)  # until they have their pictures, most often
        command.send_signal(number)
        command.wait(timeout=30)
    wait_until(lambda: not any(map(is_at_work, workers)))


def is_at_work(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until(is_so):
    end = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.1)


def worker_ids(pid, known):
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        command_line = Path(f"/proc/{child}/cmdline").read_text()
        if "spawn_main" in command_line and child not in known:
            known.append(child)
    return known


def test_a_full_disk_ends_with_the_reason_and_keeps_what_is_done(root):
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    Image.fromarray(noise).save("in/9.png")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(UsageError, match=r"out/9\.png can't be written: File too large\."):
            restore_files(Echo, Wishes(3), jobs(), "echo")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert 0 < len(results()) < NUM_PICTURES
    for content in results().values():
        read_picture(content)  # whole


def test_who_went_through_a_model_of_other_channels_is_counted(root):
    write_files(root, {f"in/grey{n}.png": encoded(SIZE, n, mode="L") for n in range(3)})
    report = restore_files(Echo, Wishes(3), jobs(), "echo")
    assert report.lines() == [
        "3 pictures of grey went through the colour model as three equal channels (the first is "
        "in/grey0.png)"
    ]
    assert pixels(results()["grey1.png"]).ndim == 2


def test_before_and_after_lie_side_by_side(root):
    soft = Image.open(io.BytesIO(encoded(SIZE, smooth=True))).point(lambda level: 60 + level // 2)
    soft.save("in/2.png")
    restore_files(partial(Enlarger, 3), Wishes(3), jobs(compare=True), "enlarger")
    both = pixels(results()["2-compare.png"])
    after = pixels(results()["2.png"])
    assert after.shape == (2 * SIZE[1], 2 * SIZE[0], 3)
    np.testing.assert_array_equal(both[:, 2 * SIZE[0] :], after)
    before = Image.open("in/2.png").resize((2 * SIZE[0], 2 * SIZE[1]), Image.Resampling.BICUBIC)
    off = np.abs(both[:, : 2 * SIZE[0]].astype(int) - np.asarray(before))
    assert off.max() <= 2  # Pillow rounds 8 bits between its two passes


def test_another_format_and_quality_are_those_asked_for(root):
    sizes = []
    for quality in (90, 20):
        wishes = Wishes(3, file_format="JPEG", quality=quality)
        restore_files(Echo, wishes, jobs(file_format="JPEG", existing="overwrite"), "echo")
        assert all(content[:3] == b"\xff\xd8\xff" for content in results().values())
        sizes.append(sum(map(len, results().values())))
    assert sorted(results()) == sorted(f"{number}.jpg" for number in range(NUM_PICTURES))
    assert sizes[0] > 1.2 * sizes[1]  # most of such small files are tables


def test_a_place_is_dropped_where_that_is_asked_for(root):
    exif = Image.Exif()
    exif[271] = "Camera"
    exif.get_ifd(34853)[1] = "N"
    write_files(root, {"in/0.png": encoded(SIZE, exif=exif)})
    for drop_gps in (False, True):
        wishes = Wishes(3, drop_gps=drop_gps)
        restore_files(Echo, wishes, jobs(existing="overwrite"), "echo")
        found = Image.open("out/0.png").getexif()
        assert found[271] == "Camera"
        assert (34853 in found) != drop_gps


def test_memory_does_not_grow_with_the_number_of_pictures(root):
    peaks = []
    for count in (20, 60):
        files = {f"in/{number}.png": encoded((64, 64), number) for number in range(count)}
        write_files(root, files)
        to_do = jobs(existing="overwrite")
        restore_files(Echo, Wishes(3), to_do[:3], "echo")  # what is imported late
        tracemalloc.start()
        restore_files(Echo, Wishes(3), to_do, "echo")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 40 * 64 * 64  # less than a third of what they hold


# -- a real model ------------------------------------------------------------------------------


class Deployed:
    """A version's pyfunc, called as MLflow does."""

    def __init__(self, bundle):
        self.model = ServedModel()
        self.model.load_context(type("Context", (), {"artifacts": {"bundle": str(bundle)}}))

    def predict(self, x_NCHW, params=None):
        return self.model.predict(None, x_NCHW, params)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A recurrent restorer of random weights."""
    torch.manual_seed(0)
    config = {"name": "crnn", "channels": 3, "width": 4, "iterations": 2}
    network = build_restorer(**config).eval()
    torch.nn.init.normal_(network.correction.weight, std=0.3)
    info = DatasetInfo(28, 3, 0, (), {"train": 1, "validation": 1, "test": 1})
    folder = tmp_path_factory.mktemp("deployed") / "bundle"
    return write_bundle(folder, "restoration", Trained(network, config, 0), info)


def test_iterations_reach_the_network_and_none_means_as_trained(root, bundle):
    found = []
    for settings in ({}, {"iterations": 2}, {"iterations": 1}):
        to_do = jobs(existing="overwrite")
        restore_files(partial(Deployed, bundle), Wishes(3, settings), to_do, "crnn")
        found.append(results())
    assert found[0] == found[1]
    assert found[0] != found[2]


@pytest.mark.service
def test_a_real_model_gives_the_same_in_two_processes(root, bundle):
    found = []
    for num_processes in (1, 2):
        to_do = jobs(existing="overwrite")
        restore_files(partial(Deployed, bundle), Wishes(3), to_do, "crnn", num_processes)
        found.append(results())
    assert found[0] == found[1]
    assert (pixels(found[0]["0.png"]) != pixels(encoded(SIZE, 0))).any()
