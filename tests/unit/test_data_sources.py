import gzip
import io
import os
import shutil
import struct

import numpy as np
import pytest
from PIL import Image

from atelier.data import fashion_mnist, folder
from atelier.data.idx import parse_idx, read_bytes
from atelier.data.pictures import Picture, Rejected
from atelier.data.sources import open_source, source_digest
from atelier.errors import DataError
from atelier.params import Dataset

FASHION = Dataset(source="fashion-mnist", image_size=28, channels=1)


def idx(shape, values=None):
    header = bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
    return header + (bytes(int(np.prod(shape))) if values is None else values)


def png(size=(20, 20), seed=0, mode="RGB", **save):
    channels = len(mode)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], channels), np.uint8).squeeze()
    buffer = io.BytesIO()
    Image.fromarray(pixels, mode=None).save(buffer, save.pop("format", "PNG"), **save)
    return buffer.getvalue()


def pictures(path, channels=3, image_size=16):
    dataset = Dataset(source="folder", path=str(path), image_size=image_size, channels=channels)
    source = open_source(path, dataset)
    items = list(source.items)
    accepted = {item.name: item for item in items if isinstance(item, Picture)}
    rejected = {item.name: item.reason for item in items if isinstance(item, Rejected)}
    return source.class_names, accepted, rejected


# --- IDX files


def test_an_idx_file_comes_back_in_its_shape():
    array = parse_idx(idx((2, 3, 4), bytes(range(24))), "x")
    np.testing.assert_array_equal(array, np.arange(24, dtype=np.uint8).reshape(2, 3, 4))


@pytest.mark.parametrize("change", [lambda content: content[:-1], lambda content: content + b"\0"])
def test_an_idx_file_of_the_wrong_length_is_named_with_both_lengths(change):
    with pytest.raises(DataError, match=r"images: expected 40 bytes for the shape \(2, 3, 4\), found (39|41)"):
        parse_idx(change(idx((2, 3, 4))), "images")


@pytest.mark.parametrize("content", [b"", b"\0\0", b"\0\0\x0d\x01" + bytes(8), b"PNG...", bytes([0, 0, 8, 3, 0, 0])])
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


# --- Fashion-MNIST


def test_fashion_mnist_is_what_was_published(fashion_source):
    source = open_source(fashion_source, FASHION.model_copy(update={"path": str(fashion_source)}))
    items = list(source.items)
    assert len(source.class_names) == 10
    for is_test, count in ((True, 1000), (False, 6000)):
        labels = [item.label for item in items if item.is_test == is_test]
        assert np.bincount(labels).tolist() == [count] * 10
    train_mean = np.mean([item.pixels_HWC for item in items if not item.is_test]) / 255
    assert train_mean == pytest.approx(0.2860, abs=5e-5)  # the constant that everybody normalises with


def test_a_changed_byte_is_found_by_its_sum_and_the_file_is_named(tmp_path, fashion_source):
    shutil.copytree(fashion_source, tmp_path / "raw")
    path = tmp_path / "raw" / "t10k-labels-idx1-ubyte.gz"
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[-1] ^= 1
    path.write_bytes(gzip.compress(bytes(content)))
    with pytest.raises(
        DataError, match=r"t10k-labels-idx1-ubyte\.gz: expected the uncompressed sha256 0402a96d.*, found"
    ):
        fashion_mnist.read_files(tmp_path, "raw")


