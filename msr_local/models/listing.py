"""What there is to choose from: the embedded model, the workspace's, pulled ones, aliases; what others left here."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import platformdirs

from ..engine.llama.gguf import peek
from ..engine.llama.kinds import later_part, parts, require_model
from ..errors import ModelError
from ..hardware import usable_memory
from ..store.workspace import Workspace
from . import embedded, hub_cache, names, picking, shipped
from .aliases import ALIASES
from .choice import chosen_files
from .find import Files, check, find, projectors_beside, unsaid
from .names import EMBEDDED

_ROOM = 1_000_000_000  # bytes that a model needs beside its files: context, pictures, the rest of msr-local


@dataclass(frozen=True, slots=True)
class Row:
    """A model to choose from. `model` is None for one that is not on this machine, whose `bytes` are about right."""

    name: str  # what --model takes
    active: bool
    bytes: int | None
    quantisation: str | None
    sees: bool
    licence: str | None
    fits: bool | None  # into this machine's memory
    model: str | None
    mmproj: str | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def rows(workspace: Workspace) -> list[Row]:
    """All models that can be named: those on this machine, then the aliases of those that are not."""
    chosen = chosen_files(workspace)
    eyes = None if shipped.complaint(shipped.EYES) else shipped.find(shipped.EYES)
    ours = Files(embedded.prepared_path(), eyes.file if eyes else None)
    found = [row(EMBEDDED, ours, active=chosen is None, licence="Apache-2.0", size=270_000_000)]
    pulled = list(_pulled())
    if chosen and chosen.model not in [files.model for _, files in pulled]:
        found.append(row(str(chosen.model), chosen, active=True))
    for name, files in pulled:
        active = chosen is not None and chosen.model == files.model
        found.append(row(name, chosen if chosen and active else files, active=active))
    here = {one.id for one in hub_cache.snapshots()}
    for name, alias in ALIASES.items():
        if alias.repository not in here:
            fits = _fits(alias.bytes)
            found.append(Row(name, False, alias.bytes, "Q8_0", alias.sees, alias.licence, fits, None, None))
    return found


def row(name: str, files: Files, *, active: bool, licence: str | None = None, size: int | None = None) -> Row:
    """What the files of a model say of themselves; `size` where they are still to be made."""
    paths = [*parts(files.model), *([files.projector] if files.projector else [])]
    size = sum(path.stat().st_size for path in paths if path.is_file()) if files.model.is_file() else size
    return Row(
        name,
        active,
        size,
        picking.quantisation(files.model.name),
        files.projector is not None,
        licence or _licence(files.model),
        _fits(size),
        str(files.model),
        str(files.projector) if files.projector else None,
    )


def _fits(size: int | None) -> bool | None:
    memory = usable_memory()
    return None if size is None or memory is None else size + _ROOM <= memory


def _licence(model: Path) -> str | None:
    pulled = hub_cache.repository_of(model)
    known = {alias.repository: alias.licence for alias in ALIASES.values()}
    if pulled and pulled[0] in known:
        return known[pulled[0]]
    try:
        found = peek(model).get("general.license")
    except ModelError:
        return None
    return str(found) if found else None


def _pulled() -> Iterator[tuple[str, Files]]:
    """(what to call it, its files) of each model in the hub's cache, the present commit of a repository first."""
    seen: set[tuple[str, str]] = set()
    for one in hub_cache.snapshots():
        paths = one.files()
        for path in picking.models(paths):
            eyes = picking.projectors(paths, path)
            quant = picking.quantisation(path)
            plain = quant is not None and picking.model(paths, quant) == path and (one.id, quant) not in seen
            name = f"{one.id}:{quant}" if plain else f"hf://{one.id}@{one.commit}/{path}"
            seen.add((one.id, quant or path))
            yield name, Files(one.place / path, one.place / eyes[0] if eyes else None)


def facts(spec: str, note: Callable[[str], None] = unsaid) -> dict[str, Any]:
    """What is known of a model without loading it. Raises `ModelError` for what is neither here nor an alias."""
    named = names.parse(spec)
    alias = next((one for one in ALIASES.values() if getattr(named, "id", None) == one.repository), None)
    known = {
        "repository": alias.repository, "licence": alias.licence, "parameters": f"{alias.parameters} billion",
        "sees": alias.sees, "tried": alias.tried,
    } if alias else {}  # fmt: skip
    try:
        files = find(spec, None, note)
    except ModelError:
        if not alias:
            raise
        return {"name": spec, **known, "bytes": alias.bytes, "fits": _fits(alias.bytes), "model": None, "mmproj": None}
    licence = None
    if files is None:
        eyes = shipped.find(shipped.EYES)
        files = Files(embedded.prepare(), eyes.file if eyes else None)
        licence = "Apache-2.0"
    head = require_model(files.model)
    architecture = head.value("general.architecture")
    here = row(spec, files, active=False, licence=alias.licence if alias else licence).to_json()
    del here["active"]
    return {
        **known,
        **here,
        "architecture": architecture,
        "context": head.value(f"{architecture}.context_length"),
        "chat_template": bool(head.value("tokenizer.chat_template")),
    }


# ---- what other programs left


@dataclass(frozen=True, slots=True)
class Left:
    """A model that another program keeps here; `problem` is why it cannot be used, or None."""

    program: str
    name: str
    bytes: int
    sees: bool
    model: str
    mmproj: str | None
    problem: str | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def scan() -> list[Left]:
    """Models in the caches of the hub, llama.cpp (before 2026), LM Studio and Ollama. Nothing is changed there."""
    home = Path.home()
    found = [_left("hub", name, files) for name, files in _pulled()]
    for program, place in (
        ("llama.cpp", Path(platformdirs.user_cache_dir("llama.cpp", appauthor=False))),
        ("LM Studio", home / ".lmstudio" / "models"),
        ("LM Studio", home / ".cache" / "lm-studio" / "models"),
    ):
        for path in sorted(place.rglob("*.gguf")):
            if "mmproj" not in path.name.lower() and not later_part(path) and path.is_file():
                eyes = projectors_beside(path)
                files = Files(path, eyes[0] if len(eyes) == 1 else None)
                found.append(_left(program, str(path.relative_to(place)), files))
    places = [Path(os.environ.get("OLLAMA_MODELS") or home / ".ollama" / "models")]
    if sys.platform == "linux":
        places.append(Path("/usr/share/ollama/.ollama/models"))
    for place in places:
        found += [_left("Ollama", name, files) for name, files in _ollama(place)]
    return found


def _left(program: str, name: str, files: Files) -> Left:
    problem = None
    try:
        check(files)
    except ModelError as error:
        problem = str(error)
    seen = row(name, files, active=False)
    return Left(program, name, seen.bytes or 0, seen.sees, str(files.model), seen.mmproj, problem)


def _ollama(place: Path) -> Iterator[tuple[str, Files]]:
    """Its manifests name the files by their hashes."""
    for manifest in sorted((place / "manifests").rglob("*")):
        try:
            layers = json.loads(manifest.read_text(encoding="utf-8"))["layers"]
            kinds = {str(layer["mediaType"]).rpartition(".")[2]: str(layer["digest"]) for layer in layers}
            blobs = {kind: place / "blobs" / Path(digest.replace(":", "-")).name for kind, digest in kinds.items()}
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if "model" in blobs and blobs["model"].is_file():
            *_, name, tag = manifest.parts
            yield f"{name}:{tag}", Files(blobs["model"], blobs.get("projector"))
