import json
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from atelier.data.sources.decoding import decode
from atelier.data.sources.opening import open_source, source_digest
from atelier.data.sources.pictures import Encoded, Rejected
from atelier.errors import DataError
from atelier.params import Dataset, Source
from tests.support.picture_files import encoded

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
PNGS = [encoded((20, 20), seed) for seed in range(4)]


def write(
    path,
    pictures=PNGS,
    labels=None,
    label_type=None,
    class_names=None,
    image_type=STRUCT,
    column="image",
):
    """A file as the Hugging Face hub has it.

    Pictures in a struct, class names in the schema's metadata.
    """
    rows = (
        pictures
        if image_type != STRUCT
        else [{"bytes": content, "path": "x.png"} for content in pictures]
    )
    columns = {column: pa.array(rows, image_type)}
    if labels is not None:
        columns["label"] = pa.array(labels, label_type)
    table = pa.table(columns)
    if class_names:
        features = {
            "label": {"names": class_names, "_type": "ClassLabel"},
            column: {"_type": "Image"},
        }
        table = table.replace_schema_metadata(
            {"huggingface": json.dumps({"info": {"features": features}})}
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=3)


def opened(root, **keys):
    return open_source(root, Source(source="parquet", path="set", **keys))


def test_the_layout_of_the_hub_gives_splits_and_named_classes_in_their_order(tmp_path):
    data = tmp_path / "set" / "data"
    names = ["zebra", "ant"]
    write(data / "train-00000-of-00002.parquet", labels=[0, 1, 1, 0], class_names=names)
    write(data / "train-00001-of-00002.parquet", PNGS[:1], labels=[1], class_names=names)
    write(data / "validation-00000-of-00001.parquet", PNGS[:1], labels=[0], class_names=names)
    write(
        data / "test-00000-of-00001.parquet", PNGS[:1], labels=[-1], class_names=names
    )  # kept back by the hub
    write(tmp_path / "set" / ".cache" / "train-9.parquet", labels=[0, 0, 0, 0])
    source = opened(tmp_path)
    items = list(source.items)
    assert source.class_names == ("zebra", "ant")
    assert source.num_items == len(items) == 7
    assert [(item.name, item.class_name, item.split) for item in items] == [
        ("data/test-00000-of-00001/000000", None, "test"),
        ("data/train-00000-of-00002/000000", "zebra", "train"),
        ("data/train-00000-of-00002/000001", "ant", "train"),
        ("data/train-00000-of-00002/000002", "ant", "train"),
        ("data/train-00000-of-00002/000003", "zebra", "train"),
        ("data/train-00001-of-00002/000000", "ant", "train"),
        ("data/validation-00000-of-00001/000000", "zebra", "validation"),
    ]
    assert [item.read() for item in items[1:5]] == PNGS
    assert decode(
        items[0].read(), Dataset(source="parquet", path="x", channels=3, min_size=8)
    ).shape == (20, 20, 3)


@pytest.mark.parametrize("image_type", [pa.binary(), pa.large_binary(), STRUCT])
@pytest.mark.parametrize(
    ("labels", "label_type", "expected"),
    [
        (["dog", "cat", " ", None], pa.string(), ["dog", "cat", None, None]),
        (
            ["dog", "cat", "dog", None],
            pa.dictionary(pa.int8(), pa.string()),
            ["dog", "cat", "dog", None],
        ),
        ([3, 10, None, -1], pa.int64(), ["3", "10", None, None]),
        (None, None, [None] * 4),
    ],
)
def test_plain_columns_will_do(tmp_path, image_type, labels, label_type, expected):
    write(
        tmp_path / "set" / "pictures.parquet",
        labels=labels,
        label_type=label_type,
        image_type=image_type,
    )
    source = opened(tmp_path)
    items = list(source.items)
    assert source.class_names == ()
    assert [(item.class_name, item.split) for item in items] == [(name, None) for name in expected]
    assert [item.read() for item in items] == PNGS


def test_a_single_file_and_other_column_names_will_do(tmp_path):
    write(tmp_path / "test.parquet", column="img")
    items = open_source(
        tmp_path, Source(source="parquet", path="test.parquet", image_column="img")
    ).items
    assert [(item.name, item.split) for item in items][0] == ("test/000000", "test")


