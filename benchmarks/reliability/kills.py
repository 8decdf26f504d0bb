"""SIGKILL at random moments of each stage, then the same command again: what is lost, doubled or another end.

A command is killed at a moment that is drawn evenly from the time that it took undisturbed. After each kill the
workspace must be sound and hold what it held before. The same command is given again until one comes to its end; then
the workspace must be the one that an undisturbed command made. Models are tiny random ones, through the same code.
"""

from __future__ import annotations

import csv
import math
import random
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from warm import COMMANDS, TRAINING, Warm

from .record import made_with

ROWS = 10_000  # of the log that is ingested: long enough to be killed in the middle
PEOPLE, STEPS = 8, 6  # of the log that most stages work on
MANY, FEW = 210, 4  # people and steps of the log that is learned from
ITEMS = 30
_TRIES = 8  # kills of one command, at most, before it may come to its end
_NEAR = 0.06  # what a float may differ by: log-odds under other neighbours, losses of a run that went on
_FIRST = "ITEMS LOG --no-captions"
_MODEL = "--model MODEL --mmproj EYES"

# What is given, and whether the workspace has its items and interactions before.
STAGES: Mapping[str, tuple[str, bool]] = {
    "ingest": ("ingest ITEMS LONG --no-captions", False),
    "captions": (f"ingest ITEMS LOG {_MODEL}", False),
    "summaries": (f"ingest {_FIRST} --summaries {_MODEL}", True),
    "learn": (f"ingest ITEMS WIDE --no-captions --learn {_MODEL}", True),
    "finetune": (
        "finetune --base BASE --backend peft --recipe history --rows 64 --validation-rows 32 --epochs 1 --batch 8"
        " --accumulation 1 --rank 4 --alpha 8 --lr 0.01 --eval-every 4 --threads 1 --name first", True,
    ),
    "evaluate": (f"evaluate --users 8 --negatives-per-positive 4 --fast --recipe history {_MODEL}", True),
    "recommend": (f"recommend u3 --candidates 20 {_MODEL}", True),
    "recommend --all": (f"recommend --users USERS --out OUT -k 3 --candidates 6 {_MODEL}", True),
    "explain": (f"explain u4 --candidates 10 {_MODEL}", True),
}  # fmt: skip
_ALL = 6  # users in the file of `recommend --all`

_KEPT = {  # all rows but the times at which they were made; with True, a row that is there stays as it is
    "items": ("SELECT * FROM items ORDER BY item_id", True),
    "interactions": ("SELECT user_id, item_id, timestamp, rating FROM interactions ORDER BY id", True),
    "rejects": ("SELECT * FROM rejects ORDER BY 1, 2, 3", True),
    "captions": ("SELECT item_id, settings, key, caption FROM captions ORDER BY 1, 2", True),
    "preferences": ("SELECT user_id, block, settings, key, summary, items FROM preferences ORDER BY 1, 2, 3", True),
    "past_summaries": ("SELECT key, summary FROM past_summaries ORDER BY 1", True),
    "vectors": ("SELECT key FROM vectors ORDER BY 1", True),
    "lists": ("SELECT user_id, rank.key, json_extract(rank.value, '$[0]') FROM lists, json_each(items) AS rank"
              " ORDER BY 1, 2", True),
    "scores": ("SELECT user_id, item_id, without, settings, key, log_odds FROM scores ORDER BY 1, 2, 3", True),
    "answers": ("SELECT key, log_odds FROM answers ORDER BY 1", True),
    "learned_recall": ("SELECT item_ids, json_extract(facts, '$.used') FROM learned_recall", True),
    # A command that is killed after its end trains again when it is given again: the last run counts. Steps after a
    # checkpoint are made again.
    "runs": ("SELECT DISTINCT name, status FROM runs ORDER BY 1, 2", False),
    "run_steps": ("SELECT step, loss FROM run_steps"
                  " WHERE run_id = (SELECT run_id FROM runs ORDER BY created DESC LIMIT 1) ORDER BY 1", False),
    "adapters": ("SELECT name FROM adapters ORDER BY 1", True),
}  # fmt: skip


