"""F16 copies of small quantised models, to compute with.

llama.cpp multiplies quantised weights with activations that it rounds to 8 bits. On a small model that moves a
log-odds by a tenth, and by up to 0.4 with its neighbours in a batch; F16 is as fast in batches, moves it by less
than 0.02, and keeps what the quantisation itself left of the weights. So a quantised file is for keeping and
sending, and its F16 copy, made once in the cache in a second or two, is what answers.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import platformdirs

from ..engine.llama.process import quantise_in_child
from ..errors import ModelError

_F16 = 1  # llama_ftype
_ABANDONED = 600.0  # seconds
_SMALL = 1_000_000_000  # bytes of a quantised file whose copy is worth its room


def to_compute_with(model: Path, sha256: str, *, quantised: bool) -> Path:
    """The file that answers for `model`: itself, or the F16 copy if it is quantised and small.

    Raises `ModelError` without room for the copy.
    """
    if not quantised or model.stat().st_size > _SMALL:
        return model
    return as_f16(model, Path(platformdirs.user_cache_dir("msr-local")) / "f16" / f"{sha256}.gguf")


def as_f16(source: Path, target: Path, *, finish: Callable[[Path, Path], None] | None = None) -> Path:
    """Write the GGUF file `source` as F16 to `target` unless it is there. Raises `ModelError` without room.

    `finish` writes its first argument, the F16 file, once more to its second.
    """
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
            if finish:
                raw, part = part, part.with_suffix(".finished.part")
                finish(raw, part)
                raw.unlink()
            part.replace(target)
        finally:
            for left in target.parent.glob(f"{Path(name).stem}*.part"):
                left.unlink(missing_ok=True)
    except OSError as error:
        raise ModelError(f"{target.parent}: cannot keep the prepared model here ({error}).") from error
    return target
