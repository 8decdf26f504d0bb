"""Pre-train the eyes: a small SigLIP-style tower and its connector, so that each picture token says a word.

A picture costs the language model 16 tokens. Here each of them is trained to be read as one word of the picture's
facts: token 0-3 what it is, 4-5 its colour, 6-7 its pattern, and so on, by the cosine with the language model's
own (frozen) word vectors. Its vectors therefore mean something to the language model before that has seen one
picture, at no cost of running it. At the same time each learns to predict what a stronger network sees at its
place (`embedded.views`; distillation, Hinton et al. 2015): a tower of this size learns little from 10,000 labels.

    python -m embedded.tower --work work/eyes --minutes 50
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from .pictures import Picture, load
from .views import COMPONENTS, TILE, VIEWS, whole
from .words import Facts

PATCH, WIDTH, LAYERS, HEADS, SHUFFLE = 16, 192, 8, 3, 2
TOKENS = (TILE // PATCH // SHUFFLE) ** 2
SLOTS = {"kind": 4, "colour": 2, "pattern": 2, "whom": 1, "use": 1, "variety": 5, "food": 1}
SHARES = {"fashion": 0.42, "groceries": 0.24, "drawn": 0.34}  # of a batch
MUON = 2.0  # its rate as a multiple of AdamW's
FILL = " ."  # the word of a slot that has nothing to say


def vision_config() -> dict[str, Any]:
    """The tower as transformers' Idefics3 (SmolVLM) knows it."""
    return {
        "hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "image_size": TILE, "patch_size": PATCH, "model_type": "idefics3_vision",
    }  # fmt: skip


