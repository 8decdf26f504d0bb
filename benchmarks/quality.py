"""Ranking quality on public data: the tables of benchmarks/quality.md.

    python -m benchmarks.quality --data ../shared/data --work work/quality microlens-popular6 microlens-last

Each name is one `msr-local evaluate` on a workspace that is made in the work folder if it is not there; options that
are not known here go to that command (`--adapter microlens`). Writes quality/NAME.json and the page; without names,
the page alone.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msr_local.demo import shop

from . import worlds
from .reliability.record import commit

RESULTS = Path(__file__).with_suffix("")
PAGE = Path(__file__).with_suffix(".md")
MICROLENS = ["microlens-50k/MicroLens-50k_titles.csv", "microlens-50k/MicroLens-50k_pairs.tsv"]
TWEETINGS = ["movietweetings/movies.csv", "movietweetings/ratings.csv", "--no-captions"]
MOVIELENS = ["movielens-small", "--no-captions"]
SHOP, PICTURES = "shop", "shop-with-pictures"  # drawn by the project itself
SECOND = "second"  # so is this: another shop, that no training saw
CORE = ["--core", "7,5"]
POPULAR = ["--negatives", "popularity"]
# What each name ingests and evaluates; paths are those of the data folder.
RUNS: dict[str, tuple[str, list[str], list[str]]] = {
    "shop-last": (SHOP, ["items.csv", "interactions.csv", "--no-captions"], ["--recipe", "history"]),
    "shop-ablation": (
        PICTURES, ["items.csv", "interactions.csv"], ["--ablation", "--users", "40"],
    ),
    "microlens-popular6": ("microlens", MICROLENS, ["--protocol", "popular6"]),
    "microlens-popular6-popular-negatives": ("microlens", MICROLENS, [*POPULAR, "--protocol", "popular6"]),
    "microlens-popular6-sequential": ("microlens", MICROLENS, ["--protocol", "popular6", "--no-questions"]),
    "microlens-popular6-tuned": (
        "microlens", MICROLENS,
        ["--protocol", "popular6", "--recipe", "history", "--adapter", "microlens", "--users", "100", "--fast"],
    ),
    "microlens-popular6-shipped": (  # the recommender that comes with msr-local has seen MicroLens' training users
        "microlens", MICROLENS,
        ["--protocol", "popular6", "--recipe", "history", "--users", "60", "--fast"],
    ),
    "microlens-popular6-learned": (  # the same with recall that has learned from the training users
        "microlens-learned", [*MICROLENS, "--learn"],
        ["--protocol", "popular6", "--recipe", "history", "--fast"],
    ),
    "microlens-popular6-questions": (
        "microlens", MICROLENS,
        ["--protocol", "popular6", "--recipe", "history", "--adapter", "none", "--users", "100"],
    ),
    "microlens-last": ("microlens", MICROLENS, ["--protocol", "last", "--split", "users", *CORE]),
    "microlens-last-popular-negatives": (
        "microlens", MICROLENS, [*POPULAR, "--protocol", "last", "--split", "users", *CORE],
    ),
    "movietweetings-temporal": ("movietweetings", TWEETINGS, ["--protocol", "temporal", "--full"]),
    "movietweetings-popular-negatives": ("movietweetings", TWEETINGS, [*POPULAR, "--protocol", "temporal"]),
    "movietweetings-popular-negatives-learned": (  # the recommender has seen MovieTweetings' training interactions
        "movietweetings-learned", [*TWEETINGS, "--learn"],
        [*POPULAR, "--protocol", "temporal", "--recipe", "history", "--users", "300", "--fast"],
    ),
    "movielens-last": ("movielens", MOVIELENS, ["--protocol", "last", "--split", "order", "--full"]),
    "movielens-last-shipped": (  # the recommender that comes with msr-local has seen MovieLens' training interactions
        "movielens", MOVIELENS,
        ["--protocol", "last", "--split", "order", "--full", "--recipe", "history", "--candidates", "20", "--fast"],
    ),
    "second-cold-items": (
        SECOND, ["items.csv", "interactions.csv"],
        ["--protocol", "cold-items", "--candidates", "50", "--users", "50", "--fast"],
    ),
    "microlens-cold-items": (
        "microlens-learned", [*MICROLENS, "--learn"],
        ["--protocol", "cold-items", "--recipe", "history", "--no-questions", "--fast"],
    ),
    "movietweetings-cold-items": (
        "movietweetings-learned", [*TWEETINGS, "--learn"],
        ["--protocol", "cold-items", "--users", "300", "--no-questions", "--fast"],
    ),
    "movielens-popular-negatives": ("movielens", MOVIELENS, [*POPULAR, "--protocol", "last", "--split", "order"]),
}  # fmt: skip
# What `finetune` makes for a name before it is evaluated: an adapter called like the workspace.
TUNED = {
    "microlens-popular6-tuned": [
        "--split", "users", "--negatives-per-positive", "3", "--rows", "2000", "--validation-rows", "200",
        "--epochs", "1", "--loss", "ranking", "--recipe", "history", "--max-length", "512",
    ],
}  # fmt: skip
# What `calibrate` is given for a name before it is evaluated; the evaluation fits its own to validation users.
CALIBRATED = {
    "microlens-popular6-learned": ["--users", "150", "--recipe", "history"],
    "movietweetings-popular-negatives-learned": ["--users", "150", "--recipe", "history"],
    "second-cold-items": ["--users", "60"],
}
# What one must know to read a table: what the adapter had seen, and what so few users can show.
NOTES = {
    "movielens-last": "With 610 users a gain of NDCG@10 must be about .8, a tenth of all, to be significant. On the "
    "validation users (five folds) the blend that reads had .85 more than that of the baselines; here it has nothing. "
    "To show the mean of the two, .3, some 3,500 users would be needed.",
    "movielens-last-shipped": "The adapter is of an earlier release. It was trained on training interactions; fused is "
    "fitted on 200 of the validation users.",
    "microlens-popular6-learned": "A third of the answers had been kept from runs before.",
    "movietweetings-popular-negatives-learned": "The adapter has seen training interactions. *recommended* weighs "
    "recall as for whole catalogues, where popular items are likelier; the blends are fitted to these negatives.",
    "second-cold-items": "Most answers had been kept from runs before.",
    "microlens-popular6-shipped": "The adapter is of an earlier release.",
    "shop-ablation": "The adapter is of an earlier release. None of the purchases asked for was in its training; six "
    "of the 40 were in its validation set. Fifteen of the shoppers it never saw. Another hour had gone into answers "
    "that were kept.",
}
_SHOWN = {"auc": "AUC", "hr@5": "HR@5", "mrr@5": "MRR@5", "ndcg@10": "NDCG@10"}
_LISTED = {"hr@10": "HR@10"}  # where the length of a list of recommendations counts


def run(name: str, data: Path, work: Path, more: Sequence[str]) -> dict[str, Any]:
    """Evaluate; the document, with the commands that made it."""
    kind, files, options = RUNS[name]
    home = work / kind
    base = [sys.executable, "-m", "msr_local", "--home", str(home)]
    if kind in (SHOP, PICTURES):
        data = work / "drawn"
        shop.write(data)
    if kind == SECOND:
        data = work / "drawn-second"
        worlds.write(SECOND, data, data)
    if not (home / "msr.db").exists():
        ingest = [str(data / one) if not one.startswith("--") else one for one in files]
        made = subprocess.run([*base, "ingest", *ingest], stdout=sys.stderr, check=False)
        if made.returncode not in (0, 3):  # 3: some rows were rejected, and kept
            raise SystemExit(made.returncode)
    tuning = ["finetune", "--name", kind, *TUNED[name]] if name in TUNED else []
    if tuning and not (home / "adapters" / kind).exists():
        subprocess.run([*base, *tuning], stdout=sys.stderr, check=True)
    calibrating = ["calibrate", *CALIBRATED[name]] if name in CALIBRATED else []
    if calibrating:
        subprocess.run([*base, *calibrating], stdout=sys.stderr, check=True)
    began = time.monotonic()
    done = subprocess.run([*base, "evaluate", *options, *more, "--json"], stdout=subprocess.PIPE, check=True)
    document: dict[str, Any] = json.loads(done.stdout)
    document["commands"] = [
        " ".join(["msr-local ingest", *(f"DATA/{one}" if not one.startswith("--") else one for one in files)]),
        *(" ".join(["msr-local", *one]) for one in (tuning, calibrating) if one),
        " ".join(["msr-local evaluate", *options, *more]),
    ]
    document["commit"] = commit()
    document["minutes"] = round((time.monotonic() - began) / 60, 1)
    return document


def markdown(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The page of all results."""
    lines = [
        "# Ranking quality",
        "",
        "Made by `python -m benchmarks.quality` (its docstring says how) from the documents in `quality/`. Per cent,",
        "with 95% intervals (bootstrap over users). All systems of a table rank the same candidates of the same users;",
        "what is fitted saw training interactions only; p is that of the paired randomisation test.",
    ]
    for name, document in found.items():
        lines += ["", *(_ablation if "variants" in document else _section)(name, document)]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _section(name: str, document: Mapping[str, Any]) -> list[str]:
    systems = {document["system"]: document["metrics"], **document["baselines"]}
    shown = [metric for metric in _SHOWN if metric in document["metrics"]]
    drawn = document["negatives"]
    among = f"{document['candidates'] - 1} {drawn} negatives" if drawn else "all items ranked"
    if document["recalled"] is not None and not drawn:
        among += f" ({document['recalled']:.1%} took one of the best {document['candidates']})"
    lines = [
        f"## {name}",
        "",
        f"{_model(document)}{document['users']:,} test users, fitted on {document['validation_users']:,} validation "
        f"users; {among}. Seed {document['seed']}, {document['minutes']} minutes. "
        f"{_made(document)}"
        + NOTES.get(name, ""),
        "",
        "```",
        *document["commands"],
        "```",
    ]  # fmt: skip
    if "cold" in document:
        lines += ["", f"Asked for one of {document['cold_items']:,} items of which nothing is known:", ""]
        lines += _systems(document["cold"]["metrics"], ["hr@10", "ndcg@10"]) + _tests(document["cold"]["tests"])
        lines += ["", "The same users, asked for another item after the same history:", ""]
        lines += _systems(document["warm"]["metrics"], ["hr@10", "ndcg@10"]) + _tests(document["warm"]["tests"])
        lines += ["", "Both together:"]
        shown = ["hr@10", "ndcg@10"]
    lines += ["", *_systems(systems, [*shown, "coverage"]), *_tests(document["tests"])]
    if shelf := document.get("among_cold"):
        lines += ["", "Asked for one of the items of which nothing is known, and only these are ranked:", ""]
        lines += _systems(shelf["metrics"], ["hr@10", "ndcg@10"]) + _tests(shelf["tests"])
    return lines


