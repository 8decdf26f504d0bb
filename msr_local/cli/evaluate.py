"""`msr-local evaluate`"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from . import options as opt
from .finetune import Negatives, SplitKind

if TYPE_CHECKING:
    from ..recipes import Recipe


class Protocol(str, Enum):
    """Who is asked about what."""

    last = "last"
    popular6 = "popular6"
    temporal = "temporal"


def _core(text: str) -> tuple[int, int]:
    try:
        user, item = (int(part) for part in text.split(","))
    except ValueError:
        user = item = 0
    if user < 1 or item < 1:
        raise typer.BadParameter(f"{text!r} is not two counts, as in 7,5")
    return user, item


def evaluate(
    context: typer.Context,
    kind: Annotated[
        Negatives, typer.Argument(metavar="uniform|popularity|hard", help="What the negatives are drawn from.")
    ] = Negatives.uniform,
    protocol: Annotated[
        Protocol,
        typer.Option(help="The last item, the paper's code (last of the six most popular), or after one moment."),
    ] = Protocol.last,
    negatives: Annotated[int, typer.Option("--negatives", min=1, metavar="N", help="Other candidates a user.")] = 20,
    full: Annotated[
        bool, typer.Option("--full", help="Rank all items; the model is asked about the best of them.")
    ] = False,
    candidates: opt.Candidates = 100,
    users: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Ask at most N users.", show_default="all")
    ] = None,
    validation_users: Annotated[
        int, typer.Option(min=1, metavar="N", help="Users on whom the model's weight is fitted, at most.")
    ] = 300,
    split: Annotated[
        SplitKind | None,
        typer.Option(help="Hold back users, each user's last items, or a time.", show_default="as fits the protocol"),
    ] = None,
    core: Annotated[
        str | None,
        typer.Option(
            metavar="U,I", help="Only users of at least U and items of at least I interactions.",
            show_default="7,5 for popular6, else all",
        ),
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Without SASRec and GRU4Rec, which take minutes.")] = False,
    ablation: Annotated[
        bool, typer.Option("--ablation", help="The model alone: what recurrence, pictures, order and length are worth.")
    ] = False,
    no_model: Annotated[bool, typer.Option("--no-model", help="The baselines alone.")] = False,
    no_questions: Annotated[
        bool, typer.Option("--no-questions", help="Of the model its vectors of the items alone: minutes, not hours.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of users, negatives and intervals.")] = 0,
    recipe: opt.RecipeOption = None,
    block_size: opt.BlockSize = None,
    history: opt.History = None,
    direct: opt.Direct = False,
    adapter: opt.Adapter = None,
    model: opt.Model = None,
    mmproj: opt.Mmproj = None,
    image_detail: opt.Detail = opt.ImageDetail.overview,
    context_size: opt.Context = 4096,
    threads: opt.Threads = None,
    as_json: opt.Json = False,
) -> None:  # fmt: skip
    """Measure the ranking on held-out interactions, against baselines on the same candidates.

    Negatives: any item (uniform), in proportion to popularity, or hard ones, which recall would offer.
    Whatever is fitted sees training interactions only. Answers are kept: an evaluation that was stopped goes on.
    """
    from ..evaluation.ablation import ablation as run_ablation
    from ..evaluation.experiment import Experiment, Options
    from ..recipe.recommender import Recommender
    from ..viewer.evaluation import ablation_view, evaluation_view

    session: opt.Session = context.obj
    options = Options(
        protocol=protocol.value, split=split.value if split else None, core=_core(core) if core else None,
        negatives=kind.value, count=negatives, full=full, candidates=candidates, users=users,
        validation_users=validation_users, slow=not fast, model=not no_model, questions=not no_questions,
        seed=seed,
    )  # fmt: skip
    with session.workspace() as workspace, session.output.progress() as progress:

        def opened(chosen: Recipe | None = None, tuned: bool = True) -> Recommender:
            made = session.recommender(
                workspace, progress, adapter=adapter if tuned else "none", model=model, mmproj=mmproj, threads=threads,
                context=context_size, detail=image_detail, recipe=recipe, block_size=block_size, window=history,
                direct=direct,
            )  # fmt: skip
            return Recommender(workspace, made.weights, chosen, progress=progress) if chosen else made

        with opened(tuned=not no_model) as recommender:
            experiment = Experiment(recommender, options, note=session.output.note)
            found = run_ablation(experiment, opened) if ablation else experiment.run()
    session.output.result(found, lambda: ablation_view(found) if ablation else evaluation_view(found), as_json=as_json)
