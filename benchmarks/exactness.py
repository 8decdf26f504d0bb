"""What each way of scoring costs in exactness and speed, by weight type: a table of docs/performance.md.

    python -m benchmarks.exactness        # about 10 minutes on two cores; writes exactness.json

For each type of the embedded model's weights, and for both ways to read candidates side by side (`engine.context`):
the error of the log-odds against transformers in float32 on the same, unpacked weights; the largest change of a
log-odds over random groups in random order; and candidates' tokens a second, against reading them one by one. The
ways take turns. Needs the packages of the extra `train`.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from msr_local.engine.llama import decoder
from msr_local.engine.llama.engine import LlamaEngine
from msr_local.engine.llama.process import quantise_in_child
from msr_local.engine.types import EngineConfig
from msr_local.hardware import usable_threads
from msr_local.models import embedded

from .speed import job, machine
from .systems import Job, Served, prompts

RESULT = Path(__file__).with_suffix(".json")
TYPES = {"F16": None, "Q8_0": 7, "Q4_0": 2, "Q4_K_M": 15}  # llama_ftype; F16 is there
REFERENCE = 8  # candidates that transformers are asked about


def opened(model: Path, threads: int, *, exact: bool) -> LlamaEngine:
    """An engine that reads candidates in the given way, whatever its weights."""
    chosen, decoder.unquantised = decoder.unquantised, lambda _: not exact
    try:
        return LlamaEngine(EngineConfig(model, threads=threads))
    finally:
        decoder.unquantised = chosen


def measure(model: Path, asked: Job, threads: int, rounds: int, groups: int) -> Any:
    """Both ways on one file."""
    served = Served("transformers float32", model, threads)
    truth = served.answer(Job(asked.evidence, asked.candidates[:REFERENCE])).z
    served.close()
    engines = {way: opened(model, threads, exact=way == "exact") for way in ("exact", "shared")}
    prefix, suffixes = prompts(engines["exact"].facts, asked)
    tokens = sum(engines["exact"].count_tokens(suffix) for suffix in suffixes)
    z = {way: [one.z for one in engine.log_odds(prefix, suffixes)] for way, engine in engines.items()}
    seconds: dict[str, list[float]] = {"exact": [], "shared": [], "one by one": []}
    for _ in range(rounds):
        for way, engine in engines.items():
            start = time.perf_counter()
            list(engine.log_odds(prefix, suffixes))
            seconds[way].append(time.perf_counter() - start)
        start = time.perf_counter()
        for suffix in suffixes:
            next(engines["exact"].log_odds(prefix, [suffix]))
        seconds["one by one"].append(time.perf_counter() - start)
    found = {}
    for way, engine in engines.items():
        rng, moved = random.Random(1), 0.0
        for _ in range(groups):
            places = rng.sample(range(len(suffixes)), rng.randint(1, 16))
            again = engine.log_odds(prefix, [suffixes[place] for place in places])
            moved = max(moved, *(abs(z[way][place] - one.z) for place, one in zip(places, again, strict=True)))
        errors = [abs(a - b) for a, b in zip(truth, z[way], strict=False)]
        found[way] = {
            "tokens_per_second": tokens / statistics.median(seconds[way]),
            "to_one_by_one": statistics.median(seconds["one by one"]) / statistics.median(seconds[way]),
            "mean_error": statistics.mean(errors),
            "max_error": max(errors),
            "max_regrouping": moved,
        }
        engine.close()
    return found


def markdown(found: dict[str, Any]) -> str:
    """The results as a table."""
    lines = [
        f"{found['machine']}, {found['threads']} threads, {found['date']}; {found['candidates']} candidates, "
        f"{found['groups']} random groups.",
        "",
        "| weights | way | candidates' tokens a second | times one by one | error against float32, mean / max |"
        " most that a group moves z |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, ways in found["types"].items():
        for way, one in ways.items():
            lines.append(
                f"| {name} | {way} | {one['tokens_per_second']:.0f} | {one['to_one_by_one']:.2f} |"
                f" {one['mean_error']:.3f} / {one['max_error']:.3f} | {one['max_regrouping']:.4f} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=usable_threads())
    parser.add_argument("--groups", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--candidates", type=int, default=48)
    options = parser.parse_args()
    asked = job(random.Random(3), options.candidates)
    found: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"), "machine": machine(), "threads": options.threads,
        "candidates": len(asked.candidates), "groups": options.groups, "types": {},
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        for name, ftype in TYPES.items():
            model = embedded.prepare()
            if ftype is not None:
                source, model = model, Path(folder) / f"{name}.gguf"
                quantise_in_child(source, model, ftype=ftype)
            found["types"][name] = measure(model, asked, options.threads, options.rounds, options.groups)
    RESULT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(markdown(found))


if __name__ == "__main__":
    main()
