"""Small things that many tests pass around."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from msr_local.engine.types import Image


def picture(seed: int, width: int = 40, height: int = 30) -> Image:
    """A random picture."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8).tobytes()
    return Image(width, height, pixels, hashlib.sha256(pixels).hexdigest())


@dataclass(frozen=True)
class Ran:
    """What a command printed and returned."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)
