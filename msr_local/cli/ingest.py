"""`msr-local ingest ITEMS INTERACTIONS`"""

from __future__ import annotations

import functools
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import REJECTED
from . import options as opt

if TYPE_CHECKING:
    from ..catalogue.ingest import Ingested
    from ..recipe.recommender import Recommender
    from ..store.workspace import Workspace

_BLIND = (
    "No vision model is configured: items are described by title and attributes. "
    "Next, to use the pictures: msr-local models use --model FILE --mmproj FILE, then ingest again."
)
_NARROW = (
    "The embedded model writes the captions: its eyes know clothes, groceries and the demo's drawings, nothing else. "
    "For other pictures: --no-captions here and --recipe no-image later, or msr-local models use --model FILE "
    "--mmproj FILE."
)
_UNLEARNED = "Recall is not fitted to these histories. Next, to learn it (minutes): the same with --learn."
_SHOWN = 5  # rejects on the screen; all of them are in the table


def ingest(
    context: typer.Context,
    items: Annotated[
        Path,
        typer.Argument(
            metavar="ITEMS", exists=True, help="Items: CSV, TSV, JSONL, Parquet, .item, .dat, or one folder."
        ),
    ],
    interactions: Annotated[
        Path | None,
        typer.Argument(metavar="INTERACTIONS", exists=True, help="Interactions.", show_default="found in the folder"),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            metavar="DIR",
            help="A folder of pictures, named by item id or by the items' column image.",
        ),
    ] = None,
    mapping: Annotated[
        list[str] | None, typer.Option("--map", metavar="COLUMN=FIELD", help="Say what a column is.")
    ] = None,
    min_rating: Annotated[
        float | None, typer.Option(metavar="R", help="Lower ratings are kept apart: no history, never recommended.")
    ] = None,
    captions: Annotated[bool, typer.Option(help="Caption pictures, where a vision model is configured.")] = True,
    limit: Annotated[int | None, typer.Option(min=0, metavar="N", help="Caption at most N pictures now.")] = None,
    summaries: Annotated[bool, typer.Option(help="Summarise all users ahead of time.")] = False,
    learn: Annotated[
        bool, typer.Option("--learn", help="Learn from the histories how to recall (minutes; finetune does it too).")
    ] = False,
    block_size: opt.BlockSize = None,
    history: opt.History = None,
    direct: opt.Direct = False,
    model: opt.Model = None,
    mmproj: opt.Mmproj = None,
    image_detail: opt.Detail = opt.ImageDetail.overview,
    context_size: opt.Context = 4096,
    threads: opt.Threads = None,
    as_json: opt.Json = False,
) -> None:
    """Read items and interactions, caption pictures.

    Running it again adds only what is new.

    Rows that cannot be used are kept in the table `rejects` with the reason; the exit code is then 3.
    """
    from ..catalogue.ingest import ingest as read
    from ..models.choice import sees
    from ..models.registry import NONE
    from ..recall.learning import worth_learning

    session: opt.Session = context.obj
    if interactions is None and items.is_file():
        raise typer.BadParameter("give an interactions file too, or one folder that holds both files.")
    if min_rating is not None and not math.isfinite(min_rating):
        raise typer.BadParameter(f"--min-rating {min_rating}: give a number.")
    document: dict[str, Any] = {}
    with session.workspace() as workspace, session.output.progress() as progress:
        done = read(
            workspace, items, interactions, images=images, mapping=_mapping(mapping), min_rating=min_rating,
            progress=progress,
        )  # fmt: skip
        document.update(_document(done))
        _tell_rejects(session, workspace, done)
        wanted = captions and done.images > 0
        if wanted and not sees(workspace, model, mmproj):
            session.output.note(_BLIND)
            wanted = False
        opened = functools.partial(
            session.recommender, workspace, progress, model=model, mmproj=mmproj, threads=threads,
            context=context_size, detail=image_detail, block_size=block_size, window=history, direct=direct,
        )  # fmt: skip
        if wanted or learn:
            with opened(adapter=NONE) as recommender:
                if wanted:
                    document["captions"] = _caption(session, recommender, done.images, limit)
                if learn:
                    document["recall"] = _learn(session, recommender)
        if summaries:
            with opened() as recommender:  # in the recipe of the adapter that will read them
                document["summaries"] = _summarise(session, recommender, progress)
        if not learn and worth_learning(workspace):
            session.output.note(_UNLEARNED)
    session.output.result(document, lambda: _table(done, document), as_json=as_json)
    if done.rejected:
        raise typer.Exit(REJECTED)


def _mapping(given: list[str] | None) -> dict[str, str]:
    pairs = [text.rpartition("=") for text in given or ()]
    if bad := next((field for column, _, field in pairs if not column), None):
        raise typer.BadParameter(f"--map {bad}: write it as COLUMN=FIELD.")
    return {column: field for column, _, field in pairs}


def _caption(session: opt.Session, recommender: Recommender, pictures: int, limit: int | None) -> dict[str, int]:
    if recommender.weights.origin == "embedded" and len(recommender.captions.known()) < pictures:
        session.output.note(_NARROW)
    run = recommender.captions.make(limit=limit)
    for item, reason in run.failed[:_SHOWN]:
        session.output.note(f"No caption for item {item.item_id!r}: {reason}")
    return {"made": run.made, "present": run.present, "failed": len(run.failed), "left": run.left}


def _summarise(session: opt.Session, recommender: Recommender, progress: Any) -> int:
    from ..store.histories import users

    if not recommender.recipe.summary:
        session.output.note(f"Nobody summarised: the adapter's recipe, {recommender.recipe.name}, reads no summaries.")
        return 0
    everyone = [user["user"] for user in users(recommender.workspace)]
    people = ((user, recommender.history(user)) for user in everyone)
    progress("users", 0, len(everyone))
    for done, _ in enumerate(recommender.preferences.chains(people), start=1):
        progress("users", done, len(everyone))
    return len(everyone)


def _learn(session: opt.Session, recommender: Recommender) -> dict[str, Any]:

    from ..recall import learning

    facts = learning.learn(recommender)
    session.output.note(learning.told(facts))
    return facts


def _tell_rejects(session: opt.Session, workspace: Workspace, done: Ingested) -> None:
    from ..store.histories import rejects

    if not done.rejected:
        return
    session.output.note(f"{done.rejected:,} rejected, kept in the table rejects of {workspace.path}:")
    for row in rejects(workspace, _SHOWN, done.files):
        session.output.note(f"  {row['file']}:{row['line']}: {row['reason']}")
    if done.rejected > _SHOWN:
        session.output.note("  … Next: msr-local status --rejects")


def _document(done: Ingested) -> dict[str, Any]:
    return {
        "items": asdict(done.items),
        "interactions": asdict(done.interactions),
        "images": {"usable": done.images, "rejected": done.images_rejected},
        "rejected": done.rejected,
    }


def _table(done: Ingested, document: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    names = ("new", "changed", "unchanged", "duplicate", "low_rated", "rejected")
    table.add_column("")
    for name in names:
        table.add_column(name.replace("_", " "), justify="right")
    for kind in ("items", "interactions"):
        table.add_row(kind, *(f"{document[kind][name]:,}" for name in names))
    pictures = {"new": done.images, "rejected": done.images_rejected}
    if any(pictures.values()):
        table.add_row("pictures", *(f"{pictures[name]:,}" if name in pictures else "" for name in names))
    if made := document.get("captions"):
        values = {"new": made["made"], "unchanged": made["present"], "rejected": made["failed"]}
        table.add_row("captions", *(f"{values[name]:,}" if name in values else "" for name in names))
    return table
