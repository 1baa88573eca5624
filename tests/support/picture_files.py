"""Picture files and archives for tests, made in memory."""

import io
import tarfile
import warnings
import zipfile

import numpy as np
import pyarrow as pa
from PIL import Image


def encoded(size=(40, 30), seed=0, mode="RGB", file_format="PNG", smooth=False, **save):
    """The bytes of a picture file; noise, or soft colours as photographs have them.

    Args:
        size: width, height.
        seed: another picture for each.
        mode: of PIL.
        file_format: of PIL.
        smooth: no noise.
        save: options of PIL's `save`.
    """
    random = np.random.default_rng(seed)
    if smooth:
        small = Image.fromarray(random.integers(0, 256, (6, 8, 3), np.uint8))
        image = small.resize(size, Image.Resampling.BICUBIC).convert(mode)
    else:
        image = Image.fromarray(random.integers(0, 256, (size[1], size[0], 3), np.uint8)).convert(
            mode
        )
    buffer = io.BytesIO()
    image.save(buffer, file_format, **save)
    return buffer.getvalue()


def write_files(folder, files):
    """Write files, given by relative path, and the folders that they are in."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def packed(files, kind="zip"):
    """An archive in memory; a file is its content, or a ready header of tar or zip."""
    buffer = io.BytesIO()
    if kind == "zip":
        with (
            zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive,
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")  # of names that occur twice
            for name, content in files:
                archive.writestr(name, content)
        return buffer.getvalue()
    mode = {"tar": "w", "tar.zst": "w"}.get(kind, f"w:{kind[4:]}")
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in files:
            header = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    if kind == "tar.zst":
        return pa.Codec("zstd").compress(buffer.getvalue(), asbytes=True)
    return buffer.getvalue()
