"""Scoring and captioning side by side with what one would otherwise write: the tables of docs/performance.md.

    python -m benchmarks.speed            # about 20 minutes on two cores
    python -m benchmarks.speed --quick    # a minute or two, to see that it runs

One run, one process tree, the same prompts and the same threads; the systems take turns in every round, each in a
process of its own, and ratios are taken within a round. A system that needs minutes for all candidates is given the
first few (the column "asked"), and its seconds are scaled up: its time is the same for each. Every round is about
another person, so nothing is remembered from the one before. Writes speed.json beside this file, and prints it as
Markdown. Needs the extra `train`; the server is left out where xllamacpp is not installed (`make bench` does that).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import platform
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msr_local.demo.catalogue import products
from msr_local.demo.drawing import draw
from msr_local.engine.llama.engine import LlamaEngine
from msr_local.engine.types import EngineConfig, Prompt, Text, Writing
from msr_local.hardware import usable_threads
from msr_local.models import embedded

from .systems import Job, Served, as_image, prompts

RESULT = Path(__file__).with_suffix(".json")
LINES = 29  # of evidence: about 500 tokens with what stands before it
SHIPPED = "chat loop, weights as shipped"
LIMITS = {"chat loop": 20, SHIPPED: 8, "server": 50, "transformers float32": 8, "transformers bfloat16": 4}


def job(rng: random.Random, candidates: int) -> Job:
    """An invented person's evidence and candidates."""
    shop = list(products())
    rng.shuffle(shop)
    lines = [f"- {one.title}, {one.category}, {one.price}" for one in shop[:LINES]]
    asked = [
        f"{one.title}, {one.category}, {one.price}\nOften chosen with {rng.choice(shop).title}."
        for one in rng.choices(shop[LINES:], k=candidates)
    ]
    return Job("Chosen lately, oldest first:\n" + "\n".join(lines), asked)


