"""Which weights answer: the command line's, else the workspace's, else the embedded default; and tuned by what."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..engine.types import EngineConfig
from ..errors import ModelError
from ..prompts import PromptTemplate
from ..recipe.asking import CAPTION, SCORE, SUMMARY
from ..store.workspace import Workspace, fingerprint
from . import embedded, registry, shipped
from .prepared import to_compute_with

_SETTING = "model"


@dataclass(frozen=True, slots=True)
class Scorer:
    """A tuned recommender: the file that answers yes or no, and how its answers are read."""

    name: str
    sees: bool  # whether pictures were in the questions it was tuned with
    form: str  # "adapter": a LoRA beside the model; "merged": a model of its own
    file: Path  # that the engine loads
    sha256: str  # of the adapter's file
    max_length: int  # tokens of a question, as in training
    recall_weight: float  # of recall with hand-set weights, beside the log-odds in the fused score
    calibration: tuple[float, float] | None  # p(yes) = sigmoid(a z + b)
    recipe: dict[str, Any]  # that it was tuned and calibrated for
    run_id: str  # that made it, here or in another workspace
    split: dict[str, Any]  # what its training held back
    learned_weight: float | None = None  # the same of a learned recall; None: was not fitted


@dataclass(frozen=True, slots=True)
class Weights:
    """A chosen model: how to load it, and hashes that stand for it in the keys of results.

    `tuned` has the hashes of the adapters for captions and summaries, by role.
    """

    config: EngineConfig
    sha256: str
    projector_sha256: str | None
    origin: str  # "option", "workspace" or "embedded"
    scorer: Scorer | None = None
    tuned: dict[str, str] = field(default_factory=dict)
    text_id: str = field(init=False)
    vision_id: str | None = field(init=False)

    def __post_init__(self) -> None:
        runtime = "llama-cpp-python " + importlib.metadata.version("llama-cpp-python")
        text_id = fingerprint(runtime, self.sha256)
        seeing = fingerprint(text_id, self.projector_sha256, self.config.image_detail)
        object.__setattr__(self, "text_id", text_id)
        object.__setattr__(self, "vision_id", seeing if self.projector_sha256 else None)

    @property
    def caption_id(self) -> str | None:
        """Stands for what writes captions; None where nothing sees."""
        return self._tuned_for(CAPTION, self.vision_id) if self.vision_id else None

    @property
    def summary_id(self) -> str:
        """Stands for what writes preference summaries."""
        return self._tuned_for(SUMMARY, self.text_id)

    def _tuned_for(self, role: str, base: str) -> str:
        return fingerprint(base, role, self.tuned[role]) if role in self.tuned else base

    @property
    def scoring_sees(self) -> bool:
        """Whether pictures may stand in the yes/no question: the embedded eyes were made for captions only."""
        if self.vision_id is None:
            return False
        return self.scorer.sees if self.scorer else self.origin != "embedded"

    @property
    def scoring_config(self) -> EngineConfig:
        """The model that answers yes or no; the same as `config` unless a merged model does."""
        if self.scorer and self.scorer.form == "merged":
            return replace(self.config, model=self.scorer.file, adapters={})  # those of the base are not its own
        return self.config

    @property
    def scoring_id(self) -> str | None:
        """Stands for what answers questions with pictures; None where pictures are not asked about."""
        return self._scored_by(self.vision_id) if self.vision_id and self.scoring_sees else None

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

    @property
    def states_id(self) -> str:
        """Stands for all that makes the state of a prompt that was read: the models and every adapter."""
        return fingerprint(self.text_id, self.tuned, self.scorer.sha256 if self.scorer else None)

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
    `model` is given, which then answers as it is. The embedded model comes with its eyes, its adapters for
    captions and summaries, and, unless another one is active, its recommender. Raises `ModelError` for a
    projector without its model, for unreadable files, and for an adapter that does not fit its model, its files
    or the active prompts.
    """
    if projector and not model:
        raise ModelError("--mmproj needs the --model it was made for.")
    origin = "option"
    if model is None:
        kept = workspace.setting(_SETTING)
        if not kept:
            weights = embedded_weights(workspace, context=context, threads=threads, image_detail=image_detail)
            return _answering(workspace, weights, adapter)
        origin, model = "workspace", Path(kept["model"])
        projector = Path(kept["mmproj"]) if kept["mmproj"] else None
    try:
        sha256 = workspace.file_sha256(model)
        projector_sha256 = workspace.file_sha256(projector) if projector else None
    except OSError as error:
        raise ModelError(
            f"{error.filename}: cannot read this model file ({error.strerror}). Next: msr-local models use."
        ) from error
    config = EngineConfig(model, projector, context=context, threads=threads, image_detail=image_detail)
    plain = Weights(config, sha256, projector_sha256, origin)
    return plain if origin == "option" and adapter is None else _answering(workspace, plain, adapter)


