"""What a user sees who makes a mistake.

One message, exit code 1 or 2, no traceback, and nothing half-written.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from atelier.data.sources import fashion_mnist
from tests.support.many_commands import run_all
from tests.support.places import REPOSITORY
from tests.support.processes import atelier, clean_environment, run

pytestmark = pytest.mark.service

PARAMS = """
seed: 7
device: auto
threads: 1
datasets:
  photos: {source: folder, path: raw, image_size: 16, channels: 1}
models:
  photo-classifier:
    kind: classification
    dataset: photos
    network: {name: cnn, width: 4}
    training: {kimg: 1, batch_size: 4, lr: 1e-3}
  photo-denoise:
    kind: restoration
    dataset: photos
    degradation: [{noise: {sigma: 0.2}}]
    network: {name: cnn, width: 4, depth: 2}
    loss: l2
    training: {kimg: 1, batch_size: 4, lr: 1e-3}
evaluation: {features: classifier:photo-classifier, num_images: 100, confidence: 0.95, cas_kimg: 1}
promotion:
  classification: {metric: accuracy}
  gan: {metric: kid_classifier}
  restoration: {metric: psnr, floors: {psnr_gain: 0}}
"""
FASHION = "fashion: {source: fashion-mnist, image_size: 28, channels: 1}"
STATE = {".atelier", ".prefect", "mlflow.db", "mlruns"}  # what a reading command may leave
CLOSED = "http://127.0.0.1:9"  # the port "discard": nothing listens


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """An empty project: git, DVC, params.yaml, four pictures."""
    root = tmp_path_factory.mktemp("template")
    subprocess.run(["git", "init", "--quiet", str(root)], check=True)
    subprocess.run(
        [sys.executable, "-m", "dvc", "init", "--quiet"],
        cwd=root,
        check=True,
        env=clean_environment(),
    )
    shutil.copy(REPOSITORY / ".dvc" / "config", root / ".dvc" / "config")
    (root / "params.yaml").write_text(PARAMS)
    (root / "raw").mkdir()
    for number in range(4):
        Image.fromarray(np.full((16, 16), number, np.uint8)).save(root / "raw" / f"{number}.png")
    return root


@pytest.fixture
def project(template, tmp_path):
    return shutil.copytree(template, tmp_path / "project")


def listing(project):
    return sorted(
        str(path) for path in project.rglob("*") if not STATE & set(path.relative_to(project).parts)
    )


def refused(project, *words, **variables):
    """Run a command that must fail without a trace; returns its exit code and message."""
    before = listing(project)
    done = atelier(project, *words, **variables)
    assert listing(project) == before
    return checked(done.returncode, done.stdout, done.stderr)


def checked(code, output, errors):
    assert code in (1, 2), errors
    assert "Traceback" not in output + errors
    assert errors.startswith("error: "), errors
    return code, errors


def change(project, old, new):
    text = (project / "params.yaml").read_text()
    assert old in text
    (project / "params.yaml").write_text(text.replace(old, new, 1))


# -- params.yaml: refused before anything is imported ------------------------------------------


def test_an_unknown_key_is_named_with_the_nearest(project):
    change(project, "seed: 7", "seed: 7\nsed: 8")
    code, message = refused(project, "run")
    assert code == 2
    assert message == (
        "error: params.yaml: 1 mistake, nothing was run:\n  sed: unknown key. Did you mean "
        "'seed'?\n"
    )
    assert not (project / ".atelier").exists()


def test_a_wrong_type_and_an_impossible_value_are_both_named(project):
    change(project, "kimg: 1,", 'kimg: "200",')
    code, message = refused(
        project, "run", "-S", "models.photo-denoise.degradation.0.noise.sigma=3"
    )
    assert code == 2
    assert "params.yaml: 2 mistakes, nothing was run:" in message
    assert "models.photo-classifier.training.kimg = '200': should be a valid number." in message
    assert (
        "models.photo-denoise.degradation.0.noise.sigma = 3: should be less than or equal to 1."
        in message
    )


def test_a_model_on_a_dataset_that_is_not_there_is_named(project):
    code, message = refused(project, "plan", "-S", "models.photo-denoise.dataset=photo")
    assert code == 2
    assert (
        "models.photo-denoise.dataset = 'photo' is not one of the datasets. Did you mean 'photos'?"
        in message
    )


def test_a_command_outside_of_a_project_says_so(tmp_path):
    code, message = refused(tmp_path, "plan")
    assert code == 2
    assert message == (
        f"error: {tmp_path} is not in a project: no params.yaml here or above. Change to the "
        "folder that has one.\n"
    )


def test_a_params_file_that_is_not_there_is_named(project):
    code, message = refused(project, "plan", "--params", "other.yaml")
    assert code == 2
    assert f"{project / 'other.yaml'} does not exist." in message


def test_an_option_that_does_not_exist_is_a_usage_error(project):
    done = atelier(project, "plan", "--sett", "seed=8")
    assert done.returncode == 2
    assert "No such option: --sett" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


# -- registry ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        (
            CLOSED,
            r"the registry at http://127.0.0.1:9 can't be reached: .*Connection refused.* Start it",
        ),
        (
            "sqlite:////dev/null/none/mlflow.db",
            r"the registry at sqlite:.* failed to connect: .*Not a directory",
        ),
    ],
    ids=["server", "database"],
)
def test_a_registry_that_cannot_be_reached_is_named(project, uri, expected):
    code, message = refused(project, "history", MLFLOW_TRACKING_URI=uri)
    assert code == 1
    assert re.search(expected, message), message


# -- data, names and files: one process for all ------------------------------------------------

UNKNOWN = "no model 'photo-denois' is registered. Did you mean 'photo-denoise'?"
NOT_WANTED = "'photo-denois' is not a model of params.yaml. Did you mean 'photo-denoise'?"
MISTAKES = [
    ("run -S device=cuda", 2, "device = cuda, and there is no NVIDIA driver"),
    ("run photo-denois", 2, NOT_WANTED),
    ("plan photo-denois", 2, NOT_WANTED),
    ("promote photo-denois 1 --reason why", 2, NOT_WANTED),
    ("history photo-denois", 2, UNKNOWN),
    ("rollback photo-denois", 2, UNKNOWN),
    ("restore photo-denois raw/0.png -o out", 2, UNKNOWN),
    (
        "restore photo-denoise raw/0.png -o out",
        2,
        "photo-denoise has no champion; its aliases: challenger.",
    ),
    (
        "restore photo-denoise/7 raw/0.png -o out",
        2,
        "photo-denoise has no version 7; its versions: 1.",
    ),
    (
        "restore photo-denoise/1 params.yaml -o out",
        1,
        "params.yaml: not a picture: none of PNG, JPEG",
    ),
    ("restore photo-denoise/1 none.png -o out", 2, "none.png does not exist."),
    ("restore photo-denoise/1 .git -o out", 2, ".git holds no pictures ("),
    (
        "restore photo-denoise/1 raw/0.png -o params.yaml/out",
        2,
        "params.yaml/out can't be a folder: ",
    ),
    (
        "restore photo-denoise/1 raw -o raw",
        2,
        "the results would lie in raw, inside of raw, and be inputs of the next run.",
    ),
    (
        "restore photo-denoise/1 raw/0.png -o raw --overwrite",
        2,
        "raw/0.png is one of the inputs and would be overwritten.",
    ),
    (
        "restore photo-denoise/1 raw -o out --skip-existing --overwrite",
        2,
        "--skip-existing and --overwrite exclude each other.",
    ),
    (
        "restore photo-denoise/1 raw -o out --format tiff --quality 80",
        2,
        "--quality has no meaning for tiff, which loses nothing.",
    ),
    (
        "restore photo-denoise/1 raw/0.png -o out --iterations 3",
        2,
        "photo-denoise/1 is not recurrent, so --iterations",
    ),
    (
        "generate photo-denoise/1 -o out.png",
        2,
        "is a restoration model; this command needs a gan model.",
    ),
    (
        "rollback photo-denoise",
        2,
        "photo-denoise has nothing to roll back to; versions that were champion before: none.",
    ),
    (
        "rollback photo-denoise 1",
        2,
        "photo-denoise has no version 1 to roll back to; versions that were champion before",
    ),
    ("reject photo-denois --reason why", 2, UNKNOWN),
    (
        "approve photo-denoise --reason why",
        2,
        "photo-denoise/1 does not wait for approval: not judged.",
    ),
    ("ledger photo-denois", 2, UNKNOWN),
    (
        "promote photo-denoise 1 --reason why",
        1,
        "photo-denoise/1 was never evaluated, so it can't be promoted.",
    ),
    ("promote photo-denoise 7 --reason why", 2, "photo-denoise has no version 7; its versions: 1."),
]
DATA = {
    "offline": [
        "fashion-mnist was not found and can't be fetched. Tried:\n  Debian's folder: ",
        "\n  apt-get download: there is no apt-get here\n",
        "Connection refused",
        "Put the four IDX files into a folder and name it in params.yaml: datasets.NAME.path.",
    ],
    "truncated": [
        "raw/idx/train-images-idx3-ubyte: expected the uncompressed sha256 c59f",
        "(1,004 bytes).",
    ],
}
FULL_DISK = "restore photo-denoise/1 large.png -o full"


@pytest.fixture(scope="module")
def projects(template, tmp_path_factory):
    """A project for each mistake with data, and one for all other commands."""
    made = {
        name: shutil.copytree(template, tmp_path_factory.mktemp(name) / "project")
        for name in ("names", "unwritable", *DATA)
    }
    for name in ("offline", "truncated"):
        change(made[name], "photos: {", f"{FASHION}\n  photos: {{")
    (made["truncated"] / "raw" / "idx").mkdir()
    for name in fashion_mnist.SHA256:
        (made["truncated"] / "raw" / "idx" / name).write_bytes(b"\0\0\x08\x03" + bytes(1000))
    (made["unwritable"] / ".atelier").touch()  # where every run keeps its lock
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (400, 400), np.uint8)).save(
        made["names"] / "large.png"
    )
    return made


@pytest.fixture(scope="module")
def session(projects, tmp_path_factory, prefect_api):
    """{command or mistake: (code, output, errors)}, and {project: what it holds besides}."""
    bare = tmp_path_factory.mktemp("bare")  # no program but git
    (bare / "git").symlink_to(shutil.which("git"))
    server = {"PREFECT_API_URL": prefect_api}
    offline = {**server, "PATH": str(bare), "https_proxy": CLOSED, "HTTPS_PROXY": CLOSED}
    before = {name: listing(project) for name, project in projects.items()}
    commands = {command: ("names", command, {}, -1) for command, _, _ in MISTAKES}
    commands[FULL_DISK] = ("names", FULL_DISK, {}, 50_000)
    commands["offline"] = ("offline", "ingest", offline, -1)
    commands["truncated"] = ("truncated", "ingest -S datasets.fashion.path=raw/idx", server, -1)
    commands["unwritable"] = ("unwritable", "rollback photo-denoise", {}, -1)
    given = [
        {
            "folder": str(projects[name]),
            "words": words.split(),
            "variables": variables,
            "max_bytes": max_bytes,
        }
        for name, words, variables, max_bytes in commands.values()
    ]
    answers = tmp_path_factory.mktemp("answers") / "answers.json"
    variables = clean_environment(CUDA_VISIBLE_DEVICES="")
    done = run(run_all, answers, given, folder=projects["names"], environment=variables)
    assert done.returncode == 0, done.stderr
    left = {
        name: sorted(set(listing(project)) ^ set(before[name]))
        for name, project in projects.items()
    }
    return dict(zip(commands, json.loads(answers.read_text()), strict=True)), left


@pytest.mark.parametrize(
    ("command", "code", "expected"), MISTAKES, ids=[command for command, _, _ in MISTAKES]
)
def test_a_name_or_file_that_does_not_fit_is_refused_in_words(session, command, code, expected):
    found, message = checked(*session[0][command])
    assert expected in message
    assert found == code


def test_a_project_that_cannot_be_written_is_told(session, projects):
    code, message = checked(*session[0]["unwritable"])
    assert f"{projects['unwritable']} can't be written: " in message
    assert code == 2


def test_a_full_disk_is_told_and_leaves_no_half_picture(session):
    code, message = checked(*session[0][FULL_DISK])
    assert "full/large.png can't be written: File too large." in message
    assert code == 2


def test_nothing_is_left_behind_by_any_of_them(session):
    assert [Path(path).name for path in session[1]["names"]] == ["full"]
    assert session[1]["unwritable"] == []


@pytest.mark.parametrize("mistake", DATA)
def test_data_that_cannot_be_had_or_kept_stop_the_ingest(session, projects, mistake):
    if mistake == "offline" and (Path("/") / fashion_mnist.DEBIAN_FOLDER).is_dir():
        pytest.skip("Fashion-MNIST is installed on this machine")
    answers, left = session
    code, message = checked(*answers[mistake])
    assert code == 1
    for text in DATA[mistake]:
        assert text in message
    assert left[mistake] == []
    assert {path.suffix for path in (projects[mistake] / ".atelier" / "tmp").iterdir()} <= {".lock"}
