"""Teach the language model to write preference summaries: a LoRA on questions whose answers a rule wrote.

    python -m embedded.summariser --work work/summariser --rows 8000 --minutes 60

One pass over the rows, or as much of it as the minutes allow; the learning rate falls to nothing by then. A
checkpoint is kept every few minutes, from which `--resume` goes on. At the end stands WORK/summariser.gguf.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from msr_local.engine.llama.process import EngineProcess
from msr_local.engine.types import EngineConfig
from msr_local.models import embedded
from msr_local.training import bases
from msr_local.training.backends import Backend, load_trainable
from msr_local.training.convert import convert_adapter, converter
from msr_local.training.settings import Settings

from . import summary_rows
from .shoppers import People
from .summary_rows import Asking, Row

_KEEP = 300.0  # seconds between checkpoints
_SAY = 30.0  # and between lines of progress
_WARM_UP = 20  # steps
_WINDOW = 40  # batches whose rows are sorted by length together
_VALIDATION = 64  # rows of held-out people
SHIPPED = "summariser.gguf"


def made_rows(data: Path, work: Path, count: int, seed: int, *, measured: bool = False) -> list[Row]:
    """`count` rows for training, or with `measured` of held-out people; made once in the folder `work`."""
    path = work / f"rows-{'measured' if measured else 'train'}-{count}-{seed}.jsonl"
    if path.exists():
        return summary_rows.read(path)
    people = People(data, seed, measured=measured)
    with EngineProcess(EngineConfig(embedded.prepare(), threads=1)) as engine:
        asking = Asking()
        rows = [summary_rows.row(engine, asking, made) for made in summary_rows.examples(people, count, seed)]
    work.mkdir(parents=True, exist_ok=True)
    summary_rows.save(path, rows)
    return rows


def batches(rows: Sequence[Row], size: int, number: int) -> list[list[Row]]:
    """All rows once, in batches of about equal lengths; another mixture for each pass `number`."""
    rng = random.Random(number)
    mixed = rng.sample(list(rows), k=len(rows))
    made: list[list[Row]] = []
    for start in range(0, len(mixed), size * _WINDOW):
        window = sorted(mixed[start : start + size * _WINDOW], key=lambda row: len(row.prompt) + len(row.completion))
        found = [window[at : at + size] for at in range(0, len(window), size)]
        rng.shuffle(found)
        made += found
    return made


def tensors(batch: Sequence[Row]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids [B, T] and, for each, the id that must come next, or -100 where that is not the answer's.

    What fills a line up stands after its end, where causal attention never looks from before.
    """
    lines = [[*row.prompt, *row.completion[:-1]] for row in batch]
    longest = max(map(len, lines))
    ids = torch.zeros((len(lines), longest), dtype=torch.long)
    wanted = torch.full_like(ids, -100)
    for number, (row, line) in enumerate(zip(batch, lines, strict=True)):
        ids[number, : len(line)] = torch.tensor(line)
        wanted[number, len(row.prompt) - 1 : len(line)] = torch.tensor(row.completion)
    return ids, wanted


def loss_of(model: Any, batch: Sequence[Row]) -> torch.Tensor:
    """Mean cross-entropy of the answers' tokens; only these go through the head."""
    ids, wanted = tensors(batch)
    device = next(model.parameters()).device
    ids, wanted = ids.to(device), wanted.to(device)
    plain = model.get_base_model()
    with torch.autocast(device.type, dtype=torch.bfloat16):
        hidden = plain.model(input_ids=ids, use_cache=False)[0]
        logits = plain.lm_head(hidden[wanted >= 0])
    return functional.cross_entropy(logits.float(), wanted[wanted >= 0])


