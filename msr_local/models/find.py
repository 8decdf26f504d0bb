"""The one place that turns a spec into files on this machine: the model's, and its projector's."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..engine.llama.chat import require_template
from ..engine.llama.gguf import Head
from ..engine.llama.kinds import fit, parts, require_model, require_projector
from ..errors import ModelError
from ..files import expanded, sha256
from . import hub_cache, names, picking
from .names import NONE, Repository, Server


def unsaid(text: str) -> None:
    """A `note` that tells nobody."""


@dataclass(frozen=True, slots=True)
class Files:
    """The files of a model, the first one if it is split, and of its projector. Links are not followed."""

    model: Path
    projector: Path | None


def find(spec: str | Path, mmproj: str | Path | None = None, note: Callable[[str], None] = unsaid) -> Files | None:
    """The files that `spec` names; None for the embedded model. What was not asked for is said to `note`.

    `mmproj` is a projector's file, "none", or None: the only one that lies beside a local model and fits it, or the
    one that a repository has for it. Raises `ModelError` for what is not here, and where two projectors fit.
    """
    named = names.parse(spec)
    if isinstance(named, Server):
        raise ModelError(
            f"{named.url}: a model behind a server has no files here. Next: give it to each command, as --model SPEC."
        )
    if isinstance(named, str):
        if mmproj not in (None, NONE):
            raise ModelError("the embedded model has a projector of its own. Next: --mmproj goes with another --model.")
        return None
    model, candidates = (named, _beside(named)) if isinstance(named, Path) else _in_cache(named)
    if mmproj is not None:
        return Files(model, None if mmproj == NONE else expanded(mmproj))
    if not candidates or not model.is_file():
        return Files(model, None)
    fitting = _fitting(model, candidates)
    if isinstance(named, Path) and len(fitting) > 1:
        listed = ", ".join(path.name for path in fitting)
        raise ModelError(f"{model}: two projectors beside it fit: {listed}. Next: --mmproj FILE, or --mmproj none.")
    if fitting:
        note(f"{model.name} sees pictures with {fitting[0].name}, found beside it (--mmproj none: without).")
    else:
        note(f"{model.name} sees no pictures. {_complaint(candidates[0], model)}")
    return Files(model, fitting[0] if fitting else None)


def check(files: Files) -> None:
    """Raise `ModelError`, with the true reason, unless these are a model that chats and a projector for it."""
    head = require_model(files.model)
    require_template(str(files.model), head.value("tokenizer.chat_template"))
    if files.projector:
        require_projector(files.projector, head)


def model_sha256(model: Path) -> str:
    """SHA-256 of a model's file; of the hashes of all parts if it is split. Raises `OSError`."""
    hashes = [sha256(part) for part in parts(model)]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def projectors_beside(model: Path) -> list[Path]:
    """The projectors in the folder of a local model that fit it."""
    candidates = _beside(model)
    return _fitting(model, candidates) if candidates else []


def missing(path: Path, why: str) -> ModelError:
    """The error for a model's file that was here: a part of a split model, or one that was pulled, has its own."""
    pulled = hub_cache.repository_of(path)
    if pulled:
        id, commit, file = pulled
        first = parts(Path(file))[0].as_posix()
        return ModelError(f"{path}: {why}. Next: msr-local models pull hf://{id}@{commit}/{first}.")
    return ModelError(f"{path}: cannot read this model file ({why}). Next: check the path, or msr-local models use.")


def _beside(model: Path) -> list[Path]:
    paths = sorted(path for path in model.parent.glob("*.gguf") if "mmproj" in path.name.lower() and path != model)
    return [path for path in paths if path.is_file()]


def _in_cache(named: Repository) -> tuple[Path, list[Path]]:
    """The model in the hub's cache, and the projectors that may be its own, the best first."""
    here: list[str] = []
    for one in hub_cache.of(named.id, named.revision):
        paths = one.files()
        file = named.file or picking.model(paths, named.quant)
        if file in paths:
            return one.place / file, [one.place / path for path in picking.projectors(paths, file)]
        here += picking.models(paths)
    there = f"of this repository there is {', '.join(dict.fromkeys(here))}" if here else str(hub_cache.folder())
    raise ModelError(f"{named}: not on this machine ({there}). Next: msr-local models pull {named}, online.")


def _complaint(projector: Path, model: Path) -> str:
    """Why a projector is not used with a model."""
    try:
        require_projector(projector, Head.read(model))
    except ModelError as error:
        return str(error)
    return f"{projector.name} does not fit."


def _fitting(model: Path, candidates: list[Path]) -> list[Path]:
    try:
        head = Head.read(model)
    except ModelError:  # said when it is looked at or loaded
        return []
    found = []
    for path in candidates:
        try:
            if fit(head, Head.read(path)):
                found.append(path)
        except ModelError:  # a broken one is no projector
            continue
    return found
