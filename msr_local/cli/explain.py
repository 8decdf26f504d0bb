"""`msr-local explain USER [ITEM]`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..models.asking import Asking
from . import options as opt


@opt.asking()
def explain(
    ctx: typer.Context,
    user: Annotated[str, typer.Argument(metavar="USER", help="A user id of the interactions.", show_default=False)],
    item: Annotated[
        str | None, typer.Argument(metavar="ITEM", help="An item id.", show_default="the first recommendation")
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False, metavar="FILE", help="Also write the explanation as one HTML file.", show_default=False
        ),
    ] = None,
    k: opt.Top = 10,
    candidates: opt.Candidates = 100,
    look: opt.Look = 20,
    ask: opt.Ask = "enough",
    miss: opt.Miss = 0.01,
    *,
    asking: Asking,
    as_json: opt.Json = False,
) -> None:
    """Explain a recommendation to a user.

    Shows the user's taste over time, and what speaks for this item rather than for others. This evidence is measured:
    the model is asked with each part of the prompt and without it, about this item and about others.
    """
    from ..recipe.explanations import explain as explain_item
    from ..viewer.explanation import explanation_view
    from ..viewer.report import html_report

    session: opt.Session = ctx.obj
    if html is not None and not html.parent.is_dir():
        raise typer.BadParameter(f"--html {html}: there is no folder {html.parent}.")
    with session.answering(asking) as recommender:
        found = explain_item(recommender, user, item, k, candidates, look, 0.0 if ask == "all" else miss)
    if html is not None:
        html.write_text(html_report(found), encoding="utf-8")
        session.output.note(f"Wrote {html}.")
    session.output.result(found.to_json(), lambda: explanation_view(found), as_json=as_json)
