"""Learning recall from a workspace's histories: towers that read, and weights for all of its scores.

One interaction of each user is held back. Where there are timestamps, and enough users are active in the last tenth of
the interactions, it is a user's first new item in that tenth, as when a recommendation is asked for. Else it is each
user's last item, and recent popularity is left out, since it would come from the future. The weights are fitted to rank
these items first, and used if they do so better than the hand-set weights, for users on whom they were not fitted.

An evaluation holds back as its protocol says instead: it asks for what follows other moments than the latest.

Then a tenth of the items is hidden as if nobody had taken them, which tells what reading says of a new item (the idea
of DropoutNet, Volkovs et al. 2017). Items that have come since are lifted above that, as far as the others hardly lose
by it. At last the towers are trained again, on all interactions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from typing import Any

import numpy as np

from ..arrays import Floats, Mask, Vector, padded
from ..errors import InputError
from ..progress import Progress, silent
from ..store import histories, results
from ..store.rows import Log
from ..store.workspace import Workspace
from . import fusion, protocols, towers
from .candidates import LATE, RECALL_WEIGHT, Recall
from .halves import Half
from .learned import READ, READING, Learned, OfUntaken
from .logistic import softmax
from .protocols import Case
from .unfinished import Unfinished

VERSION = 3  # another number where something else is learned of the same histories: then it is learned anew
LEAST = 200  # users to learn from: fewer say little about two dozen weights
_GREW = 1.25  # times the interactions that recall was learned from, from which on it is worth learning again
_MOST = 2000  # users to learn from
_LISTED = 300  # other items in each user's list
_MEASURED = 400  # users on whom the gain is measured
_TOP = 10
_COST = 0.01  # share of the NDCG@10 of other items that may go to new ones, so that these are seen at all
_LIFTS = np.arange(0.0, 4.01, 0.25)  # nats
_SEED = 0


def worth_learning(workspace: Workspace) -> bool:
    """Whether there is enough to learn recall from, and far more than what it was learned from last."""
    facts = results.learned_recall_facts(workspace)
    if facts and histories.counts(workspace)["interactions"] < _GREW * facts["interactions"]:
        return False
    return histories.active_users(workspace) >= LEAST


def told(facts: Mapping[str, Any]) -> str:
    """The facts in a sentence."""
    if "ndcg@10" not in facts:
        return f"Recall keeps its hand-set weights: {facts['users']:,} users are too few (needed: {LEAST})."
    ways = facts["ndcg@10"]
    return (
        f"NDCG@10 of recall alone, for {facts['measured_users']:,} users on whom its weights were not fitted: "
        f"{ways['learned']:.1%} learned, {ways['hand_set']:.1%} with hand-set weights. "
        f"{'Learned recall is used from now on' if facts['used'] else 'The hand-set weights stay in use'}."
    )


def learned_from(
    log: Log, texts: Sequence[str], vectors: Floats, progress: Progress = silent, unfinished: Unfinished | None = None
) -> tuple[Learned, dict[str, Any]]:
    """What can be learned from a log, the towers from all of it, and the facts as of `fitted`.

    What is kept in `unfinished` of an earlier try is not computed again.
    """
    made = fitted(log, texts, vectors, progress, unfinished)
    if not made.facts["used"]:
        return made.whole, made.facts
    untaken = hidden_from(made, log, texts, vectors, progress, unfinished).untaken
    return completed(made, untaken, log, vectors, progress, unfinished), made.facts


def completed(
    made: Fitted, untaken: OfUntaken | None, log: Log, vectors: Floats,
    progress: Progress = silent, unfinished: Unfinished | None = None,
) -> Learned:  # fmt: skip
    """What was fitted to a log, with what was learned of items that nobody took, and towers of the whole log."""
    if made.known.all():
        return replace(made.whole, untaken=untaken)
    whole = _towers(log, vectors, np.ones(len(log.items), bool), progress, unfinished)
    return replace(made.whole, towers=whole, untaken=untaken)


@dataclass(frozen=True, slots=True)
class Fitted:
    """What was learned without the interactions that were held back, and what of them.

    The other interactions are the `known` ones (mask [N]). The weights of the `whole` are fitted to all cases;
    `for_even` and `for_odd` are for the cases of even and odd place, and fitted to the others. `facts` have NDCG@10 of
    both ways.
    """

    whole: Learned
    for_even: Learned
    for_odd: Learned
    cases: list[Case]
    known: Mask
    facts: dict[str, Any]

    def before(self, place: int) -> Learned:
        """What was fitted to others than the case at this place."""
        return self.for_odd if place % 2 else self.for_even


def fitted(
    log: Log, texts: Sequence[str], vectors: Floats, progress: Progress = silent,
    unfinished: Unfinished | None = None, held: tuple[list[Case], Mask, str] | None = None,
) -> Fitted:  # fmt: skip
    """Learn from the interactions that are not held back, and fit the weights to those that are.

    `vectors` [I, D] are those of the `texts`. What is `held` back is as `held_back` has it, which is the default: two
    cases at least. Cases may be of users who are not in the log.
    """
    cases, known, kind = held or held_back(log)
    cases = cases[:_MOST]
    recall = Recall.of_log(log, texts, known)
    trained = _towers(log, vectors, known, progress, unfinished)
    half = Half(cases, recall, known)
    half = half.among(*protocols.listed(log, cases, recall, _LISTED, _SEED))
    _score(half, trained, kind, progress)

    def weighed(some: Mask) -> Learned:
        names = tuple(half.scores)
        return Learned(trained, fusion.listwise(names, half.stacked(names)[some], np.asarray(half.offsets)[some]))

    odd = np.arange(len(cases)) % 2 == 1
    for_even, for_odd = weighed(odd), weighed(~odd)
    by_hand, by_learned = [], []
    for those, other in ((odd, for_odd), (~odd, for_even)):
        some = list(compress(cases, those))[: _MEASURED // 2]
        by_hand += _ndcg(recall, None, some)
        by_learned += _ndcg(recall, other, some)
        progress("recall gain", len(by_learned), min(len(cases), _MEASURED))
    ndcg = {"hand_set": float(np.mean(by_hand)), "learned": float(np.mean(by_learned))}
    facts = {
        "held_back": kind,
        "interactions": len(log.items),
        "users": len(cases),
        "measured_users": len(by_learned),
        "ndcg@10": ndcg,
        "used": ndcg["learned"] > ndcg["hand_set"],
    }
    return Fitted(weighed(np.ones(len(cases), bool)), for_even, for_odd, cases, known, facts)


@dataclass(frozen=True, slots=True)
class Hidden:
    """The cases that were held back, where a tenth of the items (mask [I]) is hidden as if nobody had taken them.

    `recall` has the tables of the other known interactions. `untaken` is what is learned of the hidden items, and how
    far new items are lifted. `ways` rank for each case: by towers that know no hidden item, weights that were fitted to
    other cases, and `untaken`; to them the hidden items have come since. Neither is there where weights are set by
    hand.
    """

    items: Mask
    cases: list[Case]
    recall: Recall
    ways: list[Learned] = field(default_factory=list)
    untaken: OfUntaken | None = None

    @property
    def asked_for(self) -> Mask:
        """Whether a case asks for a hidden item, shape [cases]."""
        return np.array([self.items[case.target] for case in self.cases], bool)


def hidden_by_hand(log: Log, texts: Sequence[str], cases: Sequence[Case], known: Mask) -> Hidden:
    """What hides a tenth of the items of a log where recall is weighed by hand; as `held_back` has it."""
    items = protocols.as_new(log, "learning")
    cases = [replace(case, history=case.history[~items[case.history]]) for case in cases]
    recall = Recall.of_log(log, texts, known & ~items[log.items])
    return Hidden(items, [case for case in cases if len(case.history)], recall)


def hidden_from(
    made: Fitted, log: Log, texts: Sequence[str], vectors: Floats,
    progress: Progress = silent, unfinished: Unfinished | None = None,
) -> Hidden:  # fmt: skip
    """The same where recall is learned, and what can be said of items that nobody took.

    The weights of all scores stay as they are. `untaken` is None where nobody is asked for a hidden item.
    """
    there = hidden_by_hand(log, texts, made.cases, made.known)
    trained = _towers(log, vectors, made.known & ~there.items[log.items], progress, unfinished)
    untaken = None
    if there.asked_for.any():
        untaken = _of_untaken(replace(made.whole, towers=trained), there, log, progress)
    new = np.flatnonzero(there.items)
    ways = [
        replace(made.before(place), towers=trained, untaken=untaken, new=new)
        for place, case in enumerate(made.cases)
        if not there.items[case.history].all()
    ]
    there = replace(there, ways=ways)
    if untaken is None:
        return there
    lifted = replace(untaken, start=untaken.start + _lift(there, progress))
    return replace(there, ways=[replace(way, untaken=lifted) for way in ways], untaken=lifted)


def _of_untaken(then: Learned, there: Hidden, log: Log, progress: Progress) -> OfUntaken:
    """What fits the hidden items best; `then` has towers that know none of them."""
    recall, cases = there.recall, there.cases
    lists, offsets = protocols.listed(log, cases, recall, _LISTED, _SEED)
    features, shifts = [], []
    for done, (case, items, offset) in enumerate(zip(cases, lists, offsets, strict=True), start=1):
        given, own = then.weighed(recall, case.history, items)
        untaken, total = recall.count[items] == 0, given.sum(axis=-1)
        features.append(np.where(untaken[:, None], np.column_stack([total, np.ones(len(items)), own]), 0.0))
        shifts.append(offset - np.where(untaken, 0.0, total))
        progress("new items", done, len(cases))
    stacked = np.stack([padded([one[:, part] for one in features]) for part in range(2 + len(READ))], axis=-1)
    expected, nats, *read = softmax(stacked, padded(shifts)).tolist()
    # Of the items that are as new somebody took each; of those that nobody took for a long time, nobody ever did.
    hidden = there.items.sum()
    start = np.log((hidden + len(log.item_ids) - len(np.unique(log.items))) / hidden)
    return OfUntaken(expected, read, nats, float(start))


def _lift(there: Hidden, progress: Progress) -> float:
    """The most nats on top for new items by which the others lose no more than `_COST` of their NDCG@10."""
    gains = np.zeros((0, len(_LIFTS)))
    others = [place for place, asked_for in enumerate(there.asked_for) if not asked_for][:_MEASURED]
    for done, place in enumerate(others, start=1):
        case, recall = there.cases[place], there.recall
        recall.learned = there.ways[place]
        found = recall.of_all(recall.ids(case.history)) * RECALL_WEIGHT  # in nats
        found[case.history] = -np.inf
        mine, new = found[case.target], there.items
        if mine > -np.inf:
            ranks = 1 + (found[~new] > mine).sum() + (found[new, None] + _LIFTS > mine).sum(axis=0)
            gains = np.vstack([gains, np.where(ranks <= _TOP, 1.0 / np.log2(1.0 + ranks), 0.0)])
        progress("new items", done, len(others))
    total = gains.sum(axis=0)
    return float(_LIFTS[total >= (1.0 - _COST) * total[0]].max()) if len(gains) and total[0] else 0.0


def held_back(log: Log) -> tuple[list[Case], Mask, str]:
    """The cases to learn from, what may be known to whoever ranks them (mask [N]), and the way: "time" or "order"."""
    for protocol, kind in (("temporal", "time"), ("last", "order")):
        try:
            plan = protocols.plan(log, protocol, kind, users=_MOST, seed=_SEED)
        except InputError:  # there are no timestamps, or no test users
            continue
        if kind == "order" or len(plan.test) >= LEAST:
            known = plan.known_at_test
            if kind == "order":  # only the held-back interactions are hidden
                known = np.ones(len(log.items), bool)
                known[[case.row for case in plan.test]] = False
            return plan.test, known, kind
    return [], np.ones(len(log.items), bool), ""


def _towers(
    log: Log, vectors: Floats, known: Mask, progress: Progress, unfinished: Unfinished | None
) -> towers.Towers:  # fmt: skip
    return towers.trained(
        log.users[known], log.items[known], len(log.item_ids), vectors, seed=_SEED, unfinished=unfinished,
        progress=lambda done, total: progress(READING, done, total),
    )  # fmt: skip


def _score(half: Half, trained: towers.Towers, kind: str, progress: Progress) -> None:
    """Put all scores of recall into the half, and the towers'."""
    rows: dict[str, list[Vector]] = {}
    for done, (case, items) in enumerate(zip(half.cases, half.candidates, strict=True), start=1):
        scores = half.recall.features(case.history, items) | {READING: trained(case.history, items)}
        for name, one in scores.items():
            if kind == "time" or name not in LATE:
                rows.setdefault(name, []).append(one)
        progress("recall scores", done, len(half.cases))
    for name, found in rows.items():
        half.keep(name, found)


def _ndcg(recall: Recall, way: Learned | None, cases: Sequence[Case]) -> list[float]:
    """NDCG@10 of each case among all items, recalled this way: its target is the only positive."""
    recall.learned = way
    found = []
    for case in cases:
        ranked = [one.item_id for one in recall.candidates(recall.ids(case.history), _TOP)]
        target = recall.item_ids[case.target]
        found.append(1.0 / float(np.log2(2 + ranked.index(target))) if target in ranked else 0.0)
    return found
