import io
import time
import warnings
import zlib
from functools import cache

import numpy as np
import pytest
import skimage.data
import tifffile
from PIL import Image, ImageOps

from atelier.data.sources.decoding import decode, fit_pixels, quiet_pillow
from atelier.data.sources.pictures import Unusable
from atelier.params import Dataset
from tests.support.picture_files import encoded

FORMATS = ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"]


def stored_as(image_size=None, channels=3, **changes):
    return Dataset(
        source="folder",
        path="raw",
        image_size=image_size,
        channels=channels,
        **{"min_size": 8, **changes},
    )


def saved(pixels, file_format="PNG", **save):
    buffer = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(buffer, file_format, **save)
    return buffer.getvalue()


def tiff(shape, dtype=np.uint8, photometric="minisblack", **options):
    pixels = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, photometric=photometric, **options)
    return buffer.getvalue()


def reason(content, **changes):
    with quiet_pillow(), pytest.raises(Unusable) as caught:
        decode(content, stored_as(**changes))
    return caught.value.reason


# --- what is read


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_format_is_read_in_both_sizes_and_channels(file_format, mode, channels):
    content = encoded((37, 31), mode=mode, file_format=file_format)
    assert decode(content, stored_as(channels=channels)).shape == (31, 37, channels)
    assert decode(content, stored_as(16, channels)).shape == (16, 16, channels)


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF"])
def test_a_lossless_picture_of_the_right_form_comes_back_as_it_was(file_format):
    content = encoded((16, 16), seed=3, file_format=file_format)
    expected = np.asarray(Image.open(io.BytesIO(content)))
    for dataset in (
        stored_as(),
        stored_as(16),
        stored_as(16, fit="pad"),
        stored_as(16, fit="stretch"),
    ):
        np.testing.assert_array_equal(decode(content, dataset), expected)


def test_the_first_frame_of_an_animation_is_taken():
    frames = [Image.new("RGB", (20, 20), color) for color in ("red", "blue")]
    for file_format in ("GIF", "WEBP", "TIFF"):
        content = saved(frames[0], file_format, save_all=True, append_images=frames[1:])
        red, _, blue = decode(content, stored_as())[10, 10]
        assert (red > 250, blue < 5) == (True, True), file_format


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(orientation):
    lying = skimage.data.astronaut()[:60, :40]
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = saved(lying, exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))))
    np.testing.assert_array_equal(decode(content, stored_as()), upright)
    assert upright.shape[:2] == ((60, 40) if orientation < 5 else (40, 60))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "PA"])
def test_what_is_transparent_becomes_white(mode):
    clear = Image.new("RGBA", (20, 20), (200, 10, 10, 0))
    if mode == "P":
        content = saved(clear.quantize(4), transparency=0)
    else:
        content = saved(clear.convert(mode), "TIFF" if mode == "PA" else "PNG")
    assert decode(content, stored_as()).min() == 255


@pytest.mark.parametrize(
    "make", [lambda pixels: saved(pixels), lambda pixels: saved(pixels, "TIFF")]
)
@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_16_bit_grey_keeps_its_range(make, byte_order):
    deep = np.linspace(0, 65535, 256).round().astype(byte_order + "u2").reshape(16, 16)
    image = (
        Image.fromarray(deep.astype("<u2"))
        if byte_order == "<"
        else Image.frombytes("I;16B", (16, 16), deep.tobytes())
    )
    np.testing.assert_array_equal(
        decode(make(image), stored_as(channels=1))[..., 0], np.arange(256).reshape(16, 16)
    )


def test_16_bit_colour_keeps_its_range():
    deep = np.linspace(0, 65535, 3 * 256).astype(np.uint16).reshape(16, 16, 3)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, deep, photometric="rgb")
    assert np.abs(decode(buffer.getvalue(), stored_as()) - deep / 257).max() < 1


# --- squares


