import gzip
import struct
import tracemalloc

import numpy as np
import pytest

from atelier.data.sources.idx import parse_idx, read_bytes
from atelier.data.sources.opening import open_source, source_digest
from atelier.errors import DataError
from atelier.params import Source
from tests.support.picture_files import write_files


def idx(shape, values=None):
    header = bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
    return header + (bytes(int(np.prod(shape))) if values is None else values)


def opened(folder, path="."):
    return open_source(folder, Source(source="idx", path=path))


# --- the format


def test_an_idx_file_comes_back_in_its_shape():
    array = parse_idx(idx((2, 3, 4), bytes(range(24))), "x")
    np.testing.assert_array_equal(array, np.arange(24, dtype=np.uint8).reshape(2, 3, 4))


@pytest.mark.parametrize("change", [lambda content: content[:-1], lambda content: content + b"\0"])
def test_an_idx_file_of_the_wrong_length_is_named_with_both_lengths(change):
    with pytest.raises(
        DataError, match=r"images: expected 40 bytes for the shape \(2, 3, 4\), found (39|41)"
    ):
        parse_idx(change(idx((2, 3, 4))), "images")


@pytest.mark.parametrize(
    "content", [b"", b"\0\0", b"\0\0\x0d\x01" + bytes(8), b"PNG...", bytes([0, 0, 8, 3, 0, 0])]
)
def test_what_is_not_an_idx_file_of_bytes_is_refused(content):
    with pytest.raises(DataError, match="images: expected an IDX file of unsigned bytes, found"):
        parse_idx(content, "images")


def test_a_header_with_absurd_sizes_is_refused_without_allocating():
    with pytest.raises(DataError, match=f"expected {20 + (2**32 - 1) ** 4:,} bytes"):
        parse_idx(bytes([0, 0, 8, 4]) + b"\xff" * 16, "images")


def test_a_truncated_gzip_file_is_named(tmp_path):
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(bytes(1000))[:-10])
    with pytest.raises(DataError, match=r"images\.gz: expected a whole gzip file, found \d+ bytes"):
        read_bytes(path)
    path.write_bytes(b"not gzip at all")
    with pytest.raises(DataError, match=r"images\.gz: expected a whole gzip file, found 15 bytes"):
        read_bytes(path)


# --- as a source


def test_pairs_of_files_are_splits_and_classes_are_in_numerical_order(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 5, 4), np.uint8)
    write_files(
        tmp_path,
        {
            "train-images-idx3-ubyte.gz": gzip.compress(idx(pixels.shape, pixels.tobytes())),
            "train-labels-idx1-ubyte": idx((3,), bytes([10, 2, 10])),
            "t10k-images-idx3-ubyte": idx((1, 5, 4)),
            "t10k-labels-idx1-ubyte.gz": gzip.compress(idx((1,), bytes([9]))),
            "emnist-letters-validation-images-idx3-ubyte": idx((1, 5, 4)),
            "extra-images.idx3-ubyte": idx((2, 5, 4)),
            "README": b"by-catch",
        },
    )
    source = opened(tmp_path)
    items = {item.name: item for item in source.items}
    assert source.class_names == ("2", "9", "10")
    assert source.num_items == len(items) == 7
    assert {name: (item.class_name, item.split) for name, item in items.items()} == {
        "train/00000": ("10", "train"),
        "train/00001": ("2", "train"),
        "train/00002": ("10", "train"),
        "t10k/00000": ("9", "test"),
        "emnist-letters-validation/00000": (None, "validation"),
        "extra/00000": (None, None),
        "extra/00001": (None, None),
    }
    for position in range(3):
        np.testing.assert_array_equal(
            items[f"train/{position:05d}"].pixels_HWC[..., 0], pixels[position]
        )


def test_a_single_file_will_do_with_or_without_labels(tmp_path):
    write_files(tmp_path, {"digits": idx((2, 5, 4)), "train-images-idx3-ubyte": idx((1, 5, 4))})
    assert [(item.name, item.class_name) for item in opened(tmp_path, "digits").items] == [
        ("00000", None),
        ("00001", None),
    ]
    write_files(tmp_path, {"train-labels-idx1-ubyte": idx((1,), b"\7")})
    item = next(opened(tmp_path, "train-images-idx3-ubyte").items)
    assert (item.class_name, item.split) == ("7", "train")


def test_files_that_do_not_belong_together_are_refused(tmp_path):
    write_files(
        tmp_path,
        {"train-images-idx3-ubyte": idx((2, 5, 4)), "train-labels-idx1-ubyte": idx((3,), bytes(3))},
    )
    with pytest.raises(
        DataError, match=r"train-labels-idx1-ubyte: expected 2 labels.*found the shape \(3,\)"
    ):
        opened(tmp_path)
    write_files(tmp_path, {"train-images-idx3-ubyte": idx((2, 5))})
    with pytest.raises(
        DataError, match=r"expected images, which have 3 dimensions, found the shape \(2, 5\)"
    ):
        opened(tmp_path)


@pytest.mark.parametrize("content", [idx((3, 5, 4))[:-1], idx((3, 5, 4)) + b"\0"])
def test_too_short_and_too_long_files_stop_the_reading(tmp_path, content):
    write_files(tmp_path, {"train-images-idx3-ubyte": content})
    with pytest.raises(DataError, match="expected 3 images, found (2|more)"):
        list(opened(tmp_path).items)


def test_an_empty_folder_is_explained(tmp_path):
    with pytest.raises(DataError, match=r"holds no IDX images\. Expected files named like"):
        opened(tmp_path)


def test_a_packed_file_that_claims_more_than_it_holds_takes_no_memory(tmp_path):
    claims = bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**31, 28, 28)
    write_files(tmp_path, {"train-images-idx3-ubyte.gz": gzip.compress(claims + bytes(20_000_000))})
    tracemalloc.start()
    with pytest.raises(DataError, match=r"expected 2,147,483,648 images, found 25,510"):
        for _ in opened(tmp_path).items:
            pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3_000_000


def test_the_digest_sees_contents_and_splits_but_not_places(tmp_path):
    def digest(folder, **files):
        write_files(
            tmp_path / folder,
            {f"{name}-images-idx3-ubyte": content for name, content in files.items()},
        )
        return source_digest(tmp_path, Source(source="idx", path=folder))

    same = digest("a", train=idx((1, 5, 4)), other=idx((2, 5, 4)))
    assert digest("b", training=idx((1, 5, 4)), another=idx((2, 5, 4))) == same
    assert digest("c", train=idx((1, 5, 4)), test=idx((2, 5, 4))) != same
    assert digest("d", train=idx((1, 5, 4)), other=idx((2, 5, 3))) != same
