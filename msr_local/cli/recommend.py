"""`msr-local recommend USER`"""

from __future__ import annotations

from typing import Annotated

import typer

from . import options as opt


def recommend(
    context: typer.Context,
    user: Annotated[str, typer.Argument(metavar="USER", help="A user id of the interactions.", show_default=False)],
    k: opt.Top = 10,
    candidates: opt.Candidates = 100,
    look: opt.Look = 20,
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
) -> None:
    """Rank unseen items for a user.

    Recall finds candidates, the model gives each its log-odds of yes, and the score fuses both.
    """
    from ..recipe.explanations import WEAK, weak_answer
    from ..viewer import recommendations_view

    session: opt.Session = context.obj
    with session.workspace() as workspace, session.output.progress() as progress:
        recommender = session.recommender(
            workspace, progress, adapter=adapter, model=model, mmproj=mmproj, threads=threads,
            context=context_size, detail=image_detail, recipe=recipe, block_size=block_size, window=history,
            direct=direct,
        )  # fmt: skip
        with recommender:
            found = recommender.recommend(user, k, candidates, look)
    coverage = found.model["coverage"]
    if coverage is not None and coverage < WEAK:
        session.output.note(weak_answer(coverage))
    if skipped := found.pictures["skipped"]:
        session.output.note(
            f"Looked at {found.pictures['looked_at']:,} pictures, of the best by words; {skipped:,} candidates with "
            "other pictures are out of the ranking. Next: --look N for more."
        )
    session.output.result(found.to_json(), lambda: recommendations_view(found), as_json=as_json)
