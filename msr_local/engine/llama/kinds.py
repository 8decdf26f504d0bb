"""What a GGUF file is, by its head: a model, a projector, a LoRA or a part of a split model; and which belong together.

llama.cpp says little when it refuses a file. This says why, before or after it did.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePath
from typing import TypeVar

from ...errors import ModelError
from ..families import preparation
from .gguf import Head

AnyPath = TypeVar("AnyPath", bound=PurePath)

_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")
# Kinds of projectors whose `projection_dim` is that of the tower, not the width of the language model.
_OLD = {None, "mlp", "mlp_norm", "ldp", "ldpv2", "resampler", "adapter"}
_ENCODERS = {"t5", "t5encoder"}  # others state that their attention is not causal
_ARCHITECTURES = {"clip": "projector", "imatrix": "importance matrix", "controlvector": "control vector"}


def kind(head: Head) -> str:
    """What a GGUF file with this head is: a "model", "projector", "adapter", or what else its name says."""
    stated, architecture = head.value("general.type"), str(head.value("general.architecture"))
    if stated in ("adapter", "imatrix", "controlvector") or head.value("adapter.type"):
        return {"imatrix": "importance matrix", "controlvector": "control vector"}.get(stated, "adapter")
    if stated == "mmproj" or architecture in _ARCHITECTURES:
        return _ARCHITECTURES.get(architecture, "projector")
    return "model" if head.tensors else "vocabulary"


def parts(path: AnyPath) -> list[AnyPath]:
    """The files of the model that begins with `path`: itself, or all parts of a split one, there or not."""
    match = _PART.fullmatch(path.name)
    if not match or int(match["number"]) != 1:
        return [path]
    return [_part(path, number) for number in range(1, int(match["count"]) + 1)]


def later_part(path: PurePath) -> bool:
    """Whether a file is called like the second or a later part of a split model."""
    match = _PART.fullmatch(path.name)
    return bool(match and int(match["number"]) != 1)


def require_model(path: Path) -> Head:
    """The head of a model's file, the first one if it is split.

    Raises `ModelError`, with the true reason, for what is no language model that llama.cpp could load: a projector, a
    LoRA, a later part of a split model, one that is cut off, one whose parts were joined or are missing.
    """
    head = Head.read(path)
    found = kind(head)
    if number := head.value("split.no"):
        first = f"the first, {_part(path, 1).name}" if _PART.fullmatch(path.name) else "the first"
        raise ModelError(f"{path}: part {number + 1} of a split model. Next: give {first}.")
    if found == "projector":
        raise ModelError(f"{path}: a projector (mmproj), not a model. Next: --model MODEL.gguf --mmproj {path.name}.")
    if found == "adapter":
        raise ModelError(f"{path}: an adapter (LoRA), not a model. Next: give the model that it was trained on.")
    if found != "model":
        raise ModelError(f"{path}: only {_a(found)}, without weights of a model. Next: give the model itself.")
    if any(name.startswith("v.blk.") for name in head.names):
        raise ModelError(
            f"{path}: model and projector in one file, as Ollama keeps some; llama.cpp reads them as two. "
            "Next: msr-local models pull ORG/REPO of a GGUF repository."
        )
    architecture = head.value("general.architecture")
    if architecture in _ENCODERS or head.value(f"{architecture}.attention.causal") is False:
        raise ModelError(
            f"{path}: it does not write from left to right ({architecture}), as for search, or for translation. "
            "Next: choose an instruction-tuned language model."
        )
    _check_parts(path, head)
    return head


def require_projector(path: Path, model: Head | None = None) -> Head:
    """The head of a projector's file. Raises `ModelError` for what is none, and for one that does not fit `model`."""
    head = Head.read(path)
    found = kind(head)
    if found != "projector":
        raise ModelError(f"{path}: {_a(found)}, not a projector. Next: --mmproj with the mmproj file of the model.")
    if head.value("clip.has_vision_encoder") is False:
        raise ModelError(f"{path}: this projector has no vision part. Next: one for pictures.")
    if model and not fit(model, head):
        raise ModelError(
            f"{path}: this projector does not fit the model: it makes vectors of "
            f"{head.value('clip.vision.projection_dim')} values, and the model reads {_width(model)}. "
            "Next: the projector that was published with the model."
        )
    return head


def fit(model: Head, projector: Head) -> bool:
    """Whether the projector can belong to the model, as far as their heads tell."""
    if kind(projector) != "projector" or projector.value("clip.has_vision_encoder") is False:
        return False
    made_for, width = projector.value("clip.vision.projection_dim"), _width(model)
    kind_of = projector.value("clip.vision.projector_type") or projector.value("clip.projector_type")
    return kind_of in _OLD or None in (made_for, width) or bool(made_for == width)


def scaled(projector: Path, budget: int) -> str:
    """What stands for the way in which pictures for `projector` are scaled. Raises `ModelError` for a broken file."""
    known = preparation(Head.read(projector).value, budget)
    return known.identity if known else ""


def _a(what: str) -> str:
    return f"{'an' if what[0] in 'ai' else 'a'} {what}"


def _width(model: Head) -> int | None:
    found: int | None = model.value(f"{model.value('general.architecture')}.embedding_length")
    return found


def _check_parts(path: Path, head: Head) -> None:
    count = head.value("split.count") or 1
    if count < 2:
        return
    files = parts(path)
    if len(files) != count:
        joined = head.size > head.end + head.alignment
        what = "the parts of a split model, joined" if joined else f"the first of {count} parts of a split model"
        raise ModelError(
            f"{path}: {what}; llama.cpp finds them by their names. "
            f"Next: keep them beside each other as NAME-00001-of-{count:05}.gguf and so on, and give the first."
        )
    for number, file in enumerate(files[1:], 1):
        if not file.exists():
            raise ModelError(f"{file}: this part of the model is missing. Next: put it beside {path.name}.")
        if Head.read(file).value("split.no") != number:
            raise ModelError(f"{file}: not part {number + 1} of {path.name}. Next: download it again.")


def _part(path: AnyPath, number: int) -> AnyPath:
    match = _PART.fullmatch(path.name)
    return path.with_name(f"{match['stem']}-{number:05}-of-{match['count']}.gguf") if match else path