class Eyes(nn.Module):
    """Tower, pixel shuffle and connector: pictures [B, 3, 128, 128] to word-like vectors [B, 16, 576]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        from transformers.models.idefics3.configuration_idefics3 import Idefics3VisionConfig
        from transformers.models.idefics3.modeling_idefics3 import Idefics3VisionTransformer

        config = Idefics3VisionConfig(**vision_config())
        config._attn_implementation = "eager"  # a fifth faster than the others on so few cells
        self.tower = Idefics3VisionTransformer(config)
        self.connector = nn.Linear(WIDTH * SHUFFLE**2, width, bias=False)
        self.teacher = nn.Linear(WIDTH * SHUFFLE**2, COMPONENTS)  # for training only
        self._start()

    def _start(self) -> None:
        """Weights that let a small tower learn from the first step on: the library's are for finishing touches."""
        for module in self.tower.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
        patches = self.tower.embeddings.patch_embedding.weight
        nn.init.xavier_uniform_(patches.data.view(WIDTH, -1))
        with torch.no_grad():
            self.tower.embeddings.position_embedding.weight.copy_(0.5 * waves(TILE // PATCH, WIDTH))

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = shuffled(self.tower(pixel_values=pixels).last_hidden_state)
        return self.connector(hidden), self.teacher(hidden)


def waves(side: int, width: int) -> torch.Tensor:
    """Sines and cosines of the row and the column of each cell, [side * side, width] (Dosovitskiy et al. 2021)."""
    rates = 1.0 / 100 ** (torch.arange(width // 4) / (width // 4))
    angle = torch.arange(side)[:, None] * rates
    line = torch.cat([angle.sin(), angle.cos()], 1)
    rows, columns = line[:, None].expand(-1, side, -1), line[None].expand(side, -1, -1)
    return torch.cat([rows, columns], 2).flatten(0, 1)


def shuffled(hidden: torch.Tensor) -> torch.Tensor:
    """Idefics3's pixel shuffle: [B, 64, W] -> [B, 16, 4 W]."""
    batch, cells, width = hidden.shape
    side = math.isqrt(cells)
    hidden = hidden.view(batch, side, side // SHUFFLE, width * SHUFFLE).permute(0, 2, 1, 3)
    hidden = hidden.reshape(batch, side // SHUFFLE, side // SHUFFLE, width * SHUFFLE**2).permute(0, 2, 1, 3)
    return hidden.reshape(batch, cells // SHUFFLE**2, width * SHUFFLE**2)


def slot_words(facts: Facts, tokenizer: Any) -> list[int]:
    """The token each picture token should say, [16]; -1 where the catalogue does not know."""
    fill = tokenizer.encode(FILL, add_special_tokens=False)[0]
    ids: list[int] = []
    for name, count in SLOTS.items():
        value = getattr(facts, name)
        said = tokenizer.encode(f" {value}", add_special_tokens=False)[:count] if value else []
        known = bool(value) or name in ("variety", "food")
        ids += [*said, *[fill if known else -1] * (count - len(said))]
    return ids


def word_loss(vectors: torch.Tensor, targets: torch.Tensor, table: torch.Tensor, scale: float) -> torch.Tensor:
    """Cross-entropy of each picture token over the words of `table` [V, 576] by cosine, and its length's error."""
    lengths = vectors.norm(dim=-1, keepdim=True)
    logits = scale * (vectors / lengths.clamp_min(1e-6)) @ functional.normalize(table, dim=-1).T
    loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1, label_smoothing=0.05)
    return loss + 0.1 * ((lengths / table.norm(dim=-1).mean() - 1) ** 2).mean()


class Views:
    """All views of one source with their pictures' words, in mixed order, over and over."""

    def __init__(self, path: Path, words: torch.Tensor, generator: torch.Generator) -> None:
        with np.load(path) as file:
            self._views, self._seen = file["views"], file["seen"]
            self._words = words[torch.from_numpy(file["index"])]
        self._generator, self._order, self._at = generator, torch.zeros(0, dtype=torch.long), 0

    def batch(self, size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Pixels [B, 3, 128, 128] in -1..1, words [B, 16], what the teacher sees [B, 16, 320]."""
        if self._at + size > len(self._order):
            self._order, self._at = torch.randperm(len(self._views), generator=self._generator), 0
        some = self._order[self._at : self._at + size]
        self._at += size
        values = torch.from_numpy(self._views[some.numpy()]).permute(0, 3, 1, 2).float()
        seen = torch.from_numpy(self._seen[some.numpy()]).float()
        mirrored = torch.rand(len(some), generator=self._generator) < 0.5
        values[mirrored] = values[mirrored].flip(3)
        side = math.isqrt(seen.shape[1])
        grid = seen.unflatten(1, (side, side))
        grid[mirrored] = grid[mirrored].flip(2)
        values = self._moved(values - 127.5)
        light = torch.rand(len(some), 2, 1, 1, 1, generator=self._generator) - 0.5
        values = values * (1 + 0.2 * light[:, 0]) + 20 * light[:, 1]
        return values.div(127.5).clamp(-1, 1), self._words[some], grid.flatten(1, 2)

    def _moved(self, values: torch.Tensor) -> torch.Tensor:
        """Each view a little larger or smaller and to the side, half of them with a square blotted out."""
        size = len(values)

        def uniform(low: float, high: float) -> torch.Tensor:
            return low + (high - low) * torch.rand(size, generator=self._generator)

        scale, nothing = uniform(0.9, 1.08), torch.zeros(size)
        rows = [[scale, nothing, uniform(-0.07, 0.07)], [nothing, scale, uniform(-0.07, 0.07)]]
        affine = torch.stack([torch.stack(row, 1) for row in rows], 1)
        grid = functional.affine_grid(affine, list(values.shape), align_corners=False)
        values = functional.grid_sample(values, grid, padding_mode="border", align_corners=False)
        for number in range(0, size, 2):
            edge, left, top = (int(one) for one in torch.randint(24, 56, (3,), generator=self._generator))
            values[number, :, 2 * top - 48 : 2 * top - 48 + edge, 2 * left - 48 : 2 * left - 48 + edge] = 0.0
        return values


def plain(pixels: np.ndarray) -> torch.Tensor:
    """[B, 3, 128, 128] in -1..1 of uint8 [B, H, W, 3], whole."""
    return whole(pixels).div(127.5).sub(1)


def measure(eyes: Eyes, pictures: list[Picture], pixels: Any, targets: torch.Tensor, table: Any) -> dict[str, float]:
    """Share of held-out pictures whose tokens all say the right words, by source and kind of fact."""
    eyes.eval()
    found: dict[str, list[bool]] = {}
    where = [index for index, picture in enumerate(pictures) if picture.held_out]
    with torch.no_grad():
        for start in range(0, len(where), 128):
            some = where[start : start + 128]
            vectors = eyes(plain(pixels[some]))[0]
            said = (functional.normalize(vectors, dim=-1) @ functional.normalize(table, dim=-1).T).argmax(-1)
            for index, words in zip(some, said, strict=True):
                right = (words == targets[index]) | (targets[index] < 0)
                at = 0
                for name, count in SLOTS.items():
                    if getattr(pictures[index].facts, name):
                        found.setdefault(f"{pictures[index].source} {name}", []).append(
                            bool(right[at : at + count].all())
                        )
                    at += count
    eyes.train()
    return {key: sum(values) / len(values) for key, values in sorted(found.items())}


def optimisers_of(eyes: Eyes) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024) for the matrices inside the layers, AdamW for the rest; rates are shares of one."""
    inside = [value for value in eyes.tower.encoder.parameters() if value.dim() == 2]
    known = {id(value) for value in inside}
    rest = [value for value in eyes.parameters() if id(value) not in known]
    decayed, others = [v for v in rest if v.dim() > 1], [v for v in rest if v.dim() <= 1]
    muon = torch.optim.Muon(
        [{"params": inside, "share": MUON}], weight_decay=0.05, momentum=0.95, adjust_lr_fn="match_rms_adamw"
    )
    adamw = torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": 0.05, "share": 1.0},
            {"params": others, "weight_decay": 0.0, "share": 1.0},
        ],
        betas=(0.9, 0.98),
    )
    return [muon, adamw]


def rate(done: float, peak: float, warm: float = 0.03, decay: float = 0.4) -> float:
    """The learning rate when a share `done` of the run is over: up, level, and down over the last part."""
    return peak * min(1.0, (done + 1e-3) / warm, max(0.0, (1 - done) / decay))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("work/eyes"))
    parser.add_argument("--minutes", type=float, default=50.0, help="of training in all, over all runs")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--distil", type=float, default=1.5, help="weight of the teacher's features")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    train(arguments)


def train(arguments: argparse.Namespace) -> None:
    """Until the minutes are over; a checkpoint every few minutes, from which a later run goes on."""
    from transformers import AutoTokenizer

    from .language import language_folder, word_vectors

    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    pictures, pixels = load(arguments.data, arguments.work)
    tokenizer = AutoTokenizer.from_pretrained(language_folder())
    ids = [slot_words(picture.facts, tokenizer) for picture in pictures]
    words = sorted({one for line in ids for one in line if one >= 0})
    place = {one: index for index, one in enumerate(words)}
    targets = torch.tensor([[place.get(one, -1) for one in line] for line in ids])
    table = word_vectors()[words]
    eyes = Eyes(table.shape[1])
    optimisers = optimisers_of(eyes)
    kept = arguments.work / "tower.pt"
    step, spent = 0, 0.0
    if kept.exists():
        state = torch.load(kept, weights_only=True)
        eyes.load_state_dict(state["eyes"])
        for optimiser, kept_state in zip(optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(kept_state)
        step, spent = state["step"], state["spent"]
        generator.manual_seed(step)
    files = {source: arguments.work / f"views-{source}.npz" for source in VIEWS}
    pools = {source: Views(file, targets, generator) for source, file in files.items() if file.exists()}
    counts = {source: round(arguments.batch * SHARES[source] / sum(SHARES[s] for s in pools)) for source in pools}
    print(f"{len(pictures)} pictures, {len(words)} words, {sum(p.numel() for p in eyes.parameters()):,} parameters")
    limit, saved, shown = arguments.minutes * 60, time.monotonic(), time.monotonic()
    begun = time.monotonic() - spent
    losses: list[tuple[float, float]] = []
    # So that 1 is a guess at the mean.
    spread = torch.cat([pool.batch(256)[2].flatten(0, 1) for pool in pools.values()]).var(0).mean()
    first, started = step, time.monotonic()
    while (spent := time.monotonic() - begun) < limit:
        parts = [pool.batch(counts[source]) for source, pool in pools.items()]
        inputs, wanted, seen = (torch.cat(part) for part in zip(*parts, strict=True))
        lr = rate(spent / limit, arguments.lr)
        for group in (group for optimiser in optimisers for group in optimiser.param_groups):
            group["lr"] = lr * group["share"]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            vectors, features = eyes(inputs)
        saying = word_loss(vectors.float(), wanted, table, scale=16.0)
        seeing = functional.mse_loss(features.float(), seen) / spread
        loss = saying + arguments.distil * seeing
        eyes.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(eyes.parameters(), 1.0)
        for optimiser in optimisers:
            optimiser.step()
        losses.append((saying.item(), seeing.item()))
        step += 1
        if time.monotonic() - shown > 60:
            speed = (step - first) * sum(counts.values()) / (time.monotonic() - started)
            words_loss, teacher_loss = np.mean(losses[-50:], 0)
            print(
                f"{spent / 60:.1f} min, step {step}: words {words_loss:.3f}, teacher {teacher_loss:.3f}, {speed:.0f}/s"
            )
            shown = time.monotonic()
        if time.monotonic() - saved > 240:
            _keep(kept, eyes, optimisers, step, spent)
            print({k: round(v, 3) for k, v in measure(eyes, pictures, pixels, targets, table).items()}, flush=True)
            saved = time.monotonic()
            begun = time.monotonic() - spent  # measuring is not training
    _keep(kept, eyes, optimisers, step, spent)
    print({k: round(v, 3) for k, v in measure(eyes, pictures, pixels, targets, table).items()}, flush=True)


def _keep(path: Path, eyes: Eyes, optimisers: list[torch.optim.Optimizer], step: int, spent: float) -> None:
    part = path.with_suffix(".part")
    states = [optimiser.state_dict() for optimiser in optimisers]
    torch.save({"eyes": eyes.state_dict(), "optimisers": states, "step": step, "spent": spent}, part)
    part.replace(path)


if __name__ == "__main__":
    main()