def embedded_weights(
    workspace: Workspace, *, context: int = 4096, threads: int | None = None, image_detail: Any = "overview"
) -> Weights:
    """The embedded model with its eyes and its adapters for captions and summaries, but no recommender.

    An adapter that was trained with another prompt than the workspace's own is left out. Raises `ModelError`.
    """
    model = embedded.prepare()
    eyes = shipped.find(workspace, shipped.EYES)
    parts = {CAPTION: shipped.find(workspace, shipped.CAPTIONER), SUMMARY: shipped.find(workspace, shipped.SUMMARISER)}
    fitting = {role: part for role, part in parts.items() if part and _fits(workspace, part.manifest["prompts"])}
    config = EngineConfig(
        model,
        eyes.file if eyes else None,
        adapters={role: part.file for role, part in fitting.items()},
        context=context,
        threads=threads,
        image_detail=image_detail,
    )
    tuned = {role: part.sha256 for role, part in fitting.items()}
    return Weights(config, workspace.file_sha256(model), eyes.sha256 if eyes else None, "embedded", tuned=tuned)


def _answering(workspace: Workspace, plain: Weights, name: str | None) -> Weights:
    """`plain` with the recommender called `name`, or else the active one, or else, if embedded, the shipped one."""
    chosen = (name, None) if name else registry.active(workspace)
    embedded_answers = plain.origin == "embedded"
    if chosen is None:
        ours = _default_recommender(workspace) if embedded_answers else None
        return _tuned(plain, *ours, None) if ours else plain
    if chosen[0] == registry.NONE:
        return plain
    if embedded_answers and (ours := shipped_recommender(workspace, chosen[0])):
        manifest, folder = ours
        registry.check_prompts(manifest, prompt_hashes(workspace, manifest.prompts))
        return _tuned(plain, manifest, folder, None)
    manifest = registry.find(workspace, chosen[0])
    registry.check(workspace, manifest, prompt_hashes(workspace, manifest.prompts))
    registry.check_base(manifest, plain.sha256, plain.projector_sha256)
    return _tuned(plain, manifest, registry.folder(workspace, manifest.name), chosen[1])


def answering(workspace: Workspace) -> tuple[str, str] | None:
    """Name and form of the recommender that answers by default, there or not; None for the plain model."""
    chosen = registry.active(workspace)
    if chosen is None and workspace.setting(_SETTING) is None:
        ours = _default_recommender(workspace)
        return (ours[0].name, next(iter(ours[0].files))) if ours else None
    return None if chosen is None or chosen[0] == registry.NONE else chosen


def shipped_recommender(workspace: Workspace, name: str | None = None) -> tuple[registry.Manifest, Path] | None:
    """Manifest and folder of the recommender that comes with the embedded model; None where there is none.

    With `name`, only if it is called so and no adapter of the workspace is. Raises `ModelError`.
    """
    part = shipped.find(workspace, shipped.RECOMMENDER)
    if part is None:
        return None
    folder = part.file.parent
    manifest = registry.Manifest.from_json(part.manifest, folder / shipped.FILE_NAME)
    if name is not None and (name != manifest.name or registry.exists(workspace, name)):
        return None
    return manifest, folder


def _default_recommender(workspace: Workspace) -> tuple[registry.Manifest, Path] | None:
    """The shipped recommender, unless it was trained with another prompt: nobody asked for it by name."""
    ours = shipped_recommender(workspace)
    return ours if ours and _fits(workspace, ours[0].prompts) else None


def _tuned(plain: Weights, manifest: registry.Manifest, folder: Path, form: str | None) -> Weights:
    """`plain` with the tuned recommender of `manifest`, whose files are in `folder`, beside it."""
    form = form or next(iter(manifest.files))
    registry.check_form(manifest, form)
    entry, fitted = manifest.files[form], manifest.calibration
    file = folder / entry["file"]
    if form == "merged":
        file = to_compute_with(file, entry["sha256"], quantised=entry["quantisation"] != "f16")
    scorer = Scorer(
        name=manifest.name,
        sees=manifest.base["mmproj_sha256"] is not None,
        form=form,
        file=file,
        sha256=entry["sha256"],
        max_length=manifest.settings["max_length"],
        recall_weight=manifest.fusion["recall"],
        learned_weight=manifest.fusion.get("learned"),
        calibration=(fitted["a"], fitted["b"]) if fitted else None,
        recipe=manifest.recipe,
        run_id=manifest.run_id,
        split=manifest.split,
    )
    adapters = plain.config.adapters | ({SCORE: scorer.file} if form == "adapter" else {})
    return replace(plain, config=replace(plain.config, adapters=adapters), scorer=scorer)


def prompt_hashes(workspace: Workspace, templates: Iterable[str]) -> dict[str, str]:
    """The present hashes of these prompt templates."""
    return {name: PromptTemplate(name, workspace.home / "prompts").sha256 for name in templates}


def _fits(workspace: Workspace, prompts: dict[str, str]) -> bool:
    """Whether these prompts, as {template: sha256}, are the present ones."""
    return prompt_hashes(workspace, prompts) == prompts


def sees(workspace: Workspace, model: Path | None, projector: Path | None) -> bool:
    """Whether the weights that `choose` would take have eyes."""
    if model:
        return projector is not None
    kept = workspace.setting(_SETTING)
    return bool(kept["mmproj"]) if kept else shipped.find(workspace, shipped.EYES) is not None


def remember(workspace: Workspace, model: Path | None, projector: Path | None) -> None:
    """Make `model` the workspace's choice; None goes back to the embedded default."""
    kept = model and {
        "model": str(model.resolve()),
        "mmproj": str(projector.resolve()) if projector else None,
    }
    workspace.set_setting(_SETTING, kept)
