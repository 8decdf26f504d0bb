"""Reading the catalogue back: items, histories, users, counts."""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from datetime import datetime
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from ..errors import NotFoundError
from ..text import name_of
from ..values import values, words
from .rows import Interaction, Item, Log, kind_of
from .workspace import Workspace

_ALIKE = 3  # characters at the beginning of ids that are alike
_ITEM = "items.item_id, items.title, items.attributes, images.path, images.size, images.mtime_ns, images.sha256"
_PICTURE = "LEFT JOIN images ON images.path = items.image AND images.sha256 IS NOT NULL"


def item(workspace: Workspace, item_id: str) -> Item | None:
    """One item, or None."""
    row = workspace.execute(f"SELECT {_ITEM} FROM items {_PICTURE} WHERE item_id = ?", [item_id]).fetchone()
    return _item(row) if row else None


def existing_item(workspace: Workspace, item_id: str) -> Item:
    """One item. Raises `NotFoundError`, naming near ones, where there is none."""
    found = item(workspace, item_id)
    if found is None:
        if is_empty(workspace):
            raise NotFoundError(f"there is no item {item_id!r}: the workspace is empty. Next: msr-local ingest.")
        near = similar_items(workspace, item_id)
        hint = f" Did you mean {', '.join(f'{one} ({title})' for one, title in near)}?" if near else ""
        raise NotFoundError(f"there is no item {item_id!r}.{hint} Next: msr-local items WORDS.")
    return found


def items(workspace: Workspace, item_ids: Iterable[str]) -> list[Item]:
    """The items with these ids, in their order; ids that are not in the catalogue are left out."""
    found = (item(workspace, item_id) for item_id in item_ids)
    return [one for one in found if one is not None]


def items_with_image(workspace: Workspace) -> Iterator[Item]:
    """Items that have a usable picture, those with most interactions first."""
    rows = workspace.execute(
        f"SELECT {_ITEM} FROM items {_PICTURE} WHERE images.sha256 IS NOT NULL"
        " ORDER BY (SELECT count(*) FROM interactions WHERE interactions.item_id = items.item_id) DESC, items.rowid"
    ).fetchall()
    return (one for one in map(_item, rows) if one.image is not None)


def history(workspace: Workspace, user_id: str) -> list[Interaction]:
    """All interactions of a user in time order; equal times in the order of arrival."""
    rows = workspace.execute(
        f"SELECT {_ITEM}, timestamp, rating FROM interactions JOIN items USING (item_id) {_PICTURE}"
        " WHERE user_id = ? ORDER BY timestamp, interactions.id",
        [user_id],
    )
    return [Interaction(_item(row[:7]), row[7], row[8]) for row in rows]


def existing_history(workspace: Workspace, user_id: str) -> list[Interaction]:
    """As `history`. Raises `NotFoundError`, naming near ones, for a user that no file named."""
    found = history(workspace, user_id)
    if not found and not user_exists(workspace, user_id):
        if is_empty(workspace):
            raise NotFoundError(f"there is no user {user_id!r}: the workspace is empty. Next: msr-local ingest.")
        near = similar_users(workspace, user_id)
        hint = f" Did you mean {', '.join(near)}?" if near else ""
        raise NotFoundError(
            f"there is no user {user_id!r}.{hint} Next: msr-local users; "
            "for somebody who is in no file, msr-local recommend --history ITEM,ITEM."
        )
    return found


def is_empty(workspace: Workspace) -> bool:
    """Whether there are no items."""
    return bool(workspace.one("SELECT NOT EXISTS (SELECT 1 FROM items)"))


def user_exists(workspace: Workspace, user_id: str) -> bool:
    """Whether any row of any file named this user."""
    return bool(
        workspace.one(
            "SELECT EXISTS (SELECT 1 FROM interactions WHERE user_id = :u)"
            " OR EXISTS (SELECT 1 FROM low_ratings WHERE user_id = :u)",
            {"u": user_id},
        )
    )


def low_rated(workspace: Workspace, user_id: str) -> set[str]:
    """Items that the user rated under --min-rating: known to them, so never recommended."""
    return {i for (i,) in workspace.execute("SELECT item_id FROM low_ratings WHERE user_id = ?", [user_id])}


def users(workspace: Workspace, limit: int | None = None) -> list[dict[str, Any]]:
    """Users with their number of interactions and first and last time, most active first."""
    rows = workspace.execute(
        "SELECT user_id, count(*), min(timestamp), max(timestamp) FROM interactions"
        " GROUP BY user_id ORDER BY count(*) DESC, user_id LIMIT ?",
        [-1 if limit is None else limit],
    )
    return [dict(zip(("user", "interactions", "first", "last"), row, strict=True)) for row in rows]


