"""The options of a question; a light module, so that the command line can be made of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """The options of a question; None: as the workspace, or its adapter, has it.

    `model` is a spec (see `models.names`), `projector` a file, "none", or None: the one that belongs to the model.
    `adapter` names a tuned recommender, or is "none". `recipe` is the name of one of the `RECIPES`.
    """

    model: str | Path | None = None
    projector: str | Path | None = None
    adapter: str | None = None
    context: int = 4096
    threads: int | None = None
    image_detail: Literal["overview", "tiles"] = "overview"
    image_tokens: int = 256
    gpu_layers: int | None = None
    as_is: bool = False
    recipe: str | None = None
    block_size: int | None = None
    window: int | None = None
    direct: bool = False
