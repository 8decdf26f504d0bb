"""Which kept results nobody can use, how large they are, and their end."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from .faults import Fault
from .workspace import Workspace

_ROW = 150  # bytes of a row's keys and of its place in the indexes, about
# Tables of results: the column by which it is told who can use a row, and the bytes of its content.
_TABLES = {
    "captions": ("settings", "length(CAST(caption AS BLOB))"),
    "preferences": ("settings", "length(CAST(summary AS BLOB)) + length(items)"),
    "past_summaries": ("settings", "length(CAST(summary AS BLOB))"),
    "scores": ("settings", "0"),
    "answers": ("settings", "0"),
    "lists": ("rowid", "length(CAST(items AS BLOB))"),
    "vectors": ("key", "length(vector)"),
}


@dataclass(frozen=True, slots=True)
class Pruned:
    """Rows of one table: `unused` are removed, or would be, with about `bytes`; of `unknown` nobody knows."""

    table: str
    unused: int
    bytes: int
    kept: int
    unknown: int = 0


def prune(workspace: Workspace, used: Mapping[str, Collection[str | int]], *, dry_run: bool) -> list[Pruned]:
    """Remove the rows of each table that are none of those `used`; with `dry_run`, only count them.

    `used` has settings by table; for `vectors` keys, and for `lists` the numbers that `lists` gives.
    """
    with workspace.snapshot() if dry_run else workspace.write():
        token = workspace.one("SELECT token FROM revision")
        found = [_pruned(workspace, table, some, dry_run=dry_run) for table, some in used.items()]
        if not dry_run:  # captions that nobody reads change nothing of what recall reads
            workspace.execute("UPDATE revision SET token = ?", [token])
    return found


def _pruned(workspace: Workspace, table: str, used: Collection[str | int], *, dry_run: bool) -> Pruned:
    column, size = _TABLES[table]
    unused = f"{column} NOT IN (SELECT value FROM json_each(?))"
    known = [json.dumps(sorted(used, key=str))]
    rows, size_of_all = workspace.execute(
        f"SELECT count(*), ifnull(sum({_ROW} + {size}), 0) FROM {table} WHERE {unused}", known
    ).fetchone()
    unknown = workspace.one(f"SELECT count(*) FROM {table} WHERE {column} IS NULL")
    kept = workspace.one(f"SELECT count(*) FROM {table}") - rows - unknown
    if not dry_run:
        workspace.execute(f"DELETE FROM {table} WHERE {unused}", known)
    return Pruned(table, rows, size_of_all, kept, unknown)


def lists(workspace: Workspace) -> Iterator[tuple[int, str, str, str]]:
    """(number, user, settings, key) of each list that was recommended to many at once."""
    yield from workspace.execute("SELECT rowid, user_id, settings, key FROM lists").fetchall()


def shrink(workspace: Workspace) -> bool:
    """Give the space of removed rows back to the disk; False where there is no room to work in, and nothing changed."""
    with contextlib.suppress(Fault):
        workspace.execute("VACUUM")
        workspace.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return True
    return False
