"""The benchmarks run, and the page says what they measured."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks import page, speed
from benchmarks.systems import Job, Ours, prompts
from msr_local.models import embedded

ROOT = Path(__file__).parents[1]


def test_the_performance_page_says_what_was_measured() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.render(text) == text, "run `python -m benchmarks.page`"


def test_all_systems_get_the_same_tokens() -> None:
    ours = Ours(embedded.prepare(), 2)
    prefix, suffixes = prompts(ours.engine.facts, Job("Chosen lately:\n- A scarf", ["A hat", "A coat, red"]))
    whole = [ours.engine.token_ids([*prefix, *suffix]) for suffix in suffixes]
    assert all(len(ids) == ours.engine.count_tokens(prefix) + ours.engine.count_tokens(suffix) for ids, suffix in
               zip(whole, suffixes, strict=True))  # fmt: skip
    ours.engine.close()


def test_a_quick_run_prints_its_tables_and_writes_nothing() -> None:
    before = speed.RESULT.stat() if speed.RESULT.exists() else None
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.speed", "--quick"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    for name in ("ours", "chat loop", "floor", "captions", "questions"):
        assert f"| {name} |" in ran.stdout
    assert (speed.RESULT.stat() if speed.RESULT.exists() else None) == before
