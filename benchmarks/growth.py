"""How time and memory grow with the work: the plot of docs/performance.md.

    python -m benchmarks.growth           # about 15 minutes on two cores; writes docs/growth.png and growth.json
    python -m benchmarks.growth --quick   # small sizes; nothing is written

Three sweeps: candidates of one person, length of the evidence, and size of the catalogue for recall (invented
logs: half as many users as items, ten interactions an item, popularity falling with the rank). Every point of the
last one has a process of its own, so that its peak of memory is its own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np

from msr_local.demo.catalogue import products
from msr_local.hardware import usable_threads
from msr_local.models import embedded
from msr_local.recall.candidates import Recall

from .speed import job
from .systems import Job, Served

RESULT = Path(__file__).with_suffix(".json")
PLOT = Path(__file__).parents[1] / "docs" / "growth.png"
CANDIDATES, LINES, ITEMS = (10, 30, 100, 300, 1000), (5, 20, 60, 120, 240), (1_000, 10_000, 100_000, 1_000_000)


def scoring(sizes: tuple[int, ...], threads: int) -> list[dict[str, float]]:
    """Seconds and peak memory for so many candidates."""
    return [_asked(job(random.Random(f"candidates {size}"), size), size, threads) for size in sizes]


def evidence(sizes: tuple[int, ...], threads: int) -> list[dict[str, float]]:
    """Seconds and peak memory for 20 candidates after so many lines of evidence."""
    found = []
    for size in sizes:
        rng = random.Random(f"lines {size}")
        lines = [f"- {one.title}, {one.category}, {one.price}" for one in rng.sample(products(), size)]
        asked = Job("Chosen lately, oldest first:\n" + "\n".join(lines), job(rng, 20).candidates)
        found.append(_asked(asked, size, threads))
    return found


def _asked(asked: Job, size: int, threads: int) -> dict[str, float]:
    served = Served("ours", embedded.prepare(), threads)
    try:
        served.answer(job(random.Random("before"), 4))  # files are read, threads start
        took = served.answer(asked)
    finally:
        served.close()
    return {"size": size, "seconds": took.seconds, "peak_bytes": took.peak}


def recall(sizes: tuple[int, ...]) -> list[dict[str, float]]:
    """Seconds to build recall, and to find 100 of so many items when it is built; peak memory."""
    spawn = multiprocessing.get_context("spawn")
    found = []
    for size in sizes:
        with spawn.Pool(1) as pool:
            found.append(pool.apply(_recall, [size]))
    return found


def _recall(items: int) -> dict[str, float]:
    rng = np.random.default_rng(items)
    count = 10 * items
    users = np.sort(rng.integers(0, items // 2, count)).astype(np.int32)
    taken = np.minimum((items * rng.random(count) ** 2).astype(np.int32), items - 1)
    words = [f"word{n}" for n in range(5_000)]
    ids = [f"i{n}" for n in range(items)]
    texts = [" ".join(words[n] for n in rng.integers(0, len(words), 6)) for _ in ids]
    start = time.perf_counter()
    built = Recall(ids, users, taken, texts)
    building = time.perf_counter() - start
    asking = []
    for _ in range(12):
        seen = [ids[n] for n in rng.integers(0, items, 20)]
        start = time.perf_counter()
        assert len(built.candidates(seen, 100)) == 100
        asking.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"size": items, "build_seconds": building, "seconds": float(np.median(asking[2:])), "peak_bytes": peak}


def plot(found: dict[str, Any], path: Path) -> None:
    """Draw the three sweeps: seconds above, peak memory below."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    names = {
        "candidates": "candidates",
        "evidence": "lines of evidence (20 candidates)",
        "recall": "items of the catalogue",
    }
    figure, axes = plt.subplots(2, 3, figsize=(11, 5.5), sharex="col")
    for column, (name, label) in enumerate(names.items()):
        sizes = [point["size"] for point in found[name]]
        above, below = axes[0][column], axes[1][column]
        above.loglog(sizes, [point["seconds"] for point in found[name]], "o-", label="ask")
        if name == "recall":
            above.loglog(sizes, [point["build_seconds"] for point in found[name]], "s--", label="build")
            above.legend(frameon=False)
        below.semilogx(sizes, [point["peak_bytes"] / 1e6 for point in found[name]], "o-")
        below.set_ylim(bottom=0)
        below.set_xlabel(label)
        for axis in (above, below):
            axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("seconds")
    axes[1][0].set_ylabel("peak memory, MB")
    figure.suptitle(f"{found['machine']}, {found['threads']} threads, {found['date']}", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})


def markdown(found: dict[str, Any]) -> str:
    """The plot, and its points."""
    lines = [f"![Time and memory against candidates, evidence and catalogue]({PLOT.name})", ""]
    lines += ["| work | size | seconds | to build | peak memory |", "| --- | --- | --- | --- | --- |"]
    for name in ("candidates", "evidence", "recall"):
        for point in found[name]:
            building = f"{point['build_seconds']:.2f}" if "build_seconds" in point else ""
            lines.append(
                f"| {name} | {point['size']:,} | {point['seconds']:.2f} | {building} |"
                f" {point['peak_bytes'] / 1e6:,.0f} MB |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=usable_threads())
    parser.add_argument("--quick", action="store_true", help="small sizes; nothing is written")
    options = parser.parse_args()
    from .speed import machine

    some = slice(None, 2 if options.quick else None)
    found = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "threads": options.threads,
        "candidates": scoring(CANDIDATES[some], options.threads),
        "evidence": evidence(LINES[some], options.threads),
        "recall": recall(ITEMS[some]),
    }
    print(json.dumps(found, indent=1))
    if not options.quick:
        plot(found, PLOT)
        RESULT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
