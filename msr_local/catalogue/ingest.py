"""From files to a workspace: items, interactions, then a look at every picture.

Rows come first, so that the workspace is usable at once; pictures are checked after that and remembered by
path, size and time of change. Both may be stopped at any moment and run again.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import InputError
from ..hardware import usable_threads
from ..progress import Progress, silent
from ..store import catalogue
from ..store.catalogue import Added, ImageFact
from ..store.rows import ItemRow, Rejected
from ..store.workspace import Workspace
from .fields import IGNORE, INTERACTION_FIELDS, ITEM_FIELDS, Fields
from .images import check_image, images_by_id, resolve_image
from .readers import find_sources, read_columns, read_interactions, read_items

_TOGETHER = 64  # pictures checked in one transaction


@dataclass(frozen=True, slots=True)
class Ingested:
    """What one ingest did; `images` and `images_rejected` count pictures."""

    items: Added
    interactions: Added
    images: int
    images_rejected: int
    files: tuple[Path, Path]

    @property
    def rejected(self) -> int:
        return self.items.rejected + self.interactions.rejected + self.images_rejected


def ingest(
    workspace: Workspace,
    items: Path,
    interactions: Path | None = None,
    *,
    images: Path | None = None,
    mapping: Mapping[str, str] | None = None,
    min_rating: float | None = None,
    progress: Progress = silent,
) -> Ingested:
    """Read an items file and an interactions file (or one folder that holds both) into `workspace`.

    Raises `InputError` when a file cannot be read at all; single bad rows are kept in `rejects`.
    """
    item_file, interaction_file = (path.resolve() for path in find_sources(items, interactions))
    if images is not None and not images.is_dir():
        raise InputError(f"{images}: no such folder of images.")
    if item_file == interaction_file:
        raise InputError(f"{item_file}: the same file was given for items and interactions. Next: give two files.")
    known = {item_file: ITEM_FIELDS, interaction_file: INTERACTION_FIELDS}
    mappings = _share(mapping, known) if mapping else {file: {} for file in known}
    pictures = _Pictures(item_file, images.resolve() if images else None)
    progress("items", 0, 0)
    added_items = catalogue.add_items(workspace, item_file, pictures.take(read_items(item_file, mappings[item_file])))
    progress("interactions", 0, 0)
    rows = read_interactions(interaction_file, mappings[interaction_file])
    added = catalogue.add_interactions(workspace, interaction_file, rows, min_rating=min_rating)
    found, broken = _check(workspace, item_file, pictures, progress)
    files = (item_file, interaction_file)
    return Ingested(added_items, added, found, broken + len(pictures.refused), files)


def _share(mapping: Mapping[str, str], files: Mapping[Path, Fields]) -> dict[Path, dict[str, str]]:
    """`mapping` for each file: a column goes to the files that have it and know the field."""
    columns = {file: read_columns(file) for file in files}
    for column, field in mapping.items():
        if not any(column in names for names in columns.values()):
            raise InputError(
                f"no column {column!r} to map to {field}. "
                + " ".join(f"{file.name} has: {', '.join(names)}." for file, names in columns.items())
            )
        holders = [fields for file, fields in files.items() if column in columns[file]]
        if not any(field == IGNORE or field in fields for fields in holders):
            known = dict.fromkeys(name for fields in holders for name in fields)
            raise InputError(
                f"{column!r} cannot be mapped to {field!r}. The fields are: {', '.join([*known, IGNORE])}."
            )
    return {
        file: {
            column: field
            for column, field in mapping.items()
            if column in columns[file] and (field == IGNORE or field in fields)
        }
        for file, fields in files.items()
    }


class _Pictures:
    """Finds each item's picture while the items file is read, and remembers which line named it.

    The folder of pictures is asked for the item's id first, then for what the row names; then the items file's own.
    """

    def __init__(self, file: Path, folder: Path | None) -> None:
        self._by_id = images_by_id(folder) if folder else {}
        self._roots = [folder, file.parent] if folder else [file.parent]
        self.lines: dict[Path, int] = {}
        self.refused: list[Rejected] = []

    def take(self, rows: Iterator[ItemRow | Rejected]) -> Iterator[ItemRow | Rejected]:
        """The same rows, with `image` as an absolute path or None."""
        for row in rows:
            yield self._with_path(row) if isinstance(row, ItemRow) else row

    def _with_path(self, row: ItemRow) -> ItemRow:
        path = self._by_id.get(row.item_id) or self._named(row.image or "", row.line)
        if path is None:
            return replace(row, image=None)
        self.lines.setdefault(path, row.line)
        return replace(row, image=str(path))

    def _named(self, image: str, line: int) -> Path | None:
        refused = []
        for root in self._roots if image else ():
            try:
                return resolve_image(image, root)
            except InputError as error:
                refused.append(Rejected(line, str(error), image))
        self.refused += refused[:1]
        return None


def _check(workspace: Workspace, file: Path, pictures: _Pictures, progress: Progress) -> tuple[int, int]:
    """Look at every picture that is new or has changed; (usable, broken) of all of them."""
    rejected = list(pictures.refused)
    paths = iter(pictures.lines)
    usable = done = 0
    with ThreadPoolExecutor(usable_threads()) as pool:
        while group := list(itertools.islice(paths, _TOGETHER)):
            known = catalogue.known_images(workspace, group)
            new = list(pool.map(_look, [path for path in group if path not in known]))
            catalogue.add_images(workspace, new)
            for fact in [*known.values(), *new]:
                if fact.error is None:
                    usable += 1
                else:
                    rejected.append(Rejected(pictures.lines[fact.path], fact.error, str(fact.path)))
            done += len(group)
            progress("pictures", done, len(pictures.lines))
    catalogue.add_rejects(workspace, file, rejected)
    return usable, len(rejected) - len(pictures.refused)


def _look(path: Path) -> ImageFact:
    stat = path.stat()
    try:
        return ImageFact(path, stat.st_size, stat.st_mtime_ns, check_image(path), None)
    except InputError as error:
        return ImageFact(path, stat.st_size, stat.st_mtime_ns, None, str(error))
