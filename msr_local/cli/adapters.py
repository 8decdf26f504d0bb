"""`msr-local adapters`: which there are, and which of them answers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from . import options as opt

if TYPE_CHECKING:
    from ..models.registry import Manifest
    from ..store.workspace import Workspace

app = typer.Typer(rich_markup_mode=None)
Form = Literal["adapter", "merged"]


@app.callback(invoke_without_command=True)
def adapters(ctx: typer.Context) -> None:
    """List, choose and delete adapters.

    An adapter (LoRA) is what finetune trains: it makes the model that it was trained on recommend better.
    """
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


@app.command(name="list")
def list_adapters(ctx: typer.Context, as_json: opt.Json = False) -> None:
    """List all adapters, how good they are, and which one is active."""
    from ..models import registry
    from ..models.choice import answering, shipped_recommender
    from ..viewer.workspace import adapters_view

    session: opt.Session = ctx.obj
    with session.workspace() as workspace:
        session.note_misfit(workspace)
        chosen = answering(workspace)
        rows = [
            _row(manifest, problem or _misfit(workspace, manifest), chosen)
            for manifest, problem in registry.list_adapters(workspace)
        ]
        ours = shipped_recommender(workspace)
        if ours and ours[0].name not in {row["name"] for row in rows}:
            rows.append(_row(ours[0], None, chosen) | {"shipped": True})
    if chosen and not any(row["active"] for row in rows):
        session.output.note(f"The active adapter {chosen[0]} is not there. Next: msr-local adapters use NAME, or none.")
    session.output.result(rows, lambda: adapters_view(rows), as_json=as_json)


@app.command()
def use(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME|none", help="An adapter; none: the plain model.")],
    form: Annotated[
        Form, typer.Option(help="adapter: the LoRA beside its base model; merged: one model made of both.")
    ] = "adapter",
    as_json: opt.Json = False,
) -> None:
    """Make an adapter the active one.

    It answers in this workspace from then on, with the base model that it was trained on.
    """
    from ..models import registry
    from ..models.choice import prompt_hashes, remember, shipped_recommender
    from ..viewer.tables import shown

    session: opt.Session = ctx.obj
    with session.workspace() as workspace:
        if name == registry.NONE:
            registry.activate(workspace, registry.NONE)
        elif ours := shipped_recommender(workspace, name):
            registry.check_form(ours[0], form)
            registry.check_prompts(ours[0], prompt_hashes(workspace, ours[0].prompts))
            with workspace.write():  # both or neither
                registry.activate(workspace, None)
                remember(workspace, None, None)
        else:
            use_adapter(workspace, name, form)
        kept = workspace.setting("model")
    chosen = None if name == registry.NONE else name
    document = {
        "adapter": chosen,
        "form": form if chosen else None,
        "model": kept["model"] if kept else None,
        "mmproj": kept["mmproj"] if kept else None,
    }
    model = kept["model"] if kept else "the embedded model"
    answers = {None: model, "adapter": f"adapter {chosen} on {model}", "merged": f"adapter {chosen}, merged"}
    said = f"This workspace is now answered by {answers[document['form']]}."
    session.output.result(document, lambda: shown(said), as_json=as_json)


@app.command()
def rm(
    ctx: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="The adapters to delete.")],
    force: Annotated[bool, opt.flag("--force", "Delete the active adapter too: the default one answers then.")] = False,
    as_json: opt.Json = False,
) -> None:
    """Delete adapters and their files."""
    from ..errors import InputError
    from ..models import registry
    from ..models.choice import answering, shipped_recommender
    from ..viewer.tables import shown

    session: opt.Session = ctx.obj
    wanted = list(dict.fromkeys(names))
    with session.workspace() as workspace:
        for name in wanted:  # all or none
            if shipped_recommender(workspace, name):
                raise InputError(f"adapter {name} comes with msr-local. Next: msr-local adapters use none.")
            registry.require(workspace, name)
        chosen = registry.active(workspace)
        was_active = chosen is not None and chosen[0] in wanted
        if was_active and not force:
            assert chosen is not None
            raise InputError(
                f"adapter {chosen[0]} is the active one. Next: msr-local adapters use none, or rm with --force."
            )
        for name in wanted:
            registry.remove(workspace, name)
        now = answering(workspace)
    said = f"Deleted {', '.join(wanted)}."
    if was_active:
        said += f" {f'Adapter {now[0]}' if now else 'The plain model'} answers now."
    session.output.result({"removed": wanted, "deactivated": was_active}, lambda: shown(said), as_json=as_json)


def _row(manifest: Manifest, problem: str | None, chosen: tuple[str, str] | None) -> dict[str, Any]:
    value, interval = _auc(manifest.metrics, "after")
    active = chosen is not None and chosen[0] == manifest.name
    return {
        "name": manifest.name,
        "active": active,
        "form": chosen[1] if chosen and active else None,
        "base": manifest.base["name"],
        "recipe": manifest.recipe.get("name"),
        "auc": value,
        "auc_ci95": interval,
        "auc_before": _auc(manifest.metrics, "before")[0],
        "bytes": sum(file["bytes"] for file in manifest.files.values()),
        "files": manifest.files,
        "backend": manifest.backend,
        "run_id": manifest.run_id,
        "shipped": False,
        "created": manifest.created,
        "problem": problem,
    }


def _auc(metrics: dict[str, Any], when: str) -> tuple[float | None, list[float] | None]:
    """The validation AUC in a manifest with its interval; a manifest may come from anywhere."""
    try:
        found = metrics[when]["auc"]
        value = float(found["value"])
        low, high = (float(one) for one in found["ci95"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None, None
    return (value, [low, high]) if all(map(math.isfinite, (value, low, high))) else (None, None)


def use_adapter(workspace: Workspace, name: str, form: str = "adapter") -> None:
    """Let an adapter and its base model answer in `workspace`.

    Raises `NotFoundError` when it is not there, and `ModelError` when its files, the active prompts or its base
    are not those of its training; nothing is changed then.
    """
    from ..models import registry
    from ..models.choice import prompt_hashes, remember

    manifest = registry.find(workspace, name)
    registry.check(workspace, manifest, prompt_hashes(workspace, manifest.prompts))
    base = _base(workspace, manifest)
    with workspace.write():  # both or neither
        registry.activate(workspace, name, form)
        remember(workspace, *base)


def _base(workspace: Workspace, manifest: Manifest) -> tuple[Path | None, Path | None]:
    """Model and projector to use with an adapter: the workspace's own where they are the same, else the manifest's.

    (None, None) is the embedded model. Raises `ModelError` when the files of the base are gone or were changed.
    """
    from ..errors import ModelError
    from ..models import embedded
    from ..models.registry import check_base

    base, kept = manifest.base, workspace.setting("model")
    if base["name"] == "embedded":
        prepared = embedded.prepared_path()
        if prepared.exists():  # else it is made, and compared, when it is first asked
            check_base(manifest, workspace.file_sha256(prepared), None)
        return None, None
    if kept and _fits(workspace, manifest, kept["model"], kept["mmproj"]):
        return Path(kept["model"]), Path(kept["mmproj"]) if kept["mmproj"] else None
    for path in (base["model"], base["mmproj"]):
        if path is not None and not Path(path).is_file():
            raise ModelError(
                f"{path}: the model that adapter {manifest.name} was made for is gone. Next: bring it back, or "
                f"msr-local models use --model FILE with a copy of it, then msr-local adapters use {manifest.name}."
            )
    if not _fits(workspace, manifest, base["model"], base["mmproj"]):
        raise ModelError(
            f"{base['model']}: not the model any more that adapter {manifest.name} was made for. "
            "Next: bring it back, or msr-local finetune again."
        )
    return Path(base["model"]), Path(base["mmproj"]) if base["mmproj"] else None


def _fits(workspace: Workspace, manifest: Manifest, model: str, mmproj: str | None) -> bool:
    from ..errors import ModelError
    from ..models.registry import check_base

    try:
        hashes = [workspace.file_sha256(Path(path)) if path else None for path in (model, mmproj)]
        check_base(manifest, str(hashes[0]), hashes[1])
    except (OSError, ModelError):
        return False
    return True


def _misfit(workspace: Workspace, manifest: Manifest) -> str | None:
    """Why the adapter cannot answer in this workspace as it is, or None."""
    from ..errors import MsrError
    from ..models.choice import prompt_hashes
    from ..models.registry import check

    try:
        check(workspace, manifest, prompt_hashes(workspace, manifest.prompts))
    except MsrError as error:
        return str(error)
    return None
