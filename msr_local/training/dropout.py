"""Dropout whose masks cost next to nothing on a CPU.

torch draws a mask number by number on one core, which takes a third of a LoRA's training time there. These
masks are windows, at places drawn anew each time, of one pool that is drawn once: still independent from step
to step for all that matters, and reproducible from torch's seed and random state.
"""

from __future__ import annotations

from typing import Any

import torch

_POOL = 1 << 24  # numbers, 64 MB
_STEP = 16  # windows begin at multiples of a cache line


class PooledDropout(torch.nn.Module):
    """Drops each number with probability `p` and scales the others by 1/(1-p), in training only."""

    def __init__(self, p: float, pool: torch.Tensor) -> None:
        super().__init__()
        self.p, self._pool = p, [pool]  # in a list: no part of the model's state

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`x` with its mask applied, of the same shape."""
        if not self.training:
            return x
        pool, size = self._pool[0], x.numel()
        places = (len(pool) - size) // _STEP
        if places < 1:
            return torch.nn.functional.dropout(x, self.p)
        start = int(torch.randint(places, (1,))) * _STEP
        return x * pool[start : start + size].view_as(x).to(x.dtype)


def pool_dropout(model: Any, seed: int) -> None:
    """Give every LoRA dropout of `model` masks from one pool."""
    found = [module for name, module in model.named_modules() if name.endswith("lora_dropout")]
    pool: torch.Tensor | None = None
    for layers in found:
        for name, module in layers.items():
            if isinstance(module, torch.nn.Dropout):
                if pool is None:
                    generator = torch.Generator().manual_seed(seed)
                    kept = torch.rand(_POOL, generator=generator) >= module.p
                    pool = kept.float() / (1.0 - module.p)
                layers[name] = PooledDropout(module.p, pool)
