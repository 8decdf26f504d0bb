"""`msr-local models`: which weights answer."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from . import options as opt

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def models(context: typer.Context) -> None:
    """Choose and check the model that answers."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command(name="list")
def list_models(context: typer.Context, as_json: opt.Json = False) -> None:
    """Show the embedded model and the workspace's choice."""
    from contextlib import suppress

    from ..errors import ModelError
    from ..models import embedded, shipped

    session: opt.Session = context.obj
    eyes = None
    with session.workspace() as workspace:
        kept = workspace.setting("model")
        with suppress(ModelError):  # they say what is wrong where they are used
            eyes = shipped.find(workspace, shipped.EYES)
    ours = {"model": str(embedded.prepared_path()), "mmproj": str(eyes.file) if eyes else None}
    rows: list[dict[str, Any]] = [{"name": "embedded", "active": kept is None, **ours}]
    if kept:
        rows.append({"name": "workspace", "active": True, **kept})
    from .browse import _table

    session.output.result(rows, lambda: _table(rows, right=()), as_json=as_json)


@app.command()
def use(
    context: typer.Context,
    model: opt.Model = None,
    mmproj: opt.Mmproj = None,
    embedded: Annotated[bool, typer.Option("--embedded", help="Go back to the embedded model.")] = False,
) -> None:
    """Keep a model, and its projector if it has one, as the workspace's default."""
    from ..engine.llama.gguf import require_gguf
    from ..models.choice import remember

    session: opt.Session = context.obj
    if embedded == (model is not None):
        raise typer.BadParameter("give either --model FILE [--mmproj FILE] or --embedded.")
    if mmproj is not None and model is None:
        raise typer.BadParameter("--mmproj needs the --model it was made for.")
    for path in (model, mmproj):
        if path is not None:
            require_gguf(path)
    with session.workspace() as workspace:
        remember(workspace, model, mmproj)
    session.output.note(f"This workspace now uses {model or 'the embedded model'}.")


@app.command()
def verify(
    context: typer.Context,
    model: opt.Model = None,
    mmproj: opt.Mmproj = None,
    as_json: opt.Json = False,
) -> None:
    """Load the model and say what it can do: context, pictures, chat template, yes and no tokens."""
    from dataclasses import asdict

    session: opt.Session = context.obj
    with (
        session.workspace() as workspace,
        session.output.progress() as progress,
        session.recommender(workspace, progress, model=model, mmproj=mmproj) as recommender,
    ):
        document = {**asdict(recommender.asker.facts), **recommender.weights.to_json()}
    rows = [{"": name.replace("_", " "), "value": _short(value)} for name, value in document.items()]
    from .browse import _table

    session.output.result(document, lambda: _table(rows, right=()), as_json=as_json)


def _short(value: Any) -> str:
    text = ", ".join(repr(one) for one in value) if isinstance(value, tuple) else str(value)
    return text if len(text) <= 80 else text[:79] + "…"
