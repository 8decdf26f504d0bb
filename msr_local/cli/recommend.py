"""`msr-local recommend USER`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..models.asking import Asking
from . import options as opt
from .output import REJECTED

if TYPE_CHECKING:
    from ..recipe.everybody import Made
    from ..recipe.recommender import Person, Recommender

_SHOWN = 5  # users for whom it did not work


@opt.engines()
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
    everybody: Annotated[bool, opt.flag("--all", "Instead of USER, all users, into the file --out.")] = False,
    users: Annotated[
        Path | None,
        opt.readable(
            "Instead of USER, the users of this list, into the file --out: an id a line, or a table with a column "
            "user_id.",
            "--users",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False, metavar="FILE", show_default=False,
            help="A file for the lists of many users, one row an item: .parquet, .csv or .jsonl. Lists are kept as "
            "they are made: after an interruption, the same command goes on where it was.",
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
    engines: opt.Engines,
    asking: Asking,
    as_json: opt.Json = False,
) -> None:  # fmt: skip
    """Recommend items to a user, or to many.

    Recall finds candidates among the items that the user has no interaction with. The language model is asked
    whether the user will take each, and gives the log-odds of yes, until no other candidate is likely to reach the
    list. The score combines both; its probability is shown where the model was calibrated.
    """
    from ..catalogue.where import chosen
    from ..recipe.explanations import UNCALIBRATED, WEAK, weak_answer
    from ..viewer.recommendations import recommendations_view

    session: opt.Session = ctx.obj
    if sum((user is not None, history is not None, everybody, users is not None)) != 1:
        raise typer.BadParameter("needed is one of USER, --history, --all and --users.", ctx)
    if (everybody or users is not None) != (out is not None):
        raise typer.BadParameter("--out FILE goes with --all or --users, and they with it.", ctx)
    if out is None and engines != opt.Engines(None, None):
        raise typer.BadParameter("--workers and --ray go with --all or --users.", ctx)
    how: tuple[int, int, int, float] = (k, candidates, look, 0.0 if ask == "all" else miss)
    filters = (where, only, exclude, session.output.note)
    if out is not None:
        _to_many(session, engines, asking, users, out, how, filters, as_json)
        return
    with session.answering(asking) as recommender:
        among = chosen(recommender.workspace, *filters)
        whom = recommender.user(user) if user is not None else _stranger(recommender, history or [])
        found = recommender.recommend(whom, *how, only=among)
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


def _to_many(
    session: opt.Session, engines: opt.Engines, asking: Asking, users: Path | None, out: Path,
    how: tuple[int, int, int, float], filters: Any, as_json: bool,
) -> None:  # fmt: skip
    from ..catalogue.ids import read_ids
    from ..catalogue.where import chosen
    from ..catalogue.writers import check_format
    from ..progress import silent
    from ..recipe.everybody import recommend_to
    from ..recipe.explanations import UNCALIBRATED, WEAK, weak_answer
    from ..store import histories
    from ..viewer.tables import facts_table

    check_format(out)
    wanted = None if users is None else read_ids(users, "user_id")
    with (
        session.workspace() as workspace,
        session.output.progress() as progress,
        engines.opening() as opening,
        session.recommender(
            workspace, silent, asking, opening=opening
        ) as recommender,  # one bar, not one for each user
    ):
        only = chosen(workspace, *filters)
        ids = [one["user"] for one in histories.users(workspace)] if wanted is None else wanted
        made = recommend_to(recommender, ids, out, *how, only=only, progress=progress)
        session.note_unseen(recommender)
        if recommender.recall.unread:
            session.output.note(recommender.recall.unread)
        if made.coverages and (coverage := sorted(made.coverages)[len(made.coverages) // 2]) < WEAK:
            session.output.note(weak_answer(coverage))
        if made.rows and recommender.fused(recommender.recall.now().learned is not None).calibration is None:
            session.output.note(UNCALIBRATED)
    _tell_failed(session, made)
    document = {
        "out": str(out),
        "rows": made.rows,
        "users": len(ids),
        "made": len(made.made),
        "up_to_date": len(made.present),
        "failed": [{"user": one, "reason": why} for one, why in made.failed],
    }
    shown = {**document, "failed": len(made.failed)}
    session.output.result(document, lambda: facts_table(shown), as_json=as_json)
    if made.failed:
        raise typer.Exit(REJECTED)


def _tell_failed(session: opt.Session, made: Made) -> None:
    if not made.failed:
        return
    session.output.note(f"No list for {len(made.failed):,} users:")
    for user, why in made.failed[:_SHOWN]:
        session.output.note(f"  {user}: {why}")
    if len(made.failed) > _SHOWN:
        session.output.note("  … Next: the same command with --json names all.")
