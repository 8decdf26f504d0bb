"""How much the rank of the LoRA and the weight type of the merged model matter (the table in docs/finetuning.md).

    python benchmarks/finetuning.py ../shared/data/movielens-small --rows 400 --validation-rows 400

Trains one adapter for each rank on the same questions, quantises each merged model, and asks the engine the same
validation questions of all of them. AUC is pooled, with 95% intervals from a bootstrap over users; speed is
questions a second with shared prefixes, one after the other in one process tree.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from msr_local.catalogue.ingest import ingest
from msr_local.engine.types import EngineConfig
from msr_local.evaluation.metrics import auc_estimate
from msr_local.store.workspace import Workspace
from msr_local.training import registry
from msr_local.training.convert import converter, quantise
from msr_local.training.finetune import Finetuning, Listener, prepare
from msr_local.training.gate import engine_log_odds
from msr_local.training.rows import YES, Row
from msr_local.training.settings import Settings

HEAD = "| rank | weights | size MB | AUC [95%] | rank correlation with F16 | questions/s |" + "\n|" + " --- |" * 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a MovieLens folder")
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--validation-rows", type=int, default=400)
    parser.add_argument("--epochs", type=float, default=1)
    parser.add_argument("--recipe", default="history")
    parser.add_argument("--ranks", type=int, nargs="+", default=[8, 16])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--home", type=Path, help="keep the workspace here, to go on after a stop")
    options = parser.parse_args()
    settings = Settings(
        recipe=options.recipe, rows=options.rows, validation_rows=options.validation_rows, epochs=options.epochs,
        seed=options.seed, quantisation="f16", eval_every=1_000_000,  # the last step alone
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as temporary, Workspace(options.home or Path(temporary)) as workspace:
        ingest(workspace, options.folder, min_rating=4)
        listener = Listener(note=lambda text: print(text, file=sys.stderr))
        base, made, _, _ = prepare(workspace, settings, converter, listener)
        rows = made.validation
        print(HEAD)
        z, seconds = timed(EngineConfig(base.model), rows)
        print(line("-", "untuned F16", base.model, z, z, rows, seconds))
        for rank in options.ranks:
            name = f"rank{rank}"
            Finetuning(workspace, name, replace(settings, rank=rank, alpha=2 * rank), converter, listener).run()
            folder = registry.folder(workspace, name)
            adapter = folder / "adapter.gguf"
            z, seconds = timed(EngineConfig(base.model, adapters={"score": adapter}), rows)
            print(line(rank, "F16 base + LoRA", adapter, z, z, rows, seconds))
            reference = None
            for kind in ("f16", "q8_0", "q4_0"):
                merged = Path(temporary) / f"{name}.{kind}.gguf"
                quantise(folder / "merged.f16.gguf", merged, kind)
                z, seconds = timed(EngineConfig(merged), rows)
                reference = z if reference is None else reference
                print(line(rank, f"merged {kind}", merged, z, reference, rows, seconds), flush=True)


def timed(config: EngineConfig, rows: list[Row]) -> tuple[np.ndarray, float]:
    """Log-odds of the rows, and how long the engine took, loading included."""
    began = time.perf_counter()
    return engine_log_odds(config, rows)[0], time.perf_counter() - began


def line(
    rank: object, kind: str, file: Path, z: np.ndarray, reference: np.ndarray, rows: list[Row], seconds: float
) -> str:
    """One line of the table."""
    answers = np.array([float(row.answer == YES) for row in rows])
    auc = auc_estimate(z, answers, [row.group for row in rows])
    same = spearmanr(z, reference).statistic
    return f"| {rank} | {kind} | {file.stat().st_size / 1e6:.0f} | {auc} | {same:.4f} | {len(rows) / seconds:.1f} |"


if __name__ == "__main__":
    main()
