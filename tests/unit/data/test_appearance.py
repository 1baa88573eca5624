"""Pixels mean something: every kind of picture against values computed without Pillow's
conversions."""

import io
import struct
import zipfile
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from atelier.data.sources.decoding import OwnSize, decode
from atelier.data.sources.opening import open_source
from atelier.data.sources.pictures import Encoded, Unusable, content_hash
from atelier.params import Source

HEIGHT, WIDTH = 20, 24
SMOOTH = np.asarray(
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (5, 6, 4), np.uint8)).resize(
        (WIDTH, HEIGHT)
    )
)
COLOURS, GREY = SMOOTH[..., :3], SMOOTH[..., :1]
ALPHA = SMOOTH[..., 3:]
DEEP_COLOURS = COLOURS.astype(np.uint16) * 257
DEEP_GREY = GREY.astype(np.uint16) * 257

# Colorants at D50 of profiles made by hand (ICC.1, 9.2), from the specifications of both spaces.
DISPLAY_P3 = np.array(
    [[0.51512, 0.29198, 0.1571], [0.2412, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]]
)
ADOBE_RGB = np.array(
    [[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]]
)
SRGB = np.array(
    [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.7141]]
)


# --- writing pictures


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(values_HWC, depth=8, **chunks):
    """A PNG of grey (1), grey and alpha (2), RGB (3) or RGBA (4) values of `depth` bits."""
    height, width, channels = values_HWC.shape
    rows = []
    for row in values_HWC.reshape(height, -1):
        if depth < 8:
            bits = np.unpackbits(row.astype(np.uint8)[:, None], axis=1)[:, -depth:]
            rows.append(b"\0" + np.packbits(bits.ravel()).tobytes())
        else:
            rows.append(b"\0" + row.astype(f">u{depth // 8}").tobytes())
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    extra = b"".join(chunk(name.encode(), body) for name, body in chunks.items())
    packed = chunk(b"IDAT", zlib.compress(b"".join(rows)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + packed + chunk(b"IEND", b"")


def tiff(values_HWC, planar="contig", **options):
    values = np.moveaxis(values_HWC, -1, 0) if planar == "separate" else values_HWC
    if values_HWC.shape[-1] == 1:
        values, planar = values_HWC[..., 0], None
    content = io.BytesIO()
    tifffile.imwrite(content, values, planarconfig=planar, **options)
    return content.getvalue()


def bmp(rgba_HWC):
    """Of 32 bits with a mask for alpha (BITMAPV4HEADER, BI_BITFIELDS)."""
    height, width, _ = rgba_HWC.shape
    pixels = rgba_HWC[::-1, :, [2, 1, 0, 3]].tobytes()
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, 3, len(pixels), 0, 0, 0, 0)
    header += masks + struct.pack("<I", 0x73524742) + b"\0" * 48
    start = 14 + len(header)
    return struct.pack("<2sIHHI", b"BM", start + len(pixels), 0, 0, start) + header + pixels


def jpeg(mode="RGB", **save):
    content = io.BytesIO()
    Image.fromarray(COLOURS).convert(mode).save(content, "JPEG", quality=100, subsampling=0, **save)
    return content.getvalue()


def with_profile(profile, pixels_HWC=COLOURS, file_format="PNG"):
    content = io.BytesIO()
    image = Image.fromarray(pixels_HWC[..., 0] if pixels_HWC.shape[-1] == 1 else pixels_HWC)
    image.save(
        content,
        file_format,
        icc_profile=profile,
        **({"lossless": True} if file_format == "WEBP" else {}),
    )
    return content.getvalue()


def profile(colorants, gamma=2.2):
    """An ICC profile (version 2) of a space by its matrix and a power, or of grey by a power
    only."""

    def fixed(*values):
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    def padded(body):
        return body + b"\0" * (-len(body) % 4)

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    named = b"desc\0\0\0\0" + struct.pack(">I", 2) + b"w\0" + b"\0" * 79
    tags = {
        b"desc": named,
        b"cprt": b"text\0\0\0\0none",
        b"wtpt": b"XYZ \0\0\0\0" + fixed(0.9642, 1, 0.8249),
    }
    if colorants is None:
        tags[b"kTRC"] = curve
    else:
        for number, colour in enumerate((b"r", b"g", b"b")):
            tags[colour + b"XYZ"] = b"XYZ \0\0\0\0" + fixed(*colorants[:, number])
            tags[colour + b"TRC"] = curve
    start, table, data = 132 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, body in tags.items():
        table += name + struct.pack(">II", start + len(data), len(body))
        data += padded(body)
    space = b"GRAY" if colorants is None else b"RGB "
    head = struct.pack(
        ">I4sI4s4s4s12s4s",
        start + len(data),
        b"none",
        0x02100000,
        b"mntr",
        space,
        b"XYZ ",
        b"",
        b"acsp",
    )
    return (head.ljust(68, b"\0") + fixed(0.9642, 1, 0.8249)).ljust(128, b"\0") + table + data


# --- what they mean


def on_white(colours, alpha):
    share = alpha / 255.0
    return colours * share + 255 * (1 - share)


def encode_srgb(linear):
    linear = np.clip(linear, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def in_srgb(pixels_HWC, colorants, gamma=2.2):
    """By the definition of a matrix profile (ICC.1, F.3)."""
    linear = (pixels_HWC / 255.0) ** (round(gamma * 256) / 256)
    return encode_srgb(linear @ colorants.T @ np.linalg.inv(SRGB).T)


def keyed(values_HWC, key, white):
    hidden = (values_HWC == np.array(key)).all(axis=-1, keepdims=True)
    return np.where(hidden, 255.0, values_HWC * (255.0 / white))


FEW = GREY // 17  # 4 bits
FEWER = GREY // 85  # 2 bits
NEAR = np.array(DEEP_COLOURS)
NEAR[3, 3] = NEAR[2, 2] + [1, 0, 0]  # equal in the upper bytes to what is transparent

TABLE = {
    "png grey": (png(GREY), GREY),
    "png 1 bit": (png(GREY // 128, 1), (GREY // 128) * 255),
    "png 16 bits grey": (png(DEEP_GREY, 16), GREY),
    "png 16 bits colour": (png(DEEP_COLOURS, 16), COLOURS),
    "png grey with alpha": (png(SMOOTH[..., [0, 3]]), on_white(GREY, ALPHA)),
    "png colour with alpha": (png(SMOOTH), on_white(COLOURS, ALPHA)),
    "png 8 bits, a transparent grey": (
        png(GREY, tRNS=struct.pack(">H", GREY[4, 4, 0])),
        keyed(GREY, GREY[4, 4], 255),
    ),
    "png 4 bits, a transparent grey": (
        png(FEW, 4, tRNS=struct.pack(">H", FEW[4, 4, 0])),
        keyed(FEW, FEW[4, 4], 15),
    ),
    "png 2 bits, a transparent grey": (png(FEWER, 2, tRNS=b"\0\1"), keyed(FEWER, [1], 3)),
    "png 1 bit, transparent black": (png(GREY // 128, 1, tRNS=b"\0\0"), GREY * 0 + 255),
    "png 16 bits, a transparent grey": (
        png(DEEP_GREY, 16, tRNS=struct.pack(">H", DEEP_GREY[4, 4, 0])),
        keyed(DEEP_GREY, DEEP_GREY[4, 4], 65535),
    ),
    "png 8 bits, a transparent colour": (
        png(COLOURS, tRNS=struct.pack(">3H", *COLOURS[4, 4])),
        keyed(COLOURS, COLOURS[4, 4], 255),
    ),
    "png 16 bits, a transparent colour": (
        png(NEAR, 16, tRNS=struct.pack(">3H", *NEAR[2, 2])),
        keyed(NEAR, NEAR[2, 2], 65535),
    ),
    "png grey in linear light": (
        png(GREY, gAMA=struct.pack(">I", 100000)),
        encode_srgb(GREY / 255),
    ),
    "png 16 bits in linear light": (
        png(DEEP_GREY, 16, gAMA=struct.pack(">I", 100000)),
        encode_srgb(GREY / 255),
    ),
    "png colour in linear light": (
        png(COLOURS, gAMA=struct.pack(">I", 100000)),
        encode_srgb(COLOURS / 255),
    ),
    "png of sRGB's gamma": (png(GREY, gAMA=struct.pack(">I", 45455)), GREY),
    "png of a gamma, said to be sRGB": (
        png(GREY, gAMA=struct.pack(">I", 100000), sRGB=b"\0"),
        GREY,
    ),
    "tiff colour in planes": (tiff(COLOURS, "separate", photometric="rgb"), COLOURS),
    "tiff 16 bits": (tiff(DEEP_COLOURS, photometric="rgb"), COLOURS),
    "tiff 16 bits, big endian": (tiff(DEEP_COLOURS, photometric="rgb", byteorder=">"), COLOURS),
    "tiff 16 bits in planes": (tiff(DEEP_COLOURS, "separate", photometric="rgb"), COLOURS),
    "tiff 16 bits in planes, big endian": (
        tiff(DEEP_COLOURS, "separate", photometric="rgb", byteorder=">"),
        COLOURS,
    ),
    "tiff 16 bits in packed planes": (
        tiff(DEEP_COLOURS, "separate", photometric="rgb", compression="zlib"),
        COLOURS,
    ),
    "tiff 16 bits in planes with alpha": (
        tiff(
            SMOOTH.astype(np.uint16) * 257,
            "separate",
            photometric="rgb",
            extrasamples=["unassalpha"],
        ),
        on_white(COLOURS, ALPHA),
    ),
    "tiff 0 is white": (tiff(GREY, photometric="miniswhite"), 255 - GREY.astype(int)),
    "tiff grey, multiplied by alpha": (
        tiff(
            np.dstack([np.minimum(GREY, ALPHA), ALPHA]),
            photometric="minisblack",
            extrasamples=["assocalpha"],
        ),
        np.minimum(GREY, ALPHA) + 255.0 - ALPHA,
    ),
    "tiff colour, multiplied by alpha": (
        tiff(
            np.dstack([np.minimum(COLOURS, ALPHA), ALPHA]),
            photometric="rgb",
            extrasamples=["assocalpha"],
        ),
        np.minimum(COLOURS, ALPHA) + 255.0 - ALPHA,
    ),
    "tiff 16 bits in planes, multiplied by alpha": (
        tiff(
            np.dstack([np.minimum(COLOURS, ALPHA), ALPHA]).astype(np.uint16) * 257,
            "separate",
            photometric="rgb",
            extrasamples=["assocalpha"],
        ),
        np.minimum(COLOURS, ALPHA) + 255.0 - ALPHA,
    ),
    "tiff fourth channel without meaning": (
        tiff(SMOOTH, photometric="rgb", extrasamples=["unspecified"]),
        COLOURS,
    ),
    "bmp with alpha": (bmp(SMOOTH), on_white(COLOURS, ALPHA)),
    "bmp whose alpha is all zero": (bmp(np.dstack([COLOURS, ALPHA * 0])), COLOURS),
    "png in Display P3": (with_profile(profile(DISPLAY_P3)), in_srgb(COLOURS, DISPLAY_P3)),
    "png in Adobe RGB": (with_profile(profile(ADOBE_RGB)), in_srgb(COLOURS, ADOBE_RGB)),
    "tiff in Adobe RGB": (
        with_profile(profile(ADOBE_RGB), file_format="TIFF"),
        in_srgb(COLOURS, ADOBE_RGB),
    ),
    "webp in Adobe RGB": (
        with_profile(profile(ADOBE_RGB), file_format="WEBP"),
        in_srgb(COLOURS, ADOBE_RGB),
    ),
    "tiff 16 bits in planes in Adobe RGB": (
        tiff(
            DEEP_COLOURS,
            "separate",
            photometric="rgb",
            extratags=[(34675, 7, len(profile(ADOBE_RGB)), profile(ADOBE_RGB), True)],
        ),
        in_srgb(COLOURS, ADOBE_RGB),
    ),
    "png with alpha in Adobe RGB": (
        with_profile(profile(ADOBE_RGB), SMOOTH),
        on_white(in_srgb(COLOURS, ADOBE_RGB), ALPHA),
    ),
    "grey of a linear profile": (with_profile(profile(None, 1.0), GREY), encode_srgb(GREY / 255)),
    "sRGB by its profile": (
        with_profile(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()),
        COLOURS,
    ),
    "a damaged profile": (with_profile(profile(ADOBE_RGB)[:150]), COLOURS),
    "a profile of another space": (with_profile(profile(None, 1.0)), COLOURS),
}
# In a profile of 8 bits some saturated colours lie outside sRGB: littlecms and the definition clip
# alike.
TOLERANCE = {name: 2.0 if "Adobe" in name or "P3" in name else 1.01 for name in TABLE}

REFUSED = {
    "jpeg of CMYK": jpeg("CMYK"),
    "tiff of CMYK": tiff(SMOOTH, photometric="separated"),
    "tiff of 16 bits where 0 is white": tiff(DEEP_GREY, photometric="miniswhite"),
    "tiff of two channels": tiff(
        SMOOTH[..., :2], photometric="minisblack", extrasamples=["unspecified"]
    ),
    "tiff of floats": tiff(GREY.astype(np.float32), photometric="minisblack"),
}


@pytest.fixture(params=TABLE, scope="module")
def known(request):
    """Name, content and expected values of a picture."""
    return request.param, *TABLE[request.param]


def test_a_picture_is_stored_as_people_see_it(known):
    name, content, expected = known
    found = decode(content, OwnSize(3)).astype(float)
    assert np.abs(found - np.broadcast_to(expected, found.shape)).max() <= TOLERANCE[name]


def test_grey_is_the_luma_of_what_people_see(known):
    name, content, _ = known
    colours = decode(content, OwnSize(3)).astype(float)
    luma = colours @ np.array([0.299, 0.587, 0.114])
    assert np.abs(decode(content, OwnSize(1))[..., 0] - luma).max() <= 1.01, name


def test_a_folder_and_an_archive_hold_the_same_pictures(tmp_path):
    endings = {b"\x89P": ".png", b"II": ".tif", b"MM": ".tif", b"BM": ".bmp", b"RI": ".webp"}
    files = {}
    for number, (content, _) in enumerate(TABLE.values()):
        files[f"{number}{endings[content[:2]]}"] = content
    (tmp_path / "raw").mkdir()
    with zipfile.ZipFile(tmp_path / "raw.zip", "w") as archive:
        for name, content in files.items():
            (tmp_path / "raw" / name).write_bytes(content)
            archive.writestr(name, content)
    hashes = []
    for source in (Source(source="folder", path="raw"), Source(source="archive", path="raw.zip")):
        items = list(open_source(tmp_path, source).items)
        assert all(isinstance(item, Encoded) for item in items)
        hashes.append({item.name: content_hash(decode(item.read(), OwnSize(3))) for item in items})
    assert hashes[0] == hashes[1]
    assert len(hashes[0]) == len(TABLE)


@pytest.mark.parametrize("name", REFUSED)
def test_channels_without_a_known_meaning_are_refused(name):
    with pytest.raises(Unusable, match="wrong channels"):
        decode(REFUSED[name], OwnSize(3))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_planes_of_16_bits_are_turned_upright_too(orientation):
    options = {"photometric": "rgb", "extratags": [(274, 3, 1, orientation, True)]}
    deep = decode(tiff(DEEP_COLOURS, "separate", **options), OwnSize(3))
    np.testing.assert_array_equal(deep, decode(tiff(COLOURS, **options), OwnSize(3)))
    assert deep.shape[:2] == ((HEIGHT, WIDTH) if orientation < 5 else (WIDTH, HEIGHT))


def test_what_was_done_to_a_picture_is_told():
    pages = io.BytesIO()
    first, second = Image.fromarray(COLOURS), Image.fromarray(255 - COLOURS)
    first.save(pages, "TIFF", save_all=True, append_images=[second])
    film = io.BytesIO()
    first.save(film, "GIF", save_all=True, append_images=[second])
    for content, expected in (
        (TABLE["png in Display P3"][0], ["had a colour profile and was converted to sRGB"]),
        (
            TABLE["png grey in linear light"][0],
            ["had a gamma of its own and was converted to sRGB"],
        ),
        (pages.getvalue(), ["holds several frames or pages, of which the first was read"]),
        (film.getvalue(), ["holds several frames or pages, of which the first was read"]),
        (TABLE["sRGB by its profile"][0], []),
        (jpeg(), []),
    ):
        notes = []
        decode(content, OwnSize(3), notes.append)
        assert notes == expected