def _systems(systems: Mapping[str, Any], shown: Sequence[str]) -> list[str]:
    """A table of metrics, the best system first."""
    lines = [
        "| | " + " | ".join((_SHOWN | _LISTED).get(metric, metric) for metric in shown) + " |",
        "| --- |" + " --- |" * len(shown),
    ]
    best_first = sorted(systems, key=lambda one: -(systems[one]["ndcg@10"]["value"] or 0))
    return lines + [
        f"| {system} | " + " | ".join(_told(systems[system][metric]) for metric in shown) + " |"
        for system in best_first
    ]


def _tests(tests: Mapping[str, Any]) -> list[str]:
    lines = [""]
    for pair, found in tests.items():
        told = [
            f"{metric} {100 * one['value']:+.2f} (p {one['p']:.4f})"
            for metric, one in found.items()
            if one["value"] is not None
        ]
        lines.append(f"{pair}: {', '.join(told)}.")
    return lines


def _ablation(name: str, document: Mapping[str, Any]) -> list[str]:
    """The language model alone, a row for each variant of the recipe, what it loses, and what is recommended."""
    variants = document["variants"]
    first = next(iter(variants.values()))
    full = "auc" not in first
    shown, lost = (["hr@10", "ndcg@10"],) * 2 if full else (["auc", "hr@5", "mrr@5"], ["auc_per_user", "hr@5"])
    lines = [
        f"## {name}",
        "",
        f"{_model(document)}The yes/no answers alone. {document['users']:,} users, {document['minutes']} minutes. "
        f"{_made(document)}Summarised: interactions, on average. " + NOTES.get(name, ""),
        "",
        "```",
        *document["commands"],
        "```",
        "",
        *_variants(variants, shown, lost, "summarised"),
    ]
    for part, title in (("recommended", "What is recommended:"), ("cold", "The same, asked for cold items:"),
                        ("warm", "The same, asked for other items:")):  # fmt: skip
        if part in first:
            listed = ["hr@10", "ndcg@10"] if full else ["hr@5", "ndcg@10"]
            lines += ["", title, "", *_variants({name: one[part] for name, one in variants.items()}, listed, listed)]
    return lines


