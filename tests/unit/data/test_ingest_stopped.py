"""What stops an ingest: too much that is unusable, full disks, kills.

What was stored before stays.
"""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest

from atelier.data.ingest import stages
from atelier.data.store import read_dataset
from atelier.errors import DataError
from tests.support.noise_pictures import PHOTOS, fill, versioned
from tests.support.stored import ingest_all_stages

pytestmark = pytest.mark.service


@pytest.fixture
def project(tmp_path):
    fill(tmp_path / "raw")
    return tmp_path


def test_too_many_unusable_files_stop_before_anything_is_replaced(project):
    ingest_all_stages(project, "photos", PHOTOS)
    before = versioned(project)
    for number in range(41):
        (project / "raw" / f"bad-{number:02d}.png").write_bytes(b"not a picture")
    (project / "raw" / "notes.txt").write_text("other files don't count")
    with pytest.raises(
        DataError,
        match=r"41 of 81 pictures are unusable \(50\.6%\), more than max_quarantined = 50",
    ):
        ingest_all_stages(project, "photos", PHOTOS)
    assert versioned(project) == before
    table = project / ".atelier" / "quarantine-photos.csv"
    assert len(table.read_text().splitlines()) == 1 + 42
    assert len(stages.quarantine_rows(project, "photos", project / "gone")) == 42
    assert not list(
        (project / ".atelier" / "tmp").glob("read-*")
    )  # nor the pixels of what is not stored
    (project / "raw" / "bad-00.png").unlink()
    assert ingest_all_stages(project, "photos", PHOTOS).num_quarantined == 41
    assert not table.exists()


def test_an_empty_folder_is_an_error(tmp_path):
    (tmp_path / "raw").mkdir()
    with pytest.raises(DataError, match="raw holds no pictures"):
        ingest_all_stages(tmp_path, "photos", PHOTOS)


@pytest.mark.parametrize("blocked", ["data", "data/photos", ".atelier"])
def test_a_place_that_cannot_be_written_is_named(project, blocked):
    (project / blocked).parent.mkdir(exist_ok=True)
    (project / blocked).write_text("a file where a folder is needed: root is stopped by it, too")
    with pytest.raises(DataError, match=f"data/photos can't be written: .*{blocked}"):
        ingest_all_stages(project, "photos", PHOTOS)
    assert (project / blocked).is_file()
    assert not list(project.glob(".atelier/tmp/*.new"))


@pytest.mark.parametrize(
    "num_bytes", [50 * 768, 5000]
)  # fifty images fit in the file; not even the tables do
def test_a_full_disk_leaves_the_old_state(project, num_bytes):
    ingest_all_stages(project, "photos", PHOTOS)
    before = versioned(project)
    fill(project / "raw", range(100, 170))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, limits[1]))
    try:
        with pytest.raises(DataError, match="data/photos can't be written: .*File too large"):
            ingest_all_stages(project, "photos", PHOTOS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert versioned(project) == before


STAGES = """
import pathlib, sys
from atelier.params import Dataset
from tests.support.stored import ingest_all_stages
print("started", flush=True)
ingest_all_stages(pathlib.Path(sys.argv[1]), "photos", Dataset.model_validate_json(sys.argv[2]))
"""
RENAMES = """
import itertools, os, pathlib, sys
calls, rename = itertools.count(), pathlib.Path.rename
def killed(self, target):
    if next(calls) == int(sys.argv[3]):
        os._exit(9)
    return rename(self, target)
pathlib.Path.rename = killed
"""


def run_stages(project, script, *arguments):
    command = [sys.executable, "-c", script, str(project), PHOTOS.model_dump_json(), *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_killed_between_two_renames_the_old_or_the_new_state_is_there(project, renames):
    ingest_all_stages(project, "photos", PHOTOS)
    before = versioned(project)
    fill(project / "raw", range(100, 110))
    assert run_stages(project, RENAMES + STAGES, str(renames)).wait() == (
        9 if renames < 2 else 0
    )  # there are two
    assert sum(read_dataset(project, "photos").info.counts.values()) == (40 if renames < 2 else 50)
    assert renames == 2 or versioned(project) == before
    assert ingest_all_stages(project, "photos", PHOTOS).changed == (renames < 2)
    assert sum(read_dataset(project, "photos").info.counts.values()) == 50
    assert [path.name for path in (project / ".atelier" / "tmp").iterdir()] == ["data-photos.lock"]


def test_killed_at_random_moments_the_next_run_finishes_with_the_same_bytes(project, tmp_path):
    ingest_all_stages(project, "photos", PHOTOS)
    before = versioned(project)
    fill(project / "raw", range(100, 400))
    shutil.copytree(project, tmp_path / "unharmed")
    ingest_all_stages(tmp_path / "unharmed", "photos", PHOTOS)
    after = versioned(tmp_path / "unharmed")
    moments = random.Random(7)
    killed = 0
    for _ in range(6):
        process = run_stages(project, STAGES)
        assert process.stdout.readline() == "started\n"
        time.sleep(moments.uniform(0, 0.4))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        read_dataset(project, "photos")
        assert versioned(project) in (before, after)
    assert killed > 2
    ingest_all_stages(project, "photos", PHOTOS)
    assert versioned(project) == after
