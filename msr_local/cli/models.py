"""`msr-local models`: which model answers."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ..models.asking import Asking
from . import options as opt

app = opt.group("Choose and check the language model.")


@app.command(name="list")
def list_models(ctx: typer.Context, as_json: opt.Json = False) -> None:
    """List the embedded model and the one that this workspace has chosen, if any."""
    from ..models import embedded, shipped
    from ..models.choice import chosen_model
    from ..viewer.tables import rows_table

    session: opt.Session = ctx.obj
    with session.workspace() as workspace:
        kept = chosen_model(workspace)
    complaint = shipped.complaint(shipped.EYES)
    if complaint:
        session.output.note(complaint)
    projector = None if complaint else shipped.find(shipped.EYES)
    ours = {"model": str(embedded.prepared_path()), "mmproj": str(projector.file) if projector else None}
    rows: list[dict[str, Any]] = [{"name": "embedded", "active": kept is None, **ours}]
    if kept:
        rows.append({"name": "workspace", "active": True, **kept})
    session.output.result(rows, lambda: rows_table(rows), as_json=as_json)


@app.command()
def use(
    ctx: typer.Context,
    spec: Annotated[
        str | None,
        typer.Argument(metavar="SPEC", help="FILE.gguf, ORG/REPO[:QUANT] that was pulled, an alias, or embedded."),
    ] = None,
    model: Annotated[str | None, typer.Option("--model", hidden=True)] = None,
    mmproj: opt.Projector = None,
    embedded: Annotated[bool, typer.Option("--embedded", hidden=True)] = False,
) -> None:
    """Choose the model of this workspace, with its projector if it has one.

    It is looked at first: what cannot answer is refused, and the old choice stays.
    """
    from ..models.choice import choose

    session: opt.Session = ctx.obj
    given = [one for one in (spec, model, "embedded" if embedded else None) if one is not None]
    if len(given) != 1:
        raise typer.BadParameter("give one model: FILE.gguf, ORG/REPO[:QUANT], an alias, or embedded.")
    with session.workspace() as workspace:
        files = choose(workspace, given[0], mmproj, session.output.note)
    session.output.note(f"This workspace now uses {files.model if files else 'the embedded model'}.")


@app.command()
@opt.asking("model", "projector")
def verify(ctx: typer.Context, *, asking: Asking, as_json: opt.Json = False) -> None:
    """Load the model and show what it can do: context, pictures, chat template, tokens for yes and no.

    A model that cannot be asked is refused, with the reason.
    """
    from dataclasses import asdict

    from ..viewer.workspace import model_view

    session: opt.Session = ctx.obj
    with session.answering(asking) as recommender:
        tokens = recommender.judge.tokens
        tokens.rendered(recommender.judge.sample())  # raises where the chat template takes no question
        document = {**asdict(recommender.tokens.facts), **recommender.cast.to_json()}
    session.output.result(document, lambda: model_view(document), as_json=as_json)
