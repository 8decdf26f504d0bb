"""Writing what was read from files: items, interactions, images and rejects.

Each file is one transaction: after a kill it is in as a whole or not at all, and reading the same file again
changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..text import name_of, storable, storable_path
from .rows import InteractionRow, ItemRow, Rejected
from .schema import TOKEN
from .workspace import Workspace

COLUMNS = "columns"  # the setting that keeps what was learned about those of the items
_UNTIMED = "files without times"  # the setting that names them


@dataclass(slots=True)
class Added:
    """What became of the rows of one file: each is in exactly one of these counts, but for the last."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    duplicate: int = 0
    low_rated: int = 0
    rejected: int = 0
    repeated: int = 0  # of the unchanged: without a time, and from another file than the first


@dataclass(frozen=True, slots=True)
class ImageFact:
    """The outcome of checking one picture; exactly one of `sha256` and `error` is set."""

    path: Path
    size: int
    mtime_ns: int
    sha256: str | None
    error: str | None


def add_items(workspace: Workspace, file: Path, rows: Iterable[ItemRow | Rejected]) -> Added:
    """Insert or update items. A second row for an item with other values than the first is a reject."""
    added = Added()
    refused: list[Rejected] = []
    with workspace.staging():  # reading a long file must not keep others from writing
        workspace.execute(
            "CREATE TEMP TABLE IF NOT EXISTS incoming_items (item_id TEXT, title TEXT, attributes TEXT, image TEXT)"
        )
        workspace.execute("DELETE FROM incoming_items")
        workspace.db.conn.executemany(
            "INSERT INTO incoming_items (item_id, title, attributes, image) VALUES (?, ?, ?, ?)",
            _good_items(rows, refused, added),
        )
    with workspace.write():
        workspace.execute("DELETE FROM rejects WHERE file = ?", [name_of(file)])
        add_rejects(workspace, file, refused)
        added.rejected = len(refused)
        read = workspace.one("SELECT count(*) FROM incoming_items")
        before = workspace.one("SELECT count(*) FROM items")
        written = workspace.execute(
            "INSERT INTO items (item_id, title, attributes, image)"
            " SELECT item_id, title, attributes, image FROM incoming_items WHERE true ORDER BY rowid"
            " ON CONFLICT (item_id) DO UPDATE SET"
            " title = excluded.title, attributes = excluded.attributes,"
            " image = ifnull(excluded.image, image)"
            " WHERE title IS NOT excluded.title OR attributes IS NOT excluded.attributes"
            " OR (excluded.image IS NOT NULL AND image IS NOT excluded.image)"
        ).rowcount
        workspace.execute("DELETE FROM incoming_items")
        added.new = workspace.one("SELECT count(*) FROM items") - before
        added.changed = written - added.new
        added.unchanged = read - written
        if added.changed > 0.25 * before:  # their columns may be others, or filled now
            workspace.execute("DELETE FROM settings WHERE name = ?", [COLUMNS])
    return added


def _good_items(
    rows: Iterable[ItemRow | Rejected], refused: list[Rejected], added: Added
) -> Iterator[tuple[str, str, str, str | bytes | None]]:
    """The first row of each item; another with other values goes to `refused`."""
    first: dict[str, tuple[int, int]] = {}
    for row in rows:
        if isinstance(row, Rejected):
            refused.append(row)
            continue
        image = None if row.image is None else storable_path(str(row.image))
        values = (row.item_id, row.title, _json(row.attributes), image)
        if row.item_id not in first:
            first[row.item_id] = (row.line, hash(values))
            yield values
            continue
        line, content = first[row.item_id]
        if content == hash(values):
            added.duplicate += 1
        else:
            reason = f"item {row.item_id!r} is already defined on line {line} with other values"
            refused.append(Rejected(row.line, reason, _json([*values[:3], row.image])))


