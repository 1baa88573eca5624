import re
import unicodedata
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from atelier.data.store import DatasetInfo
from atelier.errors import UsageError
from atelier.networks.restorers import build_restorer
from atelier.pictures import encode_picture, grid, to_pixels
from atelier.serving.bundle import write_bundle
from atelier.serving.restore import read_picture, restore_files
from atelier.serving.served_model import ServedModel
from atelier.training.session import Trained


def noise(height, width, channels, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def floats(pixels_HWC):
    return np.moveaxis(pixels_HWC.astype(np.float32) / 255, -1, 0)[None]


# -- pixels and grids --------------------------------------------------------------------------


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3]), st.integers(0, 2**32))
def test_pixels_survive_the_way_to_floats_and_back(height, width, channels, seed):
    pixels_HWC = noise(height, width, channels, seed)
    np.testing.assert_array_equal(to_pixels(floats(pixels_HWC))[0], pixels_HWC)


def test_pixels_are_rounded_to_nearest_and_clipped():
    x_NCHW = np.array(
        [-0.5, 0.0, 0.4999 / 255, 0.5001 / 255, 254.6 / 255, 1.0, 7.0], np.float32
    ).reshape(1, 1, 1, 7)
    assert to_pixels(x_NCHW).ravel().tolist() == [0, 0, 0, 1, 255, 255, 255]


@given(
    st.integers(1, 12),
    st.integers(1, 5),
    st.integers(0, 3),
    st.integers(1, 3),
    st.sampled_from([1, 3]),
)
def test_a_grid_shows_every_image_in_its_place_on_white(count, columns, margin, scale, channels):
    images_NHWC = np.stack([noise(3, 5, channels, seed) for seed in range(count)])
    picture = grid(np.moveaxis(images_NHWC, -1, 1).astype(np.float32) / 255, columns, margin, scale)
    rows = -(-count // columns)
    assert picture.shape == (
        rows * (3 * scale + margin) + margin,
        columns * (5 * scale + margin) + margin,
        channels,
    )
    seen = np.zeros(picture.shape, bool)
    for index, image in enumerate(images_NHWC):
        top = margin + index // columns * (3 * scale + margin)
        left = margin + index % columns * (5 * scale + margin)
        area = slice(top, top + 3 * scale), slice(left, left + 5 * scale)
        np.testing.assert_array_equal(picture[area][::scale, ::scale], image)
        np.testing.assert_array_equal(picture[area][scale - 1 :: scale, scale - 1 :: scale], image)
        seen[area] = True
    assert (picture[~seen] == 255).all()


def write_picture(path, pixels_HWC):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_picture(pixels_HWC, path))


def read(path, channels):
    return read_picture(path, channels, tell=print)


# -- files -------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "new/folder/a.PNG"])
def test_a_picture_survives_the_way_to_a_file_and_back(tmp_path, name, channels):
    pixels_HWC = noise(37, 31, channels)
    write_picture(tmp_path / name, pixels_HWC)
    loaded = read(tmp_path / name, channels)
    assert (loaded.shape, loaded.dtype) == ((1, channels, 37, 31), np.float32)
    np.testing.assert_array_equal(loaded, floats(pixels_HWC))


def test_grey_and_colour_are_converted_into_each_other(tmp_path):
    grey, colour = noise(5, 7, 1), noise(5, 7, 3)
    write_picture(tmp_path / "grey.png", grey)
    write_picture(tmp_path / "colour.png", colour)
    np.testing.assert_array_equal(read(tmp_path / "grey.png", 3), floats(grey.repeat(3, axis=2)))
    luma = np.asarray(Image.fromarray(colour).convert("L"))[..., None]
    np.testing.assert_array_equal(read(tmp_path / "colour.png", 1), floats(luma))


def test_transparent_pixels_are_white_whatever_lies_under_them(tmp_path):
    rgba = np.dstack([noise(5, 7, 3), np.full((5, 7), 255, np.uint8)])
    rgba[:, :3, 3] = 0
    Image.fromarray(rgba).save(tmp_path / "a.png")
    loaded = read(tmp_path / "a.png", 3)
    assert (loaded[..., :3] == 1).all()
    np.testing.assert_array_equal(loaded[..., 3:], floats(rgba[:, 3:, :3]))


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    deep = np.array([[0, 257, 128 * 257, 65535]], np.uint16)
    Image.fromarray(deep).save(tmp_path / "a.png")
    assert (read(tmp_path / "a.png", 1).ravel() * 255).round().tolist() == [0, 1, 128, 255]


