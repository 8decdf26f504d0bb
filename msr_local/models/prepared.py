"""F16 copies of small quantised models, to compute with.

llama.cpp multiplies quantised weights with activations that it rounds to 8 bits, which moves the log-odds of a small
model by about 0.1. With F16 they move by less than 0.02, it is as fast in batches, and the weights stay those of the
quantised file. So the quantised file is for storage, and its F16 copy, made once in the cache in a second or two, is
what answers.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from ..engine.llama.gguf import Head, peek
from ..engine.llama.kinds import parts
from ..engine.llama.process import quantise_in_child
from ..files import cache_folder, remove, written_whole
from ..hardware import usable_memory

_F16 = 1  # llama_ftype
_QUANTISED = {2, 3, 7, 8, 9, *range(10, 19)}  # llama_ftype: Q4_0 to Q5_1, and the K-quants
_SPARE = 2_000_000_000  # bytes of the disk, and of memory, that are left alone
_SMALL = 1_000_000_000  # bytes of a quantised file whose copy is worth its room


def to_compute_with(model: Path, sha256: str, *, quantised: bool) -> Path:
    """The file that answers for `model`: itself, or the F16 copy if it is quantised and small.

    Raises `FileError` without room for the copy.
    """
    if not quantised or model.stat().st_size > _SMALL:
        return model
    return as_f16(model, cache_folder() / "f16" / f"{sha256}.gguf")


def copy_of(model: Path, sha256: str) -> Path | None:
    """Where the F16 copy of `model` is or will be, which answers for it; None where it answers itself.

    That is where it is not quantised, of a kind that cannot be read back exactly, or large, and where there is no room
    for the copy: on the disk, unless it is there already, or in memory.
    """
    files = parts(model)
    if sum(file.stat().st_size for file in files) > _SMALL:
        return None
    kind = peek(model).get("general.file_type")
    if (Head.read(model).value("general.file_type") if kind is None else kind) not in _QUANTISED:
        return None
    copy = cache_folder() / "f16" / f"{sha256}.gguf"
    if copy.exists():
        size = copy.stat().st_size
    else:
        size = 2 * sum(Head.read(file).values for file in files)
        near = next(folder for folder in copy.parents if folder.exists())
        if shutil.disk_usage(near).free < 2 * size + _SPARE:
            return None
    memory = usable_memory()
    return copy if memory is None or size + _SPARE <= memory else None


def as_f16(source: Path, target: Path, *, finish: Callable[[Path, Path], None] | None = None) -> Path:
    """Write the GGUF file `source` as F16 to `target` unless it is there.

    `finish` writes its first argument, the F16 file, once more to its second. Raises `FileError` without room, and
    `ModelError` for a file that llama.cpp cannot convert.
    """
    if target.exists():
        return target
    with written_whole(target) as part:
        raw = part.with_suffix(".raw.unfinished")  # named so that it is swept away like `part`
        try:
            quantise_in_child(source, raw, ftype=_F16)
            if finish:
                finish(raw, part)
            else:
                raw.replace(part)
        finally:
            remove(raw)
    return target