@dataclass(slots=True)
class Bench:
    """The files of all stages, and what starts commands at once."""

    folder: Path
    warm: Warm
    names: dict[str, Path] = field(default_factory=dict)

    def words(self, stage: str, out: Path) -> list[str]:
        """The command of a stage; `out` is the file that it writes, if it writes one."""
        return [str(({**self.names, "OUT": out}).get(word, word)) for word in STAGES[stage][0].split()]


def bench(folder: Path, warm: Warm, models: Path, base: Path | None = None) -> Bench:
    """Write the shop into `folder`. `models` has text.gguf and eyes.gguf; `base` is what finetune trains."""
    from PIL import Image

    (folder / "img").mkdir(parents=True)
    for n in range(ITEMS):
        Image.new("RGB", (64, 48), (8 * n, 200 - 6 * n, 90)).save(folder / f"img/{n}.png")
    items = ["item_id,title,image", *(f"i{n},Film {n},img/{n}.png" for n in range(ITEMS))]
    (folder / "items.csv").write_text("\n".join(items) + "\n")
    bad = ["u1,unknown,1000000000", ",i1,5"]
    long = [f"u{n % 500},i{n * 7 % ITEMS},{1_000_000_000 + n}" for n in range(ROWS)]
    for name, lines in {"long": long, "log": _log(PEOPLE, STEPS), "wide": _log(MANY, FEW)}.items():
        (folder / f"{name}.csv").write_text("\n".join(["user_id,item_id,timestamp", *lines, *bad]) + "\n")
    (folder / "users.txt").write_text("".join(f"u{n}\n" for n in range(_ALL)))
    names = {name.upper(): folder / f"{name}.csv" for name in ("items", "log", "long", "wide")}
    names |= {"USERS": folder / "users.txt", "MODEL": models / "text.gguf", "EYES": models / "eyes.gguf"}
    return Bench(folder, warm, names | ({"BASE": base} if base else {}))


def _log(people: int, steps: int) -> list[str]:
    return [
        f"u{user},i{(user * 7 + step * step) % ITEMS},{1_000_000_000 + 1000 * step + user}"
        for user in range(people)
        for step in range(steps)
    ]


