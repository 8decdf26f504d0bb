"""What a file is packed in: told by its first bytes, whatever its name says."""

from __future__ import annotations

import bz2
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

_EXCEL = "an Excel workbook. Next: save its sheet as CSV (UTF-8), then name that file."
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
    b"ORC": "an ORC file. Next: save it as Parquet.",
    b"Obj\x01": "an Avro file. Next: save it as Parquet or JSON lines.",
    **dict.fromkeys((b"\x89PNG", b"\xff\xd8\xff"), "a picture. Next: name the folder of the pictures with --images."),
    b"version https://git-lfs": "a pointer of Git LFS, not the file itself. Next: git lfs pull",
}
_PAGES = (b"<!doctype html", b"<html")


@contextmanager
def open_unpacked(path: Path) -> Iterator[io.BufferedReader]:
    """The bytes of `path`, out of gzip, bzip2, xz or a zip archive of one file; closed at the end.

    Raises InputError, with what the file is, if it is none that can be read; one of `BROKEN`, here or while reading.
    """
    with path.open("rb") as binary:
        start = binary.peek(64)
        for magic, meant in _FOREIGN.items():
            if start.startswith(magic):
                raise InputError(f"this is {meant}")
        if start.lstrip()[:14].lower().startswith(_PAGES):
            raise InputError("this is a web page, perhaps instead of a download. Next: get the file itself.")
        if start.startswith(b"PK\x03\x04"):
            with _open_zip(binary) as inner:
                yield inner
            return
        for magic, opened in _PACKED.items():
            if start.startswith(magic):
                with io.BufferedReader(cast("Any", opened(binary))) as inner:
                    yield inner
                return
        yield binary


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
