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
    model: opt.Model = None,
    mmproj: opt.Projector = None,
    embedded: Annotated[bool, opt.flag("--embedded", "Go back to the embedded model.")] = False,
) -> None:
    """Choose the model of this workspace, with its projector if it has one."""
    from ..engine.llama.gguf import require_gguf
    from ..models.choice import use_model

    session: opt.Session = ctx.obj
    if embedded == (model is not None):
        raise typer.BadParameter("give either --model FILE [--mmproj FILE] or --embedded.")
    if mmproj is not None and model is None:
        raise typer.BadParameter("--mmproj also needs --model.")
    for path in (model, mmproj):
        if path is not None:
            require_gguf(path)
    with session.workspace() as workspace:
        use_model(workspace, model, mmproj)
    session.output.note(f"This workspace now uses {model or 'the embedded model'}.")


@app.command()
@opt.asking("model", "projector")
def verify(ctx: typer.Context, *, asking: Asking, as_json: opt.Json = False) -> None:
    """Load the model and show what it can do: context, pictures, chat template, tokens for yes and no."""
    from dataclasses import asdict

    from ..viewer.workspace import model_view

    session: opt.Session = ctx.obj
    with session.answering(asking) as recommender:
        document = {**asdict(recommender.tokens.facts), **recommender.cast.to_json()}
    session.output.result(document, lambda: model_view(document), as_json=as_json)
