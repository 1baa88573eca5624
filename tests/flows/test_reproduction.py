"""The past of a project that has moved on: its parameters, code and data are others now.

Real git, DVC, MLflow.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from atelier.data.versions.history import md5_at
from tests.support.dvc_projects import commit, run
from tests.support.past_projects import (
    MODELS,
    REPOSITORY,
    RHYTHM,
    TRAINING,
    add_pictures,
    answer,
    atelier,
    bring_up,
    project_with_pictures,
    write_params,
)

pytestmark = pytest.mark.flow

EPSILON = "1e-6"  # of the Charbonnier loss


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Four models of a first commit, one of changed code that was not committed.

    Then everything moves on.
    """
    before = os.environ.get("DVC_SITE_CACHE_DIR")
    os.environ["DVC_SITE_CACHE_DIR"] = str(tmp_path_factory.mktemp("site-cache"))
    root = project_with_pictures(tmp_path_factory.mktemp("past") / "project", with_code=True)
    bring_up(root, "classifier", "gan", "denoise", "extended")
    change_loss(root, EPSILON, "1e-3")
    bring_up(root, "denoise")  # denoise/2
    change_loss(root, "1e-3", "1e-2")
    slower = {
        name: {**model, "training": {**TRAINING, **RHYTHM, "lr": 1e-3}}
        for name, model in MODELS.items()
    }
    write_params(root, models=slower)
    add_pictures(root, range(60, 90))
    commit(root, "another loss, another rate, more pictures")
    bring_up(root, "denoise")  # denoise/3
    yield root
    del os.environ["DVC_SITE_CACHE_DIR"]
    if before is not None:
        os.environ["DVC_SITE_CACHE_DIR"] = before


def change_loss(root, old, new):
    path = root / "src" / "atelier" / "losses.py"
    text = path.read_text()
    assert f".add({old})" in text
    path.write_text(text.replace(f".add({old})", f".add({new})"))


def weights_of(root, name, number):
    query = "select storage_location from model_versions where name = ? and version = ?"
    with sqlite3.connect(root / "mlflow.db") as database:
        ((place,),) = database.execute(query, (name, number)).fetchall()
    return load_file(
        Path(place.removeprefix("file://")) / "artifacts" / "bundle" / "weights.safetensors"
    )


def runs_in(root):
    with sqlite3.connect(root / "mlflow.db") as database:
        return database.execute("select count(*) from runs").fetchone()[0]


def test_a_version_is_made_again_after_parameters_code_and_data_have_moved_on(project):
    before = runs_in(project), run(project, "git", "status", "--porcelain")
    found = answer(project, "reproduce", "denoise", "1")
    assert (found["verdict"], found["weights"]["differing"], found["inputs_differ"]) == (
        "bit-identical",
        [],
        [],
    )
    assert found["weights"]["tensors"] > 3
    assert (found["code"], found["settings"]) == ("of the commit", {"device": "cpu", "threads": 1})
    assert found["packages_differ"] == {}
    assert (
        runs_in(project),
        run(project, "git", "status", "--porcelain"),
    ) == before  # nothing else was touched
    assert run(project, "git", "worktree", "list").count("\n") == 1
    traced = answer(project, "lineage", "denoise/1")
    assert traced["reproduced"] == "bit-identical"
    (report,) = project.glob(f"mlruns/{traced['run']['id']}/artifacts/reproduction.json")
    assert json.loads(report.read_text()) == found


def test_changes_that_were_not_committed_are_applied_again(project):
    found = answer(project, "reproduce", "denoise/2")
    assert (found["verdict"], found["inputs_differ"]) == ("bit-identical", [])
    assert found["uncommitted_lines"] > 5
    assert found["notes"] == []  # all of it was stored
    first, second = (weights_of(project, "denoise", number) for number in (1, 2))
    assert any(
        not torch.equal(first[key], second[key]) for key in first
    )  # so the change had an effect


def test_a_model_that_was_built_from_another_finds_it(project):
    found = answer(project, "reproduce", "extended", "1")
    assert (found["verdict"], found["inputs_differ"]) == ("bit-identical", [])


def test_where_the_code_is_the_installed_package_its_differences_are_shown(project, tmp_path):
    """Trained by the code of `project` as it is now, made again by the code under test."""
    root = project_with_pictures(tmp_path / "uses-atelier", with_code=False)
    bring_up(root, "classifier", "denoise", code=project)
    found = answer(root, "reproduce", "denoise/1", exit_code=1, code=REPOSITORY)
    assert found["verdict"] == "different"
    assert found["inputs_differ"] == ["code: losses.py"]
    assert found["code"] == f"of the installed package, {REPOSITORY / 'src' / 'atelier'}"
    weights, psnr = found["weights"], found["scores"]["psnr"]
    assert 0 < len(weights["differing"]) <= weights["tensors"]
    assert 1e-6 < weights["max_abs_difference"] < 1
    assert psnr["difference"] == pytest.approx(psnr["again"] - psnr["stored"])
    stored = answer(root, "history", "denoise", code=REPOSITORY)[0]["metrics"]["psnr"]["value"]
    assert psnr["stored"] == pytest.approx(stored, abs=1e-6) != psnr["again"]
    assert answer(root, "lineage", "denoise/1", code=REPOSITORY)["reproduced"] == "different"


