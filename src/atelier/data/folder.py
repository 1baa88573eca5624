"""A folder of pictures of any size as a source: first-level subfolders are classes; unusable files are rejected."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from atelier.data.pictures import Picture, Rejected, Source
from atelier.errors import DataError
from atelier.params import Dataset
from atelier.pictures import opaque

FORMATS = (
    "PNG",
    "JPEG",
    "WEBP",
    "BMP",
    "TIFF",
    "GIF",
)  # PIL has many more decoders; each is a way in for hostile files


class Unusable(Exception):
    """Why a picture is rejected; becomes a row of the quarantine table."""


def folder_of(project_root: Path, dataset: Dataset) -> Path:
    """The dataset's folder, relative to the project."""
    assert dataset.path is not None  # params refuse a folder source without a path
    return project_root / dataset.path


def open_source(folder: Path, dataset: Dataset) -> Source:
    """Open a folder; pictures are scaled and centre-cropped to squares of `dataset.image_size` pixels.

    Raises:
        DataError: if the folder can't be found or listed.
    """
    names = file_names(folder)
    classes = tuple(sorted({_class_of(name) for name in names} - {""}))
    labels = {class_name: label for label, class_name in enumerate(classes)}

    def items() -> Iterator[Picture | Rejected]:
        for name in names:
            try:
                pixels_HWC = decode(_read(folder / name), dataset.image_size, dataset.channels)
            except Unusable as error:
                yield Rejected(name, str(error))
            else:
                yield Picture(name, pixels_HWC, labels.get(_class_of(name)), is_test=None)

    return Source(classes, items())


def source_digest(folder: Path) -> str:
    """sha256 over every file's relative path and the sha256 of its content, in the order of the paths.

    Raises:
        DataError: if the folder can't be found or listed.
    """
    digest = hashlib.sha256()
    for name in file_names(folder):
        try:
            content = hashlib.sha256(_read(folder / name)).hexdigest()
        except Unusable as error:
            content = str(error)  # not what the file holds, but a change when it becomes readable
        digest.update(f"{content} {name}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()


def file_names(folder: Path) -> list[str]:
    """Sorted paths, relative and with slashes, of all files in the folder; hidden files and folders are left out.

    Raises:
        DataError: if the folder, or one inside it, can't be found or listed.
    """
    names = []
    try:
        for parent, subfolders, files in os.walk(folder, onerror=_raise):
            subfolders[:] = [name for name in subfolders if not name.startswith(".")]
            # A link to a folder is not followed (it may lead in a circle), but shows up in the quarantine table.
            links = [name for name in subfolders if (Path(parent) / name).is_symlink()]
            visible = [name for name in files if not name.startswith(".")]
            names += [(Path(parent) / name).relative_to(folder).as_posix() for name in links + visible]
    except OSError as error:
        raise DataError(
            f"{error.filename} can't be listed: {error.strerror}. Name the folder of pictures, as seen from the "
            "project, in params.yaml: datasets.NAME.path."
        ) from None
    return sorted(names)


def decode(content: bytes, image_size: int, channels: int) -> NDArray[np.uint8]:
    """Decode the first frame of a picture file, turn it upright, scale its short side and crop the centre square.

    Transparent pictures are laid on white, since the colours under transparent pixels are arbitrary.

    Returns:
        pixels_HWC: uint8, `image_size` x `image_size` x `channels`.

    Raises:
        Unusable: if it can't be decoded, is a decompression bomb, or is smaller than `image_size`.
    """
    if not content:
        raise Unusable("empty file")
    try:  # a tag or chunk of a damaged file can raise nearly anything inside PIL, hence `except Exception`
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # notes on odd metadata, which is not used
            warnings.simplefilter("error", Image.DecompressionBombWarning)  # the size stands in the header: not decoded
            image: Image.Image = Image.open(io.BytesIO(content), formats=FORMATS)
            image.load()
            image = ImageOps.exif_transpose(image)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise Unusable("decompression bomb: more pixels than Pillow's limit, Image.MAX_IMAGE_PIXELS") from None
    except UnidentifiedImageError:
        raise Unusable(f"not a picture of the formats {', '.join(FORMATS)}") from None
    except Exception:  # its text is left out: it differs between versions of Pillow, and the table is versioned data
        raise Unusable("truncated or damaged") from None
    try:
        image = opaque(image, "L" if channels == 1 else "RGB")
    except ValueError as error:
        raise Unusable(str(error)) from None
    if min(image.size) < image_size:
        raise Unusable(f"too small: {image.width} x {image.height}, the short side needs {image_size} pixels")
    square = ImageOps.fit(image, (image_size, image_size), Image.Resampling.LANCZOS)
    return np.asarray(square, np.uint8).reshape(image_size, image_size, channels)


def _class_of(name: str) -> str:
    first, slash, _ = name.partition("/")
    return first if slash else ""


def _read(path: Path) -> bytes:
    if not path.is_file():  # a pipe would block for ever; a broken link has no content
        raise Unusable("not a regular file")
    try:
        return path.read_bytes()
    except OSError as error:
        raise Unusable(f"can't be read: {error.strerror}") from None


def _raise(error: OSError) -> None:
    raise error
