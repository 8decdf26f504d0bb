"""`msr-local ingest ITEMS INTERACTIONS`"""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..models.asking import Asking
from ..progress import Progress
from . import options as opt
from .output import REJECTED

if TYPE_CHECKING:
    from ..catalogue.ingest import Ingested, Words
    from ..recipe.recommender import Recommender
    from ..store.workspace import Workspace

_BLIND = (
    "The model has no projector, so the pictures are not captioned: items are described by title and attributes. "
    "Next, to use the pictures: msr-local models use FILE --mmproj FILE, then ingest again."
)
_NARROW = (
    "The embedded model writes the captions. It was trained on pictures of clothes, groceries and the demo only. "
    "Next, for other pictures: msr-local models use FILE --mmproj FILE; or --no-captions now and --recipe "
    "no-image later."
)
_UNLEARNED = "Recall is not fitted to these histories. Next, to fit it (takes minutes): the same command with --learn."
_WHY = {"identifier": "identifies", "link": "links", "copy": "repeats another column", "constant": "never changes",
        "empty": "holds no words"}  # fmt: skip
_FILES = ("items", "interactions")  # before a colon: the file that an option is about
_SHOWN = 5  # kinds of rejects on the screen; all rows are in the table


@opt.engines()
@opt.asking(
    "block_size",
    "window",
    "direct",
    "model",
    "projector",
    "image_detail",
    "image_tokens",
    "gpu_layers",
    "as_is",
    "context",
    "threads",
)
def ingest(
    ctx: typer.Context,
    items: Annotated[
        Path,
        typer.Argument(
            metavar="ITEMS", exists=True, help="Items: CSV, TSV, JSON, Parquet, RecBole, or a folder with both."
        ),
    ],
    interactions: Annotated[
        Path | None,
        typer.Argument(metavar="INTERACTIONS", exists=True, help="Interactions.", show_default="found in the folder"),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            exists=True, file_okay=False, metavar="DIR",
            help="A folder of pictures, named by item id or by the items' column image.",
        ),
    ] = None,
    mapping: Annotated[
        list[str] | None,
        typer.Option(
            "--map", metavar="COLUMN=FIELD",
            help="Read this column as this field, as in sku=item_id; in one of the files: items:sku=item_id.",
        ),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAMES",
            help="The columns of a file without a header, as in user,item,time; of the items: items:item_id,title.",
        ),
    ] = None,
    encoding: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="The encoding of the files, as in gb18030; of one: items:gb18030.",
            show_default="as their bytes show",
        ),
    ] = None,
    day_first: Annotated[
        bool | None,
        typer.Option(
            "--day-first/--month-first", help="What comes first in dates like 3/4/2019.",
            show_default="as the column shows",
        ),
    ] = None,
    min_rating: Annotated[
        float | None,
        typer.Option(
            metavar="R", help="Keep interactions rated below R out of the histories, and never recommend their items."
        ),
    ] = None,
    captions: Annotated[bool, typer.Option(help="Caption the pictures, if the model has a projector.")] = True,
    max_captions: opt.MaxCaptions = None,
    summaries: Annotated[
        bool, typer.Option(help="Write the preference summaries of all users now, not when they are needed.")
    ] = False,
    describe: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMNS", help="Columns that describe an item to the model, as in type,grapes; auto: as measured.",
        ),
    ] = None,
    describe_tokens: Annotated[
        int | None, typer.Option(min=16, max=2048, metavar="N", help="Tokens of a description.", show_default="64")
    ] = None,
    learn: Annotated[bool, opt.flag("--learn", "Fit recall to the histories: minutes. finetune does it too.")] = False,
    *,
    engines: opt.Engines,
    asking: Asking,
    as_json: opt.Json = False,
) -> None:  # fmt: skip
    """Read items and interactions, and caption pictures.

    Running it again adds only what is new.

    Rows that cannot be used are kept with the reason in the table `rejects`; the exit code is then 3.
    """
    from ..catalogue.ingest import ingest as read
    from ..models.registry import NONE
    from ..recall import learning
    from ..viewer.workspace import ingested_view

    session: opt.Session = ctx.obj
    if interactions is None and items.is_file():
        raise typer.BadParameter(
            "give an interactions file too (the same again, if it holds both), or one folder that holds both files."
        )
    if min_rating is not None and not math.isfinite(min_rating):
        raise typer.BadParameter(f"--min-rating {min_rating}: give a number.")
    for_both, of_items, of_interactions = _words(mapping or [], columns or [], encoding or [])
    with session.workspace() as workspace, session.output.progress() as progress, engines.opening() as opening:
        done = read(
            workspace, items, interactions, images=images, mapping=for_both, of_items=of_items,
            of_interactions=of_interactions, day_first=day_first, min_rating=min_rating, progress=progress,
            tell=session.output.note,
        )  # fmt: skip
        document = _document(done) | {"descriptions": _describe(workspace, describe, describe_tokens)}
        _tell_descriptions(session, document["descriptions"])
        _tell_rejects(session, workspace, done)
        wanted = captions and done.images > 0
        if wanted or learn:
            with session.recommender(
                workspace, progress, replace(asking, adapter=NONE), opening=opening
            ) as recommender:
                if wanted and recommender.cast.sees:
                    document["captions"] = _caption(session, recommender, done.images, max_captions)
                elif wanted:
                    session.output.note(_BLIND)
                if learn:
                    document["recall"] = recommender.learn()
                    session.output.note(learning.told(document["recall"]))
        if summaries:
            # Of the adapter that will read them.
            with session.recommender(workspace, progress, asking, opening=opening) as recommender:
                document["summaries"] = _summarise(session, recommender, progress)
        if not learn and learning.worth_learning(workspace):
            session.output.note(_UNLEARNED)
    session.output.result(document, lambda: ingested_view(document), as_json=as_json)
    if done.rejected:
        raise typer.Exit(REJECTED)


