"""Parquet files with pictures in a column as a source, as the Hugging Face hub lays them out.

Layout: https://huggingface.co/docs/hub/datasets-file-names-and-splits (splits by file name) and
https://huggingface.co/docs/datasets/about_dataset_features (the features, as JSON in the schema's
metadata).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from atelier.data.sources.file_sums import file_sums
from atelier.data.sources.layout import MAX_FILE_BYTES, SPLIT_NAMES, is_hidden, plain
from atelier.data.sources.pictures import Encoded, OpenedSource, Rejected
from atelier.data.splits import Split
from atelier.errors import DataError
from atelier.params import Source

BATCH_ROWS = 16  # pictures in memory at a time
BUFFER_BYTES = 2**20  # read ahead of a column, instead of a whole row group of it


class _File(NamedTuple):
    """One file, and what its schema says."""

    name: str  # from the source's root, without its ending
    path: Path
    num_rows: int
    is_struct: bool  # {bytes, path}, as the hub has it; else plain binary
    has_labels: bool
    class_names: tuple[str, ...]  # of a column of numbers; empty: it names none


def open_source(project_root: Path, source: Source) -> OpenedSource:
    """Open a parquet file, or a folder of them.

    Raises:
        DataError: if they can't be found, are damaged, or lack a column.
    """
    root = project_root / str(source.path)
    files = [_look_into(path, root, source) for path in _paths(root)]
    names = {file.class_names for file in files if file.has_labels}
    if len(names) > 1:
        given = "; ".join(sorted(", ".join(some[:5]) or "no names" for some in names))
        raise DataError(
            f"{root}: its files name the classes of {source.label_column!r} differently: {given}. "
            "Give each kind a folder, and each folder a place in datasets.NAME.sources."
        )

    def items() -> Iterator[Encoded | Rejected]:
        for file in files:
            yield from _items(file, source)

    order = names.pop() if names else ()
    return OpenedSource(order, items(), sum(file.num_rows for file in files))


def source_digest(project_root: Path, source: Source) -> str:
    """sha256 over the files' own and their splits.

    Raises:
        DataError: if they can't be found.
    """
    root = project_root / str(source.path)
    paths = _paths(root)
    sums = file_sums(project_root, root, [str(path) for path in paths])
    lines = [json.dumps([sums[str(path)], _split_of(path)]) for path in paths]
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def _paths(root: Path) -> list[Path]:
    paths = [root]
    if not root.is_file():
        inside = [path.relative_to(root) for path in root.rglob("*.parquet")]
        paths = sorted(root / path for path in inside if not is_hidden(path.as_posix()))
    if not paths:
        raise DataError(
            f"{root} is no parquet file, and no folder that holds one. Name it, as seen from the "
            "project, in params.yaml: datasets.NAME.path."
        )
    return paths


def _split_of(path: Path) -> Split | None:
    """By the start of the file's name, as in train-00000-of-00001.parquet, or by its folder."""
    start = re.split(r"[-_.]", path.name)[0].lower()
    return SPLIT_NAMES.get(start) or SPLIT_NAMES.get(path.parent.name.lower())


def _look_into(path: Path, root: Path, source: Source) -> _File:
    import pyarrow.types as types

    with _open_file(path) as file:
        schema = file.schema_arrow
        num_rows = file.metadata.num_rows
    if source.image_column not in schema.names:
        raise _no_column(path, source.image_column, schema.names, "image_column")
    kind = schema.field(source.image_column).type
    is_struct = types.is_struct(kind) and kind.get_field_index("bytes") >= 0
    held = kind.field("bytes").type if is_struct else kind
    if not (types.is_binary(held) or types.is_large_binary(held)):
        raise DataError(
            f"{path}: column {source.image_column!r} holds {kind}; expected encoded pictures, as "
            "binary or as a struct with `bytes`. Name another one in params.yaml: "
            "datasets.NAME.image_column."
        )
    has_labels = source.label_column in schema.names
    if not has_labels and "label_column" in source.model_fields_set:
        raise _no_column(path, source.label_column, schema.names, "label_column")
    class_names = _class_names(path, schema, source.label_column) if has_labels else ()
    name = path.stem if path == root else path.relative_to(root).with_suffix("").as_posix()
    return _File(name, path, num_rows, is_struct, has_labels, class_names)


def _no_column(path: Path, column: str, columns: list[str], key: str) -> DataError:
    return DataError(
        f"{path}: there is no column {column!r}; the columns are {', '.join(columns)}. Name one of "
        f"them in params.yaml: datasets.NAME.{key}."
    )


def _class_names(path: Path, schema: Any, column: str) -> tuple[str, ...]:
    """Names of the numbers in a label column, if it is the hub's ClassLabel.

    Empty for texts and plain numbers.
    """
    import pyarrow.types as types

    kind = schema.field(column).type
    held = kind.value_type if types.is_dictionary(kind) else kind
    if types.is_string(held) or types.is_large_string(held):
        return ()
    if not types.is_integer(held):
        raise DataError(
            f"{path}: column {column!r} holds {kind}; expected whole numbers or texts. Name "
            "another one in params.yaml: datasets.NAME.label_column."
        )
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(plain(name) for name in features[column]["names"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return ()  # written by something else, or without names


def _items(file: _File, source: Source) -> Iterator[Encoded | Rejected]:
    split = _split_of(file.path)
    columns = [source.image_column]
    if file.has_labels:
        columns.append(source.label_column)
    row = 0
    with _open_file(file.path) as opened:
        for batch in opened.iter_batches(BATCH_ROWS, columns=columns, use_threads=False):
            pictures = batch.column(source.image_column)
            labels = [None] * len(batch)
            if file.has_labels:
                labels = batch.column(source.label_column).to_pylist()
            for picture, label in zip(pictures, labels, strict=True):
                name = f"{file.name}/{row:06d}"
                row += 1
                has_fields = file.is_struct and picture.is_valid
                content = picture["bytes"].as_py() if has_fields else picture.as_py()
                if content is None:
                    yield Rejected(name, "missing", "the row holds no picture")
                elif len(content) > MAX_FILE_BYTES:
                    size = f"{len(content):,} bytes, at most {MAX_FILE_BYTES:,} are read"
                    yield Rejected(name, "too large", size)
                else:
                    class_name = _class_of(label, file, source)
                    yield Encoded(name, class_name, split, partial(bytes, content))


def _class_of(label: int | str | None, file: _File, source: Source) -> str | None:
    if isinstance(label, str):
        return plain(label.strip()) or None
    if label is None or label < 0:  # the hub writes -1 where labels are kept back
        return None
    if not file.class_names:
        return str(label)
    if label >= len(file.class_names):
        raise DataError(
            f"{file.path}: column {source.label_column!r} holds {label}, but names only the "
            f"classes 0 to {len(file.class_names) - 1}. Fetch the file again."
        )
    return file.class_names[label]


@contextmanager
def _open_file(path: Path) -> Iterator[Any]:
    """A pyarrow ParquetFile.

    Raises:
        DataError: if it is damaged, which may show at any row.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        # Only the two together keep memory flat: pyarrow reads whole row groups ahead otherwise.
        with pyarrow.parquet.ParquetFile(path, pre_buffer=False, buffer_size=BUFFER_BYTES) as file:
            yield file
    except (pyarrow.ArrowException, OSError):  # the latter also for damaged compressed pages
        raise DataError(f"{path} is damaged, or no parquet file. Fetch it again.") from None
