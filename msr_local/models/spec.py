"""The models that were chosen to answer in a workspace, one a role."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..engine.answers import sigmoid
from ..engine.llama.prefixes import forget
from ..engine.llama.process import EngineProcess
from ..engine.remote import RemoteEngine
from ..engine.types import CAPTION, SUMMARY, Engine, EngineConfig, ServerConfig
from ..recall.candidates import RECALL_WEIGHT
from ..recipes import RECIPES, Recipe
from ..store.workspace import fingerprint
from .prepared import as_f16


def open_engine(config: EngineConfig | ServerConfig) -> Engine:
    """The engine for a configuration, started."""
    return RemoteEngine(config) if isinstance(config, ServerConfig) else EngineProcess(config)


@dataclass(frozen=True, slots=True)
class Fused:
    """How answer and recall make the score that orders a list: z + weight x recall; and what it is as a probability.

    The slope of a calibration (a, b) is over 0, so that the order by probability is that by score.
    """

    weight: float
    calibration: tuple[float, float] | None = None

    def score(self, z: float, recall: float) -> float:
        """The score of an item."""
        return z + self.weight * recall

    def probability(self, score: float) -> float | None:
        """sigmoid(a score + b); None where none was fitted."""
        if self.calibration is None:
            return None
        slope, shift = self.calibration
        return sigmoid(slope * score + shift)

    def to_json(self) -> dict[str, Any]:
        calibration = self.calibration and dict(zip("ab", self.calibration, strict=True))
        return {"recall": self.weight, "calibration": calibration}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Fused:
        """What `to_json` wrote."""
        fitted = document["calibration"]
        return cls(document["recall"], fitted and (fitted["a"], fitted["b"]))


@dataclass(frozen=True, slots=True)
class Scorer:
    """A tuned recommender: the file that answers yes or no, and what was fitted to its answers."""

    name: str
    sees: bool  # whether pictures were in the questions it was tuned with
    form: str  # "adapter": a LoRA beside the model; "merged": a model of its own
    file: Path  # that the engine loads
    sha256: str  # of the adapter's file
    max_length: int  # tokens of a question, as in training
    by_hand: Fused  # with recall by its hand-set weights
    recipe: Recipe  # that it was tuned and calibrated for
    run_id: str  # that made it, here or in another workspace
    split: dict[str, Any]  # what its training held back
    learned: Fused | None = None  # with learned recall; None: was not fitted


@dataclass(frozen=True, slots=True)
class Role:
    """A model in a role: how an engine loads it, and what stands for it in the keys of what it makes."""

    config: EngineConfig | ServerConfig
    identity: str
    tuned: bool  # whether a LoRA was trained for this very question


@dataclass(frozen=True, slots=True)
class Cast:
    """The models that answer in a workspace, one a role, and the recipe that they are asked with.

    `config` loads all roles; only a merged model, as the judge, is another one. `tuned` has the hashes of the adapters
    for captions and summaries, by role.
    """

    config: EngineConfig | ServerConfig
    sha256: str
    projector_sha256: str | None
    origin: str  # "option", "workspace" or "embedded"
    scorer: Scorer | None = None
    tuned: dict[str, str] = field(default_factory=dict)
    recipe: Recipe = RECIPES["full"]
    scaled: str = ""  # how pictures are scaled before llama.cpp gets them; "" where they are not

    # ---- the roles

    @property
    def captioner(self) -> Role | None:
        """The model that turns pictures into text; None without a projector."""
        seeing = self._seeing
        return self._writer(CAPTION, seeing) if seeing else None

    @property
    def summariser(self) -> Role:
        """The model that writes preference summaries."""
        return self._writer(SUMMARY, self._text)

    @property
    def reader(self) -> Role:
        """The model that turns texts into vectors: the plain one, without adapters."""
        return Role(self.config, self._text, tuned=False)

    @property
    def judge(self) -> Role:
        """The model that answers the yes/no question."""
        tuned, config = self.scorer, self.config
        seeing = self._seeing if self.looks else None
        identity = seeing or self._text
        if tuned:
            identity = fingerprint(identity, tuned.form, tuned.sha256, tuned.max_length)
            if tuned.form == "merged":  # the adapters of the base are not its own
                assert isinstance(config, EngineConfig)
                config = replace(config, model=tuned.file, adapters={}, copy=None)
        return Role(config, identity, tuned is not None)

    def _writer(self, role: str, plain: str) -> Role:
        hashed = self.tuned.get(role)
        return Role(self.config, fingerprint(plain, role, hashed) if hashed else plain, hashed is not None)

    @property
    def _text(self) -> str:
        """Stands for the model and the runtime, without projector and adapters."""
        if isinstance(self.config, ServerConfig):
            return self.sha256
        runtime = "llama-cpp-python " + importlib.metadata.version("llama-cpp-python")
        return fingerprint(runtime, self.sha256, *(["f16"] if self.config.copy else []))

    @property
    def _seeing(self) -> str | None:
        """The same with its projector; None where it has none."""
        if not self.projector_sha256:
            return None
        if isinstance(self.config, ServerConfig):
            return self._text
        scaled = [self.scaled] if self.scaled else []
        return fingerprint(self._text, self.projector_sha256, self.config.image_detail, *scaled)

    def weights_id(self, role: Role) -> str:
        """Stands for all files that the engine of a role loads: what a prompt that was read comes from."""
        scorer = self.scorer
        if scorer and isinstance(role.config, EngineConfig) and role.config.model == scorer.file:
            return fingerprint(self._text, scorer.form, scorer.sha256)
        return fingerprint(self._text, self.tuned, scorer.sha256 if scorer and scorer.form == "adapter" else None)

    def loaded(self, role: Role, kept: Path) -> EngineConfig | ServerConfig:
        """How an engine loads a role, with the states of prompts that it has read in a folder of `kept`.

        The F16 copy of a quantised model is made unless it is there. Raises `FileError` without room for it.
        """
        if isinstance(role.config, ServerConfig):
            return role.config
        forget(kept)
        if role.config.copy:
            as_f16(role.config.model, role.config.copy)
        return replace(role.config, states=kept / self.weights_id(role)[:16])

    # ---- the question

    @property
    def sees(self) -> bool:
        """Whether there is a projector."""
        return self.projector_sha256 is not None

    @property
    def looks(self) -> bool:
        """Whether pictures go into the yes/no question: the embedded projector is for captions only."""
        if not (self.sees and self.recipe.image):
            return False
        return self.scorer.sees if self.scorer else self.origin != "embedded"

    def fused(self, learned: bool) -> Fused:
        """What was fitted for this scorer and this kind of recall; the calibration for its recipe only."""
        scorer = self.scorer
        found = scorer and (scorer.learned if learned else scorer.by_hand)
        if not scorer or not found:
            return Fused(RECALL_WEIGHT)
        return found if scorer.recipe == self.recipe else replace(found, calibration=None)

    @property
    def name(self) -> str:
        """What answers yes or no, for people who read the tables."""
        return f"{self.config.name} + {self.scorer.name}" if self.scorer else self.config.name

    def to_json(self) -> dict[str, Any]:
        config, tuned = self.config, self.scorer
        file, projector = (config.name, None) if isinstance(config, ServerConfig) else (config.model, config.projector)
        return {
            "file": str(file),
            "sha256": self.sha256,
            "mmproj": str(projector) if projector else None,
            "mmproj_sha256": self.projector_sha256,
            "adapter": tuned.name if tuned else None,
            "adapter_form": tuned.form if tuned else None,
            "adapter_sha256": tuned.sha256 if tuned else None,
            "origin": self.origin,
        }
