"""Teach the language model the yes/no question: one LoRA on next-item questions of several catalogues.

    python -m embedded.shop write work/recommender/shop-data
    python -m embedded.recommender rows     # workspaces, WORK/rows.jsonl.gz: an hour on two cores
    python -m embedded.recommender train --rank 16 --lr 1e-3 --epochs 0.256     # WORK/all/lora: two minutes on an H200
    python -m embedded.recommender train --rank 8 --epochs 0.33 --without microlens --name unseen    # to compare
    python -m embedded.recommender ship --unseen unseen     # GGUF, gate, adapters/recommender
    python -m embedded.shop measure work/shop-test > work/shop-measured.json    # held-out shoppers
    python -m embedded.ship recommender --metrics shoppers=work/shop-measured.json

Everybody's test interactions stay out: each catalogue is split as `msr-local evaluate` splits it, and of the drawn shop
the training shoppers alone are there. `train --without CATALOGUE` leaves one out, to measure what carries over to a
catalogue that was never seen.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from msr_local.engine.types import SCORE, EngineConfig
from msr_local.evaluation.metrics import auc_estimate, platt
from msr_local.files import sha256, written_whole
from msr_local.models import embedded
from msr_local.models.manifest import FILE_NAME, Manifest
from msr_local.prompts import PromptTemplate
from msr_local.recipes import RECIPES
from msr_local.store.workspace import Workspace
from msr_local.training import bases
from msr_local.training.backends import Backend, load_plain, load_trainable
from msr_local.training.batches import Answers, Collator, log_odds
from msr_local.training.convert import convert_adapter, converter
from msr_local.training.export import ADAPTER_GGUF, LORA, save_lora
from msr_local.training.finetune import Listener, prepare
from msr_local.training.gate import GATE_ROWS, agreement, engine_log_odds, fusion, measures, refusals
from msr_local.training.rows import YES, Row
from msr_local.training.settings import Settings

from .ship import ADAPTERS, VERSIONS

_TASKS = ("rows", "train", "ship")
_RATIO = 7  # negatives for each positive
_TIMES = {"summaries": 4}  # how often a kind of question is seen in a pass: these are fewest, and the default recipe's
_MEASURED = 50  # validation moments of a kind that the engine is asked about before shipping
_ASKED = Settings(
    ratio=_RATIO, loss="ranking", recipe="history", validation_rows=100 * (1 + _RATIO), dropout=0.05, accumulation=1
)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What is ingested (paths in the data folder, and options), and what is asked about it, moments by kind."""

    files: Sequence[str]
    split: str
    uniform: int = 0
    hard: int = 0
    summaries: int = 0  # hard questions with summaries and captions, as the recipe `full` asks
    learns: bool = True  # recall, for the weight of a learned one: an hour on MicroLens

    def sets(self) -> Iterator[tuple[str, Settings]]:
        """A name and the settings for each kind of question."""
        for kind, moments, recipe in (
            ("uniform", self.uniform, "history"), ("hard", self.hard, "history"), ("summaries", self.summaries, "full"),
        ):  # fmt: skip
            if moments:
                negatives = "uniform" if kind == "uniform" else "hard"
                asked = replace(_ASKED, rows=moments * (1 + _RATIO), negatives=negatives, recipe=recipe)
                if kind == "summaries" and self.uniform:
                    asked = replace(asked, validation_rows=_ASKED.validation_rows // 2)
                yield kind, replace(asked, split=self.split)


CATALOGUES = {
    "shop": Catalogue(["items.csv", "interactions.csv"], "time", summaries=560),
    "movielens": Catalogue(["movielens-small", "--no-captions"], "order", 2000, 1500, 500),
    "movietweetings": Catalogue(
        ["movietweetings/movies.csv", "movietweetings/ratings.csv", "--no-captions"], "time", 2000, 1500, 500
    ),
    "microlens": Catalogue(
        ["microlens-50k/MicroLens-50k_titles.csv", "microlens-50k/MicroLens-50k_pairs.tsv"],
        "users", 24_000, 1500, 500, learns=False,
    ),
}  # fmt: skip


class _Said:
    """Tells every half minute how far it is."""

    def __init__(self, what: str) -> None:
        self.what, self.said = what, 0.0

    def __call__(self, stage: str, done: int, total: int, detail: str = "") -> None:
        if time.monotonic() - self.said > 30:
            self.said = time.monotonic()
            print(f"{self.what}: {stage} {done}/{total} {detail}", flush=True)


def workspace_of(name: str, data: Path, work: Path) -> Path:
    """The home of the workspace of a catalogue, ingested if it is not there."""
    home = work / name
    if not (home / "msr.db").exists():
        folder = work / "shop-data" if name == "shop" else data
        files = [one if one.startswith("--") else str(folder / one) for one in CATALOGUES[name].files]
        done = subprocess.run([sys.executable, "-m", "msr_local", "--home", str(home), "ingest", *files], check=False)
        if done.returncode not in (0, 3):  # 3: some rows were rejected, and kept
            raise SystemExit(done.returncode)
    return home


def ask(name: str, data: Path, work: Path, threads: int) -> tuple[dict[str, tuple[list[Row], list[Row]]], Answers]:
    """All questions about a catalogue by kind, for training and validation, and the answers' tokens."""
    found = {}
    with Workspace(workspace_of(name, data, work)) as workspace:
        for kind, settings in CATALOGUES[name].sets():
            began = time.monotonic()
            listener = Listener(_Said(f"{name} {kind}"))
            _, made, answers, _ = prepare(workspace, replace(settings, threads=threads), converter, listener)
            found[kind] = made.train, made.validation
            print(f"{name} {kind}: {made.facts()} in {time.monotonic() - began:.0f} s", flush=True)
    return found, answers


def keep(path: Path, sets: dict[str, dict[str, tuple[list[Row], list[Row]]]], answers: Answers) -> None:
    """All rows as the trainer needs them, without their text, so that they fit on the way to another machine."""
    with gzip.open(path, "wt", compresslevel=5, encoding="utf-8") as file:
        file.write(json.dumps(asdict(answers)) + "\n")
        for name, kinds in sets.items():
            for kind, parts in kinds.items():
                for validation, rows in enumerate(parts):
                    for row in rows:
                        moment = [["text", f"{name} {kind} {row.user} {row.at}"]]
                        document = {**row.to_json(), "user": f"{name} {row.user}", "prefix": moment, "suffix": []}
                        file.write(json.dumps([name, kind, validation, document]) + "\n")


def kept(path: Path) -> tuple[dict[tuple[str, str], tuple[list[Row], list[Row]]], Answers]:
    """What `keep` wrote, by catalogue and kind."""
    found: dict[tuple[str, str], tuple[list[Row], list[Row]]] = {}
    with gzip.open(path, "rt", encoding="utf-8") as file:
        read = json.loads(next(file)).items()
        answers = {key: tuple(value) if isinstance(value, list) else value for key, value in read}
        for line in file:
            name, kind, validation, document = json.loads(line)
            found.setdefault((name, kind), ([], []))[validation].append(Row.from_json(document))
    return found, Answers(**answers)


def train(arguments: argparse.Namespace) -> None:
    """Write WORK/NAME/lora, and what it did to AUC and to the rank of what was taken in WORK/NAME/trained.json."""
    import torch

    from msr_local.training.loop import Reported
    from msr_local.training.loop import train as fit

    sets, answers = kept(arguments.work / "rows.jsonl.gz")
    chosen = {place: parts for place, parts in sets.items() if place[0] not in arguments.without}
    rows = [row for (_, kind), (some, _) in chosen.items() for row in some * _TIMES.get(kind, 1)]
    validation = [row for _, some in chosen.values() for row in some]
    settings = replace(
        _ASKED, rank=arguments.rank, alpha=2 * arguments.rank, learning_rate=arguments.lr, epochs=arguments.epochs,
        batch=arguments.batch,
    )  # fmt: skip
    base = bases.resolve(None, converter)
    cuda = torch.cuda.is_available()
    model = load_trainable(Backend("peft", "asked for"), base.folder, settings, cuda=cuda)
    collator = Collator(answers, None, None, device="cuda" if cuda else "cpu")

    def measured() -> dict[str, Any]:
        found = {" ".join(place): _quality(model, some, collator) for place, (_, some) in sets.items() if some}
        print(json.dumps(found), flush=True)
        return found

    moments: list[float] = []

    def report(one: Reported) -> None:
        if one.loss is not None:
            moments.append(one.seconds)
        if one.auc or one.step % 25 == 0:
            told = f"step {one.step}/{one.steps}  loss {one.loss}  AUC {one.auc}  {one.rate:.0f} tokens/s"
            print(f"{one.seconds:6.0f} s  {told}", flush=True)

    folder = arguments.work / arguments.name
    folder.mkdir(parents=True, exist_ok=True)
    before, began = measured(), time.monotonic()
    done = fit(model, rows, validation, collator, settings, folder / "checkpoints", report)
    seconds = round(time.monotonic() - began)
    save_lora(model, folder)
    machine = torch.cuda.get_device_name() if cuda else f"{os.cpu_count()} CPU cores"
    document = {
        "machine": machine, "seconds": seconds, "seconds a step": float(np.median(np.diff(moments))),
        "rows": len(rows), "without": arguments.without,
        "settings": settings.to_json(), **done, "before": before, "after": measured(),
    }  # fmt: skip
    (folder / "trained.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _quality(model: Any, rows: Sequence[Row], collator: Any) -> dict[str, float]:
    """AUC over all questions, and the mean share of its own negatives that a positive is ranked before."""
    z = log_odds(model, rows, collator, batch_size=256)
    answers = np.array([float(row.answer == YES) for row in rows])
    recall = np.array([row.recall for row in rows])
    own: list[float] = []
    of_recall: list[float] = []
    for _, some in groupby(range(len(rows)), key=lambda at: rows[at].prefix):
        places = list(some)
        for scores, into in ((z, own), (recall, of_recall)):
            yes, no = ([scores[at] for at in places if answers[at] == said] for said in (1.0, 0.0))
            if yes and no:
                into.append(float(np.mean([(one > other) + 0.5 * (one == other) for one in yes for other in no])))
    groups = [row.group for row in rows]
    found = {
        "auc": auc_estimate(z, answers, groups).value,
        "of its moment": np.mean(own),
        "recall": auc_estimate(recall, answers, groups).value,
        "recall of its moment": np.mean(of_recall),
    }
    return {key: round(float(value), 4) for key, value in found.items()}


def validation(name: str, data: Path, work: Path, threads: int) -> dict[str, list[Row]]:
    """The validation questions about a catalogue by kind; hard ones with what a learned recall says, where it can."""
    found = {}
    with Workspace(workspace_of(name, data, work)) as workspace:
        # Once the workspace has learned, every set has what it says, and that takes minutes each: hard ones last.
        for kind, settings in sorted(CATALOGUES[name].sets(), key=lambda one: one[0] == "hard"):
            few = replace(settings, rows=2 * (1 + _RATIO), threads=threads)  # training questions are not needed
            listener = Listener(_Said(f"{name} {kind}"), print)
            made = prepare(workspace, few, converter, listener, learns=kind == "hard" and CATALOGUES[name].learns)[1]
            found[kind] = [
                replace(row, user=f"{name} {row.user}") for row in made.validation[: _MEASURED * (1 + _RATIO)]
            ]
    return found


def _measured(rows: Sequence[Row], z: np.ndarray[Any, Any]) -> dict[str, Any]:
    found = measures(rows, z, z, z)
    return {key: found[key] for key in ("after", "recall", "fused", "calibration_error")}


def _weight(asked: Sequence[tuple[Row, float]]) -> dict[str, float | None]:
    return fusion([row for row, _ in asked], np.array([z for _, z in asked]))


def ship(arguments: argparse.Namespace) -> None:
    """Convert, hold the engine against transformers, measure, and put it into `adapters/`."""
    from peft import PeftModel

    work: Path = arguments.work / arguments.name
    base = bases.resolve(None, converter)
    convert_adapter(converter(), work / LORA, base.folder, work / ADAPTER_GGUF)
    tuned = EngineConfig(base.model, adapters={SCORE: work / ADAPTER_GGUF}, threads=arguments.threads)
    sets = {
        (name, kind): rows
        for name in CATALOGUES
        for kind, rows in validation(name, arguments.data, arguments.work, arguments.threads).items()
    }
    z = {place: engine_log_odds(tuned, rows)[0] for place, rows in sets.items()}
    every = [one for place, rows in sets.items() for one in zip(rows, z[place], strict=True)]
    gate = every[:: len(every) // GATE_ROWS][:GATE_ROWS]
    answers = kept(arguments.work / "rows.jsonl.gz")[1]
    model = PeftModel.from_pretrained(load_plain(base.folder), work / LORA)
    reference = log_odds(model, [row for row, _ in gate], Collator(answers, None, None))
    parity = agreement(np.array([after for _, after in gate]), reference)
    if refused := list(refusals({"adapter": parity, "merged": parity}, _ASKED.max_delta, _ASKED.min_correlation)):
        raise SystemExit(f"not shipped: {'; '.join(refused)}")
    asked = [one for place, rows in sets.items() if place[1] != "uniform" for one in zip(rows, z[place], strict=True)]
    learned = [(row, after) for row, after in asked if row.learned is not None]
    scaling = platt(np.array([after for _, after in every]), np.array([float(row.answer == YES) for row, _ in every]))
    trained = json.loads((work / "trained.json").read_text(encoding="utf-8"))
    found = {}
    for place, rows in sets.items():
        untuned = trained["before"].get(" ".join(place), {}).get("auc")
        found[" ".join(place)] = _measured(rows, z[place]) | {"rows": len(rows), "untuned": untuned}
    left_out: dict[str, float] = {}
    if arguments.unseen:
        other = json.loads((arguments.work / arguments.unseen / "trained.json").read_text(encoding="utf-8"))
        left_out = {place: one["auc"] for place, one in other["after"].items() if place.split()[0] in other["without"]}
    adapter = work / ADAPTER_GGUF
    made = Manifest(
        name="general",
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        run_id=arguments.name,
        backend="peft",
        base={
            "name": base.name, "model": embedded.PACKAGE, "model_sha256": base.sha256, "mmproj": None,
            "mmproj_sha256": None, "licence": base.licence, "package": embedded.PACKAGE, "version": embedded.version(),
        },
        files={"adapter": {"file": adapter.name, "sha256": sha256(adapter), "bytes": adapter.stat().st_size,
                           "quantisation": "f16"}},
        prompts={"score": PromptTemplate("score").sha256},
        recipe=RECIPES["full"].to_json(),
        settings=trained["settings"],
        versions={package: importlib.metadata.version(package) for package in VERSIONS},
        split={name: one.split for name, one in CATALOGUES.items()},
        metrics={
            **_measured([row for row, _ in asked], np.array([after for _, after in asked])),
            "questions": found,
            "AUC of one trained without them": left_out,
            "training": {key: trained[key] for key in ("machine", "seconds", "rows", "steps", "precision")},
        },
        parity={"adapter": parity},
        calibration=scaling.to_json() if scaling else None,
        fusion={"recall": _weight(asked)["recall"], "learned": _weight(learned)["learned"]},
    )  # fmt: skip
    document = made.to_json() | {
        "data": ["next-item questions on training interactions of MovieLens latest-small, MovieTweetings and "
                 "MicroLens-50k", "the drawn catalogue with its training shoppers"],
        "commands": ["python -m embedded.shop write", *(f"python -m embedded.recommender {one}" for one in _TASKS)],
        "licence": "apache-2.0",
    }  # fmt: skip
    target = ADAPTERS / "recommender"
    with written_whole(target) as part:
        part.mkdir()
        shutil.copyfile(adapter, part / adapter.name)
        (part / FILE_NAME).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        shutil.rmtree(target, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=_TASKS)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("work/recommender"))
    parser.add_argument("--threads", type=int)
    parser.add_argument("--only", nargs="*", default=list(CATALOGUES), metavar="CATALOGUE")
    parser.add_argument("--name", default="all")
    parser.add_argument("--without", nargs="*", default=[], metavar="CATALOGUE")
    parser.add_argument("--unseen", metavar="NAME", help="one that was trained --without something, to be told of")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--lr", type=float, default=6e-4)
    parser.add_argument("--epochs", type=float, default=2.0)
    parser.add_argument("--batch", type=int, default=32 * (1 + _RATIO))
    arguments = parser.parse_args()
    if arguments.task == "train":
        train(arguments)
    elif arguments.task == "ship":
        ship(arguments)
    else:
        made = {name: ask(name, arguments.data, arguments.work, arguments.threads) for name in arguments.only}
        if set(made) == set(CATALOGUES):
            answers = next(iter(made.values()))[1]
            keep(arguments.work / "rows.jsonl.gz", {name: sets for name, (sets, _) in made.items()}, answers)


if __name__ == "__main__":
    main()
