"""The recall that `recommend` would have had at the moments of an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from ..recall.candidates import Recall
from ..recall.learning import LEAST, Hidden, completed, fitted, hidden_by_hand, hidden_from
from ..recall.protocols import Plan
from ..recipe.recommender import Recommender
from ..store import results
from ..store.rows import Log


@dataclass(frozen=True, slots=True)
class Past:
    """Recall at the test of a plan; and `hidden`, the validation users for whom a tenth of the items is hidden."""

    recall: Recall
    hidden: Callable[[], Hidden]

    @property
    def learned(self) -> bool:
        """Whether recall is learned."""
        return self.recall.learned is not None


def past(recommender: Recommender, plan: Plan, texts: Sequence[str], recall: Recall) -> Past:
    """Recall as it would have been; `recall` has the tables of what was known at the test.

    Where the workspace uses learned recall, it is learned again from what was known, with weights that are fitted to
    the validation users, as those of the blends are; it is used if it is better than the hand-set weights there too.
    Cold items have come since.
    """
    log, cases, known = _at_test(plan), plan.validation, plan.known[plan.known_at_test]
    by_hand = Past(Recall.of(recall.item_ids, recall.tables), cache(lambda: hidden_by_hand(log, texts, cases, known)))
    facts = results.learned_recall_facts(recommender.workspace)
    if facts is None or not facts["used"] or len(cases) < LEAST // 2:  # as in training
        return by_hand
    vectors, progress = recommender.vectors.of(texts), recommender.progress
    made = fitted(log, texts, vectors, progress, held=(cases, known, plan.split.kind))
    if not made.facts["used"]:
        return by_hand
    hidden = hidden_from(made, log, texts, vectors, progress)
    learned = completed(made, hidden.untaken, log, vectors, progress)
    then = Recall.of(recall.item_ids, recall.tables)
    then.learned = learned if plan.cold is None else replace(learned, new=np.flatnonzero(plan.cold))
    return Past(then, lambda: hidden)


def _at_test(plan: Plan) -> Log:
    """The interactions that are known at the test."""
    log, known = plan.log, plan.known_at_test
    return Log(log.item_ids, log.user_ids, log.users[known], log.items[known], log.times[known])
