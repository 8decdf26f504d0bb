"""Which files of a repository make a model: the rules of `llama.cpp -hf`, on paths alone."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from ..engine.llama.kinds import later_part

_FIRST_TAGS = ("Q4_K_M", "Q8_0")  # what is taken where no quantisation is named
_BESIDE = re.compile(r"mmproj|imatrix|mtp-|eagle3-|dflash-|dspark-", re.IGNORECASE)  # files beside a model
_QUANT = re.compile(
    r"(?:^|[-_.])((?:UD-)?(?:I?Q\d\w*|TQ\d\w*|MXFP4\w*|BF16|F16|F32|FP16|FP32))(?=[-.]|$)", re.IGNORECASE
)


def models(paths: Iterable[str]) -> list[str]:
    """The files among `paths` that are models, the first part of each if it is split, in order."""
    whole = [path for path in paths if path.lower().endswith(".gguf") and not _BESIDE.search(path)]
    return sorted(path for path in whole if not later_part(PurePosixPath(path)))


def model(paths: Iterable[str], quant: str | None) -> str | None:
    """The model of this quantisation; without one Q4_K_M, then Q8_0, then the first. None where there is none."""
    found = models(paths)
    for tag in (quant,) if quant else _FIRST_TAGS:
        for begun in (r"(?<![^\W_])", ""):  # first as a word of its own: llama.cpp takes BF16 for F16
            for path in found:
                if re.search(rf"{begun}{re.escape(tag)}[.-]", path, re.IGNORECASE):
                    return path
    return None if quant or not found else found[0]


def projectors(paths: Iterable[str], model: str) -> list[str]:
    """The projectors that may belong to `model`, the best first.

    They lie in its folder or above it: the deepest first, then by the nearest number of bits, F16 before BF16.
    """
    folder = PurePosixPath(model).parent
    found = [
        path for path in paths
        if path.lower().endswith(".gguf") and "mmproj" in path.lower()
        and PurePosixPath(path).parent in (folder, *folder.parents)
    ]  # fmt: skip

    def rank(path: str) -> tuple[int, int, bool, str]:
        away = abs(_bits(path) - _bits(model))
        return -len(PurePosixPath(path).parent.parts), away, "bf16" in path.lower(), path

    return sorted(found, key=rank)


def quantisation(path: str) -> str | None:
    """The quantisation in a file's name, "Q8_0" for one; None where it has none."""
    found = _QUANT.findall(PurePosixPath(path).name.removesuffix(".gguf"))
    return found[-1].upper() if found else None


def _bits(path: str) -> int:
    number = re.search(r"\d+", quantisation(path) or "16")
    return int(number[0]) if number else 16