def stripes(width, height):
    """Three equal stripes along the longer side: black, white, black."""
    pixels = np.zeros((height, width), np.uint8)
    if width > height:
        pixels[:, width // 3 : 2 * width // 3] = 255
    else:
        pixels[height // 3 : 2 * height // 3] = 255
    return saved(pixels)


def test_a_centre_crop_is_what_pillow_fits():
    content = encoded((97, 45), smooth=True)
    expected = ImageOps.fit(Image.open(io.BytesIO(content)), (16, 16), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(decode(content, stored_as(16)), np.asarray(expected))
    # the filter mixes a little black into the edge
    assert decode(stripes(96, 32), stored_as(16, 1))[:, 1:-1].min() > 250


def test_a_top_crop_keeps_the_top_of_a_tall_picture_and_the_centre_of_a_wide_one():
    assert decode(stripes(32, 96), stored_as(16, 1, fit="top-crop"))[:-1].max() < 5
    wide = stripes(96, 32)
    np.testing.assert_array_equal(
        decode(wide, stored_as(16, 1, fit="top-crop")), decode(wide, stored_as(16, 1))
    )


def test_padding_keeps_the_whole_picture_on_white():
    square = decode(saved(np.zeros((32, 96), np.uint8)), stored_as(24, 1, fit="pad"))[..., 0]
    assert square[8:16].max() == 0
    assert square[:8].min() == square[16:].min() == 255
    assert decode(saved(np.zeros((8, 4000), np.uint8)), stored_as(16, 1, fit="pad")).shape == (
        16,
        16,
        1,
    )


def test_stretching_keeps_the_whole_picture_and_not_its_shape():
    square = decode(stripes(96, 48), stored_as(24, 1, fit="stretch"))[12, :, 0]
    assert [square[4], square[12], square[20]] == [0, 255, 0]


def psnr(first, second):
    return -10 * np.log10(np.mean((first / 255.0 - second / 255.0) ** 2))


@cache
def large_jpeg_and_png(picture):
    """A photograph as a large JPEG file, and its pixels as PNG, which is decoded in full."""
    photograph = Image.fromarray(getattr(skimage.data, picture)())
    jpeg = saved(photograph.resize((1600, 1200), Image.Resampling.LANCZOS), "JPEG", quality=90)
    return jpeg, saved(Image.open(io.BytesIO(jpeg)), compress_level=1)


@pytest.mark.parametrize("picture", ["astronaut", "coffee", "rocket", "chelsea"])
@pytest.mark.parametrize("fit", ["center-crop", "pad", "stretch"])
def test_a_large_jpeg_decoded_in_part_looks_the_same_and_is_always_the_same(picture, fit):
    jpeg, png = large_jpeg_and_png(picture)
    dataset = stored_as(64, fit=fit)
    whole = decode(png, dataset)
    in_part = decode(jpeg, dataset)
    assert psnr(whole, in_part) > 48
    np.testing.assert_array_equal(in_part, decode(jpeg, dataset))


def test_a_large_jpeg_is_decoded_faster_than_in_full():
    jpeg = encoded((4000, 3000), smooth=True, file_format="JPEG")
    seconds = []
    for size in (64, None):
        start = time.process_time()
        decode(jpeg, stored_as(size))
        seconds.append(time.process_time() - start)
    assert seconds[0] < seconds[1] / 2


# --- pixels that a source hands over


def test_pixels_of_the_right_form_are_passed_on_untouched():
    grey = np.zeros((28, 28, 1), np.uint8)
    assert fit_pixels(grey, stored_as(28, 1)) is grey
    assert fit_pixels(grey, stored_as(None, 1)) is grey


def test_pixels_are_fitted_as_files_are():
    content = encoded((48, 40), mode="L")
    pixels = np.asarray(Image.open(io.BytesIO(content)))[:, :, None]
    for dataset in (stored_as(16, 1), stored_as(None, 3), stored_as(16, 3, fit="pad")):
        np.testing.assert_array_equal(fit_pixels(pixels, dataset), decode(content, dataset))
    with pytest.raises(Unusable, match="too small: 48 x 40, the short side needs 64 pixels"):
        fit_pixels(pixels, stored_as(None, 1, min_size=64))


# --- what is refused


def test_every_defect_has_its_reason():
    good = encoded()
    assert reason(b"") == "empty"
    assert reason(b"not a picture") == "not a picture"
    assert reason(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n") == "not a picture"
    assert reason(good, max_pixels=1199) == "too many pixels"
    assert reason(good, min_size=31) == "too small"
    assert decode(good, stored_as(max_pixels=1200, min_size=30)).shape == (30, 40, 3)


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_a_truncated_file_is_named_so_in_every_format(file_format, kept):
    content = encoded((60, 50), smooth=True, file_format=file_format)
    assert reason(content[: int(kept * len(content))]) == "truncated or damaged"


@pytest.mark.parametrize("file_format", FORMATS)
def test_of_a_file_that_is_all_but_gone_the_kind_is_still_known(file_format):
    assert reason(encoded(file_format=file_format)[:8]) == "truncated or damaged"


@pytest.mark.parametrize(
    "content",
    [
        saved(Image.new("CMYK", (20, 20)), "JPEG"),
        saved(Image.new("LAB", (20, 20)), "TIFF"),
        saved(Image.new("F", (20, 20)), "TIFF"),
        saved(Image.new("I", (20, 20)), "TIFF"),
        tiff((20, 20, 2), extrasamples=["unspecified"]),
        tiff((20, 20, 5), photometric="rgb", extrasamples=["unspecified"] * 2),
        tiff((20, 20, 7), extrasamples=["unspecified"] * 6),
        tiff((20, 20, 3), np.float32, "rgb"),
        tiff((20, 20), np.float64),
        tiff((20, 20), np.uint32, bigtiff=True),
        tiff((20, 20), np.uint16, "miniswhite"),
    ],
    ids=[
        "CMYK",
        "LAB",
        "F",
        "I",
        "2 bands",
        "5 bands",
        "7 bands",
        "RGB float",
        "64 bits",
        "32 bits",
        "16 inverted",
    ],
)
def test_other_channels_than_grey_and_colour_are_refused(content):
    assert reason(content) == "wrong channels"


def test_grey_with_alpha_and_colour_with_alpha_are_read_from_tiff():
    for bands, photometric in ((2, "minisblack"), (4, "rgb")):
        content = tiff((20, 20, bands), photometric=photometric, extrasamples=["unassalpha"])
        assert decode(content, stored_as()).shape == (20, 20, 3)


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "GIF"])
def test_a_bomb_is_refused_by_its_header_alone(file_format):
    content = bytearray(encoded((20, 20), mode="L", file_format=file_format))
    place = {"PNG": 16, "BMP": 18, "GIF": 6}[file_format]
    size = {"PNG": ">u4", "BMP": "<u4", "GIF": "<u2"}[file_format]
    content[place : place + 2 * np.dtype(size).itemsize] = np.array(
        [60_000, 60_000], size
    ).tobytes()
    if file_format == "PNG":  # its header has a checksum
        content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    start = time.process_time()
    assert reason(bytes(content)) == "too many pixels"
    assert time.process_time() - start < 0.5


def test_pillow_is_quiet_inside_and_as_before_afterwards():
    before = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with quiet_pillow():
            assert Image.MAX_IMAGE_PIXELS is None
            warnings.warn_explicit(
                "odd metadata", UserWarning, "x.py", 1, module="PIL.TiffImagePlugin"
            )
            warnings.warn_explicit("ours", UserWarning, "y.py", 1, module="atelier")
    assert [str(warning.message) for warning in seen] == ["ours"]
    assert Image.MAX_IMAGE_PIXELS == before


def test_without_quiet_pillow_its_own_limit_is_a_reason_too(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(Unusable, match="too many pixels"):
        decode(encoded(), stored_as())
