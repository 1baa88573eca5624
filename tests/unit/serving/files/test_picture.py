"""What a picture file keeps on its way through a model, by value."""

import io
import re
import struct

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from atelier.data.sources.decoding import quiet_pillow
from atelier.data.sources.pictures import Unusable
from atelier.errors import UsageError
from atelier.serving.files import exchange, reading
from atelier.serving.files.metadata import without_gps
from atelier.serving.files.picture import (
    Picture,
    model_input,
    read_picture,
    with_answers,
    write_picture,
)
from atelier.serving.files.writing import write_quickly
from tests.support.echoes import Echo, Enlarger
from tests.support.picture_files import encoded
from tests.support.properties import examples
from tests.unit.data.test_appearance import ADOBE_RGB, REFUSED, TABLE, png, profile
from tests.unit.data.test_hostile_pictures import SAMPLES

HEIGHT, WIDTH = 20, 24
DRAW = np.random.default_rng(0)
DEEP = DRAW.integers(0, 65536, (HEIGHT, WIDTH, 4)).astype(np.uint16)
ADOBE = profile(ADOBE_RGB)
MAKE, DATE, MAKER_NOTE, ORIENTATION, EXIF, GPS = 271, 36867, 37500, 274, 34665, 34853


def through(picture, model):
    """A picture after a model."""
    numbers = range(len(picture.frames))
    inputs = [model_input(picture, number, model.channels) for number in numbers]
    return with_answers(picture, map(model.predict, inputs))


def result_of(content, model=None, **options):
    """What a reader finds in the file that a model made of a file."""
    return read_picture(write_picture(through(read_picture(content), model or Echo()), **options))


def assert_equal(picture, other):
    for pixels_HWC, other_HWC in zip(picture.frames, other.frames, strict=True):
        np.testing.assert_array_equal(pixels_HWC, other_HWC)
    assert (picture.alpha is None) == (other.alpha is None)
    for alpha_HW, other_HW in zip(picture.alpha or [], other.alpha or [], strict=True):
        np.testing.assert_array_equal(alpha_HW, other_HW)
    for name in ("depth", "file_format", "icc", "exif", "durations", "loop", "gamma"):
        assert getattr(picture, name) == getattr(other, name), name


def tiff(pixels, **options):
    content = io.BytesIO()
    tifffile.imwrite(content, pixels, metadata=None, **options)
    return content.getvalue()


