"""`msr-local evaluate`"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..models.asking import Asking
from . import options as opt

if TYPE_CHECKING:
    from ..recipe.recommender import Recommender
    from ..recipes import Recipe

Protocol = Literal["last", "popular6", "temporal", "cold-items"]


def _core(text: str) -> tuple[int, int]:
    try:
        user, item = (int(part) for part in text.split(","))
    except ValueError:
        user = item = 0
    if user < 1 or item < 1:
        raise typer.BadParameter(f"{text!r} is not two counts, as in 7,5")
    return user, item


@opt.engines()
@opt.asking()
def evaluate(
    ctx: typer.Context,
    protocol: Annotated[
        Protocol,
        typer.Option(
            help="Which interaction is the positive. last: each user's last; popular6: the last of each user's six "
            "most popular, as in the paper's code; temporal: each user's first after one point in time; cold-items: an "
            "item that no interaction is known of, and one that has some (always with --full)."
        ),
    ] = "last",
    negatives: opt.NegativesOption = "uniform",
    ratio: opt.Ratio = 20,
    full: Annotated[bool, opt.flag("--full", "Rank the whole catalogue instead of drawn negatives.")] = False,
    candidates: Annotated[int, opt.number("With --full: the model scores the N best candidates.")] = 100,
    users: Annotated[int | None, opt.number("Test with N users at most.", default="all")] = None,
    split: opt.SplitOption = None,
    core: Annotated[
        str | None,
        typer.Option(
            metavar="U,I", show_default="7,5 for popular6, else all",
            help="Keep only users of at least U interactions and items of at least I.",
        ),
    ] = None,
    fast: Annotated[bool, opt.flag("--fast", "Leave out SASRec and GRU4Rec, which take minutes to train.")] = False,
    ablation: Annotated[bool, opt.flag("--ablation", "Compare variants of the recipe.")] = False,
    no_model: Annotated[bool, opt.flag("--no-model", "Evaluate the baselines only.")] = False,
    no_questions: Annotated[
        bool, opt.flag("--no-questions", "Use only the model's vectors of item texts: minutes instead of hours.")
    ] = False,
    seed: opt.Seed = 0,
    *,
    engines: opt.Engines,
    asking: Asking,
    as_json: opt.Json = False,
) -> None:  # fmt: skip
    """Measure the ranking against baselines.

    All systems rank the same candidates of each user: one positive, which is the item of an interaction that was
    held back, and negatives. Whatever is fitted sees training interactions only. The model's answers are
    kept: an evaluation that was stopped goes on when the same command is given again.
    """
    from ..evaluation.ablation import ablation as run_ablation
    from ..evaluation.experiment import Experiment, Options
    from ..viewer.evaluation import ablation_view, evaluation_view

    session: opt.Session = ctx.obj
    options = Options(
        protocol=protocol, split=split, core=_core(core) if core else None, negatives=negatives, count=ratio,
        full=full, candidates=candidates, users=users, slow=not fast,
        model=not no_model, questions=not no_questions, seed=seed,
    )  # fmt: skip
    with session.workspace() as workspace, session.output.progress() as progress, engines.opening() as opening:

        def opened(recipe: Recipe | None = None, tuned: bool = True) -> Recommender:
            if no_model:
                from ..models.choice import unasked_cast
                from ..recipe.recommender import Recommender

                cast = unasked_cast(workspace, replace(asking, adapter="none"), session.output.note)
                return Recommender(workspace, cast, progress=progress)
            asked = asking if tuned else replace(asking, adapter="none")
            return session.recommender(workspace, progress, asked, recipe, opening)

        with opened() as recommender:
            experiment = Experiment(recommender, options, note=session.output.note)
            found = run_ablation(experiment, opened) if ablation else experiment.run()
            session.note_unseen(recommender)
    session.output.result(found, lambda: ablation_view(found) if ablation else evaluation_view(found), as_json=as_json)
