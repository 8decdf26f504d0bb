"""The question of `recommend`, at points of the past."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ..recall.candidates import Candidate
from ..recall.protocols import Case
from ..recipe.blocks import summarised
from ..recipe.judge import Asked
from ..recipe.recommender import Recommender
from ..store import histories
from ..store.rows import Interaction, Item, Log

_TOGETHER = 32  # users whose summaries are written side by side, for each engine


class Answers:
    """The questions about candidates that a recommender would have asked, for cases of a log.

    With `shuffled` "history", the interactions that a question shows and those that its summary is made of are each in
    a random order, and the same ones as before; with "images", each candidate has the picture and the caption of
    another candidate. The loss of quality shows what order and pictures are worth.
    """

    def __init__(self, recommender: Recommender, log: Log, *, shuffled: str = "", seed: int = 0) -> None:
        self._judge, self._preferences, self._recipe = recommender.judge, recommender.preferences, recommender.recipe
        self._workspace, self._progress = recommender.workspace, recommender.progress
        self._log, self._shuffled, self._seed = log, shuffled, seed
        self._items: dict[int, Item] = {}

    def questions(self, cases: Sequence[Case], candidates: Sequence[Sequence[Candidate]]) -> Iterator[list[Asked]]:
        """The questions about each case's candidates, in their order."""
        done, total, step = 0, sum(map(len, candidates)), _TOGETHER * self._preferences.width
        for start in range(0, len(cases), step):
            some = cases[start : start + step]
            people = [(self._log.user_ids[case.user], self._history(case)) for case in some]
            lists = candidates[start : start + step]
            for (user, history), summary, one in zip(people, self._summaries(people), lists, strict=True):
                history = self._in_order(user, history, self._recipe.recent)
                yield self._exchanged(self._judge.ask_all(one, summary, history), user)
                done += len(one)
                self._progress("evaluation", done, total)

    def _history(self, case: Case) -> list[Interaction]:
        return [Interaction(self._item(index)) for index in case.history.tolist()]

    def _in_order(self, user: str, history: list[Interaction], last: int) -> list[Interaction]:
        """The history; where that is asked for, with the `last` interactions, which are read, in a random order."""
        if self._shuffled != "history":
            return history
        cut = max(0, len(history) - last)
        read = history[cut:]
        random.Random(f"history {self._seed} {user}").shuffle(read)
        return [*history[:cut], *read]

    def _item(self, index: int) -> Item:
        if index not in self._items:
            (self._items[index],) = histories.items(self._workspace, [self._log.item_ids[index]])
        return self._items[index]

    def _summaries(self, people: Sequence[tuple[str, list[Interaction]]]) -> list[str]:
        recipe = self._recipe
        if not recipe.summary:
            return [""] * len(people)
        read = [
            (user, self._in_order(user, history, summarised(len(history), recipe.block_size, recipe.window)))
            for user, history in people
        ]
        written = dict(self._preferences.chains(read, past=True))
        return [written[place][-1].summary if written[place] else "" for place in range(len(people))]

    def _exchanged(self, asked: list[Asked], user: str) -> list[Asked]:
        """The questions, each with the picture and caption of another one where images are shuffled."""
        if self._shuffled != "images":
            return asked
        order = list(range(len(asked)))
        random.Random(f"images {self._seed} {user}").shuffle(order)
        other = {a: asked[b] for a, b in zip(order, [*order[1:], *order[:1]], strict=True)}  # none keeps its own
        return [
            replace(
                one,
                item=replace(one.item, image=other[n].item.image, image_sha256=other[n].item.image_sha256),
                evidence=replace(
                    one.evidence, caption=other[n].evidence.caption, image_sha256=other[n].evidence.image_sha256
                ),
            )
            for n, one in enumerate(asked)
        ]