def test_uncompressed_files_will_do(tmp_path, fashion_source):
    for path in fashion_source.iterdir():
        (tmp_path / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    assert fashion_mnist.read_files(tmp_path, ".")["t10k-images-idx3-ubyte"].shape == (10_000, 28, 28)


def test_a_given_path_is_the_only_place_looked_into(tmp_path):
    with pytest.raises(DataError, match=r"nowhere/train-images-idx3-ubyte\.gz can't be read: No such file"):
        fashion_mnist.read_files(tmp_path, "nowhere")


def test_a_failed_fetch_says_what_was_tried_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", tmp_path / "not-installed")
    monkeypatch.setattr(fashion_mnist, "HTTPS_ADDRESSES", ("https://host.invalid/",))
    monkeypatch.setenv("PATH", str(tmp_path))  # no apt-get here
    with pytest.raises(DataError) as caught:
        fashion_mnist.read_files(tmp_path, None)
    for part in ("Debian's folder: ", "an earlier fetch: ", "there is no apt-get here", "host.invalid", "NAME.path"):
        assert part in str(caught.value)
    assert not (tmp_path / ".atelier" / "sources").exists()
    assert not [path for path in (tmp_path / ".atelier" / "tmp").iterdir() if path.suffix != ".lock"]


def test_a_fetch_is_checked_before_it_is_kept_and_then_found(tmp_path, fashion_source, monkeypatch):
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", tmp_path / "not-installed")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(fashion_mnist, "HTTPS_ADDRESSES", (f"{fashion_source.as_uri()}/",))
    cache = tmp_path / ".atelier" / "sources" / "fashion-mnist"
    cache.mkdir(parents=True)
    (cache / "train-images-idx3-ubyte.gz").write_bytes(b"half a file of an earlier attempt")
    fashion_mnist.read_files(tmp_path, None)
    assert sorted(path.stem for path in cache.iterdir()) == sorted(fashion_mnist.SHA256)
    monkeypatch.setattr(fashion_mnist, "HTTPS_ADDRESSES", ())
    fashion_mnist.read_files(tmp_path, None)


def test_fashion_mnist_is_not_scaled(tmp_path):
    with pytest.raises(DataError, match="image_size = 32, channels = 1 can't be had"):
        open_source(tmp_path, Dataset(source="fashion-mnist", image_size=32, channels=1))


# --- folders


def test_subfolders_are_classes_in_the_order_of_their_names(tmp_path):
    for number, name in enumerate(["dog/a.png", "cat/deep/er/b.png", "c.png", ".hidden/d.png", "dog/.e.png"]):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(png(seed=number))
    class_names, accepted, rejected = pictures(tmp_path)
    assert class_names == ("cat", "dog")
    assert {name: item.label for name, item in accepted.items()} == {
        "cat/deep/er/b.png": 0,
        "dog/a.png": 1,
        "c.png": None,
    }
    assert not rejected


def test_every_defect_is_rejected_with_its_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    good = png()
    (tmp_path / "good.png").write_bytes(good)
    (tmp_path / "truncated.png").write_bytes(good[: len(good) // 2])
    (tmp_path / "bomb.png").write_bytes(png((150, 100)))
    (tmp_path / "huge-bomb.png").write_bytes(png((250, 100)))
    (tmp_path / "small.png").write_bytes(png((40, 15)))
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("not a picture")
    (tmp_path / "script.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n")
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "circle").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.png")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    _, accepted, rejected = pictures(tmp_path)
    assert list(accepted) == ["good.png"]
    assert rejected.pop("truncated.png") == "truncated or damaged"
    assert rejected.pop("bomb.png") == rejected.pop("huge-bomb.png")
    assert rejected.pop("small.png") == "too small: 40 x 15, the short side needs 16 pixels"
    assert rejected.pop("empty.png") == "empty file"
    assert {rejected.pop("text.png"), rejected.pop("script.eps")} == {
        "not a picture of the formats PNG, JPEG, WEBP, BMP, TIFF, GIF"
    }
    assert {rejected.pop("link.png"), rejected.pop("circle"), rejected.pop("pipe.png")} == {"not a regular file"}
    assert not rejected
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"])
def test_every_format_is_read(file_format):
    assert folder.decode(png((33, 21), format=file_format), 16, 3).shape == (16, 16, 3)
    assert folder.decode(png((33, 21), format=file_format), 16, 1).shape == (16, 16, 1)


def test_the_short_side_is_scaled_and_the_centre_kept():
    stripes = np.zeros((32, 96), np.uint8)
    stripes[:, 32:64] = 255  # the centre square is white
    buffer = io.BytesIO()
    Image.fromarray(stripes).save(buffer, "PNG")
    assert folder.decode(buffer.getvalue(), 16, 1)[:, 1:-1].min() > 250  # the filter mixes a little black into the edge
    assert folder.decode(png((17, 900), mode="L"), 16, 1).shape == (16, 16, 1)


def test_a_picture_of_the_right_size_is_stored_as_it_is():
    content = png((16, 16), seed=3)
    np.testing.assert_array_equal(folder.decode(content, 16, 3), np.asarray(Image.open(io.BytesIO(content))))


def test_exif_rotation_is_applied():
    lying = np.zeros((20, 20), np.uint8)
    lying[:10] = 255
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright: the top becomes the right side
    Image.fromarray(lying).save(buffer, "PNG", exif=exif)
    upright = folder.decode(buffer.getvalue(), 20, 1)[..., 0]
    assert upright[:, 10:].min() == 255
    assert upright[:, :10].max() == 0


def test_transparency_shows_white_and_16_bits_keep_their_range():
    clear = np.zeros((16, 16, 4), np.uint8)
    deep = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)
    for pixels, expected in ((clear, np.full((16, 16), 255)), (deep, np.arange(256).reshape(16, 16))):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        np.testing.assert_array_equal(folder.decode(buffer.getvalue(), 16, 1)[..., 0], expected)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere can't be listed: No such file or directory.*datasets\.NAME\.path"):
        pictures(tmp_path / "nowhere")


def test_the_digest_of_a_folder_sees_contents_and_names_but_not_order_or_time(tmp_path):
    def digest(*contents):
        shutil.rmtree(tmp_path / "raw", ignore_errors=True)
        (tmp_path / "raw").mkdir()
        for name, content in contents:
            (tmp_path / "raw" / name).write_bytes(content)
            os.utime(tmp_path / "raw" / name, (len(contents), 0))
        return source_digest(tmp_path, Dataset(source="folder", path="raw", image_size=16, channels=1))

    same = digest(("a", b"1"), ("b", b"2"))
    assert digest(("b", b"2"), ("a", b"1")) == same
    others = {digest(("a", b"1")), digest(("a", b"1"), ("b", b"3")), digest(("a", b"1"), ("c", b"2"))}
    assert same not in others
    assert len(others) == 3