def test_the_folder_of_a_split_will_do(tmp_path):
    write(tmp_path / "set" / "default" / "train" / "0000.parquet")
    assert {item.split for item in opened(tmp_path).items} == {"train"}


def test_rows_without_a_picture_are_listed(tmp_path):
    for image_type, rows in ((STRUCT, [PNGS[0], None, b""]), (pa.binary(), [PNGS[0], None, b""])):
        write(tmp_path / "set" / "x.parquet", rows, image_type=image_type)
        kept, missing, empty = opened(tmp_path).items
        assert isinstance(kept, Encoded)
        assert missing == Rejected("x/000001", "missing", "the row holds no picture")
        assert empty.read() == b""


def test_a_missing_column_is_named_with_those_that_are_there(tmp_path):
    write(tmp_path / "set" / "x.parquet", labels=[0, 1, 0, 1])
    with pytest.raises(
        DataError,
        match=r"no column 'img'; the columns are image, label.*datasets\.NAME\.image_column",
    ):
        opened(tmp_path, image_column="img")
    with pytest.raises(
        DataError,
        match=r"no column 'fine'; the columns are image, label.*datasets\.NAME\.label_column",
    ):
        opened(tmp_path, label_column="fine")
    with pytest.raises(DataError, match=r"column 'label' holds int64; expected encoded pictures"):
        opened(tmp_path, image_column="label")
    with pytest.raises(
        DataError, match=r"column 'image' holds .*; expected whole numbers or texts"
    ):
        opened(tmp_path, label_column="image")


def test_files_that_name_their_classes_differently_are_refused(tmp_path):
    for name, class_names in (("a", ["cat", "dog"]), ("b", ["dog", "cat"])):
        write(tmp_path / "set" / f"{name}.parquet", labels=[0] * 4, class_names=class_names)
    with pytest.raises(
        DataError, match="name the classes of 'label' differently: cat, dog; dog, cat"
    ):
        opened(tmp_path)


def test_a_number_without_a_name_is_refused(tmp_path):
    write(tmp_path / "set" / "a.parquet", labels=[0, 1, 2, 0], class_names=["cat", "dog"])
    with pytest.raises(DataError, match="holds 2, but names only the classes 0 to 1"):
        list(opened(tmp_path).items)


def test_a_damaged_file_is_refused_wherever_the_damage_is(tmp_path):
    path = tmp_path / "set" / "a.parquet"
    write(path)
    whole = path.read_bytes()
    for damaged in (
        b"",
        whole[:-4],
        whole[: len(whole) // 2],
        whole[:-500] + bytes(400) + whole[-100:],
    ):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"a\.parquet is damaged, or no parquet file"):
            list(opened(tmp_path).items)
    path.unlink()
    with pytest.raises(DataError, match="is no parquet file, and no folder that holds one"):
        opened(tmp_path)


def test_the_digest_sees_contents_and_splits_but_not_the_rest_of_names(tmp_path):
    def digest(name, pictures=PNGS):
        write(tmp_path / name / f"{name}.parquet", pictures)
        return source_digest(tmp_path, Source(source="parquet", path=name))

    assert digest("train-1") == digest("train-2")
    assert len({digest("train-1"), digest("test-1"), digest("train-3", PNGS[:3])}) == 3


def test_memory_does_not_grow_with_the_file(tmp_path):
    """One row group of 200 MB, in pages of 16 pictures."""
    noise = [encoded((600, 350), seed, file_format="BMP") for seed in range(4)]
    pictures = [noise[i % 4][:-2] + i.to_bytes(2, "big") for i in range(320)]
    path = tmp_path / "set" / "big.parquet"
    path.parent.mkdir()
    table = pa.table({"image": pa.array(pictures, pa.binary())})
    pq.write_table(
        table,
        path,
        row_group_size=1000,
        write_batch_size=16,
        compression="none",
        use_dictionary=False,
    )
    code = f"""
import pyarrow.parquet
from pathlib import Path
from atelier.data.sources.opening import open_source
from atelier.params import Source

def peak_kib():  # of this process alone; getrusage starts with what the parent had
    lines = open("/proc/self/status")
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])

before = peak_kib()
items = open_source(Path({str(tmp_path)!r}), Source(source="parquet", path="set")).items
print(sum(len(item.read()) for item in items), peak_kib() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    num_bytes, grown_kib = map(int, done.stdout.split())
    assert num_bytes > 200e6
    assert grown_kib < 100_000
