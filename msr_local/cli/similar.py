"""`msr-local similar ITEM`"""

from __future__ import annotations

from typing import Annotated

import typer

from ..models.asking import Asking
from . import options as opt


def similar(
    ctx: typer.Context,
    item: Annotated[str, typer.Argument(metavar="ITEM", help="An item id.", show_default=False)],
    k: Annotated[int, opt.number("List N items.", "-k", "--top")] = 10,
    where: opt.Where = None,
    as_json: opt.Json = False,
) -> None:
    """List items that are like an item.

    They are alike by what can be read of them (title, attributes, caption of the picture) and by who took them; how
    much of the similarity comes from each is shown. No model is asked, and nobody needs to have taken the item.
    """
    from ..catalogue.where import chosen
    from ..recipe.similar import similar as similar_items
    from ..viewer.similar import similar_view

    session: opt.Session = ctx.obj
    with session.answering(Asking()) as recommender:
        only = chosen(recommender.workspace, where, note=session.output.note)
        found = similar_items(recommender, item, k, only=only)
    session.output.result(found.to_json(), lambda: similar_view(found), as_json=as_json)
