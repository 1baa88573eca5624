"""Whatever bytes come as a picture: pixels, or a reason."""

import io
from typing import get_args

import numpy as np
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from atelier.data.sources.decoding import FORMATS, decode, quiet_pillow
from atelier.data.sources.pictures import Reason, Unusable
from atelier.data.sources.signatures import STARTS
from atelier.params import Dataset
from tests.support.picture_files import encoded
from tests.support.properties import examples


def stored_as(image_size=None, channels=3, **changes):
    return Dataset(
        source="folder",
        path="raw",
        image_size=image_size,
        channels=channels,
        **{"min_size": 8, **changes},
    )


def tiff(shape, dtype=np.uint8, photometric="minisblack", **options):
    pixels = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, photometric=photometric, **options)
    return buffer.getvalue()


SAMPLES = [
    encoded((24, 20), file_format=file_format, mode=mode, smooth=True)
    for file_format in FORMATS
    for mode in ("RGB", "L")
] + [tiff((20, 20, 3), np.uint16, "rgb"), tiff((20, 20, 2), extrasamples=["unassalpha"])]
SAMPLES += [
    encoded((24, 20), file_format="TIFF", smooth=True, compression=kind)
    for kind in ("tiff_lzw", "jpeg")
]
DATASETS = [stored_as(max_pixels=100_000), stored_as(16, 1, max_pixels=100_000, fit="pad")]


def is_decoded_or_has_a_reason(content, dataset):
    with quiet_pillow():
        try:
            pixels = decode(content, dataset)
        except Unusable as problem:
            assert problem.reason in get_args(Reason)
            assert "0x" not in problem.detail  # no text of a library with an address of this run
        else:
            assert pixels.dtype == np.uint8
            assert pixels.shape[2] == dataset.channels


@examples(3)
@given(
    st.sampled_from([b"", b"BM", b"RIFF", *STARTS]),
    st.binary(max_size=300),
    st.sampled_from(DATASETS),
)
def test_arbitrary_bytes_never_crash(start, rest, dataset):
    is_decoded_or_has_a_reason(start + rest, dataset)


@examples(6)
@given(st.sampled_from(SAMPLES), st.data(), st.sampled_from(DATASETS))
def test_a_file_with_changed_bytes_or_cut_never_crashes(sample, data, dataset):
    content = bytearray(
        sample[: data.draw(st.integers(0, len(sample)))] if data.draw(st.booleans()) else sample
    )
    for _ in range(data.draw(st.integers(0, 8)) if content else 0):
        # most of a file is pixels; what can go wrong stands in the first bytes
        place = data.draw(
            st.integers(0, min(len(content), data.draw(st.sampled_from([64, 10**6]))) - 1)
        )
        content[place] = data.draw(st.integers(0, 255))
    is_decoded_or_has_a_reason(bytes(content), dataset)
