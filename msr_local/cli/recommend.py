"""`msr-local recommend USER`"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ..models.asking import Asking
from . import options as opt

if TYPE_CHECKING:
    from ..recipe.recommender import Person, Recommender


@opt.asking()
def recommend(
    ctx: typer.Context,
    user: Annotated[
        str | None, typer.Argument(metavar="USER", help="A user id of the interactions.", show_default=False)
    ] = None,
    history: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ITEM,ITEM", show_default=False,
            help="Instead of USER, somebody who is in no file and took these items, in this order; nothing of it is "
            "kept as a user. May be given several times; an id that holds a comma needs one of its own.",
        ),
    ] = None,
    where: opt.Where = None,
    only: opt.Only = None,
    exclude: opt.Exclude = None,
    k: opt.Top = 10,
    candidates: opt.Candidates = 100,
    look: opt.Look = 20,
    ask: opt.Ask = "enough",
    miss: opt.Miss = 0.01,
    *,
    asking: Asking,
    as_json: opt.Json = False,
) -> None:  # fmt: skip
    """Recommend items to a user.

    Recall finds candidates among the items that the user has no interaction with. The language model is asked
    whether the user will take each, and gives the log-odds of yes, until no other candidate is likely to reach the
    list. The score combines both; its probability is shown where the model was calibrated.
    """
    from ..catalogue.where import chosen
    from ..recipe.explanations import UNCALIBRATED, WEAK, weak_answer
    from ..viewer.recommendations import recommendations_view

    session: opt.Session = ctx.obj
    if (user is None) == (history is None):
        raise typer.BadParameter("needed is either USER or --history.", ctx)
    with session.answering(asking) as recommender:
        among = chosen(recommender.workspace, where, only, exclude, session.output.note)
        whom = recommender.user(user) if user is not None else _stranger(recommender, history or [])
        found = recommender.recommend(whom, k, candidates, look, 0.0 if ask == "all" else miss, only=among)
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


def _stranger(recommender: Recommender, lists: list[str]) -> Person:
    """Who took the items of these lists, each of which is an item id or several with commas between."""
    from ..store.histories import item

    ids: list[str] = []
    for text in lists:
        whole = item(recommender.workspace, text) is not None
        ids += [text] if whole else [part for one in text.split(",") if (part := one.strip())]
    return recommender.stranger(ids)