def photograph(**options):
    """A JPEG as cameras write it: on its side, with a place and a profile."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    exif[MAKE] = "Camera"
    exif.get_ifd(EXIF)[DATE] = "2020:01:02 03:04:05"
    exif.get_ifd(EXIF)[MAKER_NOTE] = b"secrets"
    exif.get_ifd(GPS).update({1: "N", 2: (48.0, 8.0, 14.5)})
    options = {"quality": 95, "dpi": (300, 200), "icc_profile": ADOBE, "exif": exif, **options}
    return encoded((WIDTH, HEIGHT), file_format="JPEG", smooth=True, **options)


# -- whatever can be read ----------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", [name for name in TABLE if "bmp with alpha" not in name])
def test_a_model_that_changes_nothing_changes_nothing(name, channels):
    picture = read_picture(TABLE[name][0])
    result = result_of(TABLE[name][0], Echo(channels))
    assert_equal(picture, result)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_model_gets_the_values_as_shares_of_white(depth, channels):
    pixels_HWC = DEEP[..., :channels] if depth == 16 else (DEEP[..., :channels] >> 8).astype("u1")
    picture = Picture([pixels_HWC], None, depth, "PNG")
    x_1CHW = model_input(picture, 0, channels)
    assert x_1CHW.dtype == np.float32
    expected = np.moveaxis(pixels_HWC / (2.0**depth - 1), -1, 0)[None]
    np.testing.assert_allclose(x_1CHW, expected, atol=1e-6)


def test_grey_is_repeated_for_a_colour_model_and_colours_are_weighed_for_a_grey_one():
    grey = Picture([DEEP[..., :1]], None, 16, "PNG")
    x_1CHW = model_input(grey, 0, 3)
    assert (x_1CHW == x_1CHW[:, :1]).all() and x_1CHW.shape[1] == 3
    colour = Picture([DEEP[..., :3]], None, 16, "PNG")
    luma = DEEP[..., :3] @ np.array([0.299, 0.587, 0.114]) / 65535
    np.testing.assert_allclose(model_input(colour, 0, 1)[0, 0], luma, atol=1e-6)


@pytest.mark.parametrize(
    ("channels", "note"),
    [(1, exchange.COLOUR_THROUGH_GREY), (3, exchange.GREY_THROUGH_COLOUR)],
)
def test_who_went_through_a_model_of_other_channels_is_told(channels, note):
    picture = Picture([DEEP[..., : 4 - channels]], None, 16, "PNG")
    result = through(picture, Echo(channels))
    np.testing.assert_array_equal(result.frames[0], picture.frames[0])
    assert result.notes == (note,)
    assert through(picture, Echo(4 - channels)).notes == ()


def test_a_grey_model_changes_brightness_and_keeps_the_differences_of_colours():
    pixels_HWC = DRAW.integers(60, 120, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    picture = Picture([pixels_HWC], None, 8, "PNG")
    x_hat_1CHW = model_input(picture, 0, 1) + np.float32(40 / 255)
    result_HWC = with_answers(picture, [x_hat_1CHW]).frames[0]
    np.testing.assert_array_equal(result_HWC, pixels_HWC + 40)


def test_values_are_rounded_to_nearest_and_clipped():
    picture = Picture([np.zeros((1, 5, 1), np.uint8)], None, 8, "PNG")
    x_hat_1CHW = np.array([-0.5, 0.4999 / 255, 0.5001 / 255, 254.6 / 255, 7], np.float32)
    result = with_answers(picture, [x_hat_1CHW.reshape(1, 1, 1, 5)])
    assert result.frames[0].ravel().tolist() == [0, 0, 1, 255, 255]


@pytest.mark.parametrize("model", [Enlarger(1), Enlarger(3)])
@pytest.mark.parametrize("depth", [8, 16])
def test_transparency_and_colours_grow_with_the_answer(model, depth):
    white = 2**depth - 1
    kind = np.uint8 if depth == 8 else np.uint16
    pixels_HWC = np.full((HEIGHT, WIDTH, 3), (white, white // 2, 0), kind)
    alpha_HW = np.zeros((HEIGHT, WIDTH), kind)
    alpha_HW[:, WIDTH // 2 :] = white
    result = through(Picture([pixels_HWC], [alpha_HW], depth, "PNG"), model)
    assert result.frames[0].shape == (2 * HEIGHT, 2 * WIDTH, 3)
    off = np.abs(result.frames[0].astype(int) - pixels_HWC[0, 0].astype(int)).max()
    assert off <= 1
    (large_HW,) = result.alpha
    assert large_HW.shape == (2 * HEIGHT, 2 * WIDTH) and large_HW.dtype == kind
    assert (large_HW[:, : WIDTH - 4] == 0).all() and (large_HW[:, WIDTH + 4 :] == white).all()
    assert 0 < large_HW[0, WIDTH - 1] < large_HW[0, WIDTH] < white  # not the nearest pixel


# -- 16 bits -----------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("alpha", [0, 1])
def test_a_tiff_keeps_16_bits(channels, alpha):
    pixels = np.dstack([DEEP[..., :channels], DEEP[..., 3:]])[..., : channels + alpha]
    content = tiff(
        pixels if alpha or channels == 3 else pixels[..., 0],
        photometric="rgb" if channels == 3 else "minisblack",
        planarconfig="contig" if alpha or channels == 3 else None,
        extrasamples=["unassalpha"] if alpha else None,
        iccprofile=ADOBE if channels == 3 else None,
        resolution=(300, 200),
        resolutionunit="inch",
    )
    result = write_picture(through(read_picture(content), Echo()))
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(result)), np.squeeze(pixels))
    assert read_picture(result).dpi == (300, 200)
    assert read_picture(result).icc == (ADOBE if channels == 3 else None)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_png_keeps_16_bits_and_what_stands_beside_them(channels):
    picks = [0, 3] if channels == 2 else list(range(channels))
    exif = Image.Exif()
    exif[MAKE] = "Scanner"
    exif[ORIENTATION] = 3
    source = read_picture(png(DEEP[..., picks], 16, eXIf=exif.tobytes()[6:]))
    upright = DEEP[::-1, ::-1][..., picks]
    np.testing.assert_array_equal(source.frames[0], upright[..., : 3 if channels > 2 else 1])
    content = write_picture(
        Picture(source.frames, source.alpha, 16, "PNG", ADOBE, source.exif, (300, 200))
    )
    result = read_picture(content)
    np.testing.assert_array_equal(result.frames[0], source.frames[0])
    if channels in (2, 4):
        np.testing.assert_array_equal(result.alpha[0], upright[..., -1])
    with Image.open(io.BytesIO(content)) as image:  # as others read it
        assert image.info["icc_profile"] == ADOBE
        assert tuple(map(round, image.info["dpi"])) == (300, 200)
        assert dict(image.getexif()) == {MAKE: "Scanner"}


def test_16_bits_where_0_is_white_are_read_and_come_out_as_others():
    result = result_of(REFUSED["tiff of 16 bits where 0 is white"])
    with tifffile.TiffFile(io.BytesIO(REFUSED["tiff of 16 bits where 0 is white"])) as file:
        np.testing.assert_array_equal(result.frames[0][..., 0], 65535 - file.asarray().squeeze())


def test_16_bits_become_8_where_the_format_holds_no_more():
    picture = Picture([DEEP[..., :3]], None, 16, "TIFF")
    result = read_picture(write_picture(picture, "WEBP"))
    np.testing.assert_array_equal(result.frames[0], np.rint(DEEP[..., :3] / 257))


# -- what stands beside the pixels -------------------------------------------------------------


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_a_photograph_is_upright_and_keeps_its_camera_place_colours_and_resolution(file_format):
    content = photograph()
    with Image.open(io.BytesIO(content)) as image:
        upright = np.rot90(np.asarray(image), -1)
    picture = read_picture(content)
    np.testing.assert_array_equal(picture.frames[0], upright)
    written = write_picture(through(picture, Echo()), file_format)
    with Image.open(io.BytesIO(written)) as image:
        assert image.format == file_format
        off = np.abs(np.asarray(image).astype(int) - upright).max()
        assert off <= (16 if file_format == "JPEG" else 0)
        exif = image.getexif()
        assert exif[MAKE] == "Camera" and exif.get(ORIENTATION, 1) == 1
        assert exif.get_ifd(EXIF)[DATE] == "2020:01:02 03:04:05"
        assert exif.get_ifd(EXIF)[MAKER_NOTE] == b"secrets"
        assert exif.get_ifd(GPS) == {1: "N", 2: (48.0, 8.0, 14.5)}
        if file_format != "WEBP":
            assert tuple(map(round, image.info["dpi"])) == (300, 200)
        assert image.info["icc_profile"] == ADOBE
    if file_format != "JPEG":  # whose second coding differs from the first
        assert_equal(read_picture(written), result_of(written))


def test_the_place_can_be_dropped_and_nothing_else_is():
    exif = Image.Exif()
    exif.load(without_gps(read_picture(photograph()).exif))
    assert GPS not in exif and exif[MAKE] == "Camera"
    assert exif.get_ifd(EXIF)[DATE] == "2020:01:02 03:04:05"
    bare = read_picture(encoded()).exif
    assert without_gps(bare) is bare is None


def test_the_preview_of_a_photograph_is_dropped_since_it_shows_it_as_it_was():
    directory = struct.pack("<HHHI4sI", 1, MAKE, 2, 4, b"Cam\0", 26)
    preview = struct.pack("<HHHIII", 1, 513, 4, 1, 44, 0) + b"a small picture"
    exif = b"Exif\0\0II*\0\x08\0\0\0" + directory + preview
    content = encoded(file_format="JPEG", exif=exif)
    assert b"a small picture" in content
    written = write_picture(through(read_picture(content), Echo()))
    assert b"a small picture" not in written
    with Image.open(io.BytesIO(written)) as image:
        assert dict(image.getexif()) == {MAKE: "Cam"}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("deep", [False, True])
def test_every_orientation_is_applied(orientation, deep):
    pixels_HWC = DEEP[..., :3] if deep else (DEEP[..., :3] >> 8).astype(np.uint8)
    tags = [(ORIENTATION, "H", 1, orientation, True)]
    picture = read_picture(tiff(pixels_HWC, photometric="rgb", extratags=tags))
    content = io.BytesIO()
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray((DEEP[..., :3] >> 8).astype(np.uint8)).save(content, "PNG", exif=exif)
    upright_HWC = read_picture(content.getvalue()).frames[0]
    assert upright_HWC.shape[:2] == ((HEIGHT, WIDTH) if orientation < 5 else (WIDTH, HEIGHT))
    np.testing.assert_array_equal(picture.frames[0] >> (8 if deep else 0), upright_HWC)
    assert read_picture(content.getvalue()).exif is None


def test_a_jpeg_is_written_at_95_without_subsampling_or_as_asked_for():
    sizes = []
    for quality in (None, 95, 50):
        content = write_picture(read_picture(photograph()), quality=quality)
        sizes.append(len(content))
        with Image.open(io.BytesIO(content)) as image:
            assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3
    assert sizes[0] == sizes[1] > sizes[2]


def test_webp_is_lossless_unless_a_quality_is_asked_for():
    picture = read_picture(encoded())
    same = read_picture(write_picture(picture, "WEBP"))
    np.testing.assert_array_equal(same.frames[0], picture.frames[0])
    lossy = read_picture(write_picture(picture, "WEBP", 80))
    assert (lossy.frames[0] != picture.frames[0]).any()


# -- colours -----------------------------------------------------------------------------------


def test_numbers_stay_in_their_own_colour_space():
    result = result_of(TABLE["png in Adobe RGB"][0])
    with Image.open(io.BytesIO(TABLE["png in Adobe RGB"][0])) as image:
        np.testing.assert_array_equal(result.frames[0], np.asarray(image))
        assert result.icc == image.info["icc_profile"]


def test_cmyk_comes_out_as_rgb_and_says_so():
    content = REFUSED["jpeg of CMYK"]
    result = through(read_picture(content), Echo())
    with Image.open(io.BytesIO(content)) as image:
        np.testing.assert_array_equal(result.frames[0], np.asarray(image.convert("RGB")))
    assert result.notes == (reading.CMYK_BY_FORMULA,)
    assert read_picture(write_picture(result)).frames[0].shape[2] == 3


def cmyk_profile():
    """A profile of CMYK, version 2, that prints cyan as grey and all other inks as black."""
    levels = np.stack(np.meshgrid(*4 * [[0, 1]], indexing="ij"), axis=-1).reshape(-1, 4)
    lightness = np.where(levels[:, 1:].any(axis=1), 0.0, 1 - levels[:, 0] / 2)
    lab = np.stack([lightness * 65280, lightness * 0 + 32768, lightness * 0 + 32768], axis=-1)
    table = np.arange(2) * 65535
    body = b"mft2\0\0\0\0" + bytes([4, 3, 2, 0])
    body += np.array([65536, 0, 0, 0, 65536, 0, 0, 0, 65536], ">i4").tobytes()
    body += np.array([2, 2], ">u2").tobytes()
    body += np.tile(table, 4).astype(">u2").tobytes() + lab.round().astype(">u2").tobytes()
    body += np.tile(table, 3).astype(">u2").tobytes()
    white = b"XYZ \0\0\0\0" + np.array([63190, 65536, 54061], ">i4").tobytes()
    tags = {b"A2B0": body + bytes(-len(body) % 4), b"wtpt": white}
    start = 132 + 12 * len(tags)
    entries = np.array([len(tags)], ">u4").tobytes()
    data = b""
    for name, value in tags.items():
        entries += name + np.array([start + len(data), len(value)], ">u4").tobytes()
        data += value
    head = np.array([start + len(data)], ">u4").tobytes() + b"none\x02\x10\0\0prtrCMYKLab "
    head += bytes(12) + b"acsp"
    head = head.ljust(68, b"\0") + np.array([63190, 65536, 54061], ">i4").tobytes()
    return head.ljust(128, b"\0") + entries + data


def test_cmyk_is_converted_through_its_profile():
    ink_HWC = np.zeros((4, 4, 4), np.uint8)
    ink_HWC[:2, :, 0] = 255  # cyan
    content = io.BytesIO()
    Image.fromarray(ink_HWC, "CMYK").save(content, "TIFF", icc_profile=cmyk_profile())
    picture = read_picture(content.getvalue())
    assert picture.notes == (reading.CMYK_BY_PROFILE,)
    assert picture.icc is None
    grey_HWC = picture.frames[0].astype(int)
    assert (grey_HWC.max(axis=2) - grey_HWC.min(axis=2)).max() <= 2
    assert (np.abs(grey_HWC[:2] - 119) <= 3).all()  # L* = 50
    assert (grey_HWC[2:] >= 253).all()


def test_a_palette_with_transparency_comes_out_as_rgb_with_it():
    image = Image.fromarray((np.arange(16) % 3).reshape(4, 4).astype(np.uint8), "P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    content = io.BytesIO()
    image.save(content, "PNG", transparency=bytes([0, 128, 255]))
    result = result_of(content.getvalue())
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]])
    numbers = np.asarray(image)
    np.testing.assert_array_equal(result.frames[0], colours[numbers])
    np.testing.assert_array_equal(result.alpha[0], np.array([0, 128, 255])[numbers])
    assert read_picture(content.getvalue()).notes == (reading.PALETTE,)


def test_a_gamma_stays_in_a_png():
    content = TABLE["png colour in linear light"][0]
    assert result_of(content).gamma == pytest.approx(1.0)


def test_transparency_comes_out_on_white_where_the_format_holds_none():
    picture = read_picture(TABLE["png colour with alpha"][0])
    result = read_picture(write_picture(picture, "BMP"))
    expected = TABLE["png colour with alpha"][1]
    assert np.abs(result.frames[0] - expected).max() <= 0.51
    assert result.alpha is None


# -- several frames ----------------------------------------------------------------------------


def moving(file_format, alpha=False, **options):
    """Three flat frames of 4 by 6 squares, each in its own place."""
    frames = []
    for number in range(3):
        pixels = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
        pixels[..., number] = 255
        pixels[..., 3] = 255
        pixels[2:6, 3 + number : 9 + number, :3] = (10, 200, 30)
        if alpha:
            pixels[:, : number + 1, 3] = 0
        frames.append(Image.fromarray(pixels if alpha else pixels[..., :3]))
    content = io.BytesIO()
    frames[0].save(
        content,
        file_format,
        save_all=True,
        append_images=frames[1:],
        duration=[100, 200, 300],
        loop=2,
        **options,
    )
    return content.getvalue(), np.stack([np.asarray(frame) for frame in frames])


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize(
    ("file_format", "options"),
    [("GIF", {"disposal": 2}), ("WEBP", {"lossless": True, "exact": True}), ("PNG", {})],
)
def test_an_animation_keeps_its_frames_and_rhythm(file_format, options, alpha):
    content, expected_NHWC = moving(file_format, alpha, **options)
    result = result_of(content)
    assert result.file_format == file_format
    assert (result.durations, result.loop) == ((100.0, 200.0, 300.0), 2)
    assert len(result.frames) == 3
    for number, expected_HWC in enumerate(expected_NHWC):
        seen = expected_HWC[..., 3] > 0 if alpha else np.ones((HEIGHT, WIDTH), bool)
        np.testing.assert_array_equal(result.frames[number][seen], expected_HWC[seen][:, :3])
        if alpha:
            np.testing.assert_array_equal(result.alpha[number], expected_HWC[..., 3])


def test_an_animation_is_refused_by_a_format_that_holds_one_picture():
    picture = read_picture(moving("GIF")[0])
    with pytest.raises(UsageError, match="3 frames or pages don't fit into JPEG"):
        write_picture(picture, "JPEG")


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_all_pages_of_a_tiff_are_restored(kind):
    pages = [DEEP[: 10 + number, :, :3].astype(kind) for number in range(3)]
    content = io.BytesIO()
    with tifffile.TiffWriter(content) as writer:
        for number, page in enumerate(pages):
            writer.write(page, photometric="rgb", metadata=None)
            if number == 0:  # a smaller copy is no page
                writer.write(page[::2, ::2], photometric="rgb", metadata=None, subfiletype=1)
    picture = read_picture(content.getvalue())
    assert any("without these" in note for note in picture.notes)
    with tifffile.TiffFile(io.BytesIO(write_picture(through(picture, Echo())))) as file:
        assert len(file.pages) == 3
        for page, expected in zip(file.pages, pages, strict=True):
            np.testing.assert_array_equal(page.asarray(), expected)


# -- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"hello, this is no picture", "not a picture: none of PNG, JPEG"),
        (encoded()[:-40], "truncated or damaged"),
        (photograph()[:-200], "truncated or damaged"),
        (png(DEEP[..., :3], 16)[:-40], "truncated or damaged"),
        (tiff(DEEP[..., :3], photometric="rgb")[:-40], "truncated or damaged"),
        (REFUSED["tiff of floats"], "wrong channels"),
        (REFUSED["tiff of two channels"], "wrong channels"),
    ],
    ids=["empty", "text", "png", "jpeg", "deep png", "deep tiff", "floats", "two channels"],
)
def test_what_cannot_be_read_is_refused_with_the_reason(content, reason):
    with pytest.raises(Unusable, match=f"^{re.escape(reason)}"):
        read_picture(content)


DEEP_SAMPLES = [
    png(DEEP, 16),
    tiff(DEEP[..., :3], photometric="rgb"),
    tiff(DEEP[..., :3], photometric="rgb", compression="zlib", predictor=True),
]


@examples(10)
@given(st.sampled_from([*SAMPLES, *DEEP_SAMPLES, photograph()]), st.data())
def test_a_file_with_changed_bytes_or_cut_is_restored_or_refused(sample, data):
    content = bytearray(sample)
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = bytes(content[: data.draw(st.sampled_from([len(content), len(content) - 9, 60]))])
    with quiet_pillow():
        try:
            picture = read_picture(content, max_pixels=100_000)
        except Unusable:
            return
        written = write_picture(through(picture, Echo()))
        assert read_picture(written).frames[0].shape == picture.frames[0].shape


def test_a_bomb_is_refused_by_its_header():
    header = png(np.zeros((1, 1, 3), np.uint8))
    bomb = header[:16] + (50_000).to_bytes(4, "big") * 2 + header[24:]  # its checksum is wrong too
    bombs = [encoded((200, 100), mode="L")[:60], tiff(np.zeros((100, 200), np.uint8))]
    for content in bombs:
        with pytest.raises(Unusable, match="200 x 100, at most 1,000 pixels are decoded"):
            read_picture(content, max_pixels=1000)
    with pytest.raises(Unusable):
        read_picture(bomb)
    with pytest.raises(Unusable, match="too many pixels: 1,440 in 3 frames"):
        read_picture(moving("GIF")[0], max_pixels=1000)


def test_a_side_that_is_too_long_for_a_format_is_refused():
    picture = Picture([np.zeros((1, 20_000, 1), np.uint8)], None, 8, "PNG")
    with pytest.raises(UsageError, match="20,000 pixels doesn't fit into WEBP"):
        write_picture(picture, "WEBP")


def test_a_damaged_profile_is_handed_on_as_it_is():
    content = TABLE["a damaged profile"][0]
    assert result_of(content).icc == read_picture(content).icc
    with pytest.raises((OSError, ImageCms.PyCMSError)):
        ImageCms.ImageCmsProfile(io.BytesIO(read_picture(content).icc))


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_written_quickly_has_the_same_pixels(depth, channels):
    rng = np.random.default_rng(depth + channels)
    white = 2**depth
    pixels_HWC = rng.integers(0, white, (33, 47, channels)).astype(f"uint{depth}")
    alpha_HW = rng.integers(0, white, (33, 47)).astype(f"uint{depth}")
    picture = Picture([pixels_HWC], [alpha_HW], depth, "PNG", dpi=(72.0, 72.0))
    again = read_picture(write_quickly(picture, "PNG"))
    assert np.array_equal(again.frames[0], pixels_HWC)
    assert np.array_equal(again.alpha[0], alpha_HW)
    assert again.dpi == pytest.approx((72, 72), abs=0.1)
