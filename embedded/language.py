"""The frozen language model that the eyes are made for: SmolLM2-135M-Instruct, as `msr_local.training` prepares it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

from msr_local.training import bases
from msr_local.training.convert import converter


@cache
def language_folder() -> Path:
    """Its Hugging Face folder, prepared once in the cache."""
    return bases.resolve(None, converter).folder


def word_vectors() -> torch.Tensor:
    """Its table of word vectors, float32 [49152, 576]."""
    from safetensors import safe_open

    with safe_open(language_folder() / "model.safetensors", "pt") as file:
        name = next(key for key in file.keys() if key.endswith("embed_tokens.weight"))  # noqa: SIM118
        return file.get_tensor(name).float()
