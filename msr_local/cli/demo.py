"""`msr-local demo`: the whole recipe on an invented catalogue, offline."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated

import typer

from . import options as opt


def demo(
    context: typer.Context,
    user: Annotated[str, typer.Option(metavar="USER", help="One of the invented users.")] = "ada",
) -> None:
    """Recommend and explain on invented films."""
    import shlex

    import platformdirs

    from ..catalogue.ingest import ingest
    from ..errors import InputError
    from ..recipe.explanations import explain
    from ..store import histories
    from ..viewer import explanation_view

    session: opt.Session = context.obj
    home = session.home if session.home_given else Path(platformdirs.user_data_dir("msr-local-demo"))
    with (
        session.workspace(home) as workspace,
        session.output.progress() as progress,
        as_file(files("msr_local") / "demo") as folder,
    ):
        if workspace.setting("demo") is None and histories.counts(workspace)["items"]:
            raise InputError(f"{home}: this workspace holds other items. Next: msr-local --home DIR demo.")
        workspace.set_setting("demo", True)
        ingest(workspace, folder / "items.csv", folder / "interactions.csv", progress=progress)
        with session.recommender(workspace, progress) as recommender:
            explanation = explain(recommender, user)
    session.output.result(None, lambda: explanation_view(explanation), as_json=False)
    session.output.note("")
    session.output.note(f"Go on: msr-local --home {shlex.quote(str(home))} users")
    session.output.note("Your data: msr-local ingest items.csv interactions.csv, then msr-local recommend USER")
    session.output.note("A bigger model, with eyes: msr-local models use --model FILE.gguf --mmproj FILE.gguf")