def active_users(workspace: Workspace, least: int = 3) -> int:
    """How many users have at least so many interactions."""
    return int(
        workspace.one(
            "SELECT count(*) FROM (SELECT 1 FROM interactions GROUP BY user_id HAVING count(*) >= ?)", [least]
        )
    )


def search_items(
    workspace: Workspace, words: str | None, limit: int | None = None, only: Set[str] | None = None
) -> list[dict[str, Any]]:
    """Items whose title, attributes or caption hold all `words` (all items without words), the most taken first.

    Of all, or `only` of those with these ids.
    """
    count = "(SELECT count(*) FROM interactions WHERE interactions.item_id = i.item_id)"
    columns = f"i.item_id, i.title, i.attributes, i.image, i.caption, {count} AS n"
    if words is None or not words.strip():
        sql = f"SELECT {columns} FROM item_descriptions AS i ORDER BY n DESC, i.item_id LIMIT :limit"
    else:
        sql = (
            f"SELECT {columns} FROM item_descriptions AS i WHERE i.item_id IN ("
            " SELECT item_id FROM items JOIN items_fts ON items_fts.rowid = items.rowid"
            " WHERE items_fts MATCH :query UNION"
            " SELECT item_id FROM captions JOIN captions_fts ON captions_fts.rowid = captions.rowid"
            " WHERE captions_fts MATCH :query) ORDER BY n DESC, i.item_id LIMIT :limit"
        )
    query = " ".join('"' + word.replace('"', '""') + '"' for word in (words or "").replace("\0", " ").split())
    names = ("item_id", "title", "attributes", "image", "caption", "interactions")
    rows = workspace.execute(sql, {"query": query, "limit": -1 if limit is None or only is not None else limit})
    chosen = islice((row for row in rows if only is None or row[0] in only), limit)
    found = [dict(zip(names, row, strict=True)) for row in chosen]
    paths = (one["image"] and os.fsdecode(one["image"]) for one in found)
    return [
        {**one, "attributes": json.loads(one["attributes"]), "image": path}
        for one, path in zip(found, paths, strict=True)
    ]


def similar_users(workspace: Workspace, user_id: str, limit: int = 3) -> list[str]:
    """User ids that begin like `user_id`: for the message about one that does not exist."""
    rows = workspace.execute(
        "SELECT DISTINCT user_id FROM interactions WHERE user_id LIKE ? ESCAPE '\\' ORDER BY user_id LIMIT ?",
        [_beginning(user_id), limit],
    )
    return [user for (user,) in rows]


def similar_items(workspace: Workspace, item_id: str, limit: int = 3) -> list[tuple[str, str]]:
    """(id, title) of items whose titles have these words, else whose ids begin alike: as `similar_users`."""
    if item_id.strip() and (named := search_items(workspace, item_id, limit)):
        return [(one["item_id"], one["title"]) for one in named]
    for length in range(min(len(item_id), _ALIKE), 0, -1):
        near = workspace.execute(
            "SELECT item_id, title FROM items WHERE item_id LIKE ? ESCAPE '\\'"
            " ORDER BY abs(length(item_id) - ?), item_id LIMIT ?",
            [_beginning(item_id[:length]), len(item_id), limit],
        ).fetchall()
        if near:
            return near
    return []


def _beginning(name: str) -> str:
    """A pattern for what begins like `name`."""
    return name[:_ALIKE].replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"


def log(workspace: Workspace) -> Log:
    """All interactions as flat arrays, by user and in time order; items in the order of their arrival."""
    item_ids = [i for (i,) in workspace.execute("SELECT item_id FROM items ORDER BY rowid")]
    position = {item_id: index for index, item_id in enumerate(item_ids)}
    user_ids: dict[str, int] = {}
    users, taken, times = array("i"), array("i"), array("d")  # millions of rows: no tuple for each
    for user_id, item_id, timestamp in workspace.execute(
        "SELECT user_id, item_id, timestamp FROM interactions ORDER BY user_id, timestamp, id"
    ):
        users.append(user_ids.setdefault(user_id, len(user_ids)))
        taken.append(position[item_id])
        times.append(datetime.fromisoformat(timestamp).timestamp() if timestamp else float("nan"))
    return Log(item_ids, list(user_ids), np.array(users, np.int32), np.array(taken, np.int32), np.array(times, float))


def revision(workspace: Workspace) -> tuple[str, int | None]:
    """Another one after each change of items, interactions, pictures or captions, in this process or any other."""
    token, last = workspace.execute("SELECT token, (SELECT max(id) FROM interactions) FROM revision").fetchone()
    return token, last


