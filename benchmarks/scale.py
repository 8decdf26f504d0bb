"""How far one driver goes, and what millions of people and items take: the tables of docs/scale.md.

    python -m benchmarks.scale            # some minutes; writes scale.json
    python -m benchmarks.scale --quick    # a few people; nothing is written

The driver is the real one, `recommend_to` on SQLite with recall over an invented catalogue, but the engines are played:
they cost nothing (how much work the driver has with a list, a summary or a caption), or sleep for as long as a real one
works (1,000 of them at once). What real engines take is in speed.json, people.json and growth.json. Money is worked out
from `CORE_HOUR`, which is an assumption, as all prices are.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from msr_local.catalogue.ingest import ingest
from msr_local.engine.fake import FakeEngine
from msr_local.engine.pool import Pool
from msr_local.engine.types import Engine, LogOdds, Question
from msr_local.models.choice import Asking, cast
from msr_local.recipe.everybody import recommend_to
from msr_local.recipe.recommender import Recommender
from msr_local.store import histories
from msr_local.store.workspace import Workspace

from . import growth, people, speed

RESULT = Path(__file__).with_suffix(".json")
ENGINES = (1, 10, 100, 1_000)
CORE_HOUR = 0.04  # US dollars for an hour of one core: an assumption
CORES = 64  # of a machine: an assumption
SIZES = ((1_000_000, 1_000_000), (100_000_000, 10_000_000))  # users, items
MACHINES = (1, 10, 100)
PICTURED = 1.0  # share of items with a picture: an assumption
SPAN = 30.0  # seconds of a simulation
ENGINE_CORES = 8  # of a played engine


class _Over(Exception):
    """The simulation has run long enough."""


class _Sleeping(FakeEngine):
    """An engine that takes so many seconds for each question, and does nothing."""

    def __init__(self, seconds: float) -> None:
        super().__init__(text=lambda question: "Likes what is quiet.")
        self._seconds = seconds

    def answers(self, questions: Sequence[Question]) -> Iterator[LogOdds]:
        for answer in super().answers(questions):
            time.sleep(self._seconds)
            yield answer


def driver(home: Path, users: int) -> dict[str, float]:
    """The driver's processor seconds for a list, and for a block of a summary, with engines that cost nothing."""
    with Workspace(home) as workspace:
        everyone = [one["user"] for one in histories.users(workspace)][:users]
        ours = cast(workspace, Asking())
        before = workspace.path.stat().st_size
        with Recommender(workspace, ours, open_engine=lambda _: _Sleeping(0.0)) as recommender:
            recommender.recall.now()
            start = time.process_time()
            blocks = [
                len(chain)
                for _, chain in recommender.preferences.chains((user, recommender.history(user)) for user in everyone)
            ]
            summarised = time.process_time()
            made = recommend_to(recommender, everyone, home / "recs.parquet")
            done = time.process_time()
        assert len(made.made) == len(everyone)
        asked = workspace.one("SELECT count(*) FROM scores")
        workspace.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return {
            "users": len(everyone),
            "block_s": (summarised - start) / sum(blocks),
            "list_s": (done - summarised) / len(everyone),
            "asked": asked / len(everyone),
            "bytes": (workspace.path.stat().st_size - before) / len(everyone),
        }


def simulated(home: Path, engines: int, question_s: float, span: float) -> dict[str, float]:
    """Lists a second that one driver gets from so many engines, and how much of their time they work."""
    with Workspace(home) as workspace:
        everyone = [one["user"] for one in histories.users(workspace)]
        ours = cast(workspace, Asking(recipe="history"))  # no summaries: they are written before
        times: list[float] = []

        def told(stage: str, done: int, total: int, detail: str = "") -> None:
            times.append(time.perf_counter())
            if times[-1] - times[0] > span:
                raise _Over

        def opened(_: object) -> Engine:
            return Pool(FakeEngine(), lambda: _Sleeping(question_s), engines)

        with Recommender(workspace, ours, open_engine=opened) as recommender:
            recommender.recall.now()
            with contextlib.suppress(_Over):
                recommend_to(recommender, everyone, home / "recs.parquet", progress=told)
        asked = workspace.one("SELECT count(*) FROM scores")
        took = times[-1] - times[0]
        return {
            "engines": engines, "lists": len(times) - 1, "lists_per_s": (len(times) - 1) / took,
            "busy": min(1.0, asked * question_s / (took * engines)),
        }  # fmt: skip


# ---- the page


