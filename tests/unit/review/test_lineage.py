import hashlib
import json

import pytest

from atelier.data.store import DatasetInfo
from atelier.errors import ProvenanceError, UsageError
from atelier.factory.fingerprint import digest
from atelier.networks.classifiers import build_classifier
from atelier.review.data_use import users_of_data
from atelier.review.lineage import lineage
from atelier.review.trace import trace
from atelier.serving.bundle import write_bundle
from atelier.training.session import Trained

pytestmark = pytest.mark.service

INFO = DatasetInfo(16, 1, 3, ("a", "b", "c"), {"train": 9})
CONFIG = {"name": "cnn", "channels": 1, "num_classes": 3, "image_size": 16, "width": 4}
PARAMS = {"seed": 7, "models": {}}
MD5 = "0123456789abcdef0123456789abcdef.dir"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles") / "bundle"
    return write_bundle(
        folder, "classification", Trained(build_classifier(**CONFIG).eval(), CONFIG, 0), INFO
    )


@pytest.fixture
def made(registry, bundle, request):
    """Registers a version that has every link but those to git and DVC, which this folder
    hasn't."""

    def make(without=(), **tags):
        name = hashlib.sha256(request.node.name.encode()).hexdigest()[
            :8
        ]  # MLflow takes no colon in a name
        inputs = {"params": {"lr": 1}, "data": {"d": "x"}, "code": {}, "model": name}
        files = {
            "fingerprint.json": json.dumps(inputs),
            "params.json": json.dumps(PARAMS),
            "packages.txt": "torch==2\n",
        }
        complete = {
            "fingerprint": digest(inputs),
            "data.md5": MD5,
            "params.sha256": digest(PARAMS),
            "git.commit": "0" * 40,
            "git.dirty": "false",
            "seed": "7",
            "prefect.flow_run_id": "flow",
            **tags,
        }
        kept = {key: value for key, value in complete.items() if key not in without}
        run_id = registry.runs.start(name, complete["fingerprint"], kept)
        registry.runs.log_files(
            run_id, "", {key: value for key, value in files.items() if key not in without}
        )
        settings = {"device": "cpu", "threads": 1, "processes": 1}
        registry.runs.log_params(
            run_id, {key: value for key, value in settings.items() if key not in without}
        )
        return registry.register(name, run_id, bundle, kept)

    return make


def problems(registry, version):
    """What is missing, without what this folder, which is no repository, hasn't."""
    found = [f"{link}: {problem}" for link, problem in trace(registry, version).missing]
    assert found.pop(
        next(i for i, line in enumerate(found) if line.startswith("code: git knows no commit 0000"))
    )
    return [line for line in found if "has no .dvc folder" not in line]


def test_nothing_is_missing_of_a_version_that_has_all(registry, made):
    assert problems(registry, made()) == []


@pytest.mark.parametrize(
    ("what", "named"),
    [
        ("fingerprint", "run: tag fingerprint is missing"),
        ("seed", "params: tag seed is missing"),
        ("prefect.flow_run_id", "flow run: tag prefect.flow_run_id is missing"),
        ("git.dirty", "code: tag git.dirty is missing"),
        ("threads", "has no parameter threads"),
        ("fingerprint.json", "run: fingerprint.json is missing in the run's artifacts"),
        ("params.json", "params: params.json is missing in the run's artifacts"),
        ("packages.txt", "environment: packages.txt is missing"),
    ],
)
def test_each_missing_link_is_named(registry, made, what, named):
    found = problems(registry, made(without=[what]))
    assert named in found[0]
    assert all(named in line or what in ("fingerprint",) for line in found)


def test_a_version_trained_outside_of_git_says_so(registry, made):
    found = trace(registry, made(**{"git.commit": ""}))
    with pytest.raises(
        ProvenanceError, match="code: the project was no git repository, or had no commit"
    ):
        found.require("code")
    found.require("run", "params", "environment", "source")


def test_parameters_that_were_exchanged_are_noticed(registry, made):
    version = made()
    registry.runs.log_files(version.run_id, "", {"params.json": json.dumps({**PARAMS, "seed": 8})})
    assert problems(registry, version) == ["params: params.json is not what tag params.sha256 says"]


def test_a_source_or_an_extractor_that_is_gone_is_named(registry, made):
    version = made(
        **{"built.from": "nobody/3", "evaluation.fingerprint": digest({"extractor": "nobody/4"})}
    )
    registry.runs.log_files(
        version.run_id, "evaluation", {"fingerprint.json": json.dumps({"extractor": "nobody/4"})}
    )
    source, extractor = problems(registry, version)
    assert source.startswith("source: it was built from nobody/3: no model 'nobody' is registered")
    assert extractor.startswith("evaluation: extractor: nobody/4: no model 'nobody' is registered")


def test_a_deleted_run_is_named_and_one_that_never_was_is_none(registry, made):
    version = made()
    registry._client.delete_run(version.run_id)
    (named,) = problems(registry, version)
    assert named.startswith(f"run: run {version.run_id} was deleted")
    assert registry.runs.record("0" * 32) is None


def test_lineage_is_plain_json_and_leads_to_what_was_built_from_a_version(registry, made, bundle):
    version = made()
    run_id = registry.runs.start("child", "print of the child", {})
    child = registry.register("child", run_id, bundle, {"built.from": str(version)})
    found = lineage(registry, trace(registry, version))
    assert json.loads(json.dumps(found)) == found
    assert found["built_from_it"] == [str(child)]
    assert (found["packages"], found["params"]["resolved"]) == (["torch==2"], PARAMS)
    assert found["data"]["datasets"] == {"d": {"digest": "x", "images": {}}}


def test_data_are_found_by_their_first_digits(registry, made):
    other = "012345ffffffffffffffffffffffffff.dir"
    version = made(**{"data.md5": other, f"evaluated.{MD5}": "fingerprint"})
    assert users_of_data(registry, other[:7])["trained"] == [str(version)]
    assert str(version) in users_of_data(registry, MD5)["evaluated"]
    assert str(version) not in users_of_data(registry, MD5)["trained"]
    with pytest.raises(UsageError, match="'012345' may be one of 01234"):
        users_of_data(registry, "012345")
    with pytest.raises(
        ProvenanceError, match="no registered version was trained or evaluated on data 'fff000'"
    ):
        users_of_data(registry, "fff000")


def test_changes_that_did_not_apply_when_they_were_stored_are_a_missing_link(registry, made):
    tags = {"git.problem": "the uncommitted changes do not apply", "git.left_out": "a.png (large)"}
    version = made(**tags)
    found = trace(registry, version)
    said = "code: when it was trained, the uncommitted changes do not apply"
    assert said in problems(registry, version)
    assert lineage(registry, found)["code"]["left_out"] == "a.png (large)"
    with pytest.raises(ProvenanceError, match="when it was trained"):
        found.require("code")


def test_a_patch_is_stored_byte_by_byte(registry, made):
    version = made()
    patch = bytes(range(256))
    registry.runs.log_files(version.run_id, "", {"uncommitted.diff": patch})
    assert trace(registry, version).diff == patch
    registry.runs.log_files(version.run_id, "", {"uncommitted.diff": "a patch as text, of before"})
    assert trace(registry, version).diff == b"a patch as text, of before"