def test_a_picture_is_turned_upright_as_its_camera_says(tmp_path):
    pixels = noise(4, 6, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read(tmp_path / "a.png", 3), floats(np.rot90(pixels, -1)))


def float_tiff(path):
    Image.fromarray(np.zeros((3, 3), np.float32)).save(path)


def truncated(path):
    path.write_bytes(encode_picture(noise(30, 30, 3), path.with_suffix(".bmp"))[:500])


@pytest.mark.parametrize(
    ("name", "make", "expected"),
    [
        ("a.png", lambda path: path.write_text("hello"), "not a picture: none of PNG, JPEG, WEBP"),
        ("a.png", lambda path: path.write_bytes(b""), "empty."),
        ("a.png", lambda path: None, "can't be read: No such file or directory."),
        ("a.png", lambda path: path.mkdir(), "can't be read: Is a directory."),
        ("a.png", truncated, "truncated or damaged."),
        ("a.tif", float_tiff, "wrong channels: F, neither grey nor RGB of 8 or 16 bits."),
    ],
    ids=["text", "empty", "missing", "folder", "truncated", "floats"],
)
def test_what_is_no_picture_is_refused_with_the_reason(tmp_path, name, make, expected):
    make(tmp_path / name)
    with pytest.raises(UsageError, match=f"^{re.escape(expected)}"):
        read(tmp_path / name, 3)


def test_a_name_without_the_ending_of_a_picture_is_refused(tmp_path):
    for name, expected in (
        ("a.xyz", r"a\.xyz: \.xyz is no picture format\. Use \.png or \.jpg\."),
        ("a", r"a: no ending is no picture format"),
    ):
        with pytest.raises(UsageError, match=expected):
            encode_picture(noise(3, 3, 3), tmp_path / name)


