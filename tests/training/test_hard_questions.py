"""Hard questions: yes and no are both what recall offers, and which they are does not depend on interruptions."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from question_shop import FEW, Step, World, both, data, films_of, stop_at, titled

from msr_local.errors import InputError
from msr_local.recall.candidates import Recall
from msr_local.recall.splits import TRAIN, split
from msr_local.recipes import Recipe
from msr_local.store import histories
from msr_local.training import questions as module
from msr_local.training.settings import Settings

BRIEF = Recipe(summary=False)


def wide(empty: World, *, liked: bool = True) -> list[Step]:
    """A catalogue far larger than what recall offers, and users who take half, in their own order or at random.

    Of the other half nothing is told, so recall has no reason to offer it.
    """
    films, lot = [f"f{n:03}" for n in range(400)], random.Random(3)
    empty.stock(
        row if row.item_id < "f200" else replace(row, title=row.item_id, attributes={}) for row in titled(films)
    )
    steps: list[Step] = []
    for user in range(40):
        taken = [films[(17 * user + n) % 200] for n in range(12)] if liked else lot.sample(films, 12)
        if liked:
            taken[3::4] = lot.sample(films[200:], 3)  # what nobody could have foreseen
        steps += [(f"u{user:02}", film, 1000.0 * n + user) for n, film in enumerate(taken)]
    empty.take(steps)
    return steps


def test_hard_questions_are_about_what_recall_offers_yes_or_no(empty: World) -> None:
    """Else a yes would be what recall does not like, and a no what it likes."""
    steps = wide(empty)
    made = empty.ask(Settings(rows=60, validation_rows=24, negatives="hard", ratio=2), recipe=BRIEF)
    assert (len(made.train), len(made.validation)) == (60, 24)
    log = histories.log(empty.workspace)
    known = split(log)[1] == TRAIN
    recall = Recall.of_log(log, histories.texts(empty.workspace), known)
    for row in made.validation:
        films = films_of(row.user, steps)
        mine = {log.item_ids[i] for i in log.items[known & (log.users == log.user_ids.index(row.user))]}
        offered = recall.candidates(films[: row.at], 100, exclude={*mine, *films[: row.at]} - {films[row.at]})
        assert row.item_id in {one.item_id for one in offered}
    yes, no = ([row.recall for row in made.validation if row.answer == answer] for answer in ("Yes", "No"))
    assert np.mean(yes) > np.mean(no)
    uniform = empty.ask(Settings(rows=60, validation_rows=24, ratio=2), recipe=BRIEF)
    unforeseen = [
        np.mean([row.item_id >= "f200" for row in both(one) if row.answer == "Yes"]) for one in (made, uniform)
    ]
    assert unforeseen[0] < unforeseen[1] / 2


def test_where_recall_offers_nothing_that_was_taken_it_says_so(empty: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HARD", 1)
    wide(empty, liked=False)
    with pytest.raises(InputError, match=r"offers only .* too few for --negatives hard\. Next: --neg"):
        empty.ask(Settings(rows=60, validation_rows=24, negatives="hard"), recipe=BRIEF)


@pytest.mark.parametrize("number", [3, 9, 15])
def test_interrupted_hard_questions_are_about_the_same_moments(
    world: World, elsewhere: World, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(module, "HARD", 8)  # of some moments, not of all
    few = replace(FEW, negatives="hard")
    with pytest.raises(KeyboardInterrupt):
        world.ask(few, recipe=BRIEF, progress=stop_at("train questions", number))
    made, whole = world.ask(few, recipe=BRIEF), elsewhere.ask(few, recipe=BRIEF)
    assert data(made, "train") == data(whole, "train")
    assert len(made.train) <= few.rows
