"""What benchmarks/gpu.py does besides computing; `make gpu-quick` runs all of it."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import gpu
from benchmarks.on_card import data, networks, recipes
from benchmarks.on_card.report import (
    FAILED,
    KNOWN,
    MEASURED,
    PASSED,
    Finding,
    OutOfTime,
    Part,
    attempt,
    judge,
    write_report,
)
from benchmarks.on_card.setting import Log, Setting
from tests.support.bare_machine import link_packages
from tests.support.places import REPOSITORY


@pytest.fixture
def setting(tmp_path):
    deadline = time.perf_counter() + 60
    return Setting(torch.device("cpu"), True, None, tmp_path, 60.0, deadline)


def part_of(check, setting):
    """A part, and how often it was noted."""
    part = Part(1, "A part")
    noted = []
    gpu.run_part(part, check, setting, lambda: noted.append(len(part.findings)))
    return part, noted


def test_every_finding_is_noted_at_once_and_an_error_ends_its_part_alone(setting):
    def check(setting):
        yield judge("first", {"loss": 0.5}, [])
        yield judge("second", {}, ["too slow"])
        raise ZeroDivisionError("in between")

    part, noted = part_of(check, setting)
    assert [finding.status for finding in part.findings] == [PASSED, FAILED]
    assert part.reason.startswith("ZeroDivisionError: in between (test_benchmarks_gpu.py:")
    assert part.status == FAILED
    assert noted == [1, 2, 2]


def test_a_part_that_is_late_keeps_what_it_found_and_has_failed(tmp_path):
    late = Setting(torch.device("cpu"), True, None, tmp_path, 3.0, time.perf_counter() - 1)

    def check(setting):
        yield judge("first", {}, [])
        yield judge("never reached", {}, [])

    part, _ = part_of(check, late)
    assert [finding.subject for finding in part.findings] == ["first"]
    assert (part.status, part.reason) == (FAILED, "the part's 3 s are used up")


def test_an_error_is_a_finding_but_the_end_of_the_time_is_none():
    def fail():
        raise RuntimeError("first line\nsecond line")

    def be_late():
        raise OutOfTime("late")

    finding = attempt("a network", fail)
    assert (finding.subject, finding.status) == ("a network", FAILED)
    assert finding.reason.startswith("RuntimeError: first line (test_benchmarks_gpu.py:")
    with pytest.raises(OutOfTime):
        attempt("a network", be_late)


def test_a_known_fault_must_fail_or_be_taken_off_the_list():
    known = attempt("it", lambda: judge("it", {}, ["as ever"]), known="a fault")
    assert (known.status, known.reason) == (KNOWN, "a fault (as ever)")
    mended = attempt("it", lambda: judge("it", {}, []), known="a fault")
    assert (mended.status, mended.reason) == (FAILED, "mended, so no known fault: a fault")
    assert Part(1, "", [known]).status == PASSED


def test_known_faults_are_of_networks_that_are_tried():
    subjects = {
        f"{name}, {precision}"
        for name in recipes.all_recipes(quick=True)
        for precision in networks.BOUNDS
    }
    assert networks.KNOWN_FAULTS.keys() <= subjects


@pytest.mark.parametrize("quick", [True, False])
def test_every_recipe_is_one_that_params_yaml_could_hold(quick):
    for recipe, _ in recipes.all_recipes(quick).values():
        model = recipes.build(recipe, quick, **recipes.step_budget(30, quick))
        assert round(model.training.kimg * 1000) == 30 * model.training.batch_size


def log_of(*losses):
    log = Log()
    for step, loss in enumerate(losses, 1):
        log.add(step, {"loss": loss})
    return log


@pytest.mark.parametrize(
    ("losses", "reason"),
    [
        ([1.0] * 5 + [0.5] * 5, ""),
        ([1.0] * 10, "loss does not fall: 1, then at least 1"),
        ([1.0] * 5 + [0.5] * 4 + [float("nan")], "a loss is not finite; loss does not fall"),
        ([1.5] + [1.0] * 4 + [0.5] * 5, "the first 5 losses differ from the CPU's by 50.0%"),
    ],
)
def test_losses_are_judged_by_size_course_and_the_cpu(losses, reason):
    finding = networks._finding("it", log_of(*losses), log_of(*[1.0] * 5, *[0.5] * 5), 0.1)
    assert finding.status == (FAILED if reason else PASSED)
    assert finding.reason.startswith(reason)


def test_the_report_is_written_for_programs_and_for_people(tmp_path):
    findings = [
        Finding("a | b", MEASURED, {"images/s": 12345.6, "ratio": 0.98765, "steps": 30}),
        Finding("c", FAILED, {}, "two\nlines"),
    ]
    write_report(tmp_path, {"title": "Title", "device": "cpu"}, [Part(3, "Rates", findings, 2.4)])
    text = (tmp_path / "gpu.md").read_text()
    assert text.startswith("# Title\n")
    assert "## 3. Rates: failed, 2 s\n" in text
    assert "| a \\| b | measured | images/s 12,346; ratio 0.988; steps 30 |  |\n" in text
    assert "| c | failed |  | two lines |\n" in text
    content = json.loads((tmp_path / "gpu.json").read_text())
    assert content["made"]["device"] == "cpu"
    assert content["parts"][0]["status"] == "failed"
    assert content["parts"][0]["findings"][0]["values"]["ratio"] == 0.98765
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gpu.json", "gpu.md"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "1,9"], "--only 1,9: '9' is no part. Parts are 1, 2, 3, 4, 5, 6"),
        (["--minutes", "0"], "--minutes 0.0: it must be above 0."),
        (["--shard", "nowhere"], "--shard nowhere: no such folder."),
        (["--device", "cuda:99"], "device = 'cuda:99', but torch"),
    ],
)
def test_mistakes_are_said_before_any_work(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["gpu.py", *arguments])
    assert gpu.main() == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_photographs_are_read_where_they_are_brought_along_and_made_elsewhere(tmp_path):
    shard = tmp_path / "shard"
    (shard / "train").mkdir(parents=True)
    sizes = {"a.png": (200, 190), "too small.png": (100, 300)}
    for name, size in sizes.items():
        Image.new("L", size, 77).save(shard / "train" / name)
    Image.new("L", (40, 30), 99).save(shard / "b.png")
    given = Setting(torch.device("cpu"), True, shard, tmp_path, 1.0, 0.0)
    name, dataset = data.photographs(given)
    assert name == "pictures of train/"
    assert dataset.images("train").shape == (1, 180, 180, 1)
    assert np.unique(dataset.images("train")).tolist() == [77]
    scored, pictures = data.test_photographs(given)
    assert (scored, [picture.shape for picture in pictures]) == ("shard", [(30, 40)])
    without = Setting(torch.device("cpu"), True, None, tmp_path, 1.0, 0.0)
    assert data.photographs(without)[0] == "made rectangles"
    assert data.fashion(without).name == "made stripes"


def test_it_imports_nothing_that_a_bare_machine_lacks(tmp_path):
    link_packages(tmp_path, carried=True)
    places = (REPOSITORY / "src", REPOSITORY, tmp_path)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places))}
    modules = "benchmarks.gpu, ruamel.yaml, sys"
    for absent in ("mlflow", "prefect", "dvc", "captum", "psutil"):
        assert not (tmp_path / absent).exists()
    subprocess.run(
        [sys.executable, "-S", "-c", f"import {modules}"], env=environment, check=True, timeout=60
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["one"], "usage: benchmarks/gpu_carry.sh [TRAIN_PICTURES SET12_PICTURES]"),
        (["one", "two"], "one: no such folder. Nothing was collected."),
    ],
)
def test_what_is_carried_is_asked_for_rightly(arguments, said):
    script = REPOSITORY / "benchmarks" / "gpu_carry.sh"
    done = subprocess.run([str(script), *arguments], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert said in done.stderr


def test_what_is_carried_has_a_version_in_the_constraints():
    script = (REPOSITORY / "benchmarks" / "gpu_carry.sh").read_text()
    (names,) = [line.split("'")[1] for line in script.splitlines() if line.startswith("names='")]
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    constrained = {line.partition("==")[0] for line in lines}
    assert set(names.split("|")) <= constrained
