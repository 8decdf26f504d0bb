"""`msr-local demo`: the whole recipe on a drawn catalogue, offline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options as opt

_SHOP = "drawn"  # which demo a workspace holds: there were films once


def demo(
    context: typer.Context,
    user: Annotated[str, typer.Option(metavar="USER", help="One of the invented shoppers.")] = "ada",
    limit: Annotated[
        int | None, typer.Option("--limit", min=0, metavar="N", help="Caption at most N pictures.", show_default="all")
    ] = None,
) -> None:
    """Draw a shop, look at its pictures, recommend and explain.

    Everything is invented: 300 products, their pictures, and 60 shoppers whose taste changes.
    """
    import shlex

    import platformdirs

    from ..catalogue.ingest import ingest
    from ..demo.shop import write as draw_shop
    from ..errors import InputError
    from ..recipe.explanations import explain
    from ..store import histories
    from ..viewer import explanation_view

    session: opt.Session = context.obj
    home = session.home if session.home_given else Path(platformdirs.user_data_dir("msr-local-demo"))
    with session.workspace(home) as workspace, session.output.progress() as progress:
        if workspace.setting("demo") != _SHOP and histories.counts(workspace)["items"]:
            raise InputError(f"{home}: this workspace holds other items. Next: msr-local --home DIR demo.")
        workspace.set_setting("demo", _SHOP)
        shop = home / "shop"
        draw_shop(shop)
        ingest(workspace, shop / "items.csv", shop / "interactions.csv", progress=progress)
        with session.recommender(workspace, progress) as recommender:
            if recommender.weights.caption_id:
                recommender.captions.make(limit=limit)
            explanation = explain(recommender, user)
    session.output.result(None, lambda: explanation_view(explanation), as_json=False)
    at = f"msr-local --home {shlex.quote(str(home))}"
    for line in (
        "",
        f"Go on here: {at} users · {at} recommend bruno · {at} items",
        "Your data: msr-local ingest items.csv interactions.csv, then msr-local recommend USER",
        "A recommender of your own: msr-local finetune --name mine --activate",
        "A bigger model, with better eyes: msr-local models use --model FILE.gguf --mmproj FILE.gguf",
    ):
        session.output.note(line)