def test_one_changed_pixel_in_the_cache_is_detected(project):
    shards = sorted((project / "data" / "photos").glob("shard-*.bin"))
    md5 = hashlib.md5(shards[0].read_bytes()).hexdigest()
    (cached,) = project.glob(f".dvc/cache/files/md5/{md5[:2]}/{md5[2:]}")
    whole = cached.read_bytes()
    cached.chmod(0o644)
    cached.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    try:
        done = atelier(project, "reproduce", "denoise", "1")
        assert done.returncode == 1
        assert (
            "of data/ is not what it was. Changed since it was tracked: data/photos/shard-00000.bin"
            in done.stderr
        )
        assert "Traceback" not in done.stderr
    finally:
        cached.write_bytes(whole)


def test_what_is_lost_is_named_before_anything_is_made(project):
    store, moved = project / ".dvcstore", project / ".dvcstore-moved"
    (cached,) = (
        path
        for path in project.glob(".dvc/cache/files/md5/*/*.dir")
        if is_first_version(project, path)
    )
    whole = cached.read_bytes()
    store.rename(moved)
    cached.unlink()
    try:
        done = atelier(project, "reproduce", "denoise/1")
        assert done.returncode == 1
        assert "error: denoise/1 can't be traced back:\n  data: version" in done.stderr
        traced = atelier(project, "lineage", "denoise/1", "--json")
        assert traced.returncode == 1
        assert [item["link"] for item in json.loads(traced.stdout)["missing"]] == ["data"]
        assert "error: 1 missing:\n  data: version" in traced.stderr
    finally:
        moved.rename(store)
        cached.write_bytes(whole)


def is_first_version(project, path):
    return f"{path.parent.name}{path.name}" == md5_at(project, "HEAD~1")


def test_lineage_leads_both_ways(project):
    found = answer(project, "lineage", "gan")
    assert (found["version"], found["aliases"]) == ("gan/1", ["champion"])
    assert (found["built_from_it"], found["missing"]) == (["extended/1"], [])
    assert found["data"]["md5"] == md5_at(project, "HEAD~1")
    assert sum(found["data"]["datasets"]["photos"]["images"].values()) == 60
    assert (found["code"]["subject"], found["code"]["dirty"]) == ("first pictures", "false")
    assert found["params"]["resolved"]["models"]["gan"]["training"]["lr"] == TRAINING["lr"]
    assert found["run"]["settings"] == {"device": "cpu", "threads": "1", "processes": "1"}
    assert found["evaluation"]["extractor"] == "classifier/1"
    assert any(line.startswith("torch==") for line in found["packages"])
    extended = answer(project, "lineage", "extended/1")
    assert (extended["built_from"], extended["evaluation"]["compared"]) == ("gan/1", "denoise/1")
    scored = answer(project, "lineage", "classifier/1")["scored_with_it"]
    assert set(scored) >= {"gan/1", "denoise/1", "denoise/2", "extended/1"}
    assert "extended/1" in answer(project, "lineage", "denoise/1")["scored_with_it"]
    assert "built from it" in atelier(project, "lineage", "gan").stdout


def test_data_lead_to_the_versions_that_used_them(project):
    first, second = (md5_at(project, revision) for revision in ("HEAD~1", "HEAD"))
    found = answer(project, "lineage", "--data", first[:8])
    assert (found["md5"], found["missing"]) == (first, [])
    assert found["trained"] == ["classifier/1", "denoise/1", "denoise/2", "extended/1", "gan/1"]
    assert set(found["evaluated"]) == set(found["trained"])
    again = answer(project, "lineage", "--data", second.removesuffix(".dir"))
    assert again["trained"] == ["denoise/3"]
    assert (
        "denoise/3" in again["evaluated"] and len(again["evaluated"]) == 2
    )  # the champion was scored on them, too
    done = atelier(project, "lineage", "--data", "0" * 32)
    assert done.returncode == 1
    assert f"Known: {', '.join(sorted([first, second]))}." in done.stderr


def test_two_versions_are_compared_in_everything(project, tmp_path):
    found = answer(
        project, "compare", "denoise/1", "denoise/3", "--html", str(tmp_path / "page.html")
    )
    assert {"key": "training.lr", "a": "0.002", "b": "0.001"} in found["params"]
    (photos,) = found["data"]["datasets"]
    assert (photos["added"], photos["removed"], photos["relabelled"], photos["moved"]) == (
        30,
        0,
        0,
        0,
    )
    assert found["code"]["modules"] == [{"file": "losses.py", "change": "changed"}]
    assert (
        "src/atelier/losses.py" in found["code"]["diff_stat"]
        and "data.dvc" in found["code"]["diff_stat"]
    )
    psnr = next(row for row in found["metrics"] if (row["metric"], row["slice"]) == ("psnr", "all"))
    assert psnr["low"] < psnr["difference"] < psnr["high"] and psnr["num_units"] >= 20
    slices = {row["slice"] for row in found["metrics"] if row["metric"] == "psnr"}
    assert slices == {"all", "class:dark", "class:light"}
    page = (tmp_path / "page.html").read_text()
    assert page.count("data:image/png;base64,iVBOR") == 2 * 3  # restored, worst errors, attribution
    assert "30 added" in page and "src/atelier/losses.py" in page
    table = atelier(project, "compare", "denoise/1", "denoise/3").stdout
    assert "training.lr" in table and "30 added" in table
    run_id = found["b"]["run_id"]
    assert answer(project, "compare", "denoise/1", run_id)["b"] == found["b"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["reproduce", "denoise", "9"], "denoise has no version 9; its versions: 1, 2, 3"),
        (["compare", "denoise/1", "denoise/1"], "are the same run"),
        (["compare", "denoise/1", "0" * 32], "MLflow has no run 0000"),
        (["lineage"], "atelier lineage needs one of two: MODEL, or --data MD5."),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_2(project, words, message):
    done = atelier(project, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr and "Traceback" not in done.stderr