def add_interactions(
    workspace: Workspace, file: Path, rows: Iterable[InteractionRow | Rejected], *, min_rating: float | None = None
) -> Added:
    """Insert interactions in file order.

    The same user, item and time again is a duplicate; with another rating, a reject. A row for an item that
    is not in the catalogue is a reject. Ratings under `min_rating` go to `low_ratings`.

    Without times, nothing tells a file that overlaps another from one that goes on after it. So a user has an item as
    often as in the file that has the pair most often: nothing is doubled, and what counts once is told in `repeated`.
    """
    added = Added()
    refused: list[Rejected] = []
    with workspace.staging():  # reading a long file must not keep others from writing
        workspace.execute(
            "CREATE TEMP TABLE IF NOT EXISTS incoming"
            " (line INTEGER, user_id TEXT, item_id TEXT, timestamp TEXT, rating REAL, occurrence INTEGER)"
        )
        workspace.execute("DELETE FROM incoming")
        workspace.db.conn.executemany(
            "INSERT INTO incoming (line, user_id, item_id, timestamp, rating) VALUES (?, ?, ?, ?, ?)",
            _good_interactions(rows, refused),
        )
    with workspace.write():
        workspace.execute("DELETE FROM rejects WHERE file = ?", [name_of(file)])
        add_rejects(workspace, file, refused)
        added.rejected = len(refused)
        added.rejected += _reject_unknown_items(workspace, file)
        added.duplicate, contradicting = _drop_repeats(workspace, file)
        added.rejected += contradicting
        _number_repeats(workspace)
        if min_rating is not None:
            added.low_rated = _keep_low_ratings(workspace, min_rating)
        added.repeated = _repeated(workspace, file)
        before = workspace.one("SELECT count(*) FROM interactions")
        left = workspace.one("SELECT count(*) FROM incoming")
        written = workspace.execute(
            "INSERT INTO interactions (user_id, item_id, timestamp, rating, occurrence)"
            " SELECT user_id, item_id, timestamp, rating, occurrence FROM incoming WHERE true ORDER BY rowid"
            " ON CONFLICT (user_id, item_id, ifnull(timestamp, ''), occurrence)"
            " DO UPDATE SET rating = excluded.rating WHERE rating IS NOT excluded.rating"
        ).rowcount
        if workspace.one("SELECT EXISTS (SELECT 1 FROM low_ratings)"):
            workspace.execute(
                "DELETE FROM low_ratings WHERE (user_id, item_id, timestamp, occurrence) IN"
                " (SELECT user_id, item_id, ifnull(timestamp, ''), occurrence FROM incoming)"
            )
        workspace.execute("DELETE FROM incoming")
        added.new = workspace.one("SELECT count(*) FROM interactions") - before
        if added.new:
            workspace.execute(f"UPDATE revision SET token = {TOKEN}")
        added.changed = written - added.new
        added.unchanged = left - written
    return added


def _good_interactions(
    rows: Iterable[InteractionRow | Rejected], refused: list[Rejected]
) -> Iterator[tuple[int, str, str, str | None, float | None]]:
    for row in rows:
        if isinstance(row, Rejected):
            refused.append(row)
        else:
            yield (row.line, row.user_id, row.item_id, row.timestamp, row.rating)


_RAW = "json_array(user_id, item_id, timestamp, rating)"
_REJECT = "INSERT INTO rejects (file, number, line, reason, raw)"
_COUNT = "(SELECT count(*) FROM rejects WHERE file = :file)"
_NUMBER = f"{_COUNT} + row_number() OVER (ORDER BY line)"


def _reject_unknown_items(workspace: Workspace, file: Path) -> int:
    unknown = "NOT EXISTS (SELECT 1 FROM items WHERE items.item_id = incoming.item_id)"
    workspace.execute(
        f"{_REJECT} SELECT :file, {_NUMBER}, line, 'unknown item ' || quote(item_id), {_RAW}"
        f" FROM incoming WHERE {unknown} ORDER BY rowid",
        {"file": name_of(file)},
    )
    return workspace.execute(f"DELETE FROM incoming WHERE {unknown}").rowcount


def _drop_repeats(workspace: Workspace, file: Path) -> tuple[int, int]:
    """Rows whose user, item and time stand on an earlier line: (duplicates, rejects with another rating)."""
    workspace.execute(
        "CREATE TEMP TABLE repeats AS SELECT * FROM ("
        " SELECT rowid AS id, *, row_number() OVER same AS n, first_value(line) OVER same AS first_line,"
        " first_value(rating) OVER same AS first_rating FROM incoming WHERE timestamp IS NOT NULL"
        " WINDOW same AS (PARTITION BY user_id, item_id, timestamp ORDER BY rowid)) WHERE n > 1"
    )
    workspace.execute(
        f"{_REJECT} SELECT :file, {_NUMBER}, line,"
        f" 'another rating for the same user, item and time as on line ' || first_line, {_RAW}"
        " FROM repeats WHERE rating IS NOT first_rating ORDER BY id",
        {"file": name_of(file)},
    )
    repeats = workspace.one("SELECT count(*) FROM repeats")
    rejected = workspace.one("SELECT count(*) FROM repeats WHERE rating IS NOT first_rating")
    workspace.execute("DELETE FROM incoming WHERE rowid IN (SELECT id FROM repeats)")
    workspace.execute("DROP TABLE repeats")
    return repeats - rejected, rejected


