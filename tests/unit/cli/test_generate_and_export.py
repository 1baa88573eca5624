"""`atelier generate` and `atelier export` as they are typed, on real registered models."""

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from PIL import Image

from atelier.errors import UsageError
from atelier.pictures import grid, to_pixels
from atelier.serving import signatures
from tests.support.registered import make_bundle, register

pytestmark = pytest.mark.service


@pytest.fixture(scope="module")
def models(registry, tmp_path_factory):
    """The registry of a project with a GAN, one from before truncation, and a restorer."""
    folder = tmp_path_factory.mktemp("bundles")
    register(registry, "gan", make_bundle(folder, "refined"))
    register(registry, "cnn", make_bundle(folder, "cnn"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signatures, "LATENTS", {})  # as it was registered then
        register(registry, "old-gan", make_bundle(folder, "r3"))
    (registry._connection.project.root / "params.yaml").touch()
    return registry


def draw(models, **row):
    served = models.load(models.version("gan", 1))
    return served.predict(pd.DataFrame([{"class": -1, "seed": 0, **row}]))


def read(path):
    return np.asarray(Image.open(path))


def test_a_grid_is_of_the_images_of_a_seed(type_in, models, tmp_path):
    out = tmp_path / "grid.png"
    printed = type_in(f"generate gan/1 -n 6 --seed 3 --class coat -o {out}")
    assert printed == f"{out}: 6 images by gan/1\n"
    x_NCHW = draw(models, num_images=6, seed=3, **{"class": 0})
    np.testing.assert_array_equal(read(out), grid(x_NCHW, 2))


def test_each_image_is_a_file_that_is_the_same_however_many_there_are(type_in, models):
    expected = to_pixels(draw(models, num_images=3, seed=7))
    for count in (3, 2):
        assert type_in(f"generate gan/1 -n {count} --seed 7 --each").startswith("/")
        folder = models._connection.project.root / "results" / "gan-1"
        assert sorted(path.name for path in folder.iterdir()) == [
            "7-0000.png",
            "7-0001.png",
            "7-0002.png",
        ]
        for index, pixels_HWC in enumerate(expected):
            np.testing.assert_array_equal(read(folder / f"7-{index:04}.png"), pixels_HWC)


def test_files_have_the_format_that_was_asked_for(type_in, tmp_path):
    type_in(f"generate gan/1 -n 2 --each --format webp -o {tmp_path / 'each'}")
    for index in range(2):
        assert Image.open(tmp_path / "each" / f"0-000{index}.webp").format == "WEBP"


def test_a_row_goes_from_seed_to_seed(type_in, models, tmp_path):
    line = f"generate gan/1 -n 2 --seed 1 --interpolate 5 --interpolate 2 --steps 3 -o {tmp_path}"
    type_in(f"{line}/way.png")
    type_in(f"{line}/each --each")
    rows = []
    for start, end, amounts in ((1, 5, (0.0, 0.5, 1.0)), (5, 2, (0.5, 1.0))):
        for amount in amounts:
            rows.append(draw(models, num_images=2, seed=start, toward=end, amount=amount))
    x_RSCHW = np.stack(rows, axis=1)
    for row, column in ((0, 0), (0, 3), (1, 4)):
        pixels_HWC = read(tmp_path / "each" / f"1-{row:04}-{column:03}.png")
        np.testing.assert_array_equal(pixels_HWC, to_pixels(x_RSCHW[row, column][None])[0])
    np.testing.assert_array_equal(
        x_RSCHW[:, [0, 2, 4]],
        np.stack([draw(models, num_images=2, seed=seed) for seed in (1, 5, 2)], axis=1),
    )
    np.testing.assert_array_equal(
        read(tmp_path / "way.png"), grid(x_RSCHW.reshape(-1, *x_RSCHW.shape[2:]), 5)
    )


def test_truncation_reaches_the_model(type_in, models, tmp_path):
    type_in(f"generate gan/1 -n 4 --truncation 0.3 -o {tmp_path}/grid.png")
    x_NCHW = draw(models, num_images=4, truncation=0.3)
    np.testing.assert_array_equal(read(tmp_path / "grid.png"), grid(x_NCHW, 2))
    assert np.abs(x_NCHW - draw(models, num_images=4)).max() > 1e-2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--truncation 1", "old-gan/1 was registered before Atelier had --truncation"),
        ("--interpolate 3", "old-gan/1 was registered before Atelier had --interpolate"),
        ("--truncation 0", "--truncation 0 must be above 0"),
        ("--truncation nan", "--truncation nan must be above 0"),
        ("--steps 4", "--steps is of the way to --interpolate SEED"),
        ("--format png", "--format is of the files of --each"),
        ("-n 9999 --interpolate 3", "79992 images are asked for; at most 10000"),
    ],
)
def test_what_has_no_meaning_is_refused_and_nothing_written(type_in, tmp_path, options, words):
    with pytest.raises(UsageError, match=words):
        type_in(f"generate old-gan/1 {options} -o {tmp_path / 'grid.png'}")
    assert list(tmp_path.iterdir()) == []


def test_a_gan_from_before_truncation_generates_and_passes_inspection(type_in, models, tmp_path):
    from atelier.factory.inspect import query

    type_in(f"generate old-gan/1 -n 4 -o {tmp_path}/grid.png")
    assert read(tmp_path / "grid.png").shape == (2 * 34 + 2, 2 * 34 + 2, 3)
    version = models.version("old-gan", 1)
    stored = models.load(version).metadata.signature
    assert stored.inputs.input_names() == ["num_images", "seed", "class"]
    assert query(models, version)["failures"] == []


def test_a_file_of_somebody_elses_is_not_replaced(type_in, tmp_path):
    (tmp_path / "0-0001.png").write_text("mine")
    with pytest.raises(UsageError, match=r"0-0001\.png was there before"):
        type_in(f"generate gan/1 -n 3 --each -o {tmp_path}")
    assert [path.name for path in tmp_path.iterdir()] == ["0-0001.png"]


def test_a_model_leaves_as_onnx_with_its_card(type_in, models, tmp_path):
    out = tmp_path / "model.onnx"
    assert "gan/1, onnxruntime" in type_in(f"export gan@challenger -o {out}")
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map["refined by"] == "crnn/1, inside"
    run_id = models.version("gan", 1).run_id
    assert f"| MLflow run | {run_id} |" in (tmp_path / "model.onnx.md").read_text()
    type_in(f"export gan/1 -o {out}")  # what nobody changed is replaced
    (tmp_path / "model.onnx.md").write_text("my notes")
    with pytest.raises(UsageError, match=r"model\.onnx\.md was there before"):
        type_in(f"export gan/1 -o {out}")


def test_a_model_leaves_as_a_folder(type_in, models, tmp_path):
    assert "cnn/1; its README.md says" in type_in(f"export cnn/1 -o {tmp_path / 'cnn'}/")
    card = (tmp_path / "cnn" / "README.md").read_text()
    assert f"| MLflow run | {models.version('cnn', 1).run_id} |" in card
    for line, words in [
        (f"export cnn/1 -o {tmp_path / 'cnn'}", "was there before and is no empty folder"),
        (f"export cnn/1 -o {tmp_path / 'new'} --iterations 3", "--iterations is of ONNX files"),
        (f"export cnn/1 -o {tmp_path / 'a.onnx'} --iterations 3", "cnn/1 is not recurrent"),
        (f"export cnn/7 -o {tmp_path / 'new'}", "cnn has no version 7"),
    ]:
        with pytest.raises(UsageError, match=words):
            type_in(line)
    assert [path.name for path in tmp_path.iterdir()] == ["cnn"]
