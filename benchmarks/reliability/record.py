"""What a measurement was made with, and where its results are kept."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

from msr_local.files import written_whole

from ..speed import machine
from . import ROOT

RESULTS = Path(__file__).with_name("results")


def made_with(seed: int) -> dict[str, Any]:
    """Date, machine, commit and seed."""
    return {"date": time.strftime("%Y-%m-%d"), "machine": machine(), "commit": commit(), "seed": seed}


def commit() -> str:
    """The commit that is measured, with a "+" for what is not committed."""
    return _git("rev-parse", "--short", "HEAD") + ("+" if _git("status", "--porcelain", "msr_local") else "")


def _git(*arguments: str) -> str:
    try:
        ran = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):  # from an sdist
        return ""
    return ran.stdout.strip()


def save(name: str, found: dict[str, Any], folder: Path = RESULTS) -> None:
    """Keep the results of one script."""
    with written_whole(folder / f"{name}.json") as target:
        target.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def kept(name: str, folder: Path = RESULTS) -> dict[str, Any] | None:
    """The results of one script, if it was run."""
    path = folder / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
