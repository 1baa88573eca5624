"""Reading the members of a zip or tar file one after the other, whatever a hostile one may hold."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import tarfile
import zipfile
from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple, Protocol, Self, cast

from atelier.data.sources.names import is_utf8, with_slashes
from atelier.data.sources.pictures import Unusable
from atelier.errors import DataError

# An archive that grows to more than both is a bomb. Packed photographs grow by a percent,
# uncompressed ones (BMP, TIFF) to twice or three times their size, drawings perhaps to a hundred
# times.
MAX_GROWTH = 200
MIN_BOMB_BYTES = 2**30
# Of a long name or an extended header: tarfile takes them into memory whole.
MAX_TAR_HEADER_BYTES = 2**20
SOLARIS_HEADER = b"X"
LONG_KINDS = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    SOLARIS_HEADER,
)
BUFFER_BYTES = 2**20
# Flag of a member whose name is UTF-8; otherwise zipfile takes it for code page 437.
ZIP_UTF8 = 0x800
# zipfile can read two more, but only these in small steps: a short member of the others may grow
# past RAM.
COMMON_COMPRESSIONS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
DOS_FOLDER = 0x10  # in a zip member's attributes


class Read(Protocol):
    """Reading a member; raises Unusable or DataError."""

    def __call__(self, limit: int | None = None) -> bytes:
        """The first `limit` bytes; None: all of them."""


class Member(NamedTuple):
    """One entry of an archive, but for folders."""

    name: str  # as it stands there
    path: str  # the name, with slashes where Windows wrote backslashes
    size: int  # in bytes, unpacked
    is_file: bool  # False: a link, a device or a sparse file
    read: Read  # before the next member is asked for


def members(path: Path) -> Generator[Member]:
    """The members of an archive in their order, one at a time.

    Raises:
        DataError: if it is no archive, damaged, encrypted, or a bomb; what was read until then is
            not to be trusted.
    """
    try:
        with path.open("rb") as file:
            start = file.read(8)
        if start.startswith(b"PK"):
            yield from _zip_members(path)
        else:
            yield from _tar_members(path, start)
    except DataError:
        raise
    except Exception:  # a hostile header can raise nearly anything inside the standard library
        raise _damage_error(path) from None


def _zip_members(path: Path) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        infos = [info for info in archive.infolist() if not _is_folder(info)]
        # Sizes are as declared; zipfile reads no more than that of any member.
        _refuse_bomb(path, sum(info.file_size for info in infos))
        if any(info.flag_bits & 1 for info in infos):
            raise DataError(
                f"{path} is encrypted. Unpack it and use the folder, or pack it without a password."
            )
        if not {info.compress_type for info in infos} <= COMMON_COMPRESSIONS:
            raise DataError(
                f"{path} is compressed in an uncommon way. "
                "Unpack it and use the folder, or use deflate."
            )
        for info in infos:
            # 0 if it was packed by a system without such.
            kind = stat.S_IFMT(info.external_attr >> 16)
            is_file = kind in (0, stat.S_IFREG)
            path_in_zip = _path_in_zip(info)
            read = partial(_read_zip_member, archive, info)
            yield Member(info.filename, path_in_zip, info.file_size, is_file, read)


def _path_in_zip(info: zipfile.ZipInfo) -> str:
    """Its name, with slashes.

    What isn't marked as UTF-8 may be so all the same; macOS packs such archives.
    """
    encoding = "utf-8" if info.flag_bits & ZIP_UTF8 else "cp437"  # as zipfile decoded it
    try:
        name = info.filename.encode(encoding)
    except UnicodeEncodeError:  # newer versions of Python take a name from an extra field, as text
        name = info.filename.encode("utf-8", "surrogateescape")
    separated = with_slashes(name)
    return separated.decode("utf-8" if is_utf8(separated) else "cp437")


def _is_folder(info: zipfile.ZipInfo) -> bool:
    """Whether an entry is a folder, as any system marks it."""
    if _path_in_zip(info).endswith("/"):
        return True
    return not info.file_size and bool(info.external_attr & DOS_FOLDER)


def _read_zip_member(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int | None = None
) -> bytes:
    # A `read()` would unpack more than the header admits, then cut it off.
    size = info.file_size if limit is None else min(limit, info.file_size)
    try:
        with archive.open(info) as file:
            return file.read(size)
    # As in `members`; every member has a checksum of its own, so the others can be trusted.
    except Exception:
        raise Unusable("truncated or damaged", "in the archive") from None


def _tar_members(path: Path, start: bytes) -> Iterator[Member]:
    with _unpack(path, start) as stream:
        bounded = _Bounded(stream, path)
        with tarfile.open(
            fileobj=bounded, mode="r|", bufsize=BUFFER_BYTES, tarinfo=_Header, encoding="utf-8"
        ) as archive:
            while (info := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # they would pile up
                if info.isdir():
                    continue
                # The map of a hostile sparse file can keep tarfile busy for ever.
                # Pictures are never sparse.
                is_file = info.isreg() and not info.issparse()
                read = partial(_read_tar_member, path, archive, info)
                yield Member(info.name, _path_in_tar(info), info.size, is_file, read)
        while bounded.read(BUFFER_BYTES):  # the checksum of a compressed file stands at its end
            pass


def _path_in_tar(info: tarfile.TarInfo) -> str:
    name = with_slashes(info.name.encode("utf-8", "surrogateescape"))
    return name.decode("utf-8", "surrogateescape")


def _read_tar_member(
    path: Path, archive: tarfile.TarFile, info: tarfile.TarInfo, limit: int | None = None
) -> bytes:
    try:
        file = archive.extractfile(info)
        assert file is not None  # of a regular file there is always one
        return file.read() if limit is None else file.read(limit)
    except DataError:
        raise
    except Exception:  # as in `members`, which is not on the stack here
        raise _damage_error(path) from None


def _unpack(path: Path, start: bytes) -> IO[bytes]:
    if start.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.open(path))
    if start.startswith(b"\xfd7zXZ\0"):
        return lzma.open(path)
    if start.startswith(b"BZh"):
        return bz2.open(path)
    if start.startswith(b"\x28\xb5\x2f\xfd"):
        import pyarrow

        return pyarrow.input_stream(str(path), compression="zstd")  # type: ignore[no-any-return]
    return path.open("rb")


class _Bounded(io.RawIOBase):
    """A stream that refuses to grow like a bomb."""

    def __init__(self, stream: IO[bytes], path: Path) -> None:
        self._stream = stream
        self._path = path
        self._grown = 0

    def read(self, size: int = -1) -> bytes:
        block = self._stream.read(size)
        self._grown += len(block)
        _refuse_bomb(self._path, self._grown)
        return block


class _Header(tarfile.TarInfo):
    """A tar header; tarfile itself takes a damaged one for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str | None, errors: str) -> Self:
        try:
            header = super().frombuf(buf, encoding, errors)  # type: ignore[arg-type]
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError:
            raise ValueError("damaged, or without its end mark") from None
        if header.type in LONG_KINDS and header.size > MAX_TAR_HEADER_BYTES:
            raise ValueError("a header of an absurd size")
        return header


def _refuse_bomb(path: Path, grown: int) -> None:
    if grown > max(MIN_BOMB_BYTES, MAX_GROWTH * path.stat().st_size):
        raise DataError(
            f"{path} holds more than {MAX_GROWTH} times its own size ({grown:,} bytes or more): a "
            "decompression bomb. If it can be trusted, unpack it and use the folder."
        )


def _damage_error(path: Path) -> DataError:
    return DataError(
        f"{path} is damaged, or no archive of the kinds that are read: zip, tar, tar.gz, tar.xz, "
        "tar.zst, tar.bz2. Fetch or pack it again."
    )