def costs() -> dict[str, float]:
    """Core seconds of a user, an item and a picture, and seconds and bytes of recall, as measured."""
    speeds = json.loads(speed.RESULT.read_text(encoding="utf-8"))
    grown = json.loads(growth.RESULT.read_text(encoding="utf-8"))["recall"][-1]
    known = json.loads(people.RESULT.read_text(encoding="utf-8")) if people.RESULT.exists() else {}
    if "everybody" in known:
        part = known["everybody"]
        user = 60 * part["threads"] / part["users_per_minute"]["one process"]
    else:  # all candidates are asked, and a summary is as much again
        user = 2 * speeds["threads"] * speeds["scoring"][0]["systems"]["ours"]["seconds"]
    shown = speeds["pictures"]
    return {
        "user": user,
        "picture": speeds["threads"] * (1 / shown["captions"]["ours_per_second"] + shown["encode_seconds"]),
        "recall_items": grown["size"], "recall_s": grown["seconds"], "recall_bytes": grown["peak_bytes"],
        "build_s": grown["build_seconds"],
    }  # fmt: skip


def markdown(found: dict[str, Any]) -> str:
    """The results as the tables of docs/scale.md."""
    one, of = found["driver"], costs()
    lines = [
        f"{found['machine']}, {found['date']}. The driver was measured with {one['users']:,.0f} users and "
        f"{found['items']:,} items.",
        "",
        "| what | takes |",
        "| --- | --- |",
        f"| a user, new: summary and list | {of['user']:.1f} core seconds of an engine |",
        f"| a picture: its caption | {of['picture']:.2f} core seconds of an engine |",
        f"| a list of {one['asked']:.0f} questions | {1000 * one['list_s']:.0f} ms of the driver |",
        f"| a block of a summary | {1000 * one['block_s']:.1f} ms of the driver |",
        f"| a user in SQLite | {one['bytes'] / 1000:.0f} kB |",
        f"| recall among {of['recall_items']:,.0f} items | {1000 * of['recall_s']:.0f} ms a user; "
        f"{of['recall_bytes'] / 1e9:.1f} GB; {of['build_s']:.0f} s to build |",
        "",
        f"**One driver and many engines** (played, of {ENGINE_CORES} cores: {found['question_s']:.3f} s a question)",
        "",
        "| engines | lists a second | engines at work |",
        "| --- | --- | --- |",
        *(
            f"| {point['engines']:,} | {point['lists_per_s']:.2f} | {point['busy']:.0%} |"
            for point in found["simulated"]
        ),
        "",
        f"**Millions** (once for all; machines of {CORES} cores, ${CORE_HOUR:.2f} an hour for a core, "
        f"{PICTURED:.0%} of the items have a picture)",
        "",
        "| users x items | core hours | dollars | "
        + " | ".join(f"days on {count:,}" for count in MACHINES)
        + " | drivers for 10 days | SQLite |",
        "| --- | --- | --- | " + " | ".join("---" for _ in MACHINES) + " | --- | --- |",
    ]
    for users, items in SIZES:
        hours = (users * of["user"] + PICTURED * items * of["picture"]) / 3600
        recalled = of["recall_s"] * items / of["recall_items"]
        drivers = users * (one["list_s"] + recalled) / (10 * 86_400)
        days = " | ".join(f"{hours / CORES / count / 24:,.1f}" for count in MACHINES)
        lines.append(
            f"| {users / 1e6:,.0f} M x {items / 1e6:,.0f} M | {hours:,.0f} | {hours * CORE_HOUR:,.0f} | {days} |"
            f" {max(1, round(drivers + 0.5)):,} | {users * one['bytes'] / 1e9:,.0f} GB |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=4_000)
    parser.add_argument("--quick", action="store_true", help="a few people; nothing is written")
    options = parser.parse_args()
    users, items, span = (40, 200, 2.0) if options.quick else (options.users, 4_000, SPAN)
    question_s = costs()["user"] / 2 / 50 / ENGINE_CORES  # half of a user's time is for the answers
    found: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"), "machine": speed.machine(), "items": items, "question_s": question_s,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        people.films(folder / "films", items, users)

        with Workspace(folder / "home") as workspace:
            ingest(workspace, folder / "films")

        def copied(name: str) -> Path:
            return Path(shutil.copytree(folder / "home", folder / name))

        found["driver"] = driver(copied("driver"), 20 if options.quick else 500)
        found["simulated"] = [
            simulated(copied(f"with {count}"), count, question_s, span)
            for count in (ENGINES[:2] if options.quick else ENGINES)
        ]
    if not options.quick:
        RESULT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(markdown(found))


if __name__ == "__main__":
    main()
