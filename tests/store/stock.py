"""Rows of a small catalogue, and what stands in a workspace."""

from __future__ import annotations

from pathlib import Path

from msr_local.store import histories
from msr_local.store.catalogue import ImageFact, add_images
from msr_local.store.rows import InteractionRow, Item, ItemRow
from msr_local.store.workspace import Workspace

ITEMS, STEPS = Path("/data/items.csv"), Path("/data/interactions.csv")
T1, T2, T3 = (f"200{n}-09-09T01:46:40+00:00" for n in (1, 2, 3))


def pictured(workspace, item_id):
    """The item with a picture in the workspace."""
    path = Path(f"/{item_id}.png")
    workspace.execute("UPDATE items SET image = ? WHERE item_id = ?", [str(path), item_id])
    add_images(workspace, [ImageFact(path, 1, 1, f"sha of {item_id}", None)])
    return Item(item_id, item_id, {}, path, f"sha of {item_id}")


def catalogue(*rows: tuple) -> list[ItemRow]:
    """(item id, title, attributes, image) or less of it, on lines 2, 3, ..."""
    return [
        ItemRow(line, row[0], row[1] if len(row) > 1 else row[0].upper(), dict(*row[2:3]), row[3] if row[3:] else None)
        for line, row in enumerate(rows, 2)
    ]


def steps(*rows: tuple) -> list[InteractionRow]:
    """(user, item, time, rating) or less of it, on lines 2, 3, ..."""
    return [InteractionRow(line, *row, *[None] * (4 - len(row))) for line, row in enumerate(rows, 2)]


def kept(workspace: Workspace) -> list[tuple]:
    return workspace.execute(
        "SELECT user_id, item_id, timestamp, rating, occurrence FROM interactions ORDER BY id"
    ).fetchall()


def low(workspace: Workspace) -> dict[tuple, float]:
    return {row[:3]: row[3] for row in workspace.execute("SELECT user_id, item_id, timestamp, rating FROM low_ratings")}


def rejected_lines(workspace: Workspace, file: Path) -> list[int]:
    return [reject["line"] for reject in histories.rejects(workspace) if reject["file"] == str(file)]


def everything(workspace: Workspace) -> dict[str, list[tuple]]:
    """All rows of the catalogue, in their order where the order means something."""
    ordered = {"items": "rowid", "interactions": "id", "low_ratings": "1, 2, 3", "rejects": "1, 2, 3", "images": "1"}
    return {
        table: workspace.execute(f"SELECT * FROM {table} ORDER BY {by}").fetchall() for table, by in ordered.items()
    }


def titles_found(workspace: Workspace, words: str | None, limit: int | None = None) -> list[str]:
    return [item["title"] for item in histories.search_items(workspace, words, limit)]


def check_search_index(workspace: Workspace) -> None:
    """FTS5 compares its index with the tables, and raises when they differ."""
    with workspace.write():
        for table in ("items_fts", "captions_fts"):
            workspace.execute(f"INSERT INTO {table} ({table}, rank) VALUES ('integrity-check', 1)")
