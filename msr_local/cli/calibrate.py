"""`msr-local calibrate`"""

from __future__ import annotations

from typing import Annotated

import typer

from ..models.asking import Asking
from . import options as opt


@opt.engines()
@opt.asking()
def calibrate(
    ctx: typer.Context,
    users: Annotated[int, opt.number("Ask about what N users took, at most.", least=20)] = 100,
    reset: Annotated[bool, opt.flag("--reset", "Forget what was fitted here.")] = False,
    seed: opt.Seed = 0,
    *,
    engines: opt.Engines,
    asking: Asking,
    as_json: opt.Json = False,
) -> None:  # fmt: skip
    """Fit to your histories how much recall counts beside the model's answers, and the probability.

    The latest interactions of some users are held back, and the model is asked about what they took and about fifteen
    other candidates each: minutes. The command shows what recall, the answers and both together are worth here.
    `recommend` and `explain` use the result from then on, for this model, adapter, recipe and kind of recall. Answers
    are kept: a command that was stopped goes on when it is given again.
    """
    from ..evaluation.calibration import calibrate as fit
    from ..evaluation.calibration import forget
    from ..viewer.evaluation import calibration_view

    session: opt.Session = ctx.obj
    with (
        session.workspace() as workspace,
        session.output.progress() as progress,
        engines.opening() as opening,
        session.recommender(workspace, progress, asking, opening=opening) as recommender,
    ):
        found = forget(recommender) if reset else fit(recommender, users, seed)
        session.note_unseen(recommender)
    session.output.result(found, lambda: calibration_view(found), as_json=as_json)