def scoring(model: Path, shipped: Path, threads: int, rounds: int, users: int, candidates: int, slow: bool) -> Any:
    """Rounds of `users` people with `candidates` each: medians and spreads of the ratios to ours, and the floor's."""
    names = ["ours", "chat loop", SHIPPED, *(("transformers float32", "transformers bfloat16") * slow)]
    if importlib.util.find_spec("xllamacpp"):
        names.append("server")
    served = {name: Served(name.split(",")[0], shipped if name == SHIPPED else model, threads) for name in names}
    floor = Served("floor", model, threads)
    counting = LlamaEngine(EngineConfig(model, threads=threads))
    seconds: dict[str, list[float]] = {name: [] for name in [*names, "floor"]}
    apart = dict.fromkeys(names, 0.0)
    peaks: dict[str, int] = {}
    unique = 0
    try:
        for number in range(-1, rounds):  # the first is not counted: files are read, threads start
            jobs = [job(random.Random(f"{number} {user}"), candidates) for user in range(users if number >= 0 else 1)]
            rate = [floor.answer(jobs[0]).seconds for _ in range(3)]
            took, z = {}, {}
            for name in names:
                some = LIMITS.get(name, candidates) if number >= 0 else 2
                asked = [Job(one.evidence, one.candidates[:some]) for one in jobs]
                told = [served[name].answer(one) for one in asked]
                share = sum(len(one.candidates) for one in asked) / sum(len(one.candidates) for one in jobs)
                took[name] = sum(one.seconds for one in told) / share
                z[name], peaks[name] = [one.z for one in told], told[-1].peak
            rate += [floor.answer(jobs[0]).seconds for _ in range(3)]
            if number < 0:
                continue
            counts = [[counting.count_tokens(part) for part in (prefix, *suffixes)] for prefix, suffixes in
                      (prompts(counting.facts, one) for one in jobs)]  # fmt: skip
            unique = sum(map(sum, counts))
            took["floor"] = unique * statistics.median(rate) / 512
            for name, value in took.items():
                seconds[name].append(value)
            for name in names:
                for ours, theirs in zip(z["ours"], z[name], strict=True):
                    gaps = [abs(a - b) for a, b in zip(ours, theirs, strict=False) if not math.isnan(b)]
                    apart[name] = max([apart[name], *gaps])
    finally:
        for one in [*served.values(), floor]:
            one.close()
        counting.close()
    return {
        "users": users, "candidates": candidates, "rounds": rounds, "unique_tokens": unique,
        "systems": {
            name: {
                "seconds": statistics.median(values),
                "to_ours": _spread([one / ours for one, ours in zip(values, seconds["ours"], strict=True)]),
                "to_floor": _spread([one / low for one, low in zip(values, seconds["floor"], strict=True)]),
                "asked": min(LIMITS.get(name, candidates), candidates),
                "max_dz": apart.get(name), "peak_bytes": peaks.get(name),
            }
            for name, values in seconds.items()
        },
    }  # fmt: skip


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def pictures(model: Path, eyes: Path, threads: int, rounds: int, count: int) -> Any:
    """Yes/no questions with a picture each, and captions: many at a time against one by one, the naive loop."""
    engine = LlamaEngine(EngineConfig(model, eyes, threads=threads))
    shown = [as_image(draw(one.look, size=256), str(one.item_id)) for one in products()[: count * (rounds + 1)]]
    asking: Prompt = [Text("Describe what the picture shows.\n")]
    how = Writing(max_tokens=24)
    found: dict[str, dict[str, list[float]]] = {}

    def timed(name: str, way: str, act: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        done = act()
        found.setdefault(name, {}).setdefault(way, []).append(time.perf_counter() - start)
        return done

    for number in range(rounds):
        some = shown[count * number : count * (number + 1)]
        evidence, suffixes = prompts(engine.facts, job(random.Random(number), count))
        asked: list[Prompt] = [[one, *suffix] for one, suffix in zip(some, suffixes, strict=True)]
        captions: list[Prompt] = [[one, Text("\nIt shows")] for one in some]
        for one in some:
            engine.count_tokens([one])  # encoded now: both ways take the vectors from the cache
        alone = [[*evidence, *one] for one in asked]
        timed("questions", "one by one", lambda: [list(engine.log_odds([], [one])) for one in alone])  # noqa: B023
        timed("questions", "ours", lambda: list(engine.log_odds(evidence, asked)))  # noqa: B023
        whole = [[*asking, *one] for one in captions]
        timed("captions", "one by one", lambda: [list(engine.continued([], [one], how)) for one in whole])  # noqa: B023
        made = timed("captions", "ours", lambda: list(engine.continued(asking, captions, how)))  # noqa: B023
        found.setdefault("tokens", {}).setdefault("ours", []).append(sum(text.tokens for _, text in made))
    start = time.perf_counter()
    for one in shown[-count:]:
        engine.count_tokens([one])
    encoding = (time.perf_counter() - start) / count
    engine.close()
    return {
        "count": count, "rounds": rounds, "encode_seconds": encoding,
        **{
            name: {
                "ours_per_second": count / statistics.median(ways["ours"]),
                "gain": _spread([a / b for a, b in zip(ways["one by one"], ways["ours"], strict=True)]),
            }
            for name, ways in found.items() if name != "tokens"
        },
        "tokens_per_second": statistics.median(
            n / s for n, s in zip(found["tokens"]["ours"], found["captions"]["ours"], strict=True)
        ),
    }  # fmt: skip


def second_call(model: Path, threads: int, folder: Path, rounds: int) -> Any:
    """20 new candidates of a person whose prefix an earlier process kept, against the first 20: ratio of seconds."""
    ratios = []
    for number in range(rounds):
        asked = job(random.Random(f"again {number}"), 40)
        took = []
        for half in (asked.candidates[:20], asked.candidates[20:]):
            engine = LlamaEngine(EngineConfig(model, threads=threads, states=folder / "states"))
            prefix, suffixes = prompts(engine.facts, Job(asked.evidence, half))
            start = time.perf_counter()
            list(engine.log_odds(prefix, suffixes))
            took.append(time.perf_counter() - start)
            engine.close()
        ratios.append(took[1] / took[0])
    return _spread(ratios)


def markdown(found: dict[str, Any]) -> str:
    """The results as the tables of docs/performance.md."""
    lines = [f"{found['machine']}, {found['threads']} threads, {found['date']}."]
    for work in found["scoring"]:
        users = "1 user" if work["users"] == 1 else f"{work['users']} users"
        lines += [
            "",
            f"**{users} x {work['candidates']} candidates** ({work['unique_tokens']:,} unique tokens, "
            f"{work['rounds']} rounds)",
            "",
            "| system | seconds | times ours (least to most) | times the floor | asked | max dz | peak memory |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
        for name, one in work["systems"].items():
            apart = "" if one["max_dz"] is None else f"{one['max_dz']:.3f}"
            peak = "" if one["peak_bytes"] is None else f"{one['peak_bytes'] / 1e6:,.0f} MB"
            lines.append(
                f"| {name} | {one['seconds']:.1f} | {_told(one['to_ours'])} | {one['to_floor']['median']:.2f} |"
                f" {one['asked']} | {apart} | {peak} |"
            )
    shown = found["pictures"]
    lines += [
        "",
        f"**{shown['count']} pictures** ({shown['rounds']} rounds; encoding them takes "
        f"{1000 * shown['encode_seconds']:.0f} ms each and is not counted)",
        "",
        "| work | ours, a second | one by one / ours (least to most) |",
        "| --- | --- | --- |",
        *(
            f"| {name} | {shown[name]['ours_per_second']:.1f} | {_told(shown[name]['gain'])} |"
            for name in ("questions", "captions")
        ),
        "",
        f"Captions: {shown['tokens_per_second']:.0f} generated tokens a second. In a new process, 20 new candidates of "
        f"a person who was asked about before take {_told(found['second_call'])} of the time of the first 20.",
    ]
    return "\n".join(lines)


def _told(spread: dict[str, float]) -> str:
    return f"{spread['median']:.2f} ({spread['least']:.2f} to {spread['most']:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=usable_threads())
    parser.add_argument("--users", type=int, default=2, help="of the second work; 0 leaves it out")
    parser.add_argument("--quick", action="store_true", help="one short round; nothing is written")
    options = parser.parse_args()
    import tempfile

    from msr_local.models import shipped

    model, packed = embedded.prepare(), embedded.shipped_model()
    assert packed is not None
    rounds = 1 if options.quick else options.rounds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        eyes = shipped.find(shipped.EYES)
        assert eyes is not None
        found: dict[str, Any] = {
            "date": time.strftime("%Y-%m-%d"), "machine": machine(), "threads": options.threads, "model": model.name,
            "scoring": [],
        }  # fmt: skip

        def keep(**more: Any) -> None:  # after each part: half an hour must not hang on the last minute
            found.update(more)
            text = json.dumps(found, indent=1) + "\n"
            if not options.quick:
                RESULT.with_suffix(".part").write_text(text, encoding="utf-8")

        works = [(1, 100, True), (options.users, 20, False)][: 2 if options.users else 1]
        for users, candidates, slow in [(1, 4, False)] if options.quick else works:
            work = scoring(model, packed, options.threads, rounds, users, candidates, slow)
            keep(scoring=[*found["scoring"], work])
        keep(pictures=pictures(model, eyes.file, options.threads, rounds, 4 if options.quick else 16))
        keep(second_call=second_call(model, options.threads, folder, rounds))
    if not options.quick:
        RESULT.with_suffix(".part").replace(RESULT)
    print(markdown(found))


def machine() -> str:
    """The processor's name, where it is told."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
