"""A long log with many bad rows: how long `ingest` takes, in how much memory, and what became of each row."""

from __future__ import annotations

import json
import os
import random
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .record import made_with

ITEMS = 5_000
PEOPLE = 50_000
_START = 1_000_000_000
# One thing that is wrong with a row, each as common as the others: (user, item, rating, time, a number) -> the line.
BAD: dict[str, Callable[[str, str, str, int, int], str]] = {
    "no user": lambda user, item, rating, at, n: f",{item},{rating},{at}",
    "no item": lambda user, item, rating, at, n: f"{user},,{rating},{at}",
    "an unknown item": lambda user, item, rating, at, n: f"{user},gone{n % 977},{rating},{at}",
    "a time that is none": lambda user, item, rating, at, n: f"{user},{item},{rating},soon-{n}",
    "too many cells": lambda user, item, rating, at, n: f"{user},{item},{rating},{at},more,{n}",
    "an open quote": lambda user, item, rating, at, n: f'{user},"{item},{rating},{at}',
}


def write(folder: Path, rows: int, share: float, seed: int) -> dict[int, str]:
    """Write items.csv and log.csv; {line: what is wrong with it} of the bad rows."""
    rng = random.Random(seed)
    items = (f"i{n},Thing {n},kind {n % 40}\n" for n in range(ITEMS))
    (folder / "items.csv").write_text("item_id,title,kind\n" + "".join(items), encoding="utf-8")
    kinds = list(BAD)
    bad: dict[int, str] = {}

    def lines() -> Iterator[str]:
        yield "user_id,item_id,rating,timestamp\n"
        for n in range(rows):
            given = f"u{rng.randrange(PEOPLE)}", f"i{int(ITEMS * rng.random() ** 2)}", f"{1 + n % 5}", _START + n, n
            if rng.random() < share:
                bad[n + 2] = kind = rng.choice(kinds)
                yield BAD[kind](*given) + "\n"
            else:
                yield ",".join(map(str, given[:4])) + "\n"

    with (folder / "log.csv").open("w", encoding="utf-8") as file:
        file.writelines(lines())
    return bad


def measure(rows: int, share: float, seed: int) -> dict[str, Any]:
    """The results; everything that should be 0 is under "wrong"."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bad = write(folder, rows, share, seed)
        command = [sys.executable, "-m", "msr_local", "--home", str(folder / "home"), "ingest"]
        command += [str(folder / "items.csv"), str(folder / "log.csv"), "--no-captions", "--json"]
        began = time.perf_counter()
        ran = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
        seconds = time.perf_counter() - began
        # Of all processes that were waited for: a command that measures runs no other.
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        if ran.returncode != (3 if bad else 0):
            raise RuntimeError(f"ingest ended with {ran.returncode}: {ran.stderr[-2000:]}")
        counts = json.loads(ran.stdout)["interactions"]
        with sqlite3.connect(folder / "home" / "msr.db") as db:
            refused = {line for (line,) in db.execute("SELECT line FROM rejects")}
            silent = db.execute("SELECT count(*) FROM rejects WHERE reason = '' OR raw = ''").fetchone()[0]
            stored = db.execute("SELECT count(*) FROM interactions").fetchone()[0]
    return {
        **made_with(seed), "rows": rows, "bad": len(bad), "seconds": round(seconds, 1), "peak_bytes": peak,
        "stored": stored, "rejected": counts["rejected"],
        "wrong": {
            "rows without an outcome": rows - sum(counts.values()),
            "bad rows that were taken": len(bad.keys() - refused),
            "good rows that were refused": len(refused - bad.keys()),
            "rejects without reason or row": silent,
        },
    }  # fmt: skip
