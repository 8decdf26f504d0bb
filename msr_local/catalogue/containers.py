"""What a file is packed in: told by its first bytes, whatever its name says."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from ..errors import InputError

BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)
"""What unpacking raises while a broken file is read."""


def broken(error: Exception) -> str:
    """What one of `BROKEN` says, and what to do."""
    if isinstance(error, EOFError):
        return "the end of the file is missing, as if it were still being written or copied. Next: get all of it."
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"it cannot be unpacked ({error}). Next: get the file again."


_EXCEL = "an Excel workbook. Next: save its sheet as CSV (UTF-8), then name that file."
_PAGE = (
    "a web page, perhaps instead of a download; some programs call one .xls. Next: get the file itself, or open the "
    "page in a spreadsheet and save it as CSV."
)
_UNPACK = "Next: unpack it, then name the file in it."
_PACKED: dict[bytes, Callable[[BinaryIO], object]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}
_FOREIGN = {
    b"\xd0\xcf\x11\xe0": f"an old Office file, such as {_EXCEL}",
    b"%PDF": "a PDF. Next: get the data as CSV, JSON or Parquet.",
    b"\x28\xb5\x2f\xfd": f"compressed with zstd. {_UNPACK}",
    b"7z\xbc\xaf": f"a 7z archive. {_UNPACK}",
    b"Rar!": f"a RAR archive. {_UNPACK}",
    b"SQLite format 3": "an SQLite database. Next: export the table as CSV.",
    b"\x89HDF": "an HDF5 file. Next: save it as Parquet or CSV.",
    b"\x93NUMPY": "a NumPy array. Next: save it as Parquet or CSV.",
    **dict.fromkeys(
        (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"),
        "a Python pickle, which is never opened: it could run code. Next: save it as Parquet or CSV.",
    ),
    b"ARROW1": "an Arrow (Feather) file. Next: save it as Parquet.",
    **{b"ORC" + bytes([sign]): "an ORC file. Next: save it as Parquet." for sign in (*range(9), *range(127, 256))},
    b"Obj\x01": "an Avro file. Next: save it as Parquet or JSON lines.",
    **dict.fromkeys((b"\x89PNG", b"\xff\xd8\xff"), "a picture. Next: name the folder of the pictures with --images."),
    b"version https://git-lfs": "a pointer of Git LFS, not the file itself. Next: git lfs pull",
}
_MARKUP = {
    b"<?xml": "XML. Next: get the data as CSV, JSON or Parquet; a spreadsheet can save what it opens as CSV.",
    **dict.fromkeys((b"<!doctype html", b"<html", b"<table"), _PAGE),
}
_TAR = slice(257, 262)  # where an archive of tar says so
_DEEPEST = 3  # times that a file may be packed


@contextmanager
def open_unpacked(path: Path) -> Iterator[io.BufferedReader]:
    """The bytes of `path`, out of gzip, bzip2, xz or a zip archive of one file; closed at the end.

    Raises InputError, with what the file is, if it is none that can be read; one of `BROKEN`, here or while reading.
    """
    with path.open("rb") as binary, _unpacked(binary) as inner:
        yield inner


@contextmanager
def _unpacked(binary: io.BufferedReader, depth: int = 1) -> Iterator[io.BufferedReader]:
    start = binary.peek(512)
    _refuse(start)
    if depth > _DEEPEST:
        raise InputError(f"this is packed more than {_DEEPEST} times. {_UNPACK}")
    if start.startswith(b"PK\x03\x04"):
        opened: Any = _open_zip(binary)
    elif packed := next((opening for magic, opening in _PACKED.items() if start.startswith(magic)), None):
        opened = io.BufferedReader(cast("Any", packed(binary)))
    else:
        yield binary
        return
    with opened as inner, _unpacked(inner, depth + 1) as data:
        yield data


def _refuse(start: bytes) -> None:
    """Raises InputError, with what it is, for a file that is no table."""
    for magic, meant in _FOREIGN.items():
        if start.startswith(magic):
            raise InputError(f"this is {meant}")
    for mark, meant in _MARKUP.items():
        if start.removeprefix(codecs.BOM_UTF8).lstrip()[:14].lower().startswith(mark):
            raise InputError(f"this is {meant}")
    if start[_TAR] == b"ustar":
        raise InputError(f"this is a tar archive. {_UNPACK}")


@contextmanager
def _open_zip(binary: BinaryIO) -> Iterator[io.BufferedReader]:
    with zipfile.ZipFile(binary) as archive:
        names = archive.namelist()
        if "xl/workbook.xml" in names or "xl/workbook.bin" in names:
            raise InputError(f"this is {_EXCEL}")
        if "[Content_Types].xml" in names or "mimetype" in names:
            raise InputError("this is an Office document. Next: save the table as CSV (UTF-8), then name that file.")
        files = [info for info in archive.infolist() if _is_data(info)]
        if len(files) != 1:
            listed = ", ".join(info.filename for info in files[:5]) + (", …" if len(files) > 5 else "")
            raise InputError(f"this is a zip archive of {len(files)} files ({listed}). {_UNPACK}")
        if files[0].flag_bits & 1:
            raise InputError(f"this is a zip archive with a password. {_UNPACK}")
        try:
            inner = archive.open(files[0])
        except NotImplementedError as error:
            raise InputError(f"this is a zip archive that Python cannot unpack ({error}). {_UNPACK}") from None
        with io.BufferedReader(cast("Any", inner)) as buffered:
            yield buffered


def _is_data(info: zipfile.ZipInfo) -> bool:
    path = PurePosixPath(info.filename)
    return not info.is_dir() and "__MACOSX" not in path.parts and not path.name.startswith(".")
