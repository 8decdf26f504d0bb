"""Teach the frozen language model to write captions of what the eyes see: a LoRA, with the connector alongside.

Prompt and chat format are those of `prompts/item_caption.j2`, token by token as the engine reads them. Many
captions are computed in one sequence: the instruction comes once, and each picture with its caption sees that
and itself only.

    python -m embedded.captioner --work work/eyes --minutes 20
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from msr_local.engine.llama.process import EngineProcess
from msr_local.engine.types import EngineConfig, Image, Text
from msr_local.models import embedded
from msr_local.prompts import PromptTemplate
from msr_local.training.backends import Backend, load_trainable
from msr_local.training.settings import Settings

from . import words
from .language import language_folder
from .pictures import Picture, load, named
from .tower import SHARES, TOKENS, Eyes, plain
from .views import VIEWS

_CELL = -1  # stands for a picture token in a list of ids


def prompt_ids() -> tuple[list[int], list[int]]:
    """The engine's ids of the caption question: those before the picture's own, and the rest with `_CELL`s."""
    with EngineProcess(EngineConfig(embedded.prepare())) as engine:
        picture = Image(1, 1, b"\0\0\0", "")
        asked = engine.rendered(PromptTemplate("item_caption").question({}, picture))

        def ids(parts: Any) -> Iterator[int]:
            for part in parts:
                if isinstance(part, Image):
                    yield from engine.token_ids([Text("<fake_token_around_image><global-img>", special=True)])
                    yield from [_CELL] * TOKENS
                    yield from engine.token_ids([Text("<fake_token_around_image>", special=True)])
                else:
                    yield from engine.token_ids([part])

        return list(ids(asked.prefix)), list(ids(asked.suffix))


class Pool:
    """The views of one source, as what the tower makes of them, in mixed order, over and over."""

    def __init__(self, path: Path, seed: int) -> None:
        with np.load(path) as file:
            self.index, self._views = file["index"], file["views"]
        self._random, self._order = np.random.default_rng(seed), np.zeros(0, int)

    def draw(self, size: int) -> tuple[list[int], torch.Tensor]:
        """Indices of pictures, and pixels [B, 3, 128, 128] of a view of each."""
        if len(self._order) < size:
            self._order = self._random.permutation(len(self._views))
        some, self._order = self._order[:size], self._order[size:]
        return self.index[some].tolist(), plain(self._views[some])


def sequence(
    prefix: list[int], rest: list[int], captions: list[list[int]]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ids [T], positions [T], mask [1, 1, T, T] and targets [T] of one prefix and many pictures with captions."""
    ids, positions, segments, targets = list(prefix), list(range(len(prefix))), [0] * len(prefix), [-100] * len(prefix)
    for number, caption in enumerate(captions, start=1):
        line = [*rest, *caption[:-1]]
        ids += line
        positions += range(len(prefix), len(prefix) + len(line))
        segments += [number] * len(line)
        targets += [*[-100] * (len(rest) - 1), *caption]
    segment = torch.tensor(segments)
    before = torch.ones(len(ids), len(ids), dtype=torch.bool).tril()
    mask = before & ((segment[None] == segment[:, None]) | (segment[None] == 0))
    return torch.tensor(ids), torch.tensor(positions), mask[None, None], torch.tensor(targets)


def language_model(rank: int) -> Any:
    """The language model with a fresh LoRA on all linear layers, as `msr-local finetune` makes it."""
    settings = Settings(rank=rank, alpha=2 * rank, dropout=0.0)
    return load_trainable(Backend("peft", "it runs everywhere"), language_folder(), settings, cuda=False)


def loss_of(model: Any, vectors: torch.Tensor, line: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Mean cross-entropy of the captions' tokens; `vectors` [B, 16, 576] are the pictures'."""
    ids, positions, mask, targets = line
    cells = ids == _CELL
    inputs = model.get_input_embeddings()(ids.clamp_min(0)).clone()
    inputs[cells] = vectors.flatten(0, 1).to(inputs.dtype)
    decoder = model.get_base_model()
    hidden = decoder.model(inputs_embeds=inputs[None], position_ids=positions[None], attention_mask=mask)[0][0]
    said = targets >= 0
    logits = decoder.lm_head(hidden[said])
    return functional.cross_entropy(logits.float(), targets[said])


def write(model: Any, eyes: Eyes, pixels: npt.NDArray[np.uint8], asked: tuple[list[int], list[int]]) -> list[list[int]]:
    """Greedy captions of uint8 pictures [N, H, W, 3], as ids: transformers' own, for watching the training."""
    ids = torch.tensor([*asked[0], *asked[1]])
    cells = ids == _CELL
    written: list[list[int]] = []
    eos = model.config.eos_token_id
    with torch.no_grad():
        for start in range(0, len(pixels), 32):
            vectors = eyes(plain(pixels[start : start + 32]))[0]
            inputs = model.get_input_embeddings()(ids.clamp_min(0))[None].repeat(len(vectors), 1, 1)
            inputs[:, cells] = vectors
            made = model.generate(
                inputs_embeds=inputs, attention_mask=torch.ones(inputs.shape[:2]), max_new_tokens=40, do_sample=False,
                pad_token_id=eos,
            )  # fmt: skip
            written += [line[: line.index(eos)] if eos in line else line for line in made.tolist()]
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("work/eyes"))
    parser.add_argument("--minutes", type=float, default=20.0, help="of training in all, over all runs")
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--lr", type=float, default=5e-4)
    train(parser.parse_args())