def _number_repeats(workspace: Workspace) -> None:
    workspace.execute("UPDATE incoming SET occurrence = 1")
    workspace.execute(
        "CREATE TEMP TABLE numbered AS SELECT * FROM (SELECT rowid AS id,"
        " row_number() OVER (PARTITION BY user_id, item_id ORDER BY rowid) AS n FROM incoming"
        " WHERE timestamp IS NULL) WHERE n > 1"
    )
    workspace.db.conn.executemany(
        "UPDATE incoming SET occurrence = ? WHERE rowid = ?", workspace.execute("SELECT n, id FROM numbered").fetchall()
    )
    workspace.execute("DROP TABLE numbered")


def _repeated(workspace: Workspace, file: Path) -> int:
    """How many rows without a time another file has brought already; remembers that `file` was read."""
    if not workspace.one("SELECT EXISTS (SELECT 1 FROM incoming WHERE timestamp IS NULL)"):
        return 0
    known = workspace.setting(_UNTIMED) or []
    if name_of(file) in known:
        return 0
    if file.is_absolute():  # what was sent to `serve` is no file, and does not come again
        workspace.set_setting(_UNTIMED, [*known, name_of(file)])
    return int(
        workspace.one(
            "SELECT count(*) FROM incoming JOIN interactions USING (user_id, item_id, occurrence)"
            " WHERE incoming.timestamp IS NULL AND interactions.timestamp IS NULL"
        )
    )


def _keep_low_ratings(workspace: Workspace, min_rating: float) -> int:
    workspace.execute(
        "INSERT OR REPLACE INTO low_ratings (user_id, item_id, timestamp, rating, occurrence)"
        " SELECT user_id, item_id, ifnull(timestamp, ''), rating, occurrence FROM incoming WHERE rating < ?"
        " ORDER BY rowid",
        [min_rating],
    )
    workspace.execute(
        "DELETE FROM interactions WHERE id IN (SELECT id FROM interactions JOIN incoming"
        " ON interactions.user_id = incoming.user_id AND interactions.item_id = incoming.item_id"
        " AND interactions.timestamp IS incoming.timestamp"
        " AND interactions.occurrence = incoming.occurrence WHERE incoming.rating < ?)",
        [min_rating],
    )
    return workspace.execute("DELETE FROM incoming WHERE rating < ?", [min_rating]).rowcount


def add_rejects(workspace: Workspace, file: Path, rows: Iterable[Rejected]) -> None:
    """Keep rows that cannot be used."""
    with workspace.write():
        # Counted once: a count for each row is quadratic.
        before = workspace.one(f"SELECT {_COUNT}", {"file": name_of(file)})
        workspace.db.conn.executemany(
            f"{_REJECT} VALUES (?, ?, ?, ?, ?)",
            (
                (name_of(file), number, row.line, storable(row.reason), storable(row.raw))
                for number, row in enumerate(rows, before + 1)
            ),
        )


def known_items(workspace: Workspace, ids: Iterable[str]) -> set[str]:
    """Which of `ids` are items of the catalogue."""
    find = "SELECT EXISTS (SELECT 1 FROM items WHERE item_id = ?)"
    return {one for one in ids if workspace.one(find, [one])}


def known_images(workspace: Workspace, paths: Iterable[Path]) -> dict[Path, ImageFact]:
    """What earlier checks said of those pictures that have not changed since."""
    found = {}
    for path in paths:
        try:
            stat = path.stat()
        except OSError:  # it has gone
            continue
        row = workspace.execute(
            "SELECT sha256, error FROM images WHERE path = ? AND size = ? AND mtime_ns = ?",
            [storable_path(path), stat.st_size, stat.st_mtime_ns],
        ).fetchone()
        if row:
            found[path] = ImageFact(path, stat.st_size, stat.st_mtime_ns, *row)
    return found


def add_images(workspace: Workspace, facts: Iterable[ImageFact]) -> None:
    """Keep the outcome of checking pictures."""
    rows = [(storable_path(f.path), f.size, f.mtime_ns, f.sha256, f.error and storable(f.error)) for f in facts]
    with workspace.write():
        workspace.db.conn.executemany(
            "INSERT OR REPLACE INTO images (path, size, mtime_ns, sha256, error) VALUES (?, ?, ?, ?, ?)", rows
        )
        if rows:  # a caption counts only for the picture that it was made of
            workspace.execute(f"UPDATE revision SET token = {TOKEN}")


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
