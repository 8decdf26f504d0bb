"""`msr-local users`, `items` and `status`: what is in the workspace, and what is still to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options as opt

if TYPE_CHECKING:
    from ..store.workspace import Workspace

Limit = Annotated[int, opt.number("List N at most.", "--limit", "-n")]


def users(ctx: typer.Context, limit: Limit = 20, as_json: opt.Json = False) -> None:
    """List users, the most active first."""
    from ..store import histories
    from ..viewer.workspace import users_view

    session: opt.Session = ctx.obj
    with session.workspace() as workspace:
        _note_empty(session, workspace)
        found = histories.users(workspace, limit)
    session.output.result(found, lambda: users_view(found), as_json=as_json)


def items(
    ctx: typer.Context,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="WORDS", help="Words of title, attributes or caption.")
    ] = None,
    limit: Limit = 20,
    where: opt.Where = None,
    as_json: opt.Json = False,
) -> None:
    """List items, or search them by words.

    Those with most interactions come first.
    """
    from ..catalogue.where import chosen
    from ..store import histories
    from ..viewer.workspace import items_view

    session: opt.Session = ctx.obj
    with session.workspace() as workspace:
        empty = _note_empty(session, workspace)
        only = chosen(workspace, where, note=session.output.note)
        found = histories.search_items(workspace, " ".join(words) if words else None, limit, only)
        if words and not found and not empty:
            session.output.note(
                "No item has all of these words. Each counts as a whole word. Next: fewer of them, or msr-local items."
            )
    session.output.result(found, lambda: items_view(found), as_json=as_json)


def status(
    ctx: typer.Context,
    rejects: Annotated[bool, opt.flag("--rejects", "List the rejected rows instead.")] = False,
    as_json: opt.Json = False,
) -> None:
    """Show what the workspace holds.

    Also: which model and adapter answer, how recall works, whether the score was fitted to this workspace, and how many
    captions and summaries are still to do.
    """
    from ..models.choice import answering, chosen_model
    from ..store import histories, results
    from ..viewer.tables import rows_table
    from ..viewer.workspace import status_view

    session: opt.Session = ctx.obj
    with session.workspace() as workspace:
        if rejects:
            rows = histories.rejects(workspace)
            session.output.result(rows, lambda: rows_table(rows, right=("line",)), as_json=as_json)
            return
        _note_empty(session, workspace)
        session.note_misfit(workspace)
        counts = histories.counts(workspace)
        learned = results.learned_recall_facts(workspace)
        by = f"learned from {learned['interactions']:,} interactions" if learned and learned["used"] else "hand-set"
        adapter, form = answering(workspace) or (None, None)
        todo, calibrated = _of_recommender(session, workspace, counts, learned=bool(learned and learned["used"]))
        document: dict[str, Any] = {
            "home": str(workspace.home),
            "model": chosen_model(workspace) or "embedded",
            "adapter": adapter,
            "adapter_form": form,
            "recall": by,
            "calibrated": calibrated and f"to what {calibrated['users']:,} users took",
            **counts,
            "todo": todo,
        }
    session.output.result(document, lambda: status_view(document), as_json=as_json)


def _note_empty(session: opt.Session, workspace: Workspace) -> bool:
    """Whether a workspace holds no items. Says so: its path may be a slip of the pen."""
    from ..store import histories

    if empty := histories.is_empty(workspace):
        session.output.note(f"{workspace.home} is empty. Next: msr-local ingest ITEMS INTERACTIONS, or --home DIR.")
    return empty


def _of_recommender(
    session: opt.Session, workspace: Workspace, counts: dict[str, int], *, learned: bool
) -> tuple[dict[str, int], dict[str, Any] | None]:
    """Captions and summaries that the present model, prompts and recipe have not made yet, and what was fitted to them.

    No model is made for it.
    """
    from ..errors import MsrError
    from ..models import embedded
    from ..models.choice import chosen_model
    from ..progress import silent
    from ..recipe.calibrated import facts
    from ..store import results

    fitted = None
    captions = counts["images"] - min(counts["captions"], counts["images"])
    summaries = counts["users"] - min(counts["users_with_summary"], counts["users"])
    if chosen_model(workspace) or embedded.prepared_path().exists():
        try:
            with session.recommender(workspace, silent) as recommender:
                if recommender.cast.captioner is not None:
                    captions = recommender.captions.missing()
                fitted = facts(workspace, recommender.judge.settings, learned)
                summaries = 0
                if recommender.recipe.summary:
                    summaries = counts["users"] - results.users_summarised(workspace, recommender.preferences.settings)
        except MsrError as error:  # it makes nothing: then what any model has made counts
            session.output.note(str(error))
    return {"captions": captions, "summaries": summaries}, fitted