def content(home: Path) -> dict[str, list[tuple[Any, ...]]]:
    """The rows of a workspace, {} before its tables are there. Raises `AssertionError` where it is not sound."""
    with sqlite3.connect(home / "msr.db") as db:
        if not db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'lists'").fetchone()[0]:
            return {}
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)], "integrity"
        assert db.execute("PRAGMA foreign_key_check").fetchall() == [], "foreign keys"
        for table in ("items_fts", "captions_fts"):
            db.execute(f"INSERT INTO {table} ({table}) VALUES ('integrity-check')")
        found = {name: db.execute(sql).fetchall() for name, (sql, _) in _KEPT.items()}
    folders = (home / "adapters").glob("[!.]*") if (home / "adapters").exists() else ()
    assert all((folder / "manifest.json").exists() for folder in folders), "half an adapter"
    return found


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal, floats nearly."""
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= _NEAR
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def _rows(found: Mapping[str, Sequence[tuple[Any, ...]]]) -> dict[str, Counter[tuple[Any, ...]]]:
    """What must not be lost, without the floats: an answer that was given again may differ in its last digits."""
    return {
        name: Counter(tuple(cell for cell in row if not isinstance(cell, float)) for row in rows)
        for name, rows in found.items()
        if _KEPT[name][1]
    }


def stage(made: Bench, name: str, kills: int, rng: random.Random, until: float = math.inf) -> dict[str, Any]:
    """Kill the commands of one stage `kills` times, or until a time of `time.monotonic`.

    All counts but the first three should be 0.
    """
    at = made.folder / name.replace(" ", "-")
    start, whole = at / "start", at / "whole"
    start.mkdir(parents=True)
    if STAGES[name][1]:
        ran = made.warm.run("ingest", made.names["ITEMS"], made.names["LOG"], "--no-captions", home=start)
        assert ran.code == 3, ran.err
    shutil.copytree(start, whole)
    began = time.monotonic()
    ran = made.warm.run(*made.words(name, at / "whole.csv"), home=whole)
    span = time.monotonic() - began
    assert ran.code in (0, 3), ran.err
    expected, listed = content(whole), _listed(at / "whole.csv")
    found = {"kills": 0, "commands": 1, "seconds": round(span, 1), "lost": 0, "doubled": 0, "unsound": 0,
             "half files": 0, "failed": 0, "other ends": 0}  # fmt: skip
    rounds = 0
    while found["kills"] < kills and time.monotonic() < until:
        rounds += 1
        home, out = at / f"home{rounds}", at / f"out{rounds}.csv"
        shutil.copytree(start, home)
        _round(made, made.words(name, out), home, out, listed, span, kills, rng, found)
        found["other ends"] += not (same(content(home), expected) and same(_listed(out), listed))
        shutil.rmtree(home)
    return found


def _round(
    made: Bench, words: list[str], home: Path, out: Path, listed: list[list[str | float]], span: float, kills: int,
    rng: random.Random, found: dict[str, Any],
) -> None:  # fmt: skip
    """One command, killed and given again until it comes to its end."""
    kept: dict[str, Counter[tuple[Any, ...]]] = {}
    tries = min(_TRIES, kills - found["kills"])
    while True:
        command = made.warm.start(*words, home=home)
        found["commands"] += 1
        if tries > 0:
            time.sleep(rng.uniform(0.0, span))
            ran = command.kill()
        else:
            ran = command.wait()
        if ran.code != -9:
            found["failed"] += ran.code not in (0, 3)
            return
        tries -= 1
        found["kills"] += 1
        found["half files"] += out.exists() and len(_listed(out)) != len(listed)
        if not (home / "msr.db").exists():
            continue
        try:
            now = _rows(content(home))
        except (AssertionError, sqlite3.DatabaseError):
            found["unsound"] += 1
            continue
        for name, rows in now.items():
            found["doubled"] += sum(count - 1 for count in rows.values() if count > 1) if name != "interactions" else 0
            found["lost"] += (kept.get(name, Counter()) - rows).total()
        kept = now


def _listed(path: Path) -> list[list[str | float]]:
    """The rows of a file of lists, numbers as floats; none where there is no file."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [[_number(cell) for cell in row] for row in csv.reader(file)]


def _number(cell: str) -> str | float:
    try:
        return float(cell)
    except ValueError:
        return cell


def measure(
    kills: int, stages: Sequence[str], seed: int, folder: Path, minutes: float = math.inf,
    keep: Callable[[dict[str, Any]], None] = print, before: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:  # fmt: skip
    """The results of all stages, each with its share of the kills, or of the minutes if these are over before.

    `keep` gets them after each stage: an hour must not hang on the last minute. `before` are results of other stages.
    """
    import tiny_models

    models, base = folder / "models", None
    models.mkdir()
    tiny_models.text_model(models / "text.gguf")
    tiny_models.projector(models / "eyes.gguf")
    if "finetune" in stages:
        base = tiny_models.louder(_base(folder / "quiet"), folder / "base")
    found: dict[str, Any] = {**made_with(seed), "stages": dict(before)}
    with Warm(*(TRAINING if base else COMMANDS)) as warm:
        made = bench(folder / "shop", warm, models, base)
        for number, name in enumerate(stages):
            share = (kills * (number + 1)) // len(stages) - (kills * number) // len(stages)
            until = time.monotonic() + 60 * minutes / len(stages)
            found["stages"][name] = stage(made, name, share, random.Random(f"{name} {seed}"), until)
            found["stages"][name]["commit"] = found["commit"]
            keep(found)
    return found


def _base(folder: Path) -> Path:
    import tiny_models

    from msr_local.training.bases import resolve
    from msr_local.training.convert import converter

    return tiny_models.llama(folder, resolve(None, converter).folder)
