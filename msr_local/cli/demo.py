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
    from ..recipe.explanations import explain
    from ..viewer import explanation_view

    session: opt.Session = context.obj
    home = session.home if session.home_given else Path(platformdirs.user_data_dir("msr-local-demo"))
    with session.workspace(home) as workspace, session.output.progress() as progress:
        with as_file(files("msr_local") / "demo") as folder:
            ingest(workspace, folder / "items.csv", folder / "interactions.csv", progress=progress)
        with session.recommender(workspace, progress) as recommender:
            explanation = explain(recommender, user)
    session.output.result(None, lambda: explanation_view(explanation), as_json=False)
    session.output.note("")
    session.output.note(f"Go on: msr-local --home {shlex.quote(str(home))} users")
    session.output.note("Your data: msr-local ingest items.csv interactions.csv, then msr-local recommend USER")
    session.output.note("A bigger model, with eyes: msr-local models use --model FILE.gguf --mmproj FILE.gguf")
