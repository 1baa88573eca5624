import ast
import re
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atelier.factory import fingerprint
from atelier.factory.fingerprint import (
    EVALUATION_MODULE,
    IGNORED_MODULES,
    TRAINING_MODULES,
    differences,
    digest,
    evaluation_inputs,
    flatten,
    module_hashes,
    training_inputs,
    uses_extractor,
)
from atelier.params import load_params
from tests.support.places import EXAMPLE_FILE, REPOSITORY

MODELS = ("fashion-classifier", "fashion-gan", "fashion-denoise", "fashion-inpaint")
GAN = "models.fashion-gan"
JSON = st.recursive(
    st.one_of(st.integers(), st.booleans(), st.none(), st.text(max_size=4)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


def params(*overrides):
    return load_params(EXAMPLE_FILE, overrides)


def trained(name, *overrides, data="d0"):
    return training_inputs(params(*overrides), name, {"fashion": data})


def evaluated(name, *overrides, version="m/1", data="d0", extractor="fashion-classifier/1"):
    return evaluation_inputs(params(*overrides), name, version, {"fashion": data}, extractor)


# -- code --------------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package that may be edited.

    `package(file, old, new)` gives the files whose hash changed.
    """
    copy = tmp_path / "atelier"
    shutil.copytree(
        REPOSITORY / "src" / "atelier", copy, ignore=shutil.ignore_patterns("__pycache__")
    )
    monkeypatch.setattr(fingerprint, "_PACKAGE", copy)

    def hashes(entry):
        module_hashes.cache_clear()
        return module_hashes(entry)

    def change(entry, file, old, new):
        before, path = hashes(entry), copy / file
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{file} has no {old!r} any more"
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
        after = hashes(entry)
        return sorted(
            name for name in before.keys() | after.keys() if before.get(name) != after.get(name)
        )

    yield change
    module_hashes.cache_clear()


def first_formula(file):
    """The first `return` with an expression in it, as text."""
    text = (REPOSITORY / "src" / "atelier" / file).read_text(encoding="utf-8")
    found = re.search(r"\n    return (?!None)(.+)", text)
    assert found is not None
    return found[0]


def test_a_changed_formula_changes_the_hash_of_its_file_alone(package):
    formula = first_formula("losses.py")
    changed = package(
        TRAINING_MODULES["gan"], "losses.py", formula, formula.replace("return ", "return 2 * ")
    )
    assert changed == ["losses.py"]


def test_a_changed_constant_changes_the_hash(package):
    assert package(EVALUATION_MODULE, "evaluation/common.py", "CHUNK = 500", "CHUNK = 501") == [
        "evaluation/common.py"
    ]


def test_comments_docstrings_layout_and_log_calls_change_nothing(package):
    gan, formula = TRAINING_MODULES["gan"], first_formula("losses.py")
    assert package(gan, "losses.py", formula, f"\n    # a remark{formula}  # another") == []
    assert package(gan, "losses.py", '"""', '"""Another text. ') == []
    assert (
        package(
            gan, "losses.py", formula, f'\n    """A docstring where there was none."""{formula}'
        )
        == []
    )
    assert package(gan, "losses.py", formula, f'\n    log.info("a new line"){formula}') == []
    loop = "training/gan.py"
    log = next(line for line in source(loop).splitlines() if "course.log(" in line)
    assert package(gan, loop, log, log.replace("course.log({", 'course.log({"more": 1.0, ')) == []


def source(file):
    return (REPOSITORY / "src" / "atelier" / file).read_text(encoding="utf-8")


PACKAGE = [
    f"degradations/{name}.py" for name in ("__init__", "blur", "cameras", "masks", "noise", "step")
]


def test_a_module_that_is_newly_imported_counts(package):
    changed = package(
        TRAINING_MODULES["gan"],
        "losses.py",
        "import torch",
        "from atelier import degradations\nimport torch",
    )
    assert changed == [*PACKAGE, "losses.py"]


def test_an_import_inside_a_function_counts(package):
    formula = first_formula("losses.py")
    changed = package(
        TRAINING_MODULES["gan"], "losses.py", formula, f"\n    import atelier.degradations{formula}"
    )
    assert changed == [*PACKAGE, "losses.py"]


MUST_HAVE = {
    "classification": {"training/classification.py", "networks/classifiers.py"},
    "gan": {"training/gan.py", "networks/generators.py", "networks/discriminators.py", "losses.py"},
    "restoration": {
        "training/restoration.py",
        "networks/restorers/cnn.py",
        "networks/restorers/unet.py",
        *("networks/gans/patch.py", "losses.py", *PACKAGE),
    },
}
MUST_HAVE["translation"] = {*MUST_HAVE["restoration"], "training/translation.py"}
SHARED = {
    "training/session.py",
    "training/batches.py",
    "training/ema.py",
    "training/schedules.py",
    "data/store.py",
}


@pytest.mark.parametrize("kind", TRAINING_MODULES)
def test_a_training_covers_its_code_and_no_evaluation(kind):
    files = set(module_hashes(TRAINING_MODULES[kind]))
    assert files >= MUST_HAVE[kind] | SHARED
    others = (
        set().union(*(own for other, own in MUST_HAVE.items() if other != kind)) - MUST_HAVE[kind]
    )
    assert not files & others
    unrelated = (
        "evaluation/",
        "params/",
        "data/staging.py",
        "metrics/",
        "registry/",
        "cli/__init__.py",
        "factory/",
        "promotion/",
    )
    assert not [name for name in files if name.startswith(unrelated)]


def test_an_evaluation_covers_every_metric_and_no_gan():
    files = set(module_hashes(EVALUATION_MODULE))
    metrics = {
        f"metrics/{name}.py"
        for name in ("pixels", "classification", "generation", "distances", "intervals")
    }
    assert files >= metrics | {"evaluation/restoration.py", *PACKAGE, "training/classification.py"}
    assert not files & {"training/gan.py", "promotion/gate.py", "registry/versions.py"}


def test_every_import_of_a_hashed_module_is_hashed():
    """Against the files themselves, by text.

    Nothing that a training imports may be left out, but what is ignored.
    """
    for entry in (*TRAINING_MODULES.values(), EVALUATION_MODULE):
        hashed = module_hashes(entry)
        for file in hashed:
            for module in re.findall(
                r"^\s*(?:from|import) (atelier\.[\w.]+)", source(file), re.MULTILINE
            ):
                path = module.removeprefix("atelier.").replace(".", "/")
                found = hashed.keys() & {f"{path}.py", f"{path}/__init__.py"}
                assert found or module in IGNORED_MODULES or module.endswith(".params"), (
                    file,
                    module,
                )
            ast.parse(source(file))


# -- what a training depends on ----------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    "override",
    [
        "evaluation.num_images=500",
        "evaluation.cas_kimg=3",
        "evaluation.confidence=0.9",
        "device=cpu",
        "threads=1",
        "promotion.gan.floors={}",
        "datasets.fashion.path=raw",
    ],
)
def test_a_training_does_not_depend_on_how_it_is_scored_or_where_it_runs(name, override):
    assert trained(name, override) == trained(name)


@pytest.mark.parametrize("name", MODELS)
def test_a_training_does_not_depend_on_other_models(name):
    others = [f"models.{other}.training.kimg=1" for other in MODELS if other != name]
    assert trained(name, *others) == trained(name)
    assert digest(trained(name, f"models.{name}.training.kimg=1")) != digest(trained(name))


def test_a_training_depends_on_its_parameters_data_and_seed():
    base = digest(trained("fashion-gan"))
    changed = [
        trained("fashion-gan", override)
        for override in (f"{GAN}.loss=minimax", f"{GAN}.r1_gamma=2", "seed=8")
    ]
    assert len({base, *map(digest, changed), digest(trained("fashion-gan", data="d1"))}) == 5
    assert (
        digest(trained("fashion-gan", f"{GAN}.training.log_every_kimg=1.0")) == base
    )  # only how often it reports


@pytest.mark.parametrize(
    "override", ["data={limit: 500}", "training.crop_size=20", "training.augment.cutout=4"]
)
def test_a_training_depends_on_what_it_sees_of_the_data(override):
    name, key = "fashion-denoise", override.split("=")[0]
    (reason,) = differences(trained(name), trained(name, f"models.{name}.{override}"))
    assert reason.startswith(f"params: {key}")


# -- what an evaluation depends on -------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    "override", ["evaluation.num_images=500", "evaluation.confidence=0.9", "seed=8"]
)
def test_every_evaluation_depends_on_the_protocol(name, override):
    assert digest(evaluated(name, override)) != digest(evaluated(name))


@pytest.mark.parametrize("name", MODELS)
def test_an_evaluation_depends_on_version_data_and_extractor(name):
    changed = [
        evaluated(name, version="m/2"),
        evaluated(name, data="d1"),
        evaluated(name, extractor=""),
    ]
    assert len({digest(evaluated(name)), *map(digest, changed)}) == 4


def test_the_classifier_that_learns_from_generated_images_matters_to_the_gan_alone():
    for override in ("evaluation.cas_kimg=3", "models.fashion-classifier.network.width=8"):
        changed = [
            name for name in MODELS if digest(evaluated(name, override)) != digest(evaluated(name))
        ]
        assert changed == ["fashion-gan"], override
    for override in (
        "training.kimg=3",
        "data={limit: 500}",
    ):  # its own length is cas_kimg; it sees all generated images
        assert evaluated("fashion-gan", f"models.fashion-classifier.{override}") == evaluated(
            "fashion-gan"
        )


def test_the_degradation_of_the_test_images_matters_to_its_restorer_alone():
    override = "models.fashion-denoise.degradation.0.noise.sigma=0.3"
    changed = [
        name for name in MODELS if digest(evaluated(name, override)) != digest(evaluated(name))
    ]
    assert changed == ["fashion-denoise"]


def test_the_largest_side_matters_where_pictures_keep_their_size(tmp_path):
    assert evaluated("fashion-denoise", "evaluation.max_side=100") == evaluated("fashion-denoise")
    own = [
        "datasets.photos={source: folder, path: raw, channels: 1}",
        "models.fashion-denoise.dataset=photos",
        "models.fashion-denoise.training.crop_size=32",
    ]
    larger = evaluated("fashion-denoise", *own, "evaluation.max_side=100")
    assert differences(evaluated("fashion-denoise", *own), larger) == [
        "params: max_side 512 -> 100"
    ]


@pytest.mark.parametrize("name", MODELS)
def test_how_pixels_are_compared_matters_to_restorers_alone(name):
    restorer = name in ("fashion-denoise", "fashion-inpaint")
    rounded = evaluated(name, "evaluation.pixels={round: true}")
    assert differences(evaluated(name), rounded) == (
        ["params: pixels.round False -> True"] if restorer else []
    )
    weights = [
        f"evaluation.lpips={{path: {path}, sha256: {sha * 64}}}" for path, sha in ("aa", "ba", "ab")
    ]
    first, moved, others = (evaluated(name, given) for given in weights)
    assert first == moved
    assert (first != evaluated(name), first != others) == (restorer, restorer)
    assert trained(name, "evaluation.pixels={round: true}", weights[0]) == trained(name)


def test_the_extractor_scores_the_models_of_its_own_dataset(tmp_path):
    text = EXAMPLE_FILE.read_text(encoding="utf-8")
    photos = "\n  photos: {source: folder, path: raw, image_size: 28, channels: 1}\nmodels:"
    text = text.replace("\nmodels:", photos).replace(
        "restoration\n    dataset: fashion", "restoration\n    dataset: photos", 1
    )
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    loaded = load_params(tmp_path / "params.yaml")
    assert [name for name in MODELS if uses_extractor(loaded, name)] == [
        "fashion-gan",
        "fashion-inpaint",
    ]


# -- reasons -----------------------------------------------------------------------------------


def test_reasons_name_the_parameter_with_both_values():
    before, after = (
        trained("fashion-gan"),
        trained("fashion-gan", f"{GAN}.training.kimg=200", f"{GAN}.loss=minimax"),
    )
    assert differences(before, after) == [
        "params: loss relativistic -> minimax",
        "params: training.kimg 500 -> 200",
    ]
    betas = trained("fashion-gan", f"{GAN}.training.betas=[0.5, 0.99]")
    assert differences(before, betas) == ["params: training.betas.0 0 -> 0.5"]


def test_reasons_name_data_code_and_extractor():
    before = evaluated("fashion-gan")
    after = evaluated("fashion-gan", data="d1", extractor="fashion-classifier/2")
    after["code"] = {**after["code"], "losses.py": "new", "metrics/pixels.py": "changed"}
    assert differences(before, after) == [
        "data: fashion changed (d0 -> d1)",
        "extractor: fashion-classifier/1 -> fashion-classifier/2",
        "code: losses.py, metrics/pixels.py",
    ]
    assert differences({}, trained("fashion-gan"))[0] == "params: seed (not set) -> 7"
    older, newer = (
        training_inputs(params(), "fashion-gan", {"fashion": "d0"}, f"r/{n}") for n in (1, 2)
    )
    assert differences(older, newer) == ["source: r/1 -> r/2"]
    assert differences(trained("fashion-gan"), newer) == ["source: none -> r/2"]
    compared = evaluation_inputs(
        params(), "fashion-gan", "m/1", {"fashion": "d0"}, "fashion-classifier/1", "twin/3"
    )
    assert differences(evaluated("fashion-gan"), compared) == ["compared: none -> twin/3"]


def test_how_a_gan_is_drawn_from_is_of_its_evaluation_alone():
    spread = f"{GAN}.sampling.spread=1.2"
    assert trained("fashion-gan", spread) == trained("fashion-gan")
    assert differences(evaluated("fashion-gan"), evaluated("fashion-gan", spread)) == [
        "params: sampling.spread (not set) -> 1.2",
        "params: sampling.confidence (not set) -> 0",
    ]
    as_trained = (f"{GAN}.sampling.spread=1.0", f"{GAN}.sampling.confidence=0.0")
    assert evaluated("fashion-gan", *as_trained) == evaluated("fashion-gan")
    assert evaluated("fashion-denoise", spread) == evaluated("fashion-denoise")


def test_another_way_to_name_the_same_version_is_no_other_training():
    extend, refine = "models.fashion-denoise.data.extend", f"{GAN}.refine"
    for name, key, other in (
        ("fashion-denoise", extend, "fashion-gan"),
        ("fashion-gan", refine, "fashion-denoise"),
    ):
        one, two = (
            training_inputs(params(f"{key}={other}{end}"), name, {}, "x/1") for end in ("", "/1")
        )
        assert one == two


def test_equal_inputs_differ_in_nothing():
    assert differences(trained("fashion-gan"), trained("fashion-gan")) == []


@given(JSON, JSON)
def test_inputs_that_differ_always_have_a_reason(old, new):
    before, after = ({"params": {"x": value}, "data": {}, "code": {}} for value in (old, new))
    told = differences(before, after)
    assert flatten({"x": old}) == flatten({"x": new}) or told
    assert not told or digest(before) != digest(after)


@given(st.dictionaries(st.text(max_size=3), JSON, max_size=3))
def test_the_digest_does_not_depend_on_the_order_of_keys(inputs):
    assert digest(inputs) == digest(dict(reversed(inputs.items())))
