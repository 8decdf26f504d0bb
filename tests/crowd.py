"""A workspace of ten users where one process has recommended to all, for tests of many processes."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from typing import Any

from warm import Warm

USERS = [f"u{n}" for n in range(10)]


def command(folder: Path, models: Path) -> tuple[object, ...]:
    """What recommends to all of them; the lists lie in `folder`."""
    return "recommend", "--all", "--out", folder / "recs.csv", "-k", "3", "--model", models / "text.gguf"


def alone(folder: Path, models: Path, warm: Warm) -> Path:
    """`folder` with the workspace `home` and the lists, made by one process."""
    items = ["item_id,title", *(f"i{n},Film {n}" for n in range(14))]
    log = [f"{user},i{(5 * u + n) % 14},{1_000_000_000 + n}" for u, user in enumerate(USERS) for n in range(3 + u % 5)]
    (folder / "items.csv").write_text("\n".join(items) + "\n")
    (folder / "log.csv").write_text("\n".join(["user_id,item_id,timestamp", *log]) + "\n")
    files = folder / "items.csv", folder / "log.csv"
    assert warm.run("ingest", *files, "--no-captions", home=folder / "home").code == 0
    assert warm.run(*command(folder, models), home=folder / "home").code == 0
    return folder


def before(made_alone: Path, home: Path) -> Path:
    """The same workspace as it was before anything was recommended, in `home`."""
    shutil.copytree(made_alone / "home", home)
    with sqlite3.connect(home / "msr.db") as db:
        for table in ("lists", "preferences", "scores"):
            db.execute(f"DELETE FROM {table}")
    return home


def made(home: Path) -> dict[str, list[Any]]:
    """What was made of whom; keys are hashes of all that made it."""
    lists = "SELECT user_id, rank.key, json_extract(rank.value, '$[0]') FROM lists, json_each(items) AS rank"
    answers = "SELECT user_id, item_id, key, round(log_odds, 1) FROM scores"
    summaries = "SELECT user_id, block, key, summary FROM preferences"
    with sqlite3.connect(home / "msr.db") as db:
        return {
            "lists": db.execute(f"{lists} ORDER BY 1, 2").fetchall(),
            "summaries": db.execute(f"{summaries} ORDER BY 1, 2").fetchall(),
            "answers": db.execute(f"{answers} ORDER BY 1, 2").fetchall(),
        }
