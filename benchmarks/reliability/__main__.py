"""The figures of docs/reliability.md: what is lost, doubled, silent or let through when things go wrong.

    python -m benchmarks.reliability kills       # 200 times `kill -9`; half an hour and more
    python -m benchmarks.reliability fuzz        # 10,000 fuzzed rows a reader, 2,000 damaged pictures; some minutes
    python -m benchmarks.reliability load        # 20 minutes of `serve` under load, with faults
    python -m benchmarks.reliability injection   # 1,000 strings that try to be more than data; some minutes
    python -m benchmarks.reliability million     # a million interactions, 30% of them bad; a minute
    python -m benchmarks.reliability pleading    # 1,000 questions with and without words that plead; an hour and more
    python -m benchmarks.reliability page        # only make the page again

Each writes its results to results/ beside this file and makes docs/reliability.md anew; with --print it does neither.
They use the tiny random models of the tests (extra `dev`), `pleading` and `injection` the embedded model, `kills` the
extra `train` for the stage finetune. One seed gives the same files, strings and moments; not all that comes of moments
is the same each time.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from . import page, record

ANSWERS = Path("work/pleading.jsonl")  # of the model; what is there is not asked again


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=[*page.PARTS, "page"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--print", action="store_true", help="print the results; nothing is written")
    parser.add_argument("--count", type=int, help="kills, rows a reader, strings, rows or pairs: as many as above")
    parser.add_argument("--minutes", type=float, help="of load (20), or that kills may take at most")
    parser.add_argument("--pictures", type=int, default=2_000, help="of fuzz")
    parser.add_argument("--stages", help="of kills, with commas between: others stay")
    parser.add_argument("--adapter", help="of pleading: the recommender to ask (default: the shipped one)")
    parser.add_argument("--disk", type=Path, help=argparse.SUPPRESS)  # load starts itself again with it
    options = parser.parse_args()
    if options.what != "page":
        with tempfile.TemporaryDirectory() as folder:
            found = measured(options, Path(folder))
        if options.print:
            print(json.dumps(found, indent=1, ensure_ascii=False))
            return
        record.save(options.what, found)
        print(page.PARTS[options.what](found))
    page.PAGE.write_text(page.render(page.PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def measured(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The results of one script."""
    count, seed = options.count, options.seed
    if options.what == "kills":
        from . import kills

        stages = options.stages.split(",") if options.stages else list(kills.STAGES)
        keep = print if options.print else functools.partial(record.save, "kills")
        old = record.kept("kills") if options.stages else None  # what was measured of other stages stays
        before = {name: {"commit": old["commit"], **one} for name, one in old["stages"].items()} if old else {}
        return kills.measure(count or 200, stages, seed, folder, options.minutes or float("inf"), keep, before)
    if options.what == "fuzz":
        from . import fuzz

        return fuzz.measure(count or 10_000, options.pictures, seed)
    if options.what == "load":
        from . import load

        if options.disk is None and (again := load.own_disk(folder, [sys.executable, "-m", "benchmarks.reliability"])):
            os.execvp(again[0], [*again, *sys.argv[1:], "--disk", str(folder)])
        return load.measure(options.minutes or 20.0, seed, folder, options.disk)
    if options.what == "injection":
        from . import injection

        return injection.measure(count or 1_000, seed)
    if options.what == "million":
        from . import million

        return million.measure(count or 1_000_000, 0.3, seed)
    from . import pleading

    ANSWERS.parent.mkdir(parents=True, exist_ok=True)
    return pleading.measure(count or 1_000, seed, folder, options.adapter, kept=ANSWERS)


if __name__ == "__main__":
    main()
