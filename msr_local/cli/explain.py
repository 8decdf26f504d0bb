"""`msr-local explain USER [ITEM]`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options as opt


def explain(
    context: typer.Context,
    user: Annotated[str, typer.Argument(metavar="USER", help="A user id of the interactions.", show_default=False)],
    item: Annotated[
        str | None, typer.Argument(metavar="ITEM", help="An item id.", show_default="the first recommendation")
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(dir_okay=False, metavar="FILE", help="Write a page that stands alone.", show_default=False),
    ] = None,
    k: opt.Top = 10,
    candidates: opt.Candidates = 100,
    look: opt.Look = 20,
    recipe: opt.RecipeOption = None,
    block_size: opt.BlockSize = None,
    history: opt.History = None,
    direct: opt.Direct = False,
    adapter: opt.Adapter = None,
    model: opt.Model = None,
    mmproj: opt.Mmproj = None,
    image_detail: opt.Detail = opt.ImageDetail.overview,
    context_size: opt.Context = 4096,
    threads: opt.Threads = None,
    as_json: opt.Json = False,
) -> None:
    """Show taste over time, and why an item.

    The evidence is measured: each part of the question is left out, and the question asked again.
    """
    from ..recipe.explanations import explain as explain_item
    from ..viewer import explanation_view, html_report

    session: opt.Session = context.obj
    if html is not None and not html.parent.is_dir():
        raise typer.BadParameter(f"--html {html}: there is no folder {html.parent}.")
    with session.workspace() as workspace, session.output.progress() as progress:
        recommender = session.recommender(
            workspace, progress, adapter=adapter, model=model, mmproj=mmproj, threads=threads,
            context=context_size, detail=image_detail, recipe=recipe, block_size=block_size, window=history,
            direct=direct,
        )  # fmt: skip
        with recommender:
            found = explain_item(recommender, user, item, k, candidates, look)
    if html is not None:
        html.write_text(html_report(found), encoding="utf-8")
        session.output.note(f"Wrote {html}.")
    session.output.result(found.to_json(), lambda: explanation_view(found), as_json=as_json)
