"""Files: written whole or not at all, and hashed once a machine."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import platformdirs
import pytest

from msr_local.errors import FileError
from msr_local.files import cache_folder, data_folder, remove, sha256, written_whole

# ---- whole or not there


def test_a_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "x.gguf"
    with written_whole(target) as part:
        part.write_text("half")
        assert not target.exists()
        assert part.parent == target.parent
    assert target.read_text() == "half"
    with pytest.raises(KeyboardInterrupt), written_whole(target) as part:
        part.write_text("other")
        raise KeyboardInterrupt
    assert target.read_text() == "half"
    assert [path.name for path in target.parent.iterdir()] == ["x.gguf"]


def test_what_kills_left_behind_is_swept_away_in_the_end(tmp_path: Path) -> None:
    target = tmp_path / "x.gguf"
    with written_whole(target) as part:
        stem = part.name.split("-")[0]
        part.touch()
    old, fresh, folder, other = (
        tmp_path / f"{name}.unfinished" for name in (f"{stem}-1", f"{stem}-2", f"{stem}-3", "y")
    )
    folder.mkdir()
    (folder / "model.gguf").touch()
    for path in (old, fresh, other):
        path.touch()
    for path in (old, folder, other):
        os.utime(path, (0, 0))
    with written_whole(target) as part:
        part.touch()
    assert not old.exists()
    assert fresh.exists()
    assert folder.exists()  # somebody still writes into it
    assert other.exists()
    os.utime(folder / "model.gguf", (0, 0))
    with written_whole(target) as part:
        part.touch()
    assert not folder.exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match=r"cannot be written .*Next: "), written_whole(tmp_path / "file" / "x"):
        pass


def test_of_two_processes_that_make_the_same_folder_the_first_wins(tmp_path: Path) -> None:
    with written_whole(tmp_path / "made") as first, written_whole(tmp_path / "made") as second:
        for part in (first, second):
            part.mkdir()
            (part / "x").write_text(part.name)
    assert (tmp_path / "made" / "x").read_text() == second.name
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_a_folder_that_is_there_already_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "x").write_text("there")
    with written_whole(tmp_path / "made") as part:
        part.mkdir()
        (part / "x").write_text("new")
    assert (tmp_path / "made" / "x").read_text() == "there"
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_an_error_of_the_block_itself_is_what_is_raised(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), written_whole(tmp_path / "x") as part:
        part.write_text("half")
        raise ZeroDivisionError
    with pytest.raises(FileError, match="No space left"), written_whole(tmp_path / "x") as part:
        part.write_text("half")
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_there_can_be_removed(tmp_path: Path) -> None:
    (tmp_path / "folder" / "below").mkdir(parents=True)
    (tmp_path / "file").touch()
    for name in ("folder", "file", "nothing"):
        remove(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


# ---- hashes

Read = Callable[[Path], tuple[str, bool]]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda name: str(tmp_path / "cache" / name))
    return tmp_path / "cache" / "msr-local"


@pytest.fixture
def read(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    """The hash of a file, and whether the file was read for it."""
    opened: list[Path] = []
    plain_open = Path.open

    def watched(self: Path, *args: Any, **kwargs: Any) -> Any:
        opened.append(self)
        return plain_open(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", watched)

    def hashed(path: Path) -> tuple[str, bool]:
        opened.clear()
        digest = sha256(path)
        return digest, path in opened

    return hashed


def of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write(path: Path, content: bytes, time_ns: int = 10**18) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, ns=(time_ns, time_ns))
    return path


@pytest.mark.parametrize("answer", ["~/.cache/msr-local", "", RuntimeError("could not determine the home directory")])
def test_without_a_home_nothing_is_written_where_the_command_runs(tmp_path, monkeypatch, answer):
    def find(name: str) -> str:
        if isinstance(answer, str):
            return answer
        raise answer

    for kind in ("user_cache_dir", "user_data_dir"):
        monkeypatch.setattr(platformdirs, kind, find)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileError, match=r"no home folder.* Next: set HOME or XDG_CACHE_HOME"):
        cache_folder()
    with pytest.raises(FileError, match="Next: set HOME or XDG_DATA_HOME, or give --home DIR"):
        data_folder()
    (tmp_path / "x").write_bytes(b"content")
    assert sha256(tmp_path / "x") == of(b"content")  # it is only read again
    assert [one.name for one in tmp_path.iterdir()] == ["x"]


def test_the_cache_is_where_the_platform_has_it(cache: Path) -> None:
    assert cache_folder() == cache and not cache.exists()


def test_a_file_is_read_once(read: Read, tmp_path: Path) -> None:
    content = b"x" * (1 << 21) + b"end"
    file = write(tmp_path / "model.gguf", content)
    assert read(file) == (of(content), True)
    assert read(file) == (of(content), False)
    empty = write(tmp_path / "empty", b"")
    assert read(empty) == (of(b""), True) and read(empty) == (of(b""), False)


def test_it_is_read_again_when_it_was_changed(read: Read, tmp_path: Path) -> None:
    file = write(tmp_path / "model.gguf", b"first")
    assert read(file) == (of(b"first"), True)
    write(file, b"longer than before")  # another size, the same time
    assert read(file) == (of(b"longer than before"), True)
    write(file, b"longer than BEFORE", 10**18 + 1)  # the same size, another time
    assert read(file) == (of(b"longer than BEFORE"), True)
    write(file, b"longer than beFORE", 10**18 + 1)  # the same size and a time that was put back
    assert read(file) == (of(b"longer than beFORE"), True)
    other = write(tmp_path / "other", b"longer THAN before", 10**18 + 1)
    other.replace(file)  # another file by the same name
    assert read(file) == (of(b"longer THAN before"), True)
    assert read(file) == (of(b"longer THAN before"), False)


@pytest.mark.parametrize("field", ["st_size", "st_mtime_ns", "st_ctime_ns", "st_ino"])
def test_every_sign_of_a_change_counts(read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: str) -> None:
    file = write(tmp_path / "model.gguf", b"weights")
    read(file)
    stat = Path.stat

    class Changed:
        def __init__(self, found: os.stat_result) -> None:
            self._found = found

        def __getattr__(self, name: str) -> Any:
            return getattr(self._found, name) + (name == field)

    monkeypatch.setattr(Path, "stat", lambda self, **how: (Changed if self == file else lambda x: x)(stat(self, **how)))
    assert read(file) == (of(b"weights"), True)
    assert read(file) == (of(b"weights"), False)


def test_files_of_the_same_name_size_and_time_do_not_share_a_hash(
    read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("one", "two"):
        write(tmp_path / folder / "model.gguf", folder.encode())
    for _ in range(2):
        for folder in ("one", "two"):
            monkeypatch.chdir(tmp_path / folder)
            assert read(Path("model.gguf"))[0] == of(folder.encode())
    monkeypatch.chdir(tmp_path)
    assert read(Path("two/model.gguf")) == (of(b"two"), False)  # the same file by another way
    assert read(tmp_path / "one" / ".." / "one" / "model.gguf") == (of(b"one"), False)


def test_a_link_is_what_it_points_to(read: Read, tmp_path: Path) -> None:
    one, two = write(tmp_path / "one", b"one"), write(tmp_path / "two", b"two")
    link = tmp_path / "link"
    link.symlink_to(one)
    assert read(link) == (of(b"one"), True) and read(one) == (of(b"one"), False)
    link.unlink()
    link.symlink_to(two)
    assert read(link)[0] == of(b"two")


def test_a_missing_file_is_an_os_error(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sha256(tmp_path / "nothing.gguf")
    file = write(tmp_path / "model.gguf", b"weights")
    sha256(file)
    file.unlink()
    with pytest.raises(FileNotFoundError):
        sha256(file)
    with pytest.raises(OSError, match="directory"):
        sha256(tmp_path)


@pytest.mark.parametrize("place", ["", "msr-local", "msr-local/hashes"])
def test_a_cache_that_cannot_be_written_is_no_error(read: Read, cache: Path, tmp_path: Path, place: str) -> None:
    file = write(tmp_path / "model.gguf", b"weights")
    write(tmp_path / "cache" / place, b"a file where a folder should be")
    assert read(file) == read(file) == (of(b"weights"), True)


def test_a_full_disk_is_no_error(read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    file = write(tmp_path / "model.gguf", b"weights")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        assert read(file) == (of(b"weights"), True)
    assert read(file) == (of(b"weights"), True) and read(file) == (of(b"weights"), False)


BROKEN = [
    b"",
    b"{",
    b"null",
    b"5",
    b"[]",
    b"{}",
    b'"text"',
    b"[[]]",
    b"\xff\xfe",
    b"\0" * 50,
    b'{"a": 1}',
]


@pytest.mark.parametrize("content", BROKEN, ids=range(len(BROKEN)))
def test_a_broken_cache_is_no_error(read: Read, cache: Path, tmp_path: Path, content: bytes) -> None:
    file = write(tmp_path / "model.gguf", b"weights")
    read(file)
    (kept,) = (cache / "hashes").iterdir()
    kept.write_bytes(content)
    assert read(file) == (of(b"weights"), True)
    assert read(file) == (of(b"weights"), False)


@pytest.mark.parametrize("digest", [None, 5, "", "abc", ["x"] * 64, {}])
def test_a_kept_hash_that_is_none_is_not_taken(read: Read, cache: Path, tmp_path: Path, digest: object) -> None:
    file = write(tmp_path / "model.gguf", b"weights")
    read(file)
    (kept,) = (cache / "hashes").iterdir()
    kept.write_text(json.dumps([*json.loads(kept.read_text())[:-1], digest]))
    assert read(file) == (of(b"weights"), True)


def test_a_folder_in_the_place_of_a_kept_hash_is_no_error(read: Read, cache: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "model.gguf", b"weights")
    read(file)
    (kept,) = (cache / "hashes").iterdir()
    kept.unlink()
    kept.mkdir()
    assert read(file) == read(file) == (of(b"weights"), True)


def test_names_that_are_no_text_have_hashes(read: Read, tmp_path: Path) -> None:
    file = write(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe model")), b"weights")
    assert read(file) == (of(b"weights"), True) and read(file) == (of(b"weights"), False)
