"""What each part of the recipe is worth: the paper's ablations (figures 4 to 6), and history and pictures shuffled.

All variants use the same candidates of the same users, and the same model. An adapter was trained with one of them, so
the others are at a disadvantage; its name is in the document.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ..arrays import Vector, padded
from ..errors import InputError
from ..recall.halves import Half
from ..recipe.blocks import summarised
from ..recipe.recommender import Recommender
from ..recipes import RECIPES, Recipe
from ..store import runs
from . import ranking
from .answers import Answers
from .experiment import Experiment

_BLOCKS = (1, 2, 3, 4, 5)
_LENGTHS = (2, 4, 7, 10)  # of the summarised history, in blocks


@dataclass(frozen=True, slots=True)
class Variant:
    """A recipe under a name; `shuffled` as in `Answers`; not `tuned`: the base model answers, without its adapter."""

    name: str
    recipe: Recipe
    shuffled: str = ""
    tuned: bool = True


def variants(recipe: Recipe, *, tuned: bool = False) -> list[Variant]:
    """The recipe itself first, then what is changed about it; where a `tuned` model answers, the untuned one too."""
    made = [Variant(recipe.name, recipe)]
    if tuned:
        made.append(Variant("untuned", recipe, tuned=False))
    made += [Variant(name, other) for name, other in RECIPES.items() if name != recipe.name]
    if recipe.summary:
        made.append(Variant("direct", replace(recipe, direct=True)))
        made += [Variant(f"blocks of {n}", replace(recipe, block_size=n)) for n in _BLOCKS if n != recipe.block_size]
        windows = [n * recipe.block_size for n in _LENGTHS]
        made += [Variant(f"at most the last {n}", replace(recipe, window=n)) for n in windows if n != recipe.window]
    made.append(Variant("history shuffled", recipe, "history"))
    if recipe.caption or recipe.image:
        made.append(Variant("images shuffled", recipe, "images"))
    return made


def ablation(experiment: Experiment, open_recommender: Callable[[Recipe, bool], Recommender]) -> dict[str, Any]:
    """Metrics of the language model alone for each variant, and how the recipe itself compares with it.

    `open_recommender` takes a variant's recipe and whether it is tuned.
    Raises `InputError` where candidates are not sampled, or the model is not asked.
    """
    if experiment.options.full:
        raise InputError("--ablation needs sampled candidates. Next: leave out --full.")
    if not (experiment.options.model and experiment.options.questions):
        raise InputError("--ablation has to ask the model. Next: leave out --no-questions and --no-model.")
    half = experiment.test
    bootstrap = ranking.Bootstrap(len(half.cases), experiment.options.seed)
    found: dict[str, Any] = {}
    first: dict[str, Vector] = {}
    for variant in variants(experiment.recommender.recipe, tuned=experiment.recommender.cast.scorer is not None):
        with open_recommender(variant.recipe, variant.tuned) as recommender:
            answers = Answers(recommender, experiment.log, shuffled=variant.shuffled, seed=experiment.options.seed)
            scores = padded(list(answers(half.cases, half.recall, half.candidates)))
        values = ranking.per_case(scores)
        first = first or values
        found[variant.name] = {
            **{name: bootstrap.mean(one).to_json() for name, one in values.items()},
            "auc": bootstrap.pooled_auc(scores).to_json(),
            "summarised": _summarised(variant.recipe, half),  # interactions, on average
            "lost": {
                name: ranking.paired(first[name], values[name], experiment.options.seed).to_json()
                for name in ("auc_per_user", "hr@5", "mrr@5")
            },
        }
    model = experiment.recommender.cast.to_json()
    finite: dict[str, Any] = runs.finite(
        {"protocol": experiment.plan.protocol, "users": len(half.cases), "model": model, "variants": found}
    )
    return finite


def _summarised(recipe: Recipe, half: Half) -> float:
    read = [summarised(len(case.history), recipe.block_size, recipe.window) for case in half.cases]
    return sum(read) / len(read) if recipe.summary else 0.0
