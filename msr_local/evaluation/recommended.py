"""What `recommend` would have recommended at a point of the past, and how its model alone would have ranked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set

import numpy as np

from ..arrays import Items, Vector, padded
from ..errors import MsrError
from ..models.spec import Fused
from ..recall.candidates import Candidate, Recall
from ..recall.protocols import Case
from ..recipe.asking import Plan
from ..recipe.judge import Asked
from ..recipe.recommender import Recommender
from ..store.rows import Score
from .answers import Answers
from .ranking import CUTS
from .standing import Standing

ALONE = "recall alone"  # the order in which recall offers
MODEL = "language model"  # its answers to the yes/no question alone
RECOMMENDED = "recommended"  # the list that a user would have got


def offered_among(recall: Recall, cases: Sequence[Case], candidates: Sequence[Items]) -> Standing:
    """Recall alone, among candidates that were drawn, targets first."""
    rows = []
    for case, items in zip(cases, candidates, strict=True):
        found = recall.described(recall.ids(case.history), items)
        rows.append(np.array([one.recall for one in found]))
    return Standing.of(padded(rows), candidates, drawn=True)


def offered_of_all(recall: Recall, cases: Sequence[Case], only: Set[str] | None = None) -> Standing:
    """Recall alone, over the whole catalogue or the items that are `only` ranked, as far as any metric looks."""
    found = Standing()
    for case in cases:
        some = recall.candidates(recall.ids(case.history), max(CUTS), only=only)
        items = np.array([recall.index[one.item_id] for one in some], np.int32)
        there = np.flatnonzero(items == case.target)
        found.add(-float(there[0]) if len(there) else np.nan, -np.arange(len(items), dtype=np.float64), items)
    return found


class Recommended:
    """The lists of a recommender for cases of a log; `recall` and how it is `fused` are what it would have had then."""

    def __init__(self, recommender: Recommender, answers: Answers, recall: Recall, fused: Fused) -> None:
        self._recommender, self._answers, self._recall, self._fused = recommender, answers, recall, fused

    def among(self, cases: Sequence[Case], candidates: Sequence[Items]) -> dict[str, Standing]:
        """Both systems among candidates that were drawn, targets first."""
        # Equals go by their place in the catalogue, as `recommend` has it: the target must not be the first of them.
        lists = [
            self._recall.described(self._recall.ids(case.history), np.sort(items))
            for case, items in zip(cases, candidates, strict=True)
        ]
        rows: dict[str, list[Vector]] = {MODEL: [], RECOMMENDED: []}
        for items, (z, ordered) in zip(candidates, self._ranked(cases, lists), strict=True):
            ids = self._recall.ids(items)
            rows[MODEL].append(np.array([z[item_id] for item_id in ids]))
            rows[RECOMMENDED].append(np.array([ordered[item_id] for item_id in ids]))
        return {name: Standing.of(padded(found), candidates, drawn=True) for name, found in rows.items()}

    def everything(
        self, cases: Sequence[Case], count: int, only: Set[str] | None = None
    ) -> tuple[dict[str, Standing], float]:
        """Both systems over the whole catalogue, asked about the best `count` of recall; the share of targets there.

        With `only`, over these items alone.

        To the model, the other items are missed. Under a list of recommendations they stand in the order of recall.
        """
        most = max(count, *CUTS)  # further down no metric looks
        recalled = [self._recall.candidates(self._recall.ids(case.history), most, only=only) for case in cases]
        lists, found = [one[:count] for one in recalled], {MODEL: Standing(), RECOMMENDED: Standing()}
        missed = 0
        for case, some, (z, ordered) in zip(cases, recalled, self._ranked(cases, lists), strict=True):
            below = [one.item_id for one in some[count:]]
            floor = min(ordered.values(), default=0.0)
            ordered |= {item_id: floor - place for place, item_id in enumerate(below, start=1)}
            target = self._recall.item_ids[case.target]
            missed += target not in z
            for name, scores in ((MODEL, z), (RECOMMENDED, ordered)):
                items = np.array([self._recall.index[item_id] for item_id in scores], np.int32)
                found[name].add(scores.get(target, np.nan), np.array(list(scores.values())), items)
        return found, 1.0 - missed / max(1, len(cases))

    def _ranked(
        self, cases: Sequence[Case], lists: Sequence[Sequence[Candidate]]
    ) -> Iterator[tuple[dict[str, float], dict[str, float]]]:
        """For each case {item id: z}, and {item id: score} of a recommendation, of all its candidates.

        What a recommendation leaves out, since its picture was not looked at, stands below in the order of recall.
        """
        plans = ((place, self._plan(asked)) for place, asked in enumerate(self._answers.questions(cases, lists)))
        ready: dict[int, tuple[dict[str, float], dict[str, float]]] = {}
        following = 0
        for place, found in self._recommender.side_by_side(plans):
            if isinstance(found, MsrError):
                raise found
            ready[place] = found
            while following in ready:
                yield ready.pop(following)
                following += 1

    def _plan(self, asked: Sequence[Asked]) -> Plan[tuple[dict[str, float], dict[str, float]]]:
        answers = yield from self._ask(asked, "")
        ranked = yield from self._recommender.ranked(asked, self._fused, self._ask)
        scores = {one.item.item_id: score for score, one in ranked.items}
        floor = min(scores.values(), default=0.0)
        left = {item_id: floor - place for place, item_id in enumerate(_left(asked, scores), start=1)}
        return {item_id: one.log_odds for item_id, one in answers.items()}, scores | left

    def _ask(self, asked: Sequence[Asked], without: str) -> Plan[dict[str, Score]]:
        return self._recommender.judge.asking(None, asked)


def _left(asked: Sequence[Asked], scores: Mapping[str, float]) -> list[str]:
    """The items without a score, in the order of recall."""
    left = [one.candidate for one in asked if one.item.item_id not in scores]
    return [one.item_id for one in sorted(left, key=lambda one: -one.recall)]
