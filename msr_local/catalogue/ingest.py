"""From files to a workspace: items, interactions, then a look at every picture.

Rows come first, so that the workspace is usable at once; pictures are checked after that and remembered by
path, size and time of change. Both may be stopped at any moment and run again.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from ..errors import InputError, NoSuchColumn
from ..files import written_whole
from ..hardware import usable_threads
from ..progress import Progress, silent
from ..store import catalogue
from ..store.catalogue import Added, ImageFact
from ..store.rows import ItemRow, Rejected
from ..store.workspace import Workspace
from ..text import name_of, printable
from .fields import IGNORE, INTERACTION_FIELDS, ITEM_FIELDS, lay_out
from .images import SUFFIXES, Images, check_image, images_within, resolve_image
from .logs import Given
from .readers import find_sources, read_interactions, read_items, read_items_of_log
from .survey import Found, survey
from .tables import Source, read_columns

_TOGETHER = 64  # pictures checked in one transaction
_APART = re.compile(r"[,;|]")
_TOLD = 5000  # rows between two words on progress

Row = TypeVar("Row")


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


@dataclass(frozen=True, slots=True)
class Words:
    """What the user says of a file, beside its name: see `ingest`."""

    mapping: Mapping[str, str] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    encoding: str | None = None


_NOTHING = Words()


def _unheard(text: str) -> None:
    """A `tell` that says nothing."""


def ingest(
    workspace: Workspace,
    items: Path,
    interactions: Path | None = None,
    *,
    images: Path | None = None,
    mapping: Mapping[str, str] | None = None,
    of_items: Words = _NOTHING,
    of_interactions: Words = _NOTHING,
    day_first: bool | None = None,
    min_rating: float | None = None,
    progress: Progress = silent,
    tell: Callable[[str], None] = _unheard,
) -> Ingested:
    """Read an items file and an interactions file (or one folder, or one file, that holds both) into `workspace`.

    `mapping` (column -> field or "ignore") is for both files; what stands in `of_items` and `of_interactions` is for
    one. `day_first` says what 3/4/2019 is, where the column does not. `tell` gets what is odd about the files and what
    was chosen. Raises `InputError` when a file cannot be read at all; single bad rows are kept in `rejects`.
    """
    workspace.require_writable()
    item_file, interaction_file = (path.resolve() for path in find_sources(items, interactions))
    if interactions is None and items.is_dir():
        tell(f"Items are read from {item_file.name}, interactions from {interaction_file.name}.")
    if images is not None and not images.is_dir():
        raise InputError(f"{images}: no such folder of images.")
    sources = [
        Source(words.columns, words.encoding, {**(mapping or {}), **words.mapping})
        for words in (of_items, of_interactions)
    ]
    if item_file == interaction_file:
        sources = [_source_of_both(*sources)] * 2
    mappings = _share(mapping or {}, (item_file, interaction_file), sources)
    progress("columns", 0, 0)
    found_items, found = survey(
        Given(item_file, mappings[0] | dict(of_items.mapping), sources[0]),
        Given(interaction_file, mappings[1] | dict(of_interactions.mapping), sources[1]),
        lambda ids: catalogue.known_items(workspace, ids),
        tell,
        day_first,
    )
    if min_rating is not None:
        _require_ratings(interaction_file, found, min_rating)
    pictures = _Pictures(item_file, images.resolve() if images else None, workspace.path.parent / "pictures")
    read = read_items if item_file != interaction_file else read_items_of_log
    rows = pictures.take(_counted("items", read(item_file, found_items.mapping, found_items.how), progress))
    added_items = catalogue.add_items(workspace, item_file, rows)
    how = replace(found.how, rated=min_rating is not None)
    steps = _counted("interactions", read_interactions(interaction_file, found.mapping, how), progress)
    added = catalogue.add_interactions(workspace, interaction_file, steps, min_rating=min_rating)
    for file, counts in ((item_file, found_items.how.counts), (interaction_file, how.counts)):
        for (of, so), count in counts.items():
            tell(f"{file.name}: {of}: {count:,}; {so}")
    if added.repeated:
        tell(
            f"{interaction_file.name}: {added.repeated:,} rows without a time name a user and an item of another file. "
            "They count once: without times, nothing tells a repeat from the same again. Next, if they are repeats: "
            "a column of times, or one file that holds all."
        )
    usable, broken = _check(workspace, item_file, pictures, progress)
    pictures.tell(tell)
    return Ingested(added_items, added, usable, broken + len(pictures.refused), (item_file, interaction_file))


def _source_of_both(of_items: Source, of_interactions: Source) -> Source:
    """What is said of one file that holds both. Raises InputError where two things are."""
    both = of_items, of_interactions
    columns, encodings = {one.columns for one in both} - {()}, {one.encoding for one in both} - {None}
    if len(columns) > 1 or len(encodings) > 1:
        raise InputError(
            "the items and the interactions are one file, of which two things are said. Next: name all its columns "
            "once, as in --columns user,item,title,time (an empty name leaves one out), and one --encoding."
        )
    mapping = {**of_items.mapping, **of_interactions.mapping}
    return Source(next(iter(columns), ()), next(iter(encodings), None), mapping)


def _require_ratings(file: Path, found: Found, least: float) -> None:
    """Raises InputError where a least rating would leave nothing out, because there are no ratings."""
    names, _ = read_columns(file, INTERACTION_FIELDS, found.how.source)
    if "rating" not in lay_out(names, INTERACTION_FIELDS, found.mapping).fields:
        raise InputError(
            f"{file}: --min-rating {least:g}, but no column of ratings is known. Its columns are: "
            f"{', '.join(printable(name)[:40] for name in names[:40])}. Next: --map COLUMN=rating, or leave out "
            "--min-rating."
        )


def _counted(stage: str, rows: Iterator[Row], progress: Progress) -> Iterator[Row]:
    """The same rows, with a word on how far they are."""
    for number, row in enumerate(rows):
        if number % _TOLD == 0:
            progress(stage, number, 0)
        yield row


def _share(mapping: Mapping[str, str], files: Sequence[Path], sources: Sequence[Source]) -> list[dict[str, str]]:
    """`mapping` for each of the two files: a column goes to the files that have it and know the field."""
    if not mapping:
        return [{}, {}]
    kinds = (ITEM_FIELDS, INTERACTION_FIELDS)
    read = [read_columns(*one) for one in zip(files, kinds, sources, strict=True)]
    columns = [names for names, _ in read]
    for column, wanted in mapping.items():
        if not any(column in names for names in columns):
            there = [
                f"{file.name} has{'' if named else ' no header; its columns are taken as'}: {', '.join(names)}."
                for file, (names, named) in zip(files, read, strict=True)
            ]
            error = InputError if all(named for _, named in read) else NoSuchColumn
            raise error(f"no column {column!r} to map to {wanted}. {' '.join(there)}")
        holders = [fields for fields, names in zip(kinds, columns, strict=True) if column in names]
        if not any(wanted == IGNORE or wanted in fields for fields in holders):
            known = dict.fromkeys(name for fields in holders for name in fields)
            raise InputError(
                f"{column!r} cannot be mapped to {wanted!r}. The fields are: {', '.join([*known, IGNORE])}."
            )
    return [
        {
            column: wanted
            for column, wanted in mapping.items()
            if column in names and (wanted == IGNORE or wanted in fields)
        }
        for fields, names in zip(kinds, columns, strict=True)
    ]


class _Pictures:
    """Finds each item's picture while the items file is read, and remembers which line named it.

    What the row names comes first: in the folder of pictures, beside the items file, or by its name alone anywhere in
    the folder. Then comes a picture in the folder that is called like the item's id. One that stands in the row itself
    is kept in the workspace's folder `kept`.
    """

    def __init__(self, file: Path, folder: Path | None, kept: Path) -> None:
        self._folder = folder
        self._found = images_within(folder) if folder else Images()
        self._roots = [folder, file.parent] if folder else [file.parent]
        self._kept = kept
        self._used = 0
        self._doubtful: dict[str, None] = {}
        self._example = ""
        self.lines: dict[Path, int] = {}
        self.refused: list[Rejected] = []

    def take(self, rows: Iterator[ItemRow | Rejected]) -> Iterator[ItemRow | Rejected]:
        """The same rows, with `image` as an absolute path or None."""
        for row in rows:
            yield self._with_path(row) if isinstance(row, ItemRow) else row

    def tell(self, tell: Callable[[str], None]) -> None:
        """Say so if none of a folder's pictures belongs to an item, and which of them cannot be told apart or read."""
        if foreign := self._found.foreign:
            listed = ", ".join(f"{count:,} {suffix}" for suffix, count in foreign.items())
            tell(f"Pictures of these kinds are not read: {listed}. Next: convert them to JPEG or PNG.")
        if self._doubtful:
            tell(
                f"{len(self._doubtful):,} names of pictures, such as {printable(next(iter(self._doubtful)))[:60]!r}, "
                "stand in several folders: the one nearest to the top, then the first, is taken. Next, for another: "
                "name it with its folder in the column image."
            )
        if self._folder and not self._used:
            pictures = self._found.by_name
            like = f", such as {printable(next(iter(pictures)))[:60]!r}," if pictures else ""
            tell(
                f"None of the {len(pictures):,} pictures in {self._folder}{like} belongs to an item: a picture is "
                f"called like the item's id ({printable(self._example)[:40]!r}) or named in the column image."
            )

    def _with_path(self, row: ItemRow) -> ItemRow:
        self._example = self._example or row.item_id
        if isinstance(row.image, bytes):
            path: Path | None = self._keep(row.image)
        else:
            path = self._named(row.image or "", row)
        if path is None:
            return replace(row, image=None)
        self._used += self._folder is not None and path.is_relative_to(self._folder)
        self.lines.setdefault(path, row.line)
        return replace(row, image=str(path))

    def _named(self, image: str, row: ItemRow) -> Path | None:
        refused = None
        for name in (image, *_parts(image)) if image else ():
            for root in self._roots:
                try:
                    return resolve_image(name, root)
                except InputError as error:
                    refused = refused or Rejected(row.line, str(error), image)
            if path := self._found.called(name):
                return self._once(path)
        if path := self._found.of(row.item_id):
            return self._once(path)
        if refused:
            self.refused.append(refused)
        return None

    def _once(self, path: Path) -> Path:
        """`path`, found by its name alone: remembered if that is the name of others too."""
        if path.name in self._found.twice:
            self._doubtful[path.name] = None
        return path

    def _keep(self, data: bytes) -> Path:
        """A picture that stands in the items file itself, as a file of its own."""
        name = hashlib.sha256(data).hexdigest()
        path = self._kept / name[:2] / name
        if not path.exists():
            with written_whole(path) as target:
                target.write_bytes(data)
        return path


def _parts(image: str) -> list[str]:
    """The pictures that are named in one cell, as shops write several; the first that is there counts."""
    parts = [part.strip() for part in _APART.split(image)]
    return [part for part in parts if Path(part.partition("?")[0]).suffix.lower() in SUFFIXES] if parts[1:] else []


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
                    rejected.append(Rejected(pictures.lines[fact.path], fact.error, name_of(fact.path)))
            done += len(group)
            progress("pictures", done, len(pictures.lines))
    catalogue.add_rejects(workspace, file, rejected)
    return usable, len(rejected) - len(pictures.refused)


def _look(path: Path) -> ImageFact:
    try:
        stat = path.stat()
    except OSError as error:  # it has gone since it was found
        return ImageFact(path, 0, 0, None, f"{path}: {error.strerror or error}")
    try:
        return ImageFact(path, stat.st_size, stat.st_mtime_ns, check_image(path), None)
    except InputError as error:
        return ImageFact(path, stat.st_size, stat.st_mtime_ns, None, str(error))