def texts(
    workspace: Workspace, captions: Mapping[str, str] = MappingProxyType({}), item_ids: Sequence[str] | None = None,
    without: Collection[str] = (),
) -> list[str]:  # fmt: skip
    """Title, attribute values and caption ({item id: caption}) of these items, or of all in the order of `log`.

    The attributes `without` are left out, and so is markup. Of a dictionary that is written out, the values are told.
    """
    query = "SELECT item_id, title, attributes FROM items"
    if item_ids is None:
        rows = workspace.execute(f"{query} ORDER BY rowid").fetchall()
    else:
        rows = [workspace.execute(f"{query} WHERE item_id = ?", [item_id]).fetchone() for item_id in item_ids]
    parts = ([title, *_flat(json.loads(told), without), captions.get(item_id)] for item_id, title, told in rows)
    return [" ".join(filter(None, (_read(part) for part in some if part))) for some in parts]


def attributes(workspace: Workspace) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(id, title, attributes) of all items, in the order of `log`."""
    rows = workspace.execute("SELECT item_id, title, attributes FROM items ORDER BY rowid")
    return ((item_id, title, json.loads(told)) for item_id, title, told in rows)


def pictures(workspace: Workspace) -> list[tuple[str, str]]:
    """(path, SHA-256) of all usable pictures."""
    rows = workspace.execute("SELECT path, sha256 FROM images WHERE sha256 IS NOT NULL ORDER BY path")
    return [(os.fsdecode(path), sha256) for path, sha256 in rows]


def counts(workspace: Workspace) -> dict[str, int]:
    """How many rows of each kind the workspace holds."""
    queries = {
        "items": "SELECT count(*) FROM items",
        "interactions": "SELECT count(*) FROM interactions",
        "users": "SELECT count(DISTINCT user_id) FROM interactions",
        "low_ratings": "SELECT count(*) FROM low_ratings",
        "images": "SELECT count(*) FROM items JOIN images ON path = image WHERE sha256 IS NOT NULL",
        "captions": "SELECT count(DISTINCT item_id) FROM captions",
        "users_with_summary": "SELECT count(DISTINCT user_id) FROM preferences",
        "scores": "SELECT count(*) FROM scores WHERE without = ''",
        "rejects": "SELECT count(*) FROM rejects",
    }
    return {name: workspace.one(sql) for name, sql in queries.items()}


def rejects(
    workspace: Workspace, limit: int | None = None, files: Sequence[Path] | None = None
) -> list[dict[str, Any]]:
    """Rows that could not be used, of all files or of `files`, by file and line."""
    where = "" if files is None else f" WHERE file IN ({', '.join('?' * len(files))})"
    rows = workspace.execute(
        f"SELECT file, line, reason, raw FROM rejects{where} ORDER BY file, line, number LIMIT ?",
        [*map(name_of, files or ()), -1 if limit is None else limit],
    )
    return [dict(zip(("file", "line", "reason", "raw"), row, strict=True)) for row in rows]


def kinds_of_rejects(workspace: Workspace, files: Sequence[Path]) -> list[tuple[int, str, int, str]]:
    """Of each kind of reason how many rows have it, and the file, line and reason of the first; the most first."""
    found: dict[tuple[str, str], tuple[int, str, int, str]] = {}
    for file, line, reason in workspace.execute(
        f"SELECT file, line, reason FROM rejects WHERE file IN ({', '.join('?' * len(files))}) "
        "ORDER BY file, line, number",
        [name_of(one) for one in files],
    ):
        kind = (file, kind_of(reason))
        found[kind] = (found[kind][0] + 1, *found[kind][1:]) if kind in found else (1, file, line, reason)
    return sorted(found.values(), key=lambda kind: -kind[0])


def _item(row: Any) -> Item:
    item_id, title, attributes, path, size, mtime_ns, sha256 = row
    place = None if path is None else Path(os.fsdecode(path))
    if place is None or not _unchanged(place, size, mtime_ns):
        return Item(item_id, title, json.loads(attributes))
    return Item(item_id, title, json.loads(attributes), place, sha256)


def _unchanged(path: Path, size: int, mtime_ns: int) -> bool:
    """Whether the picture is the one that was checked; a changed or missing one waits for the next ingest."""
    try:
        stat = path.stat()
    except OSError:
        return False
    return (stat.st_size, stat.st_mtime_ns) == (size, mtime_ns)


def _flat(attributes: dict[str, Any], without: Collection[str]) -> Iterator[str]:
    for name, value in attributes.items():
        if name not in without:
            yield from map(str, value) if isinstance(value, list) else (str(value),)


def _read(text: str) -> str:
    """One value as words. Each by itself: what looks like a style sheet ends with what it began with."""
    return " ".join(values(text)) if "{" in text else words(text)
