"""`msr-local demo`: everything from pictures to an explanation, on an invented shop, offline."""

from __future__ import annotations

from typing import Annotated

import typer

from . import options as opt

_SHOP = "drawn"  # which demo a workspace holds: there were films once


def demo(
    ctx: typer.Context,
    user: Annotated[str, typer.Option(metavar="USER", help="Which of the invented users to recommend to.")] = "ada",
    max_captions: opt.MaxCaptions = None,
) -> None:
    """Recommend and explain in an invented shop.

    The shop is drawn on this machine: 300 items with pictures, and 60 users whose taste changes over time. It has a
    workspace of its own, unless --home or MSR_LOCAL_HOME name one, which is to hold nothing else.
    """
    import shlex

    from ..catalogue.ingest import ingest
    from ..demo.shop import write as draw_shop
    from ..demo.users import shoppers
    from ..errors import InputError, NotFoundError
    from ..files import data_folder
    from ..recipe.explanations import explain
    from ..store import histories
    from ..viewer.explanation import explanation_view

    session: opt.Session = ctx.obj
    home = session.home if session.home_given else data_folder("msr-local-demo")
    with session.workspace(home) as workspace, session.output.progress() as progress:
        if workspace.setting("demo") != _SHOP and histories.counts(workspace)["items"]:
            raise InputError(f"{home}: this workspace holds other items. Next: msr-local --home NEWDIR demo.")
        known = [one.user_id for one in shoppers()]
        if user not in known and not histories.user_exists(workspace, user):  # said before minutes of work
            raise NotFoundError(
                f"there is no user {user!r}. Next: --user with one of {', '.join(sorted(known)[:8])}, …."
            )
        workspace.set_setting("demo", _SHOP)
        shop = home / "shop"
        draw_shop(shop)
        ingest(workspace, shop / "items.csv", shop / "interactions.csv", progress=progress)
        with session.recommender(workspace, progress) as recommender:
            if recommender.cast.captioner:
                recommender.captions.make(limit=max_captions)
            explanation = explain(recommender, user)
    session.output.result(None, lambda: explanation_view(explanation), as_json=False)
    at = f"msr-local --home {shlex.quote(str(home))}"
    for line in (
        "",
        f"More of this shop: {at} users · {at} recommend bruno · {at} items",
        "Your own data: msr-local ingest items.csv interactions.csv, then msr-local recommend USER",
        "An adapter trained on it: msr-local finetune --name mine --activate",
        "A larger model that sees more: msr-local models pull smolvlm2-500m:Q8_0 --use",
    ):
        session.output.note(line)
