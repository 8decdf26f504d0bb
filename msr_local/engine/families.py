"""The families of vision-language models: how each wants its pictures, and what was shown of it.

llama.cpp scales pictures in its own way: it letterboxes, and its limits are not those that a model was trained with.
So pictures are scaled here first, with Pillow, to the very size that the model's own processor makes; llama.cpp then
finds nothing to do. Training prepares them by the same lines. `docs/models.md` has what was measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from .types import Image


@dataclass(frozen=True, slots=True)
class Family:
    """How a family sees. A cell is a vector of the projector: one place of the context.

    `shape`: "own", llama.cpp prepares the picture as the processor does; "fixed", always the tower's square; "free",
    any number of cells, of which a picture takes `least` to `most`.
    """

    name: str
    projector: str  # its name in GGUF
    models: tuple[str, ...]  # `model_type` in config.json
    shape: Literal["own", "fixed", "free"] = "free"
    filter: Literal["BICUBIC", "BILINEAR"] = "BICUBIC"
    least: int = 1
    most: int = 16384
    around: str = ""  # what its processor writes before a picture and after it, beside the markers


FAMILIES = (
    Family("SmolVLM", "idefics3", ("idefics3", "smolvlm"), "own"),
    Family("Qwen3-VL, Qwen3.5", "qwen3vl_merger", ("qwen3_vl", "qwen3_5"), least=64),
    Family("Qwen2.5-VL", "qwen2.5vl_merger", ("qwen2_5_vl",), least=4),
    Family("LFM2-VL", "lfm2", ("lfm2_vl",), filter="BILINEAR", least=64, most=256),
    Family("Gemma 3", "gemma3", ("gemma3",), "fixed", "BILINEAR", around="\n\n"),
    Family("InternVL3", "internvl", ("internvl",), "fixed"),
)


@dataclass(frozen=True, slots=True)
class Preparation:
    """How the pictures for one projector are prepared: `cell` and `side` in pixels, at most `budget` cells each."""

    family: Family
    cell: int  # along the side of the square that becomes one cell
    side: int  # of the tower's square
    budget: int

    @property
    def identity(self) -> str:
        """Stands for all that shapes a picture, in the keys of what is made of it; "" where llama.cpp does it all."""
        if self.family.shape == "own":
            return ""
        return f"{self.family.projector} {self.budget}" if self.family.shape == "free" else self.family.projector

    def size(self, width: int, height: int) -> tuple[int, int]:
        """The size in pixels that a picture of `width` x `height` gets."""
        if self.family.shape == "own":
            return width, height
        if self.family.shape == "fixed":
            return self.side, self.side
        cells = min(self.budget, self.family.most)
        # Rounding up can take a small picture over a tight budget.
        return fitted(width, height, self.cell, min(self.family.least, max(1, cells // 2)), cells)

    def __call__(self, image: Image) -> Image:
        """The picture as the tower gets it, but for the statistics of its channels."""
        size = self.size(image.width, image.height)
        if size == (image.width, image.height):
            return image
        from PIL import Image as Pillow

        picture = Pillow.frombytes("RGB", (image.width, image.height), image.pixels)
        scaled = picture.resize(size, Pillow.Resampling[self.family.filter])
        return replace(image, width=size[0], height=size[1], pixels=scaled.tobytes())


def preparation(value: Callable[[str], Any], budget: int) -> Preparation | None:
    """How to prepare pictures for the projector with these GGUF values; None for a family that is not known.

    `value` gives the value of a key, None where it is missing. `budget` is in cells.
    """
    kind = value("clip.vision.projector_type") or value("clip.projector_type")
    family = next((one for one in FAMILIES if one.projector == kind), None)
    if family is None:
        return None
    merged = value("clip.vision.spatial_merge_size") or value("clip.vision.projector.scale_factor") or 2
    # A file that lacks one of these is refused by llama.cpp.
    patch, side = (int(value(f"clip.vision.{name}_size") or 0) for name in ("patch", "image"))
    return Preparation(family, patch * merged, side, budget)


def family_of(model_type: str | None) -> Family | None:
    """The family of a model whose config.json has this `model_type`; None for one that is not known."""
    return next((one for one in FAMILIES if model_type in one.models), None)


def fitted(width: int, height: int, cell: int, least: int, most: int) -> tuple[int, int]:
    """The multiples of `cell` nearest to a size that keep its shape, with `least` to `most` cells.

    A picture so thin that its whole cells would be more than `most` loses of its length.
    """
    across, down = round(width / cell), round(height / cell)
    area = width * height
    # As the processors reckon it, to the last bit.
    if across * down > most:
        scale = math.sqrt(area / (most * cell**2))
        across, down = (max(1, math.floor(one / scale / cell)) for one in (width, height))
    elif across * down < least:
        scale = math.sqrt(least * cell**2 / area)
        across, down = (math.ceil(one * scale / cell) for one in (width, height))
    if across * down > most:
        across, down = min(across, max(1, most // down)), min(down, max(1, most // across))
    return across * cell, down * cell