def _variants(variants: Mapping[str, Any], shown: Sequence[str], lost: Sequence[str], *more: str) -> list[str]:
    names = _SHOWN | _LISTED | {"auc_per_user": "AUC of a user"}
    heads = [*(names[metric] for metric in shown), *(names[metric] for metric in lost), *more]
    heads[len(shown)] = f"lost: {heads[len(shown)]}"
    lines = ["| | " + " | ".join(heads) + " |", "| --- |" + " --- |" * len(heads)]
    for name, one in variants.items():
        losses = [f"{100 * one['lost'][metric]['value']:.2f} (p {one['lost'][metric]['p']:.4f})" for metric in lost]
        cells = [*(_told(one[metric]) for metric in shown), *losses, *(f"{one[key]:.1f}" for key in more)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def _model(document: Mapping[str, Any]) -> str:
    """Which weights answered, or read; empty where none did."""
    model = document.get("model")
    if not model:
        return ""
    asked = "variants" in document or "language model" in document["baselines"]
    adapter = f", adapter {model['adapter'] or 'none'} {(model['adapter_sha256'] or '')[:12]}".rstrip() if asked else ""
    return f"Model {model['sha256'][:12]}{adapter}. "


def _made(document: Mapping[str, Any]) -> str:
    return f"Made at {document['commit'] or 'a release'}. "


def _told(metric: Mapping[str, Any]) -> str:
    if "ci95" not in metric:
        return f"{metric['value']:.1%}"
    low, high = metric["ci95"]
    return f"{100 * metric['value']:.2f} [{100 * low:.1f}, {100 * high:.1f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("work/quality"))
    parser.add_argument("--print", action="store_true", help="show the tables; write nothing")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(RUNS)}")
    arguments, more = parser.parse_known_args()
    if unknown := sorted(set(arguments.names) - set(RUNS)):
        parser.error(f"no such name: {', '.join(unknown)}")
    for name in arguments.names:
        made = run(name, arguments.data, arguments.work, more)
        if arguments.print:
            print(markdown({name: made}))
        else:
            RESULTS.mkdir(exist_ok=True)
            (RESULTS / f"{name}.json").write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    if not arguments.print:
        PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """The page of all results that are kept."""
    found = {name: RESULTS / f"{name}.json" for name in RUNS}
    return markdown(
        {name: json.loads(path.read_text(encoding="utf-8")) for name, path in found.items() if path.exists()}
    )


if __name__ == "__main__":
    main()
