"""SIGKILL at random moments of some stages (all of them: `python -m benchmarks.reliability kills`), and Ctrl-C."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from samples import Ran
from warm import Warm

from benchmarks.reliability import kills

Cli = Callable[..., Ran]


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    with Warm() as made:
        yield made


@pytest.fixture(scope="module")
def bench(warm: Warm, models: Path, tmp_path_factory: pytest.TempPathFactory) -> kills.Bench:
    return kills.bench(tmp_path_factory.mktemp("kills") / "shop", warm, models)


@pytest.mark.parametrize("stage", ["ingest", "captions", "recommend", "recommend --all", "explain"])
def test_kill_and_run_again(stage: str, bench: kills.Bench) -> None:
    found = kills.stage(bench, stage, 12 if stage == "ingest" else 5, random.Random(stage))
    assert found.pop("kills") >= 5 and found.pop("commands") and found.pop("seconds")
    assert not any(found.values()), found


def test_interrupt_says_so_and_keeps_what_was_done(
    warm: Warm, bench: kills.Bench, models: Path, tmp_path: Path, cli: Cli
) -> None:
    home = tmp_path / "home"
    arguments = bench.words("captions", tmp_path)
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
    assert 3 <= made < kills.ITEMS
    again = cli(*arguments, "--json")
    assert again.json["captions"]["present"] == made and again.json["captions"]["made"] == kills.ITEMS - made
