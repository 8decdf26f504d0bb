"""The cache of a model hub on this machine, in Hugging Face's layout, as llama.cpp and transformers share it.

`models--ORG--REPO/snapshots/COMMIT/` holds links to `blobs/HASH`; a link's name says what the file is, so links stay
links. Nothing is downloaded here, and no network is asked.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import FileError
from ..files import expanded, remove

# Environment variables in llama.cpp's order, each with where the cache is below its folder.
_PLACES = (
    ("LLAMA_CACHE", ""), ("HF_HUB_CACHE", ""), ("HUGGINGFACE_HUB_CACHE", ""), ("HF_HOME", "hub"),
    ("XDG_CACHE_HOME", "huggingface/hub"),
)  # fmt: skip
COMMIT = re.compile(r"[0-9a-f]{40}")


def folder() -> Path:
    """Where the cache is, in full: paths in it are compared with those that a workspace keeps. It may not be there."""
    for name, below in _PLACES:
        if value := os.environ.get(name):
            return Path(os.path.abspath(expanded(value) / below))  # noqa: PTH100
    return Path.home() / ".cache" / "huggingface" / "hub"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One commit of a repository, as much of it as is here."""

    id: str
    commit: str
    place: Path

    def files(self) -> list[str]:
        """Its GGUF files that are here, as paths inside the repository."""
        found = (path for path in self.place.rglob("*.gguf") if path.is_file())  # a link to nothing is no file
        return sorted(path.relative_to(self.place).as_posix() for path in found)


def home(id: str) -> Path:
    """The folder of a repository in the cache; it may not be there yet."""
    return folder() / f"models--{id.replace('/', '--')}"


def snapshots() -> Iterator[Snapshot]:
    """All that is here with a GGUF file in it: of each repository its present commit first."""
    for place in sorted(folder().glob("models--*--*")):
        for one in of(place.name.removeprefix("models--").replace("--", "/", 1)):
            if one.files():
                yield one


def of(id: str, revision: str | None = None) -> list[Snapshot]:
    """What is here of a repository: that of `main` first, then the last to change; or the one that `revision` names."""
    try:
        places = [path for path in (home(id) / "snapshots").iterdir() if path.is_dir()]
        places.sort(key=lambda path: (path.name != _ref(id, "main"), -path.stat().st_mtime))
    except OSError:
        return []
    commit = revision and (_ref(id, revision) or revision)
    return [Snapshot(id, path.name, path) for path in places if commit in (None, path.name)]


def repository_of(path: Path) -> tuple[str, str, str] | None:
    """(repository, commit, path inside it) of a file in a cache of this layout, there or not; None for any other."""
    match = re.search(r"models--([^/]+?)--([^/]+)/snapshots/([0-9a-f]{40})/(.+)$", path.as_posix())
    return (f"{match[1]}/{match[2]}", match[3], match[4]) if match else None


def keep(id: str, commit: str, revision: str | None, file: str, blob: Path) -> Path:
    """Link `blob`, in its folder of the cache, as `file` of a commit that `revision` stands for; the link."""
    link = home(id) / "snapshots" / commit / file
    link.parent.mkdir(parents=True, exist_ok=True)
    target = os.path.relpath(blob, link.parent)
    if not (link.is_symlink() and os.readlink(link) == target):  # noqa: PTH115
        link.unlink(missing_ok=True)
        try:
            link.symlink_to(target)
        except OSError:  # a file system, or a Windows, without links
            os.link(blob, link)
    name = revision or "main"
    if name != commit and _ref(id, name) != commit:
        ref = home(id) / "refs" / name
        ref.parent.mkdir(parents=True, exist_ok=True)
        ref.write_text(commit, encoding="utf-8")
    return link


def forget(one: Snapshot, files: list[str]) -> int:
    """Delete files of a snapshot, and their blobs where no other link needs them; bytes that became free.

    Raises `FileError` where one cannot be deleted.
    """
    root, freed = home(one.id), 0
    for file in files:
        link = one.place / file
        size = link.stat().st_size
        blob = next((blob for blob in (root / "blobs").glob("*") if blob.samefile(link)), link)
        remove(link)
        if os.path.lexists(link):
            raise FileError(f"{link}: cannot be deleted. Next: check the rights of its folder.")
        others = (path for path in (root / "snapshots").rglob("*") if path.is_file())
        if blob == link or not any(path.samefile(blob) for path in others):
            remove(blob)
            freed += size
    left = [*(root / "snapshots").rglob("*"), *(root / "blobs").glob("*")]  # a download may be on its way
    if not any(path.is_file() for path in left):
        remove(root)
    return freed


def _ref(id: str, name: str) -> str | None:
    try:
        return (home(id) / "refs" / name).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