# -- restoring files ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A fresh recurrent restorer in its bundle.

    An untrained one returns its input, so results can be checked.
    """
    config = {"name": "crnn", "channels": 3, "width": 4, "iterations": 2}
    trained = Trained(build_restorer(**config).eval(), config, 0)
    info = DatasetInfo(28, 3, 0, (), {"train": 1, "validation": 1, "test": 1})
    bundle = write_bundle(
        tmp_path_factory.mktemp("served") / "bundle", "restoration", trained, info
    )
    model = ServedModel()
    model.load_context(SimpleNamespace(artifacts={"bundle": str(bundle)}))
    # As MLflow calls it.
    return SimpleNamespace(
        model=model, predict=lambda x_NCHW, params=None: model.predict(None, x_NCHW, params)
    )


@pytest.fixture
def inputs(tmp_path):
    folder = tmp_path / "in"
    for number, name in enumerate(("a.png", "a.bmp", "b.tif")):
        write_picture(folder / name, noise(37, 31 + number, 3, number))
    (folder / "notes.txt").write_text("no picture")
    return folder


def pixels_of(path):
    return np.asarray(Image.open(path))


def test_a_folder_is_restored_picture_by_picture_at_any_size(served, inputs, tmp_path):
    assert restore_files(served, 3, [inputs], tmp_path / "new" / "out", {}) == 3
    results = {path.name: pixels_of(path) for path in (tmp_path / "new" / "out").iterdir()}
    assert sorted(results) == ["a-2.png", "a.png", "b.png"]
    np.testing.assert_array_equal(results["a.png"], noise(37, 32, 3, 1))  # a.bmp comes before a.png
    np.testing.assert_array_equal(results["a-2.png"], noise(37, 31, 3, 0))
    np.testing.assert_array_equal(results["b.png"], noise(37, 33, 3, 2))


def test_no_two_results_ever_share_a_name(served, inputs, tmp_path):
    write_picture(inputs / "a-2.png", noise(5, 5, 3, 7))
    write_picture(tmp_path / "other" / "a.png", noise(5, 5, 3, 8))
    given_files = [
        inputs / "a.png",
        inputs / "a.bmp",
        inputs / "a-2.png",
        tmp_path / "other" / "a.png",
    ]
    assert restore_files(served, 3, given_files, tmp_path / "out", {}) == 4
    found = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in found] == ["a-2-2.png", "a-2.png", "a-3.png", "a.png"]
    assert len({path.read_bytes() for path in found}) == 4


def test_the_inputs_are_never_overwritten(served, inputs):
    before = {path: path.read_bytes() for path in inputs.iterdir()}
    for output in (inputs, inputs / ".." / "in"):
        with pytest.raises(
            UsageError,
            match=r"is one of the inputs and would be overwritten\. Name another folder\.",
        ):
            restore_files(served, 3, [inputs], output, {})
    assert {path: path.read_bytes() for path in inputs.iterdir()} == before


def test_a_picture_that_is_no_result_is_never_overwritten(served, inputs, tmp_path):
    out = tmp_path / "out"
    write_picture(out / "b.png", noise(5, 5, 3, 9))
    before = (out / "b.png").read_bytes()
    with pytest.raises(
        UsageError, match=r"b\.png was there before: no result .* Nothing was restored\. Name"
    ):
        restore_files(served, 3, [inputs], out, {})
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {"b.png": before}


def test_a_result_is_replaced_by_the_next_unless_somebody_changed_it(served, inputs, tmp_path):
    out = tmp_path / "out"
    for seed in (4, 5):
        write_picture(inputs / "b.tif", noise(37, 33, 3, seed))
        assert restore_files(served, 3, [inputs], out, {}) == 3
        np.testing.assert_array_equal(pixels_of(out / "b.png"), noise(37, 33, 3, seed))
    text = PngInfo()
    with Image.open(out / "b.png") as result:
        for key, value in result.info.items():
            text.add_text(key, value)
        retouched = result.rotate(180)
    retouched.save(
        out / "b.png", pnginfo=text
    )  # as editors do, which keep what a file says of itself
    with pytest.raises(UsageError, match="or changed since"):
        restore_files(served, 3, [inputs], out, {})
    np.testing.assert_array_equal(pixels_of(out / "b.png"), np.asarray(retouched))


def test_names_that_differ_in_case_or_unicode_form_only_get_results_of_their_own(served, tmp_path):
    folder, given_files = tmp_path / "in", []
    for number, name in enumerate(("A.png", "a.png", "\u00e9.png", "e\u0301.png")):
        write_picture(folder / name, noise(8, 8, 3, number))
        given_files.append(folder / name)
    assert restore_files(served, 3, given_files, tmp_path / "out", {}) == 4
    names = [
        unicodedata.normalize("NFC", path.name).casefold() for path in (tmp_path / "out").iterdir()
    ]
    assert sorted(names) == ["a-2.png", "a.png", "\u00e9-2.png", "\u00e9.png"]


def test_the_others_are_restored_where_some_inputs_are_no_pictures(served, inputs, tmp_path):
    (inputs / "broken.png").write_text("no picture")
    with pytest.raises(UsageError) as error:
        restore_files(served, 3, [inputs, inputs / "notes.txt"], tmp_path / "out", {})
    head, *lines = str(error.value).splitlines()
    assert head == "2 of 5 inputs were not restored:"
    assert [line.strip().split(": not a picture")[0] for line in lines] == [
        str(inputs / "broken.png"),
        str(inputs / "notes.txt"),
    ]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "a-2.png",
        "a.png",
        "b.png",
    ]


def test_an_input_that_is_not_there_stops_before_anything_is_written(served, inputs, tmp_path):
    with pytest.raises(UsageError, match=re.escape(f"{tmp_path / 'none.png'} does not exist.")):
        restore_files(served, 3, [inputs, tmp_path / "none.png"], tmp_path / "out", {})
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        UsageError, match=re.escape(f"{tmp_path / 'empty'} holds no pictures (0 other files).")
    ):
        restore_files(served, 3, [inputs, tmp_path / "empty"], tmp_path / "out", {})
    assert not (tmp_path / "out").exists()


def test_iterations_reach_the_network_and_none_means_as_trained(served, inputs, tmp_path):
    torch.manual_seed(0)
    torch.nn.init.normal_(served.model.network.correction.weight, std=0.3)
    results = []
    for iterations in (0, 2, 1):
        restore_files(
            served,
            3,
            [inputs / "a.png"],
            tmp_path / str(iterations),
            {"iterations": iterations} if iterations else {},
        )
        results.append(pixels_of(tmp_path / str(iterations) / "a.png"))
    torch.nn.init.zeros_(served.model.network.correction.weight)
    np.testing.assert_array_equal(results[0], results[1])
    assert (results[0] != results[2]).any()
