"""A new person, against an older msr-local: a table of docs/performance.md.

    python -m benchmarks.before OTHER/.venv/bin/msr-local --version "0.1.0 (c2c2173)" --people 4

Whole `recommend` commands of both versions, by turns, for people of whom nothing was asked before. Each version has a
workspace of its own making. The catalogues are those of `benchmarks.people`. Writes before.json beside this file, and
prints it as Markdown; what was measured with another model stays.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msr_local.hardware import usable_threads
from msr_local.store import histories
from msr_local.store.workspace import Workspace

from . import people
from .speed import machine

RESULT = Path(__file__).with_suffix(".json")
CATALOGUES = {"films": people.films, "wines": people.wines}
OURS = (sys.executable, "-m", "msr_local")


def compare(files: Sequence[str], folder: Path, older: str, count: int, more: Sequence[str]) -> dict[str, Any]:
    """Seconds of `recommend` for so many people with both versions, and how many times as fast ours is."""
    commands: dict[str, Sequence[str]] = {"before": (older,), "now": OURS}
    homes = {version: folder / version for version in commands}
    for version, home in homes.items():
        _run(commands[version], home, "ingest", *files)
    with Workspace(homes["now"]) as workspace:
        everyone = [one["user"] for one in histories.users(workspace)]
    random.Random("before").shuffle(everyone)
    took: dict[str, list[float]] = {version: [] for version in commands}
    for place, user in enumerate(everyone[: count + 1]):
        for version in ("before", "now") if place % 2 else ("now", "before"):
            start = time.perf_counter()
            _run(commands[version], homes[version], "recommend", user, *more)
            if place:  # with the first one, files are read for the first time
                took[version].append(time.perf_counter() - start)
    ratios = [then / now for then, now in zip(took["before"], took["now"], strict=True)]
    return {
        "people": count, **{f"{version}_s": statistics.mean(of) for version, of in took.items()},
        "times_faster": statistics.median(ratios), "least": min(ratios), "most": max(ratios),
    }  # fmt: skip


def _run(command: Sequence[str], home: Path, *arguments: str) -> None:
    """A command of ours, or of an installation that must not find our modules."""
    ours = command is OURS
    variables = {name: value for name, value in os.environ.items() if ours or name != "PYTHONPATH"}
    line = [*command, "--quiet", "--home", str(home), *arguments, "--json"]
    done = subprocess.run(line, stdout=subprocess.DEVNULL, env=variables, check=False)
    if done.returncode not in (0, 3):  # 3: some rows were rejected
        raise SystemExit(f"{' '.join(line)}: exit {done.returncode}")


def markdown(found: dict[str, Any]) -> str:
    """The results as a table of docs/performance.md."""
    lines = []
    for part in found.values():
        lines += [
            "",
            f"**A new person, against {part['version']}** ({part['machine']}, {part['threads']} threads, "
            f"{part['model']}, {part['date']}; whole commands, means)",
            "",
            "| catalogue | people | then, s | now, s | times faster (least to most) |",
            "| --- | --- | --- | --- | --- |",
        ]
        lines += [
            f"| {name} | {one['people']} | {one['before_s']:.1f} | {one['now_s']:.1f} |"
            f" {one['times_faster']:.1f} ({one['least']:.1f} to {one['most']:.1f}) |"
            for name, one in part["catalogues"].items()
        ]
    return "\n".join(lines).strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("older", metavar="MSR-LOCAL", help="the command of the older version")
    parser.add_argument("--version", default="an older version", help="what the page calls it")
    parser.add_argument("--people", type=int, default=4)
    parser.add_argument("--films", type=Path, help="a MovieLens folder")
    parser.add_argument("--catalogues", nargs="+", choices=CATALOGUES, default=list(CATALOGUES))
    parser.add_argument("--threads", type=int, default=usable_threads())
    parser.add_argument("--model", help="as for msr-local; by default the embedded one")
    options = parser.parse_args()
    more = ["--threads", str(options.threads), *(["--model", options.model] if options.model else [])]
    model = Path(options.model).name if options.model else "the embedded model"
    found: dict[str, Any] = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    part = found[model] = {
        "date": time.strftime("%Y-%m-%d"), "machine": machine(), "threads": options.threads, "model": model,
        "version": options.version, "catalogues": {},
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for catalogue in options.catalogues:
            files = options.films if catalogue == "films" and options.films else folder / catalogue
            rated = ["--min-rating", "4"] if files == options.films else []
            if not files.exists():
                CATALOGUES[catalogue](files)
            part["catalogues"][catalogue] = compare(
                [str(files), *rated], folder / f"{catalogue}-homes", options.older, options.people, more
            )
            RESULT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(markdown(found))


if __name__ == "__main__":
    main()
