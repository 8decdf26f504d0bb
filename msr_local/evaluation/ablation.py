"""What each part of the recipe is worth: the paper's ablations (figures 4 to 6), captions, and shuffles.

All variants use the same questions about the same users, and the same model. An adapter was trained with one of them,
so the others are at a disadvantage; its name is in the document. Beside the model's answers alone, what `recommend`
would have recommended is measured: there, recall goes without the captions that a variant leaves out, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ..errors import InputError
from ..recall.halves import Half
from ..recipe.blocks import summarised
from ..recipe.recommender import Recommender
from ..recipes import RECIPES, Recipe
from ..store import runs
from . import ranking
from .experiment import Experiment
from .recommended import MODEL, RECOMMENDED
from .standing import Standing

_BLOCKS = (1, 2, 3, 4, 5)
_LENGTHS = (2, 4, 7, 10)  # of the summarised history, in blocks
_LOST = ("auc_per_user", "hr@5", "mrr@5", "hr@10", "ndcg@10")


@dataclass(frozen=True, slots=True)
class Variant:
    """A recipe under a name; not `tuned`: the base model answers, without its adapter.

    `shuffled` is as in `Answers`, or "captions": each item has the caption of another one, wherever it is read.
    """

    name: str
    recipe: Recipe
    shuffled: str = ""
    tuned: bool = True


def variants(recipe: Recipe, *, tuned: bool = False, captions: bool = True, looks: bool = True) -> list[Variant]:
    """The recipe itself first, then what is changed about it; where a `tuned` model answers, the untuned one too.

    Without `captions` in the workspace, or where questions hold no pictures (`looks`), some are left out or alike.
    """
    made = [Variant(recipe.name, recipe)]
    if tuned:
        made.append(Variant("untuned", recipe, tuned=False))
    if recipe.caption and captions:
        made.append(Variant("without captions", replace(recipe, caption=False)))
    if recipe.summary:
        made.append(Variant("without summaries", replace(recipe, summary=False)))

    def told(one: Recipe) -> Recipe:
        return replace(one, name="", caption=one.caption and captions, image=one.image and looks)

    for name, other in RECIPES.items():
        if told(other) not in [told(one.recipe) for one in made]:
            made.append(Variant(name, other))
    if recipe.summary:
        made.append(Variant("direct", replace(recipe, direct=True)))
        made += [Variant(f"blocks of {n}", replace(recipe, block_size=n)) for n in _BLOCKS if n != recipe.block_size]
        windows = [n * recipe.block_size for n in _LENGTHS]
        made += [Variant(f"at most the last {n}", replace(recipe, window=n)) for n in windows if n != recipe.window]
    made.append(Variant("history shuffled", recipe, "history"))
    if recipe.caption and captions:
        made.append(Variant("captions shuffled", recipe, "captions"))
    if recipe.image and looks:
        made.append(Variant("images shuffled", recipe, "images"))
    return made


def ablation(experiment: Experiment, open_recommender: Callable[[Recipe, bool], Recommender]) -> dict[str, Any]:
    """Metrics of the language model alone and of what is recommended, for each variant, and what each loses.

    `open_recommender` takes a variant's recipe and whether it is tuned. Raises `InputError` where no model is asked.
    """
    options, plan, ours = experiment.options, experiment.plan, experiment.recommender
    if not (options.model and options.questions):
        raise InputError("--ablation has to ask the model. Next: leave out --no-questions and --no-model.")
    bootstrap = ranking.Bootstrap(plan.users, options.seed)
    found: dict[str, Any] = {}
    first: dict[str, Standing] = {}
    for variant in variants(
        ours.recipe, tuned=ours.cast.scorer is not None, captions=bool(ours.captions.known()), looks=ours.cast.looks
    ):
        with open_recommender(variant.recipe, variant.tuned) as recommender:
            if variant.shuffled == "captions":
                recommender.captions.exchange(options.seed)
            standings, _ = experiment.recommended(recommender, variant.shuffled)
        first = first or standings
        pair = first[RECOMMENDED], standings[RECOMMENDED]
        found[variant.name] = {
            **_measured(first[MODEL], standings[MODEL], experiment, bootstrap),
            "summarised": _summarised(variant.recipe, experiment.test),  # interactions, on average
            RECOMMENDED: _measured(*pair, experiment, bootstrap),
        }
        if plan.cold is not None:
            found[variant.name] |= {part: _measured(*pair, experiment, bootstrap, part) for part in ("cold", "warm")}
    finite: dict[str, Any] = runs.finite(
        {
            "protocol": plan.protocol,
            "users": plan.users,
            "negatives": None if options.full else options.negatives,
            "model": ours.cast.to_json(),
            "variants": found,
        }
    )
    return finite


def _measured(
    whole: Standing, one: Standing, experiment: Experiment, bootstrap: ranking.Bootstrap, part: str = ""
) -> dict[str, Any]:
    """The metrics of a variant, and what it loses against the whole recipe."""
    by_user, seed = experiment.plan.by_user, experiment.options.seed
    before = {metric: by_user(values, part) for metric, values in whole.per_case().items()}
    after = {metric: by_user(values, part) for metric, values in one.per_case().items()}
    found = {metric: bootstrap.mean(values).to_json() for metric, values in after.items()}
    if one.scores is not None:
        found["auc"] = bootstrap.pooled_auc(one.scores).to_json()
    lost = {name: ranking.paired(before[name], after[name], seed).to_json() for name in _LOST if name in after}
    return found | {"lost": lost}


def _summarised(recipe: Recipe, half: Half) -> float:
    read = [summarised(len(case.history), recipe.block_size, recipe.window) for case in half.cases]
    return sum(read) / len(read) if recipe.summary else 0.0