def train(arguments: argparse.Namespace) -> None:
    """Until the minutes are over; a checkpoint every few minutes, from which a later run goes on."""
    from transformers import AutoTokenizer

    torch.manual_seed(0)
    pictures, pixels = load(arguments.data, arguments.work)
    tokenizer = AutoTokenizer.from_pretrained(language_folder())
    asked = prompt_ids()
    model = language_model(arguments.rank)
    eyes = Eyes(model.config.hidden_size)
    eyes.load_state_dict(torch.load(arguments.work / "tower.pt", weights_only=True)["eyes"])
    eyes.eval()
    for value in eyes.tower.parameters():
        value.requires_grad_(False)
    trained = [value for value in model.parameters() if value.requires_grad]
    optimiser = torch.optim.AdamW(
        [{"params": trained, "peak": arguments.lr}, {"params": [eyes.connector.weight], "peak": arguments.lr / 5}],
        weight_decay=0.0,
    )
    kept, spent, step = arguments.work / "captioner.pt", 0.0, 0
    if kept.exists():
        state = torch.load(kept, weights_only=True)
        model.load_state_dict(state["lora"], strict=False)
        eyes.load_state_dict(state["eyes"])
        optimiser.load_state_dict(state["optimiser"])
        spent, step = state["spent"], state["step"]
    pools = {source: Pool(arguments.work / f"views-{source}.npz", seed=step) for source in VIEWS}
    counts = {source: max(1, round(arguments.batch * SHARES[source])) for source in VIEWS}
    wording = random.Random(step)
    limit, begun = arguments.minutes * 60, time.monotonic() - spent
    shown = saved = time.monotonic()
    losses: list[float] = []
    while (spent := time.monotonic() - begun) < limit:
        drawn = [pool.draw(counts[source]) for source, pool in pools.items()]
        texts = [words.caption(pictures[n].facts, wording) for indices, _ in drawn for n in indices]
        captions = [[*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id] for text in texts]
        line = sequence(*asked, captions)
        done = spent / limit
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * min(1.0, (done + 1e-3) / 0.04, (1 - done) / 0.6)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            vectors = eyes(torch.cat([values for _, values in drawn]))[0]
            loss = loss_of(model, vectors, line)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([*trained, eyes.connector.weight], 1.0)
        optimiser.step()
        losses.append(loss.item())
        step += 1
        if time.monotonic() - shown > 30:
            print(f"{spent / 60:.1f} min, step {step}: loss {np.mean(losses[-15:]):.3f}", flush=True)
            shown = time.monotonic()
        if time.monotonic() - saved > 300:
            _keep(kept, model, eyes, optimiser, spent, step)
            _report(model, eyes, pictures, pixels, asked, tokenizer, 16)
            saved = time.monotonic()
            begun = time.monotonic() - spent  # measuring is not training
    _keep(kept, model, eyes, optimiser, spent, step)
    _report(model, eyes, pictures, pixels, asked, tokenizer, 32)
    model.save_pretrained(arguments.work / "captioner-lora")


def _report(
    model: Any, eyes: Eyes, pictures: list[Picture], pixels: Any, asked: Any, tokenizer: Any, most: int
) -> None:
    for source in VIEWS:
        held = [n for n, one in enumerate(pictures) if one.source == source and one.held_out]
        chosen = np.random.default_rng(0).permutation(held)[:most]
        said = [tokenizer.decode(line).strip() for line in write(model, eyes, pixels[chosen], asked)]
        found = [named(pictures[n], text) for n, text in zip(chosen, said, strict=True)]
        keys = {key for one in found for key in one}
        shares = {key: round(float(np.mean([one[key] for one in found if key in one])), 3) for key in sorted(keys)}
        print(source, shares, said[:3], flush=True)


def _keep(path: Path, model: Any, eyes: Eyes, optimiser: torch.optim.Optimizer, spent: float, step: int) -> None:
    lora = {name: value for name, value in model.state_dict().items() if "lora_" in name}
    part = path.with_suffix(".part")
    state = {"lora": lora, "eyes": eyes.state_dict(), "optimiser": optimiser.state_dict(), "spent": spent, "step": step}
    torch.save(state, part)
    part.replace(path)


if __name__ == "__main__":
    main()
