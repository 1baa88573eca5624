import errno
import hashlib
import io
import os
import pickle
import random
import resource
import signal
import time

import pytest
import torch

from atelier.errors import TrainingError
from atelier.training.checkpoint import Checkpoints


def state_of(number, size=1000):
    """A checkpoint in which every part tells the same number."""
    return {
        "network": {"weight": torch.full((size,), float(number)), "count": torch.tensor(number)},
        "optimizer": {
            "state": {0: {"step": torch.tensor(float(number))}},
            "param_groups": [{"lr": number / 8}],
        },
        "rng": torch.Generator().manual_seed(number).get_state(),
        "images_seen": number,
    }


def assert_same(loaded, expected):
    if isinstance(expected, torch.Tensor):
        assert loaded.dtype == expected.dtype
        assert torch.equal(loaded, expected)
    elif isinstance(expected, dict):
        assert set(loaded) - {"fingerprint"} == set(expected)
        for key in expected:
            assert_same(loaded[key], expected[key])
    elif isinstance(expected, list):
        for one, other in zip(loaded, expected, strict=True):
            assert_same(one, other)
    else:
        assert loaded == expected


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path / "made" / "on demand", "f1" * 32)


@pytest.fixture
def file(checkpoints, tmp_path):
    """A checkpoint that was written."""
    checkpoints.save(state_of(7))
    (path,) = (tmp_path / "made" / "on demand").iterdir()
    return path


def test_without_a_checkpoint_there_is_nothing_to_load(checkpoints):
    assert checkpoints.load() is None
    checkpoints.clear()


def test_what_is_saved_is_loaded_again(checkpoints):
    checkpoints.save(state_of(7))
    assert_same(checkpoints.load(), state_of(7))


def test_memory_layout_survives(checkpoints):
    weight = torch.rand(8, 4, 3, 3).contiguous(memory_format=torch.channels_last)
    checkpoints.save({"weight": weight, "images_seen": 1})
    loaded = checkpoints.load()["weight"]
    assert torch.equal(loaded, weight)
    assert loaded.stride() == weight.stride()


def test_the_newest_two_are_kept(checkpoints, file):
    for number in (8, 9, 10):
        checkpoints.save(state_of(number))
        assert_same(checkpoints.load(), state_of(number))
    assert sorted(path.name[-6:] for path in file.parent.iterdir()) == ["009.pt", "010.pt"]


def test_after_a_return_to_an_earlier_position_later_checkpoints_are_gone(checkpoints, file):
    for number in (8, 9, 8):
        checkpoints.save(state_of(number))
    assert_same(checkpoints.load(), state_of(8))


def test_a_process_that_may_only_read_changes_nothing(checkpoints, file):
    reader = Checkpoints(file.parent, "f1" * 32, writable=False)
    reader.save(state_of(8))
    reader.clear()
    assert_same(reader.load(), state_of(7))


def test_a_cleared_training_starts_again(checkpoints, file):
    checkpoints.clear()
    assert checkpoints.load() is None


