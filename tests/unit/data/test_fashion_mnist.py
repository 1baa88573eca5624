import gzip
import shutil

import numpy as np
import pytest

from atelier.data.sources import fashion_mnist
from atelier.data.sources.opening import open_source
from atelier.errors import DataError
from atelier.params import Source


def test_fashion_mnist_is_what_was_published(fashion_source):
    source = open_source(fashion_source, Source(source="fashion-mnist", path=str(fashion_source)))
    items = list(source.items)
    assert len(items) == source.num_items
    for split, count in (("test", 1000), ("train", 6000)):
        names = [item.class_name for item in items if item.split == split]
        assert {name: names.count(name) for name in source.class_names} == dict.fromkeys(
            fashion_mnist.CLASS_NAMES, count
        )
    train_mean = np.mean([item.pixels_HWC for item in items if item.split == "train"]) / 255
    assert train_mean == pytest.approx(
        0.2860, abs=5e-5
    )  # the constant that everybody normalises with


def test_a_changed_byte_is_found_by_its_sum_and_the_file_is_named(tmp_path, fashion_source):
    shutil.copytree(fashion_source, tmp_path / "raw")
    path = tmp_path / "raw" / "t10k-labels-idx1-ubyte.gz"
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[-1] ^= 1
    path.write_bytes(gzip.compress(bytes(content)))
    with pytest.raises(
        DataError,
        match=r"t10k-labels-idx1-ubyte\.gz: expected the uncompressed sha256 0402a96d.*, found",
    ):
        fashion_mnist.read_files(tmp_path, "raw")


def test_uncompressed_files_will_do(tmp_path, fashion_source):
    for path in fashion_source.iterdir():
        (tmp_path / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    assert fashion_mnist.read_files(tmp_path, ".")["t10k-images-idx3-ubyte"].shape == (
        10_000,
        28,
        28,
    )


def test_a_given_path_is_the_only_place_looked_into(tmp_path):
    with pytest.raises(
        DataError, match=r"nowhere/train-images-idx3-ubyte\.gz can't be read: No such file"
    ):
        fashion_mnist.read_files(tmp_path, "nowhere")


def test_a_failed_fetch_says_what_was_tried_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", tmp_path / "not-installed")
    monkeypatch.setattr(fashion_mnist, "HTTPS_ADDRESSES", ("https://host.invalid/",))
    monkeypatch.setenv("PATH", str(tmp_path))  # no apt-get here
    with pytest.raises(DataError) as caught:
        fashion_mnist.read_files(tmp_path, None)
    for part in (
        "Debian's folder: ",
        "an earlier fetch: ",
        "there is no apt-get here",
        "host.invalid",
        "NAME.path",
    ):
        assert part in str(caught.value)
    assert not (tmp_path / ".atelier" / "sources").exists()
    assert not [
        path for path in (tmp_path / ".atelier" / "tmp").iterdir() if path.suffix != ".lock"
    ]


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
