"""`msr-local users`, `items` and `status`: what is in the workspace, and what is still to do."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..text import printable
from . import options as opt

if TYPE_CHECKING:
    from rich.table import Table

    from ..store.workspace import Workspace

Limit = Annotated[int, typer.Option("--limit", "-n", min=1, metavar="N", help="Show at most N.")]


def users(context: typer.Context, limit: Limit = 20, as_json: opt.Json = False) -> None:
    """List users, the most active first."""
    from ..store import histories

    session: opt.Session = context.obj
    with session.workspace() as workspace:
        found = histories.users(workspace, limit)
    session.output.result(found, lambda: _table(found, right=("interactions",)), as_json=as_json)


def items(
    context: typer.Context,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="WORDS", help="Words of title, attributes or caption.")
    ] = None,
    limit: Limit = 20,
    as_json: opt.Json = False,
) -> None:
    """List items, or search them by words; the most taken first."""
    from ..store import histories

    session: opt.Session = context.obj
    with session.workspace() as workspace:
        found = histories.search_items(workspace, " ".join(words) if words else None, limit)
    shown = [{name: item[name] for name in ("item_id", "title", "interactions", "caption")} for item in found]
    session.output.result(found, lambda: _table(shown, right=("interactions",)), as_json=as_json)


def status(
    context: typer.Context,
    rejects: Annotated[bool, typer.Option("--rejects", help="List all rejected rows.")] = False,
    as_json: opt.Json = False,
) -> None:
    """Say what the workspace holds and what is still to do."""
    from ..models.choice import answering
    from ..store import histories, results

    session: opt.Session = context.obj
    with session.workspace() as workspace:
        if rejects:
            rows = histories.rejects(workspace)
            session.output.result(rows, lambda: _table(rows, right=("line",)), as_json=as_json)
            return
        counts = histories.counts(workspace)
        learned = results.learned_recall_facts(workspace)
        by = f"learned from {learned['interactions']:,} interactions" if learned and learned["used"] else "hand-set"
        document: dict[str, Any] = {
            "home": str(workspace.home),
            "model": workspace.setting("model") or "embedded",
            "adapter": " as ".join(answering(workspace) or ()) or None,
            "recall": by,
            **counts,
            "todo": _todo(session, workspace, counts),
        }
    shown = [
        {"": name.replace("_", " "), "rows": f"{value:,}" if isinstance(value, int) else str(value)}
        for name, value in document.items()
        if name != "todo"
    ]
    shown += [{"": f"{name} to do", "rows": f"{n:,}"} for name, n in document["todo"].items()]
    session.output.result(document, lambda: _table(shown, right=()), as_json=as_json)


def _todo(session: opt.Session, workspace: Workspace, counts: dict[str, int]) -> dict[str, int]:
    """Captions and summaries that the present model, prompts and recipe have not made yet; no model is made for it."""
    from ..errors import MsrError
    from ..models import embedded
    from ..store import results

    captions = counts["images"] - min(counts["captions"], counts["images"])
    summaries = counts["users"] - min(counts["users_with_summary"], counts["users"])
    if workspace.setting("model") or embedded.prepared_path().exists():
        # A model that is broken or gone makes nothing: then what any one has made counts.
        with contextlib.suppress(MsrError), session.recommender(workspace, lambda *_: None) as recommender:
            if recommender.weights.caption_id is not None:
                captions = recommender.captions.missing()
            summaries = 0
            if recommender.recipe.summary:
                summaries = counts["users"] - results.users_summarised(workspace, recommender.preferences.settings)
    return {"captions": captions, "summaries": summaries}


def _table(rows: list[dict[str, Any]], *, right: tuple[str, ...]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in rows[0] if rows else ("nothing here yet",):
        table.add_column(name.replace("_", " "), justify="right" if name in right else "left")
    for row in rows:
        cells = (printable("" if value is None else str(value)) for value in row.values())
        table.add_row(*map(Text, cells))
    return table