@pytest.mark.parametrize("kilobytes", [0, 1, 100, 2000])
def test_a_full_disk_leaves_the_checkpoint_before(checkpoints, file, kilobytes):
    _, hard = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 1000, hard))
    try:
        with pytest.raises(
            TrainingError,
            match=r"checkpoint-\d+8.pt can't be written: .* The one before is untouched",
        ):
            checkpoints.save(state_of(8, size=1_000_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert_same(checkpoints.load(), state_of(7))
    checkpoints.save(state_of(9))
    assert_same(checkpoints.load(), state_of(9))


def test_bytes_are_on_the_disk_before_the_old_checkpoint_goes(checkpoints, file, monkeypatch):
    def fail(descriptor):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(TrainingError, match="Input/output error"):
        checkpoints.save(state_of(8))
    assert_same(checkpoints.load(), state_of(7))


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TrainingError, match=r"file/model/checkpoint-\d+1.pt can't be written"):
        Checkpoints(tmp_path / "file" / "model", "f").save(state_of(1))


def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(checkpoints, file):
    states = [state_of(number, size=100_000) for number in range(20)]
    moments = random.Random(0)
    for _ in range(12):
        child = os.fork()
        if child == 0:
            while True:
                for state in states:
                    checkpoints.save(state)
        time.sleep(moments.uniform(0.001, 0.03))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        loaded = checkpoints.load()
        assert_same(loaded, state_of(loaded["images_seen"], size=len(loaded["network"]["weight"])))


@pytest.fixture
def damaged(checkpoints, file, caplog):
    """Replaces the newest of two checkpoints by other bytes.

    The one before must be used, and the newest be named.
    """
    older = state_of(5)
    checkpoints.save(older)
    checkpoints.save(state_of(7))

    def refused(content):
        file.write_bytes(content)
        caplog.clear()
        loaded = checkpoints.load()
        (record,) = caplog.records
        assert f"{file} is damaged (" in record.getMessage()
        assert_same(loaded, older)

    return refused


def with_checksum(content):
    """As somebody would write it who wants the file to be taken."""
    return content + hashlib.sha256(content).digest()


@pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.9, 0.999])
def test_a_truncated_checkpoint_is_refused_by_name_and_the_one_before_is_used(file, damaged, share):
    content = file.read_bytes()
    damaged(content[: int(len(content) * share)])


def test_a_flipped_bit_is_refused_wherever_it_is(checkpoints, file, damaged):
    content = file.read_bytes()
    for place in [
        *range(0, len(content), 997),
        *range(len(content) - 2000, len(content), 37),
    ]:  # the zip's directory too
        flipped = bytearray(content)
        flipped[place] ^= 1 << (place % 8)
        damaged(flipped)
    file.write_bytes(content)
    assert_same(checkpoints.load(), state_of(7))


@pytest.mark.parametrize(
    "foreign", [{"images_seen": 3}, [1, 2], 5, "text"], ids=lambda x: type(x).__name__
)
def test_a_file_that_is_no_checkpoint_is_refused(damaged, foreign):
    stream = io.BytesIO()
    torch.save(foreign, stream)
    damaged(with_checksum(stream.getvalue()))


def test_a_checkpoint_of_another_training_is_refused_by_both_fingerprints(file):
    with pytest.raises(
        TrainingError,
        match=r"7\.pt belongs to a .* f1f1f1f1f1f1f1f1, this one is abcdabcdabcdabcd\.",
    ):
        Checkpoints(file.parent, "abcd" * 16).load()
    assert Checkpoints(file.parent, "f1" * 32).load() is not None


def test_without_a_good_checkpoint_nothing_is_trained_and_each_reason_is_given(checkpoints, file):
    checkpoints.save(state_of(8))
    for path in file.parent.iterdir():
        path.write_bytes(b"nonsense")
    with pytest.raises(
        TrainingError,
        match=r"(?s)no checkpoint in .* Delete this folder .*8\.pt is damaged.*7\.pt is d",
    ):
        checkpoints.load()


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def test_code_in_a_checkpoint_is_refused_and_not_executed(damaged, tmp_path):
    stream = io.BytesIO()
    torch.save(
        {**state_of(7), "fingerprint": "f1" * 32, "extra": Trap(tmp_path / "sprung")}, stream
    )
    damaged(with_checksum(stream.getvalue()))
    assert not (tmp_path / "sprung").exists()
    stream.seek(0)
    torch.load(stream, weights_only=False)
    assert (tmp_path / "sprung").exists()  # the trap works


def test_a_plain_pickle_is_refused_and_not_executed(damaged, tmp_path):
    damaged(
        with_checksum(pickle.dumps({"fingerprint": "f1" * 32, "extra": Trap(tmp_path / "sprung")}))
    )
    assert not (tmp_path / "sprung").exists()
