"""How much the rank of the LoRA and the weight type of the merged model matter (the table in docs/finetuning.md).

    python benchmarks/finetuning.py ../shared/data/movielens-small --rows 400 --validation-rows 160

Trains one adapter for each rank on the same questions, quantises each merged model, and asks the engine the same
validation questions of all of them. AUC is pooled, with 95% intervals from a bootstrap over users. Speed is taken
in interleaved rounds at the end, on the files of the last rank, as the engine loads them and in their own type.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
from scipy.stats import spearmanr

from msr_local.catalogue.ingest import ingest
from msr_local.engine.types import EngineConfig
from msr_local.evaluation.metrics import auc_estimate
from msr_local.files import sha256
from msr_local.models import registry
from msr_local.models.prepared import to_compute_with
from msr_local.store.workspace import Workspace
from msr_local.training.bases import resolve
from msr_local.training.convert import converter, quantise
from msr_local.training.finetune import Finetuning, Listener, prepare
from msr_local.training.gate import engine_log_odds
from msr_local.training.rows import YES, Row
from msr_local.training.settings import Settings

HEAD = "| rank | weights | size MB | AUC [95%] | rank correlation with F16 |" + "\n|" + " --- |" * 5
KINDS = ("f16", "q8_0", "q4_0")
ROUNDS, TIMED = 3, 16  # rounds of the speed table, and questions in each


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a MovieLens folder")
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--validation-rows", type=int, default=160)
    parser.add_argument("--epochs", type=float, default=1)
    parser.add_argument("--recipe", default="history")
    parser.add_argument("--ranks", type=int, nargs="+", default=[8, 16])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    settings = Settings(
        recipe=options.recipe, rows=options.rows, validation_rows=options.validation_rows, epochs=options.epochs,
        seed=options.seed, quantisation="f16", eval_every=1_000_000,  # the last step alone
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as temporary, Workspace(Path(temporary)) as workspace:
        ingest(workspace, options.folder, min_rating=4)
        listener = Listener(note=lambda text: print(text, file=sys.stderr))
        base = resolve(settings.base, converter, note=listener.note)
        made, _, _ = prepare(workspace, settings, base, listener)
        rows = made.validation
        print(HEAD)
        z = asked(EngineConfig(base.model), rows)
        print(line("-", "untuned F16", base.model, z, z, rows))
        for rank in options.ranks:
            name = f"rank{rank}"
            Finetuning(workspace, name, replace(settings, rank=rank, alpha=2 * rank), converter, listener).run()
            found = variants(registry.folder(workspace, name), base.model, Path(temporary))
            reference = asked(found["merged f16"][1], rows)
            for kind, (file, config) in found.items():
                print(line(rank, kind, file, asked(config, rows), reference, rows), flush=True)
        print()
        speeds(found, rows)


def variants(adapter: Path, base: Path, folder: Path) -> dict[str, tuple[Path, EngineConfig]]:
    """The forms of an adapter whose merged model is there in F16: {name: (file, how the engine loads it)}."""
    lora = adapter / "adapter.gguf"
    found = {"F16 base + LoRA": (lora, EngineConfig(base, adapters={"score": lora}))}
    for kind in KINDS:
        merged = folder / f"{adapter.name}.{kind}.gguf"
        quantise(adapter / "merged.f16.gguf", merged, kind)
        found[f"merged {kind}"] = merged, EngineConfig(merged)
        if kind != "f16":
            copy = to_compute_with(merged, sha256(merged), quantised=True)
            found[f"merged {kind}, F16 copy"] = merged, EngineConfig(copy)
    return found


def speeds(found: dict[str, tuple[Path, EngineConfig]], rows: list[Row]) -> None:
    """Median time of each variant against merged F16, over interleaved rounds; loading included."""
    taken: dict[str, list[float]] = {kind: [] for kind in found}
    for _ in range(ROUNDS):
        for kind, (_, config) in found.items():
            began = time.perf_counter()
            asked(config, rows[:TIMED])
            taken[kind].append(time.perf_counter() - began)
    reference = median(taken["merged f16"])
    print(f"| weights | time against merged f16 ({TIMED} questions, {ROUNDS} rounds) |\n| --- | --- |")
    for kind, seconds in taken.items():
        print(f"| {kind} | {median(seconds) / reference:.2f} |", flush=True)


def asked(config: EngineConfig, rows: list[Row]) -> np.ndarray:
    """Log-odds of the rows."""
    return engine_log_odds(config, rows)[0]


def line(rank: object, kind: str, file: Path, z: np.ndarray, reference: np.ndarray, rows: list[Row]) -> str:
    """One line of the table."""
    answers = np.array([float(row.answer == YES) for row in rows])
    auc = auc_estimate(z, answers, [row.group for row in rows])
    same = spearmanr(z, reference).statistic
    return f"| {rank} | {kind} | {file.stat().st_size / 1e6:.0f} | {auc} | {same:.4f} |"


if __name__ == "__main__":
    main()
