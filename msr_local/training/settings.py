"""All that shapes a training run. The defaults are those of the paper's released code where it states them:
LoRA rank 16, alpha 32, dropout 0.1, at most 1,024 tokens, 4 epochs, gradient accumulation 4, clipping at 1.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from ..recipes import RECIPES, Recipe

PAPER_LEARNING_RATE = 2e-5  # for a model of 7 billion parameters
SMALL_LEARNING_RATE = 3e-4  # a small model moves too little at the paper's
_SMALL = 1_000_000_000  # parameters


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of `finetune`; `None` means: decided by the data or the model."""

    base: str = "embedded"
    recipe: str = "full"
    block_size: int = 3
    window: int = 30
    rows: int = 1000  # of the training set, positives and negatives together
    ratio: int = 1  # negatives for each positive
    negatives: str = "uniform"
    split: str | None = None  # how validation and test are held back: one of `splits.KINDS`
    validation_rows: int = 128
    max_length: int = 1024  # tokens of a question
    backend: str = "auto"
    rank: int = 16
    alpha: int = 32
    dropout: float = 0.1
    learning_rate: float | None = None
    epochs: float = 4.0
    # Of the token Yes or No; "ranking": also of the rank by z of the positive; "residual": of its rank by z + blend.
    loss: str = "answer"
    batch: int = 4
    accumulation: int = 4
    load_in_4bit: bool = False
    eval_every: int | None = None  # steps
    patience: int = 3  # evaluations without a better AUC before training stops
    seed: int = 0
    threads: int | None = None
    quantisation: str = "q8_0"
    max_delta: float = 0.05  # median |dz| that the adapter may have
    min_correlation: float = 0.99  # rank correlation that the quantised model must have

    @property
    def asked_with(self) -> Recipe:
        """The recipe of the questions."""
        return RECIPES[self.recipe].with_history(self.block_size, self.window, direct=False)

    def rate(self, parameters: int) -> float:
        """The learning rate for a model of this many parameters."""
        return self.learning_rate or (PAPER_LEARNING_RATE if parameters >= _SMALL else SMALL_LEARNING_RATE)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Settings:
        """Settings as a run keeps them; names of other releases are ignored."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in document.items() if name in known})
