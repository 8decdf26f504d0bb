"""Which weights answer: the command line's, else the workspace's, else the embedded default; and tuned by what."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .engine import embedded
from .engine.types import EngineConfig
from .engine.unpacked import to_compute_with
from .errors import ModelError
from .recipe.prompts import PromptTemplate
from .store.workspace import Workspace, fingerprint
from .training import registry

_SETTING = "model"
NONE = "none"  # as the name of an adapter: answer with the plain model


@dataclass(frozen=True, slots=True)
class Scorer:
    """A tuned recommender: the file that answers yes or no, and how its answers are read."""

    name: str
    form: str  # "adapter": a LoRA beside the model; "merged": a model of its own
    file: Path  # that the engine loads
    sha256: str  # of the adapter's file
    max_length: int  # tokens of a question, as in training
    recall_weight: float  # of recall beside the log-odds in the fused score
    calibration: tuple[float, float] | None  # p(yes) = sigmoid(a z + b)
    recipe: dict[str, Any]  # that it was tuned and calibrated for


@dataclass(frozen=True, slots=True)
class Weights:
    """A chosen model: how to load it, and hashes that stand for it in the keys of results."""

    config: EngineConfig
    sha256: str
    projector_sha256: str | None
    origin: str  # "option", "workspace" or "embedded"
    scorer: Scorer | None = None
    text_id: str = field(init=False)
    vision_id: str | None = field(init=False)

    def __post_init__(self) -> None:
        runtime = "llama-cpp-python " + importlib.metadata.version("llama-cpp-python")
        text_id = fingerprint(runtime, self.sha256)
        seeing = fingerprint(text_id, self.projector_sha256, self.config.image_detail)
        object.__setattr__(self, "text_id", text_id)
        object.__setattr__(self, "vision_id", seeing if self.projector_sha256 else None)

    @property
    def scoring_config(self) -> EngineConfig:
        """The model that answers yes or no; the same as `config` unless a merged model does."""
        if self.scorer and self.scorer.form == "merged":
            return replace(self.config, model=self.scorer.file)
        return self.config

    @property
    def scoring_id(self) -> str | None:
        """Stands for what answers questions with pictures; None where nothing sees."""
        return self._scored_by(self.vision_id) if self.vision_id else None

    @property
    def blind_scoring_id(self) -> str:
        """Stands for what answers questions without pictures."""
        return self._scored_by(self.text_id)

    def _scored_by(self, base: str) -> str:
        tuned = self.scorer
        return base if tuned is None else fingerprint(base, tuned.form, tuned.sha256, tuned.max_length)

    @property
    def scoring_name(self) -> str:
        """What answers yes or no, for people who read the tables."""
        return f"{self.config.model.name} + {self.scorer.name}" if self.scorer else self.config.model.name

    def to_json(self) -> dict[str, Any]:
        projector, tuned = self.config.projector, self.scorer
        return {
            "file": str(self.config.model),
            "sha256": self.sha256,
            "mmproj": str(projector) if projector else None,
            "mmproj_sha256": self.projector_sha256,
            "adapter": tuned.name if tuned else None,
            "adapter_form": tuned.form if tuned else None,
            "adapter_sha256": tuned.sha256 if tuned else None,
            "origin": self.origin,
        }


def choose(
    workspace: Workspace,
    model: Path | None = None,
    projector: Path | None = None,
    *,
    adapter: str | None = None,
    context: int = 4096,
    threads: int | None = None,
    image_detail: Any = "overview",
) -> Weights:
    """The weights to use.

    `adapter` names a tuned recommender, or is "none"; by default it is the workspace's active one, unless a
    `model` is given, which then answers as it is. Raises `ModelError` for a projector without its model, for
    unreadable files, and for an adapter that does not fit its model, its files or the active prompts.
    """
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
    plain = Weights(config, sha256, projector_sha256, origin)
    wanted = (adapter, None) if adapter else registry.active(workspace) if origin != "option" else None
    return plain if wanted is None or wanted[0] == NONE else _tuned(workspace, plain, *wanted)


def _tuned(workspace: Workspace, plain: Weights, name: str, form: str | None) -> Weights:
    """`plain` with the tuned recommender `name` beside it."""
    manifest = registry.find(workspace, name)
    registry.check(workspace, manifest, active_prompts(workspace, manifest))
    registry.check_base(manifest, plain.sha256, plain.projector_sha256)
    form = form or next(iter(manifest.files))
    if form not in manifest.files:
        raise ModelError(f"adapter {name}: it has no form {form!r}. Next: --form {' or '.join(manifest.files)}.")
    entry, fitted = manifest.files[form], manifest.calibration
    file = registry.folder(workspace, manifest.name) / entry["file"]
    if form == "merged":
        file = to_compute_with(file, entry["sha256"], quantised=entry["quantisation"] != "f16")
    scorer = Scorer(
        name=manifest.name,
        form=form,
        file=file,
        sha256=entry["sha256"],
        max_length=manifest.settings["max_length"],
        recall_weight=manifest.fusion["recall"],
        calibration=(fitted["a"], fitted["b"]) if fitted else None,
        recipe=manifest.recipe,
    )
    adapters = {"score": scorer.file} if form == "adapter" else {}
    return replace(plain, config=replace(plain.config, adapters=adapters), scorer=scorer)


def active_prompts(workspace: Workspace, manifest: registry.Manifest) -> dict[str, str]:
    """The present hashes of the prompt templates that an adapter was trained with."""
    return {name: PromptTemplate(name, workspace.home / "prompts").sha256 for name in manifest.prompts}


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
