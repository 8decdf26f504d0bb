"""Files: written whole or not at all, hashed once a machine, and the folders for caches, data and what is shipped."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.resources
import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import platformdirs

from .errors import FileError

_ABANDONED = 3600.0  # seconds without a change, after which an unfinished file is nobody's


def cache_folder() -> Path:
    """Where things are kept that can be made again; it may not be there yet. Raises `FileError` without a home."""
    return _of_user(platformdirs.user_cache_dir, "msr-local", "HOME or XDG_CACHE_HOME")


def data_folder(name: str = "msr-local") -> Path:
    """Where a workspace is kept by default; it may not be there yet. Raises `FileError` without a home."""
    return _of_user(platformdirs.user_data_dir, name, "HOME or XDG_DATA_HOME, or give --home DIR")


def expanded(path: str | Path) -> Path:
    """A path with ~ as the user's home, where there is such a user. (`Path.expanduser` raises for `~nobody`.)"""
    return Path(os.path.expanduser(path))  # noqa: PTH111


def _of_user(find: Callable[[str], str], name: str, then: str) -> Path:
    try:
        place = Path(find(name))
    except RuntimeError:  # platformdirs says so, or leaves a ~ where it found no home
        place = Path("~")
    if not place.is_absolute():
        raise FileError(f"this user has no home folder, so there is no place for {name}. Next: set {then}.")
    return place


def package_data(name: str) -> Path:
    """A folder of package data: inside the installed package, or beside it in a source checkout."""
    installed = Path(str(importlib.resources.files("msr_local"))) / name
    return installed if installed.is_dir() else Path(__file__).parents[1] / name


@contextlib.contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """A name beside `target` for a file or folder that takes its place when the block ends well.

    A kill leaves the final name as it was, and a hidden `.unfinished` that a later call sweeps away. Raises
    `FileError` where the disk refuses.
    """
    mark = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:8]
    part = target.parent / f".{mark}-{secrets.token_hex(4)}.unfinished"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for left in target.parent.glob(f".{mark}-*.unfinished"):
            if _age(left) > _ABANDONED:
                remove(left)
        yield part
        if not (part.is_dir() and target.is_dir()):  # else another process was faster, and its folder is as good
            part.replace(target)
    except OSError as error:
        raise _refused(target, error) from error
    finally:
        remove(part)


def require_writable(target: Path) -> None:
    """Raise `FileError` where `written_whole` could not write a file: for long work, before it begins."""
    try:
        if target.is_dir():
            raise IsADirectoryError("a folder is there")
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        raise _refused(target, error) from error


def _refused(target: Path, error: OSError) -> FileError:
    return FileError(f"{target}: cannot be written ({error}). Next: free disk space or check its folder.")


def remove(path: Path) -> None:
    """Delete a file or a folder; what is not there or refuses is left."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _age(path: Path) -> float:
    try:
        return time.time() - max(one.stat().st_mtime for one in [path, *path.rglob("*")])
    except OSError:  # its process has just finished it
        return 0.0


def sha256(path: Path) -> str:
    """SHA-256 of a file of any size. Raises `OSError`.

    It is kept in the cache, and the file read again only when it is another one or was changed since.
    """
    stat = path.stat()
    name = str(path.resolve())
    found: list[object] = [name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
    where = Path("hashes") / hashlib.sha256(os.fsencode(name)).hexdigest()[:32]
    with contextlib.suppress(OSError, ValueError, TypeError, FileError):
        kept = cache_folder() / where
        *what, digest = json.loads(kept.read_text(encoding="utf-8"))
        if what == found and isinstance(digest, str) and len(digest) == 64:
            return digest
    read = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            read.update(chunk)
    digest = read.hexdigest()
    # A full disk is no reason not to answer, nor is a missing home.
    with contextlib.suppress(FileError), written_whole(cache_folder() / where) as part:
        part.write_text(json.dumps([*found, digest]), encoding="utf-8")
    return digest
