"""`msr-local recommend USER`"""

from __future__ import annotations

from typing import Annotated

import typer

from ..models.asking import Asking
from . import options as opt


@opt.asking()
def recommend(
    ctx: typer.Context,
    user: Annotated[str, typer.Argument(metavar="USER", help="A user id of the interactions.", show_default=False)],
    k: opt.Top = 10,
    candidates: opt.Candidates = 100,
    look: opt.Look = 20,
    ask: opt.Ask = "enough",
    miss: opt.Miss = 0.01,
    *,
    asking: Asking,
    as_json: opt.Json = False,
) -> None:
    """Recommend items to a user.

    Recall finds candidates among the items that the user has no interaction with. The language model is asked
    whether the user will take each, and gives the log-odds of yes, until no other candidate is likely to reach the
    list. The score combines both; its probability is shown where the model was calibrated.
    """
    from ..recipe.explanations import UNCALIBRATED, WEAK, weak_answer
    from ..viewer.recommendations import recommendations_view

    session: opt.Session = ctx.obj
    with session.answering(asking) as recommender:
        found = recommender.recommend(user, k, candidates, look, 0.0 if ask == "all" else miss)
    if recommender.recall.unread:
        session.output.note(recommender.recall.unread)
    coverage = found.model["coverage"]
    if coverage is not None and coverage < WEAK:
        session.output.note(weak_answer(coverage))
    if found.items and found.items[0].probability is None:
        session.output.note(UNCALIBRATED)
    if (skipped := found.pictures["skipped"]) and found.pictures["looked_at"] >= max(k, look):
        session.output.note(
            f"The best {found.pictures['looked_at']:,} candidates were asked about with their pictures. {skipped:,} "
            "others that have pictures are left out of the ranking. Next: a larger --look."
        )
    session.output.result(found.to_json(), lambda: recommendations_view(found), as_json=as_json)