def train(arguments: argparse.Namespace) -> None:
    """See the module. Raises SystemExit where a checkpoint stands and `--resume` was not given."""
    work: Path = arguments.work
    kept = work / "summariser.pt"
    if kept.exists() and not arguments.resume:
        raise SystemExit(f"{kept} is there already: --resume, or another --work.")
    rows = made_rows(arguments.data, work, arguments.rows, arguments.seed)
    validation = made_rows(arguments.data, work, _VALIDATION, arguments.seed + 1, measured=True)
    print(summary_rows.report(rows), flush=True)
    base = bases.resolve(None, converter)
    settings = Settings(rank=arguments.rank, alpha=2 * arguments.rank, dropout=arguments.dropout, seed=arguments.seed)
    cuda = torch.cuda.is_available()
    model = load_trainable(Backend("peft", "asked for"), base.folder, settings, cuda=cuda)
    model.train()
    trained = [value for value in model.parameters() if value.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=arguments.lr, weight_decay=0.0)
    spent, step = 0.0, 0
    if kept.exists():
        state = torch.load(kept, weights_only=True, map_location="cpu")
        model.load_state_dict(state["lora"], strict=False)
        optimiser.load_state_dict(state["optimiser"])
        spent, step = state["spent"], state["step"]
        print(f"going on after step {step}, {spent / 60:.1f} min", flush=True)
    steps = round(arguments.passes * -(-len(rows) // arguments.batch))
    limit = 60 * arguments.minutes
    begun = time.monotonic() - spent
    shown = saved = time.monotonic()
    losses: list[float] = []
    tokens, since = 0, time.monotonic()
    for batch in _from(rows, arguments.batch, step):
        spent = time.monotonic() - begun
        done = max(spent / limit if limit else 1.0, step / steps)
        if done >= 1:
            break
        for group in optimiser.param_groups:
            group["lr"] = arguments.lr * min((step + 1) / _WARM_UP, (1 - done) / 0.9, 1.0)
        loss = loss_of(model, batch)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        losses.append(loss.item())
        tokens += sum(len(row.prompt) + len(row.completion) for row in batch)
        step += 1
        if time.monotonic() - shown > _SAY or step == 1:
            rate = tokens / (time.monotonic() - since)
            recent = sum(losses[-20:]) / len(losses[-20:])
            print(f"{spent / 60:5.1f} min  step {step}/{steps}  {done:4.0%}  loss {recent:.3f}  {rate:.0f} tokens/s",
                  flush=True)  # fmt: skip
            shown = time.monotonic()
        if time.monotonic() - saved > _KEEP:
            paused = time.monotonic()
            _keep(kept, model, optimiser, spent, step)
            print(f"           held-out loss {validation_loss(model, validation):.3f}", flush=True)
            saved = time.monotonic()
            begun, since = begun + saved - paused, since + saved - paused  # measuring is not training
    _keep(kept, model, optimiser, spent, step)
    print(f"held-out loss {validation_loss(model, validation):.3f} after {step} steps", flush=True)
    model.save_pretrained(work / "lora")
    convert_adapter(converter(), work / "lora", base.folder, work / SHIPPED)
    print(work / SHIPPED, flush=True)


def validation_loss(model: Any, rows: Sequence[Row], size: int = 8) -> float:
    """Mean loss on held-out rows."""
    model.eval()
    ordered = sorted(rows, key=lambda row: len(row.prompt))
    with torch.no_grad():
        found = [loss_of(model, ordered[at : at + size]).item() for at in range(0, len(ordered), size)]
    model.train()
    return float(sum(found)) / len(found)


def _from(rows: Sequence[Row], size: int, step: int) -> Iterator[list[Row]]:
    """All batches, pass after pass, from number `step` on."""
    number, skipped = divmod(step, -(-len(rows) // size))
    while True:
        yield from batches(rows, size, number)[skipped:]
        number, skipped = number + 1, 0


def _keep(path: Path, model: Any, optimiser: torch.optim.Optimizer, spent: float, step: int) -> None:
    lora = {name: value for name, value in model.state_dict().items() if "lora_" in name}
    part = path.with_suffix(".part")
    torch.save({"lora": lora, "optimiser": optimiser.state_dict(), "spent": spent, "step": step}, part)
    part.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("work/summariser"))
    parser.add_argument("--rows", type=int, default=8000)
    parser.add_argument("--passes", type=float, default=1.0, help="over the rows, at most")
    parser.add_argument("--minutes", type=float, default=60.0, help="of training in all, over all runs, at most")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--lr", type=float, default=4e-4)
    parser.add_argument("--seed", type=int, default=0)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