def _words(mapping: list[str], columns: list[str], encodings: list[str]) -> tuple[dict[str, str], Words, Words]:
    """What is said of both files, of the items, and of the interactions."""
    from ..catalogue.ingest import Words

    maps: dict[str, dict[str, str]] = {"": {}, **{file: {} for file in _FILES}}
    for file, text in map(_of_file, mapping):
        column, _, field = text.rpartition("=")
        if not column:
            raise typer.BadParameter(f"--map {text}: write it as COLUMN=FIELD.")
        maps[file][column.strip()] = field.strip()
    names: dict[str, tuple[str, ...]] = {}
    for file, text in map(_of_file, columns):
        given = tuple(name.strip() for name in text.split(","))
        names[file or _file_with(given)] = given
    coded = dict.fromkeys(_FILES, next((text for file, text in map(_of_file, encodings) if not file), None))
    coded |= {file: text for file, text in map(_of_file, encodings) if file}
    of_items, of_interactions = (Words(maps[file], names.get(file, ()), coded[file]) for file in _FILES)
    return maps[""], of_items, of_interactions


def _of_file(text: str) -> tuple[str, str]:
    """`items:x` is x of the items; `x` is of no file in particular."""
    file, colon, rest = text.partition(":")
    return (file, rest) if colon and file in _FILES else ("", text)


def _file_with(columns: tuple[str, ...]) -> str:
    """Which of the files has these columns: only interactions have users."""
    from ..catalogue.fields import INTERACTION_FIELDS, lay_out

    return _FILES["user_id" in lay_out(columns, INTERACTION_FIELDS, {}).fields]


def _describe(workspace: Workspace, names: str | None, tokens: int | None) -> dict[str, Any]:
    """Keep what was asked for; returns what descriptions show from now on, and what each column is."""
    from ..recipe import columns
    from ..recipe.descriptions import Descriptions, choose

    kinds = columns.current(workspace).kinds
    chosen = None if names is None else [] if names == "auto" else [name.strip() for name in names.split(",")]
    if unknown := [name for name in chosen or () if name not in kinds and name != "title"]:
        raise typer.BadParameter(f"--describe {unknown[0]}: the items have {', '.join(kinds) or 'a title only'}.")
    choose(workspace, None if chosen is None else [name for name in chosen if name != "title"], tokens)
    made = Descriptions(workspace)
    return {"columns": list(made.order), "tokens": made.tokens, "kinds": dict(kinds)}


def _tell_descriptions(session: opt.Session, made: dict[str, Any]) -> None:
    """Say which columns the model will not see, and why."""
    left = [f"{name} ({_WHY.get(kind, 'tells little')})" for name, kind in made["kinds"].items()
            if name not in made["columns"]]  # fmt: skip
    if left:
        shown = ", ".join(["the title", *made["columns"]])
        session.output.note(f"Descriptions show {shown}, in {made['tokens']} tokens. Left out: {', '.join(left)}.")


def _caption(session: opt.Session, recommender: Recommender, pictures: int, limit: int | None) -> dict[str, int]:
    if recommender.cast.origin == "embedded" and len(recommender.captions.known()) < pictures:
        session.output.note(_NARROW)
    run = recommender.captions.make(limit=limit)
    for item, reason in run.failed[:_SHOWN]:
        session.output.note(f"No caption for item {item.item_id!r}: {reason}")
    if len(run.failed) > _SHOWN:
        session.output.note(f"  … and none for {len(run.failed) - _SHOWN:,} others. The same command tries them again.")
    return {"made": run.made, "present": run.present, "failed": len(run.failed), "left": run.left}


def _summarise(session: opt.Session, recommender: Recommender, progress: Progress) -> int:
    from ..store.histories import users

    if not recommender.recipe.summary:
        session.output.note(f"No summaries are written: the adapter's recipe, {recommender.recipe.name}, has none.")
        return 0
    everyone = [user["user"] for user in users(recommender.workspace)]
    people = ((user, recommender.history(user)) for user in everyone)
    progress("users", 0, len(everyone))
    failed: list[str] = []
    chains = recommender.preferences.chains(
        people, failed=lambda place, error: failed.append(f"{everyone[place]}: {error}")
    )
    for done, _ in enumerate(chains, start=1):
        progress("users", done, len(everyone))
    if failed:
        session.output.note(f"No summary for {len(failed):,} users, the first of them {failed[0]}")
    return len(everyone) - len(failed)


def _tell_rejects(session: opt.Session, workspace: Workspace, done: Ingested) -> None:
    from ..store.histories import kinds_of_rejects

    if not done.rejected:
        return
    session.output.note(f"{done.rejected:,} rejected rows and pictures, kept in the table rejects of {workspace.path}:")
    kinds = kinds_of_rejects(workspace, done.files)
    for count, file, line, reason in kinds[:_SHOWN]:
        more = f" (and {count - 1:,} more of this kind)" if count > 1 else ""
        session.output.note(f"  {file}:{line}: {reason}{more}")
    if done.rejected > min(_SHOWN, len(kinds)):
        session.output.note("  … Next: msr-local status --rejects")


def _document(done: Ingested) -> dict[str, Any]:
    return {
        "items": asdict(done.items),
        "interactions": asdict(done.interactions),
        "images": {"usable": done.images, "rejected": done.images_rejected},
        "rejected": done.rejected,
    }
