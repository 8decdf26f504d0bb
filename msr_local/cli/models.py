"""`msr-local models`: which model answers, which there are, and getting more."""

from __future__ import annotations

from typing import Annotated

import typer

from ..models.asking import Asking
from . import options as opt

app = opt.group(
    "List, download, choose and check language models.\n\n"
    "SPEC names a model: FILE.gguf, ORG/REPO[:QUANT], hf://ORG/REPO@REV/FILE.gguf, an alias of models list, or "
    "embedded. Nothing is downloaded but by models pull. Alone, it lists.",
    default=lambda ctx: _list(ctx, as_json=False),
)
Spec = Annotated[str, typer.Argument(metavar="SPEC", help="A model, as models list names it.")]


@app.command(name="list")
def list_models(ctx: typer.Context, as_json: opt.Json = False) -> None:
    """List the models on this machine, which one this workspace uses, and what else can be pulled by an alias."""
    _list(ctx, as_json=as_json)


def _list(ctx: typer.Context, *, as_json: bool) -> None:
    from ..models import listing, shipped
    from ..viewer.workspace import models_view

    session: opt.Session = ctx.obj
    if complaint := shipped.complaint(shipped.EYES):
        session.output.note(complaint)
    with session.workspace() as workspace:
        rows = [row.to_json() for row in listing.rows(workspace)]
    session.output.result(rows, lambda: models_view(rows), as_json=as_json)


@app.command()
def show(ctx: typer.Context, spec: Spec, as_json: opt.Json = False) -> None:
    """Show what is known of a model without loading it: files, licence, context, and what was tried with it."""
    from ..models.listing import facts
    from ..viewer.workspace import known_view

    session: opt.Session = ctx.obj
    document = facts(spec, session.output.note)
    session.output.result(document, lambda: known_view(document), as_json=as_json)


@app.command()
def pull(
    ctx: typer.Context,
    spec: Annotated[
        str,
        typer.Argument(
            metavar="SPEC", help="ORG/REPO[:QUANT], hf.co/ORG/REPO, hf://ORG/REPO@REV/FILE.gguf, or an alias."
        ),
    ],
    mmproj: Annotated[
        str,
        typer.Option(metavar="auto|none|FILE", help="The projector to take with it, a file of the same repository."),
    ] = "auto",
    alias: Annotated[
        str | None,
        typer.Option("--alias", metavar="NAME", help="A name of your own for it, wherever SPEC is asked for."),
    ] = None,
    choose: Annotated[bool, opt.flag("--use", "Let it answer in this workspace from then on.")] = False,
    dry_run: Annotated[bool, opt.flag("--dry-run", "Only say what would be downloaded.")] = False,
    offline: Annotated[bool, opt.flag("--offline", "Ask no hub: take what is here.")] = False,
    as_json: opt.Json = False,
) -> None:
    """Download a model, with its projector, into the Hugging Face cache.

    Without QUANT it is Q4_K_M, else Q8_0, else the first. HF_TOKEN, HF_ENDPOINT, HF_HUB_CACHE, HF_HOME, LLAMA_CACHE and
    HF_HUB_OFFLINE are honoured.
    """
    from ..models import hub, hub_cache, names, own_aliases
    from ..models.choice import choose as choose_model
    from ..viewer.workspace import pulled_view

    session: opt.Session = ctx.obj
    note = session.output.note
    if alias:
        own_aliases.valid(alias)
    plan = None if offline or hub.offline() else hub.plan(spec, mmproj)
    document = plan.to_json() if plan else {}
    if not (plan and dry_run):
        if plan:
            note(f"{document['to_download'] / 1e6:,.0f} MB are to be downloaded to {hub_cache.folder()}.")
            with session.output.progress() as progress:
                files = hub.pull(plan, progress=progress, note=note)
        else:
            files = hub.here(spec, mmproj, note)
        projector = str(files.projector) if files.projector else None
        document |= {"model": str(files.model), "mmproj": projector, "used": choose and not dry_run}
        if not projector and mmproj != "none":
            note(f"There is no projector for {files.model.name} there: it sees no pictures.")
        if alias and not dry_run:
            own_aliases.remember(alias, str(names.parse(spec)))
            note(f"{alias} now stands for {names.parse(spec)}.")
        if choose and not dry_run:
            with session.workspace() as workspace:
                choose_model(workspace, files.model, files.projector or "none")
            note(f"This workspace now uses {files.model}.")
    session.output.result(document, lambda: pulled_view(document), as_json=as_json)


@app.command()
def rm(
    ctx: typer.Context,
    spec: Spec,
    force: Annotated[bool, opt.flag("--force", "Delete the model that answers here too.")] = False,
    as_json: opt.Json = False,
) -> None:
    """Delete a pulled model from the Hugging Face cache; its projector with the last model of its repository."""
    from ..errors import InputError
    from ..models.choice import chosen_files, use_model
    from ..models.find import find
    from ..models.hub import remove
    from ..models.names import NONE
    from ..viewer.tables import shown

    session: opt.Session = ctx.obj
    with session.workspace() as workspace:
        chosen, files = chosen_files(workspace), find(spec, NONE)
        active = bool(files and chosen and chosen.model == files.model)
        if active and not force:
            raise InputError(f"{spec} answers in this workspace. Next: msr-local models use embedded, or --force.")
        document = remove(spec)
        if active:
            use_model(workspace, None)
    said = f"Deleted {', '.join(document['files'])} of {document['repository']}: {document['bytes'] / 1e6:,.0f} MB."
    session.output.result(document, lambda: shown(said), as_json=as_json)


@app.command()
def scan(ctx: typer.Context, as_json: opt.Json = False) -> None:
    """Look for models that other programs keep here: the hub's cache, llama.cpp, LM Studio, Ollama.

    Each can be given to models use by its path. Nothing of theirs is changed.
    """
    from ..models.listing import scan as look
    from ..viewer.workspace import scan_view

    session: opt.Session = ctx.obj
    rows = [one.to_json() for one in look()]
    session.output.result(rows, lambda: scan_view(rows), as_json=as_json)


@app.command()
def use(
    ctx: typer.Context,
    spec: Annotated[
        str | None,
        typer.Argument(metavar="SPEC", help="FILE.gguf, ORG/REPO[:QUANT] that was pulled, an alias, or embedded."),
    ] = None,
    model: Annotated[str | None, typer.Option("--model", hidden=True, help="As SPEC.")] = None,
    mmproj: opt.Projector = None,
    embedded: Annotated[bool, typer.Option("--embedded", hidden=True, help="As `embedded`.")] = False,
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
@opt.asking("model", "projector", "gpu_layers", "as_is")
def verify(ctx: typer.Context, *, asking: Asking, as_json: opt.Json = False) -> None:
    """Load the model and show what it can do: context, pictures, chat template, tokens for yes and no.

    A model that cannot be asked is refused, with the reason. One behind a server is asked a question.
    """
    from dataclasses import asdict

    from ..engine.types import ServerConfig
    from ..viewer.workspace import model_view

    session: opt.Session = ctx.obj
    with session.answering(asking) as recommender:
        judge, config = recommender.judge, recommender.cast.config
        if isinstance(config, ServerConfig):
            facts = {"vision": config.sees, **asdict(judge.trial())}
        else:
            judge.tokens.rendered(judge.sample())  # raises where the chat template takes no question
            facts = asdict(recommender.tokens.facts)
        document = {**facts, **recommender.cast.to_json()}
    session.output.result(document, lambda: model_view(document), as_json=as_json)
