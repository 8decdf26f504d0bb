"""SIGKILL at random moments of each stage: the workspace opens, holds no half rows, and the next run finishes."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from samples import Ran
from warm import Warm

Cli = Callable[..., Ran]
ROWS = 30_000


@pytest.fixture(scope="module")
def long_log(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A log that takes long enough to read to be killed in the middle."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("long")
    (folder / "img").mkdir()
    for i in range(60):
        Image.new("RGB", (64, 48), (4 * i, 200 - 3 * i, 90)).save(folder / f"img/{i}.png")
    items = ["item_id,title,image", *(f"i{i},Film {i},img/{i % 60}.png" for i in range(60))]
    (folder / "items.csv").write_text("\n".join(items) + "\n")
    lines = [f"u{n % 500},i{n * 7 % 60},{1_000_000_000 + n}" for n in range(ROWS)]
    lines += ["u1,unknown,1000000000", ",i1,5"]
    (folder / "log.csv").write_text("\n".join(["user_id,item_id,timestamp", *lines]) + "\n")
    return folder / "items.csv", folder / "log.csv"


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    with Warm() as made:
        yield made


def content(home: Path) -> dict[str, list[tuple]]:
    """All rows but the times at which results were made."""
    queries = {
        "items": "SELECT * FROM items ORDER BY item_id",
        "interactions": "SELECT user_id, item_id, timestamp, rating FROM interactions ORDER BY id",
        "rejects": "SELECT * FROM rejects ORDER BY 1, 2, 3",
        "captions": "SELECT item_id, settings, key, caption FROM captions ORDER BY 1, 2",
        "preferences": "SELECT user_id, block, settings, key, summary, items FROM preferences ORDER BY 1, 2, 3",
        "lists": "SELECT user_id, rank.key, json_extract(rank.value, '$[0]') FROM lists, json_each(items) AS rank"
        " ORDER BY 1, 2",
        "scores": "SELECT user_id, item_id, without, settings, key, round(log_odds, 1) FROM scores ORDER BY 1, 2, 3",
    }
    with sqlite3.connect(home / "msr.db") as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        for table in ("items_fts", "captions_fts"):
            db.execute(f"INSERT INTO {table} ({table}) VALUES ('integrity-check')")
        return {name: db.execute(sql).fetchall() for name, sql in queries.items()}


STAGES = {
    "ingest": ("ingest", "ITEMS", "LOG", "--no-captions"),
    "captions": ("ingest", "ITEMS", "LOG", "--model", "MODEL", "--mmproj", "EYES"),
    "recommend": ("recommend", "u3", "--candidates", "40", "--model", "MODEL", "--mmproj", "EYES"),
    "everybody": ("recommend", "--users", "USERS", "--out", "OUT", "-k", "3", "--candidates", "10", "--model", "MODEL"),
    "explain": ("explain", "u4", "--candidates", "20", "--model", "MODEL", "--mmproj", "EYES"),
}


@pytest.mark.parametrize("stage", STAGES)
def test_kill_and_run_again(stage: str, warm: Warm, long_log: tuple[Path, Path], models: Path, tmp_path: Path) -> None:
    names = {
        "ITEMS": long_log[0], "LOG": long_log[1], "MODEL": models / "text.gguf", "EYES": models / "eyes.gguf",
        "USERS": tmp_path / "users.txt", "OUT": tmp_path / "recs.csv",
    }  # fmt: skip
    names["USERS"].write_text("u3\nu4\nu5\nu6\n")

    def command(name: str) -> list[object]:
        return [names.get(word, word) for word in STAGES[name]]

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for home in (whole, killed):
        if stage in ("recommend", "everybody", "explain"):
            assert warm.run(*command("ingest"), home=home).code == 3
    began = time.monotonic()
    warm.run(*command(stage), home=whole)
    span = time.monotonic() - began
    names["OUT"] = tmp_path / "again.csv"

    rng = random.Random(stage)
    kept: dict[str, list[tuple]] = {}
    for _ in range(20 if stage == "ingest" else 6):
        child = warm.start(*command(stage), home=killed)
        time.sleep(rng.uniform(0.05, 1.0) * span)
        child.kill()
        if (killed / "msr.db").exists():
            with sqlite3.connect(killed / "msr.db") as db:
                ready = db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'recommendations'").fetchone()[0]
            if not ready:
                continue
            now = content(killed)
            assert len(now["interactions"]) in (0, ROWS)
            for name in ("captions", "preferences", "lists", "scores"):
                assert set(kept.get(name, ())) <= set(now[name])  # what was stored once stays
            kept = now
            if names["OUT"].exists():  # it is there as a whole, or not at all
                assert len(names["OUT"].read_text().splitlines()) == 1 + 4 * 3
    warm.run(*command(stage), home=killed)
    assert content(killed) == content(whole)
    assert names["OUT"].exists() == (stage == "everybody")


def test_interrupt_says_so_and_keeps_what_was_done(
    warm: Warm, long_log: tuple[Path, Path], models: Path, tmp_path: Path, cli: Cli
) -> None:
    home = tmp_path / "home"
    arguments = ["ingest", *long_log, "--model", models / "text.gguf", "--mmproj", models / "eyes.gguf"]
    child = warm.start(*arguments, home=home)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        time.sleep(0.02)
        if (home / "msr.db").exists():
            with sqlite3.connect(home / "msr.db") as db:
                if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'captions'").fetchone() and (
                    db.execute("SELECT count(*) FROM captions").fetchone()[0] >= 3
                ):
                    break
    child.interrupt()
    ran = child.wait(timeout=20)
    assert ran.code == 130, ran.err
    assert "interrupted" in ran.err and "Traceback" not in ran.err and ran.out == ""
    with sqlite3.connect(home / "msr.db") as db:
        made = db.execute("SELECT count(*) FROM captions").fetchone()[0]
    assert 3 <= made < 60
    again = cli(*arguments, "--json")
    assert again.json["captions"]["present"] == made and again.json["captions"]["made"] == 60 - made
