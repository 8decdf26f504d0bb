"""The quality benchmark runs, and its page says what the kept results say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from benchmarks import quality

ROOT = Path(__file__).parents[1]


def test_the_quality_page_says_what_was_measured() -> None:
    assert quality.PAGE.read_text(encoding="utf-8") == quality.page(), "run `python -m benchmarks.quality`"


def test_a_small_run_on_the_drawn_shop(tmp_path: Path) -> None:
    """`make quality-smoke`: tastes are in the shop by construction, so what knows of them is better than chance."""
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.quality", "--print", "--work", str(tmp_path), "shop-last",
         "--users", "12", "--negatives-per-positive", "9", "--fast"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-2000:]
    found = {
        name: [float(cell) for cell in re.findall(r"\| (\d+\.\d+) \[", line)]
        for line in ran.stdout.splitlines() if (name := line[2:].partition(" |")[0]) and line.startswith("| ")
    }  # fmt: skip
    auc = {name: cells[0] for name, cells in found.items() if cells}
    assert {"recommended", "language model", "blend of baselines", "item-kNN", "EASE", "random"} <= set(auc)
    assert auc["blend of baselines"] > 60 and 35 < auc["random"] < 65
    assert "recommended - blend of baselines: auc_per_user" in ran.stdout
