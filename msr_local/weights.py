"""Which weights answer: the command line's, else the workspace's, else the embedded default."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .engine import embedded
from .engine.types import EngineConfig
from .errors import ModelError
from .store.workspace import Workspace, fingerprint

_SETTING = "model"


@dataclass(frozen=True, slots=True)
class Weights:
    """A chosen model: how to load it, and hashes that stand for it in the keys of results."""

    config: EngineConfig
    sha256: str
    projector_sha256: str | None
    origin: str  # "option", "workspace" or "embedded"
    text_id: str = field(init=False)
    vision_id: str | None = field(init=False)

    def __post_init__(self) -> None:
        runtime = "llama-cpp-python " + importlib.metadata.version("llama-cpp-python")
        text_id = fingerprint(runtime, self.sha256)
        seeing = fingerprint(text_id, self.projector_sha256, self.config.image_detail)
        object.__setattr__(self, "text_id", text_id)
        object.__setattr__(self, "vision_id", seeing if self.projector_sha256 else None)

    def to_json(self) -> dict[str, Any]:
        projector = self.config.projector
        return {
            "file": str(self.config.model),
            "sha256": self.sha256,
            "mmproj": str(projector) if projector else None,
            "mmproj_sha256": self.projector_sha256,
            "adapter": None,
            "origin": self.origin,
        }


def choose(
    workspace: Workspace,
    model: Path | None = None,
    projector: Path | None = None,
    *,
    context: int = 4096,
    threads: int | None = None,
    image_detail: Any = "overview",
) -> Weights:
    """The weights to use. Raises `ModelError` for a projector without its model and for unreadable files."""
    if projector and not model:
        raise ModelError("--mmproj needs the --model it was made for.")
    origin = "option"
    if model is None:
        kept = workspace.setting(_SETTING)
        origin = "workspace" if kept else "embedded"
        model = Path(kept["model"]) if kept else embedded.prepare()
        projector = Path(kept["mmproj"]) if kept and kept["mmproj"] else None
    try:
        sha256 = workspace.file_sha256(model)
        projector_sha256 = workspace.file_sha256(projector) if projector else None
    except OSError as error:
        raise ModelError(
            f"{error.filename}: cannot read this model file ({error.strerror}). Next: msr-local models use."
        ) from error
    config = EngineConfig(model, projector, context=context, threads=threads, image_detail=image_detail)
    return Weights(config, sha256, projector_sha256, origin)


def sees(workspace: Workspace, model: Path | None, projector: Path | None) -> bool:
    """Whether the weights that `choose` would take have eyes."""
    kept = None if model else workspace.setting(_SETTING)
    return bool(projector or (kept and kept["mmproj"]))


def remember(workspace: Workspace, model: Path | None, projector: Path | None) -> None:
    """Make `model` the workspace's choice; None goes back to the embedded default."""
    kept = model and {
        "model": str(model.resolve()),
        "mmproj": str(projector.resolve()) if projector else None,
    }
    workspace.set_setting(_SETTING, kept)
