"""Teach the language model the yes/no question: one LoRA on moments of worlds and of real catalogues.

    python -m embedded.recommender rows     # WORK/rows-SOURCE.jsonl.gz: some minutes, and some to read real items
    python -m embedded.recommender train    # WORK/NAME/lora: an hour on two cores; goes on where it was stopped
    python -m embedded.recommender ship     # GGUF, gate, adapters/recommender

The worlds (`embedded.worlds`) are drawn, photographed and invented: only what is seen or read decides there. Of the
real catalogues, everybody's test interactions stay out: each is split as `msr-local evaluate` splits it. The demo's own
shop is in no training.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.metadata
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timezone
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from msr_local.arrays import Floats
from msr_local.engine.llama.process import EngineProcess
from msr_local.engine.types import SCORE, EngineConfig
from msr_local.evaluation.fused import recall_weight
from msr_local.evaluation.metrics import auc_estimate, mean_estimate, platt
from msr_local.files import sha256, written_whole
from msr_local.models import embedded
from msr_local.models.choice import Asking, cast
from msr_local.models.manifest import FILE_NAME, Manifest
from msr_local.prompts import PromptTemplate
from msr_local.recall.logistic import logistic
from msr_local.recipe.recommender import Recommender
from msr_local.recipe.vectors import OPENING
from msr_local.recipes import RECIPES
from msr_local.store.workspace import Workspace
from msr_local.text import printable
from msr_local.training import bases
from msr_local.training.backends import Backend, load_plain, load_trainable
from msr_local.training.batches import Answers, Collator, log_odds
from msr_local.training.convert import convert_adapter, converter
from msr_local.training.export import ADAPTER_GGUF, LORA, save_lora
from msr_local.training.finetune import answers_of
from msr_local.training.gate import (
    GATE_ROWS,
    agreement,
    engine_log_odds,
    fusion,
    measures,
    moments_of,
    refusals,
)
from msr_local.training.rows import NO, YES, Row, parts_of
from msr_local.training.settings import Settings

from . import moments, worlds
from .moments import APART, OTHERS, REAL, Moment
from .ship import ADAPTERS, VERSIONS

_TASKS = ("rows", "train", "ship")
_WORLDS = {"drawn": (44, 6), "photos": (30, 5), "invented": (24, 5)}  # for training, and for validation
_PEOPLE = 12  # who are asked in a world
_TIMES = dict.fromkeys(REAL, 2)  # how often moments of a source are seen in a pass: real ones are few
_TOLD = 24  # validation moments of a source that are measured after training
_MEASURED = 24  # validation moments of a source that the engine is asked about before shipping
_FITTED = 60  # and those that the weights of recall are fitted on: more are needed, so they are asked of transformers
_EVERY = 140  # steps between evaluations and checkpoints
_ASKED = Settings(
    ratio=OTHERS, loss="ranking", recipe="full", dropout=0.05, batch=4, accumulation=4, learning_rate=1e-3, epochs=1.0
)
FILES = {
    "movielens": ["movielens-small", "--no-captions"],
    "movietweetings": ["movietweetings/movies.csv", "movietweetings/ratings.csv", "--no-captions"],
    "microlens": ["microlens-50k/MicroLens-50k_titles.csv", "microlens-50k/MicroLens-50k_pairs.tsv"],
}  # paths in the data folder, and options


class _Said:
    """Tells every half minute how far it is."""

    def __init__(self, what: str) -> None:
        self.what, self.said = what, 0.0

    def __call__(self, stage: str, done: int, total: int, detail: str = "") -> None:
        if time.monotonic() - self.said > 30:
            self.said = time.monotonic()
            print(f"{self.what}: {stage} {done}/{total} {detail}", flush=True)


def workspace_of(name: str, data: Path, work: Path) -> Path:
    """The home of the workspace of a real catalogue, ingested if it is not there."""
    home = work / name
    if not (home / "msr.db").exists():
        files = [one if one.startswith("--") else str(data / one) for one in FILES[name]]
        done = subprocess.run([sys.executable, "-m", "msr_local", "--home", str(home), "ingest", *files], check=False)
        if done.returncode not in (0, 3):  # 3: some rows were rejected, and kept
            raise SystemExit(done.returncode)
    return home


def every_moment(data: Path, work: Path, only: Sequence[str]) -> Iterator[tuple[bool, Moment]]:
    """(whether it is for validation, moment) of all worlds and of all real catalogues."""
    for kind, (trained, validated) in _WORLDS.items():
        if kind not in only:
            continue
        for number in range(trained + validated):
            measured, rng = number >= trained, random.Random(f"{kind} {number}")
            made = worlds.world(kind, rng, data, measured=measured)
            if made is not None:
                name = f"{kind}-{number}"
                reads = _read if measured and number % 2 else None  # of the others, recall has its hand-set weights
                asked = moments.of_world(made, name, rng, _PEOPLE, reads, measured=measured)
                yield from ((measured, one) for one in asked)
        print(kind, flush=True)
    for name in REAL:
        if name in only:
            with (
                Workspace(workspace_of(name, data, work)) as workspace,
                Recommender(workspace, cast(workspace, Asking(adapter="none")), progress=_Said(name)) as recommender,
            ):
                yield from moments.of_histories(recommender, name, random.Random(name))


def _read(texts: list[str]) -> Floats:
    """The vectors of texts, as `Vectors` makes them."""
    with EngineProcess(EngineConfig(bases.resolve(None, converter).model)) as engine:
        found = dict(engine.vectors([OPENING + printable(text) for text in texts]))
    return np.array([found[place] for place in range(len(texts))], np.float32)


def rows_of(made: Sequence[tuple[bool, Moment]]) -> tuple[dict[str, tuple[list[Row], list[Row]]], Answers]:
    """Training and validation rows by source, with the tokens of the engine."""
    found: dict[str, tuple[list[Row], list[Row]]] = {}
    base = bases.resolve(None, converter)
    first: Row | None = None
    with EngineProcess(EngineConfig(base.model)) as engine:
        for validation, one in made:
            rows = found.setdefault(one.source, ([], []))[validation]
            for question, answer, candidate in zip(one.questions, one.answers, one.candidates, strict=True):
                read = engine.rendered(question)
                prefix, suffix = parts_of(read, None)
                ids = tuple(engine.token_ids([*read.prefix, *read.suffix]))
                said = YES if answer else NO
                learned = candidate.recall if one.learned else None
                row = Row(
                    one.user, one.at, candidate.item_id, said, prefix, suffix, ids, candidate.recall, learned=learned
                )
                first = first or row
                if not validation:  # the text itself is not needed any more
                    row = replace(row, prefix=(("text", f"{one.source} {one.user} {one.at}"),), suffix=())
                rows.append(row)
        if first is None:
            raise SystemExit("there are no moments")
        answers = answers_of(engine, base, first)
    return {source: (_blended(train), _blended(rest)) for source, (train, rest) in found.items()}, answers


def _blended(rows: list[Row]) -> list[Row]:
    """The rows with the log-odds that recall alone gives them, weighed on these rows."""
    if not rows:
        return rows
    recall = np.array([[row.recall] for row in rows])
    weight, shift = logistic(recall, np.array([float(row.answer == YES) for row in rows]))
    return [replace(row, blend=float(weight * row.recall + shift)) for row in rows]


def keep(path: Path, sets: dict[str, tuple[list[Row], list[Row]]], answers: Answers) -> None:
    """All rows as the trainer needs them."""
    with gzip.open(path, "wt", compresslevel=5, encoding="utf-8") as file:
        file.write(json.dumps(asdict(answers)) + "\n")
        for source, parts in sets.items():
            for validation, rows in enumerate(parts):
                for row in rows:
                    file.write(json.dumps([source, validation, row.to_json()]) + "\n")


def kept(work: Path) -> tuple[dict[str, tuple[list[Row], list[Row]]], Answers]:
    """What `keep` wrote, by source."""
    found: dict[str, tuple[list[Row], list[Row]]] = {}
    for path in sorted(work.glob("rows-*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            read = json.loads(next(file)).items()
            answers = {key: tuple(value) if isinstance(value, list) else value for key, value in read}
            for line in file:
                source, validation, document = json.loads(line)
                found.setdefault(source, ([], []))[validation].append(Row.from_json(document))
    return found, Answers(**answers)


def train(arguments: argparse.Namespace) -> None:
    """Write WORK/NAME/lora, and what it did to AUC and to the rank of what was taken in WORK/NAME/trained.json."""
    import torch
    from peft import load_peft_weights, set_peft_model_state_dict

    from msr_local.training.dropout import pool_dropout
    from msr_local.training.loop import Reported
    from msr_local.training.loop import train as fit

    sets, answers = kept(arguments.work)
    chosen = {source: parts for source, parts in sets.items() if source not in arguments.without}
    rows = [row for source, (some, _) in chosen.items() for row in some * _TIMES.get(source, 1)]
    validation = [row for source, (_, some) in chosen.items() if APART not in source for row in _some(some, 12)]
    settings = replace(
        _ASKED, rank=arguments.rank, alpha=2 * arguments.rank, learning_rate=arguments.lr, epochs=arguments.epochs,
        batch=arguments.batch, accumulation=1, loss=arguments.loss, patience=99, eval_every=_EVERY,
    )  # fmt: skip
    base = bases.resolve(None, converter)
    cuda = torch.cuda.is_available()
    if not cuda and arguments.threads:
        torch.set_num_threads(arguments.threads)
    model = load_trainable(Backend("peft", "asked for"), base.folder, settings, cuda=cuda)
    if arguments.begin:
        set_peft_model_state_dict(model, load_peft_weights(str(arguments.work / arguments.begin / LORA)))
    if not cuda:
        pool_dropout(model, settings.seed)
        for weight in model.parameters():  # what is multiplied in bfloat16 need not be made so anew each time
            if not weight.requires_grad:
                weight.data = weight.data.bfloat16()
    collator = Collator(answers, None, None, device="cuda" if cuda else "cpu")

    def measured() -> dict[str, Any]:
        found = {source: _quality(model, _some(some, _TOLD), collator) for source, (_, some) in sets.items() if some}
        print(json.dumps(found), flush=True)
        return found

    moments_at: list[float] = []

    def report(one: Reported) -> None:
        if one.loss is not None:
            moments_at.append(one.seconds)
        if one.auc or one.step % 10 == 0:
            told = f"step {one.step}/{one.steps}  loss {one.loss}  AUC {one.auc}  {one.rate:.0f} tokens/s"
            print(f"{one.seconds:6.0f} s  {told}", flush=True)

    folder = arguments.work / arguments.name
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    done = fit(model, rows, validation, collator, settings, folder / "checkpoints", report)
    seconds = round(time.monotonic() - began)
    # The last weights, not those with the best AUC: on so few validation questions the steps differ by chance.
    last = folder / "checkpoints" / f"checkpoint-{done['steps']}"
    set_peft_model_state_dict(model, load_peft_weights(str(last)))
    save_lora(model, folder)
    machine = torch.cuda.get_device_name() if cuda else f"{os.cpu_count()} CPU cores"
    document = {
        "machine": machine, "seconds": seconds, "seconds a step": float(np.median(np.diff(moments_at))),
        "rows": len(rows), "begin": arguments.begin, "without": arguments.without, "settings": settings.to_json(),
        **done, "after": measured(),
    }  # fmt: skip
    (folder / "trained.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _quality(model: Any, rows: Sequence[Row], collator: Any) -> dict[str, Any]:
    """AUC over all questions, and the mean share of its own negatives that a positive is ranked before.

    Of the model, of recall, and of both: z and the blend's log-odds, whose weight is fitted on every other moment.
    """
    z = log_odds(model, rows, collator, batch_size=64)
    answers = np.array([float(row.answer == YES) for row in rows])
    blend = np.array([row.blend for row in rows])
    groups = [list(some) for _, some in groupby(range(len(rows)), key=lambda at: rows[at].prefix)]
    odd = np.zeros(len(rows), bool)
    for some in groups[1::2]:
        odd[some] = True
    numbers, fused = moments_of(rows), z + blend
    for half in (odd, ~odd) if len(groups) > 1 else ():
        weight = recall_weight(z[half], blend[half], answers[half], numbers[half])
        fused[~half] = z[~half] + weight * blend[~half]
    users = [row.group for row in rows]
    found: dict[str, Any] = {}
    for name, scores in (("model", z), ("recall", blend), ("fused", fused), ("sum", z + blend)):
        own = []
        for some in groups:
            yes, no = ([scores[at] for at in some if answers[at] == said] for said in (1.0, 0.0))
            if yes and no:
                own.append(float(np.mean([(one > other) + 0.5 * (one == other) for one in yes for other in no])))
        found[f"{name}: AUC"] = auc_estimate(scores, answers, users).to_json()
        found[f"{name}: of its moment"] = mean_estimate(np.array(own)).to_json()
    return found


def ship(arguments: argparse.Namespace) -> None:
    """Convert, hold the engine against transformers, measure, and put it into `adapters/`."""
    from peft import PeftModel

    work: Path = arguments.work / arguments.name
    base = bases.resolve(None, converter)
    convert_adapter(converter(), work / LORA, base.folder, work / ADAPTER_GGUF)
    plain = EngineConfig(base.model, threads=arguments.threads)
    kept_sets, answers = kept(arguments.work)
    kept_sets = {source: parts for source, parts in kept_sets.items() if APART not in source}
    sets = {source: _some(rows, _MEASURED) for source, (_, rows) in kept_sets.items() if rows}
    every = [row for rows in sets.values() for row in rows]
    before = engine_log_odds(plain, every)[0]
    after = engine_log_odds(replace(plain, adapters={SCORE: work / ADAPTER_GGUF}), every)[0]
    spread = np.linspace(0, len(every) - 1, GATE_ROWS).round().astype(int)
    model = PeftModel.from_pretrained(load_plain(base.folder), work / LORA)
    collator = Collator(answers, None, None)
    reference = log_odds(model, [every[at] for at in spread], collator)
    parity = agreement(after[spread], reference)
    if refused := list(refusals({"adapter": parity, "merged": parity}, _ASKED.max_delta, _ASKED.min_correlation)):
        raise SystemExit(f"not shipped: {'; '.join(refused)}")
    found, start = {}, 0
    for source, rows in sets.items():
        part = slice(start, start + len(rows))
        measured = measures(rows, before[part], after[part], after[part])
        found[source] = {"rows": len(rows), **{key: measured[key] for key in ("before", "after", "recall", "fused")}}
        start += len(rows)
    fitted = [row for _, rows in kept_sets.values() for row in _some(rows, _FITTED)]
    trained = json.loads((work / "trained.json").read_text(encoding="utf-8"))
    scaling = platt(after, np.array([float(row.answer == YES) for row in every]))
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
        split={name: one.split for name, one in REAL.items() if name in sets},
        metrics={
            **measures(every, before, after, after),
            "questions": found,
            "moments": trained["after"],
            "tried": arguments.tried and json.loads(arguments.tried.read_text(encoding="utf-8")),
            "training": {key: trained[key] for key in ("machine", "seconds", "rows", "steps", "precision")},
        },
        parity={"adapter": parity},
        calibration=scaling.to_json() if scaling else None,
        fusion=_fusion(fitted, log_odds(model, fitted, collator, batch_size=64)),
    )  # fmt: skip
    document = made.to_json() | {
        "data": ["moments of drawn, photographed and invented worlds (embedded/worlds.py); the photos' attributes are "
                 "those of Fashion Product Images (small), MIT: training split",
                 f"next-item questions on training interactions of: {', '.join(one for one in REAL if one in sets)}"],
        "commands": [f"python -m embedded.recommender {one}" for one in _TASKS],
        "licence": "apache-2.0",
    }  # fmt: skip
    target = ADAPTERS / "recommender"
    with written_whole(target) as part_folder:
        part_folder.mkdir()
        shutil.copyfile(adapter, part_folder / adapter.name)
        (part_folder / FILE_NAME).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        shutil.rmtree(target, ignore_errors=True)


def _fusion(rows: Sequence[Row], z: np.ndarray[Any, Any]) -> dict[str, Any]:
    """The weight of each kind of recall and its calibration, each from the rows that have it."""
    there = np.array([row.learned is not None for row in rows])
    by_hand, learned = (
        fusion([row for row, kept in zip(rows, some, strict=True) if kept], z[some]) for some in (~there, there)
    )
    calibration = {"recall": by_hand["calibration"]["recall"], "learned": learned["calibration"]["learned"]}
    return {"recall": by_hand["recall"], "learned": learned["learned"], "calibration": calibration}


def _some(rows: list[Row], most: int) -> list[Row]:
    """The questions of at most `most` moments, spread over all worlds."""
    groups = [list(group) for _, group in groupby(rows, key=lambda row: row.prefix)]
    step = max(1, len(groups) // most)
    return [row for group in groups[::step][:most] for row in group]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=_TASKS)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("work/recommender"))
    parser.add_argument("--threads", type=int)
    parser.add_argument("--only", nargs="*", default=[*_WORLDS, *REAL], metavar="SOURCE")
    parser.add_argument("--name", default="all")
    parser.add_argument("--without", nargs="*", default=[], metavar="SOURCE")
    parser.add_argument("--rank", type=int, default=_ASKED.rank)
    parser.add_argument("--lr", type=float, default=_ASKED.learning_rate)
    parser.add_argument("--epochs", type=float, default=_ASKED.epochs)
    parser.add_argument("--batch", type=int, default=_ASKED.batch, help="moments in a step")
    parser.add_argument("--begin", metavar="NAME", help="go on from what was trained under this name")
    parser.add_argument("--tried", type=Path, metavar="FILE", help="JSON of what else was tried, for the manifest")
    parser.add_argument("--loss", choices=["ranking", "residual"], default=_ASKED.loss)
    arguments = parser.parse_args()
    if arguments.task == "train":
        train(arguments)
    elif arguments.task == "ship":
        ship(arguments)
    else:
        arguments.work.mkdir(parents=True, exist_ok=True)
        for source in arguments.only:
            path = arguments.work / f"rows-{source}.jsonl.gz"
            keep(path, *rows_of(list(every_moment(arguments.data, arguments.work, [source]))))


if __name__ == "__main__":
    main()
