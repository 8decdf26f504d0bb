"""`msr-local adapters`: which there are, and which of them answers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from . import options as opt

if TYPE_CHECKING:
    from ..models.registry import Manifest

app = opt.group(
    "List, choose and delete adapters.\n\n"
    "An adapter (LoRA) is what finetune trains: it makes the model that it was trained on recommend better."
)
Form = Literal["adapter", "merged"]


@app.command(name="list")
def list_adapters(ctx: typer.Context, as_json: opt.Json = False) -> None:
    """List all adapters, how good they are, and which one is active."""
    from ..models import registry, shipped
    from ..models.choice import answering, misfit, shipped_recommender
    from ..viewer.workspace import adapters_view

    session: opt.Session = ctx.obj
    with session.workspace() as workspace:
        session.note_misfit(workspace)
        chosen = answering(workspace)
        rows = [
            _row(manifest, problem or misfit(workspace, manifest), chosen)
            for manifest, problem in registry.list_adapters(workspace)
        ]
        ours = shipped_recommender(workspace)
        if ours and ours.manifest.name not in {row["name"] for row in rows}:
            problem = shipped.complaint(shipped.RECOMMENDER)
            rows.append(_row(ours.manifest, problem, chosen) | {"shipped": True})
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
    from ..models.choice import NONE, chosen_model, use_adapter
    from ..viewer.tables import shown

    session: opt.Session = ctx.obj
    with session.workspace() as workspace:
        use_adapter(workspace, name, form)
        kept = chosen_model(workspace)
    chosen = None if name == NONE else name
    document = {
        "adapter": chosen,
        "form": form if chosen else None,
        **(kept or {"model": None, "mmproj": None}),
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
