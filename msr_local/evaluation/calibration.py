"""Calibration: how much recall counts beside the model's answers in a workspace, and the score as a probability.

Some users' latest interactions are held back, as when recall is learned, and a tenth of the items is hidden as if
nobody had taken them: of a new item recall knows less than the model does. For each user, recall ranks the catalogue
without all that, and where the item that was taken is among the best, the model is asked about it and about some others
of these. The weight of recall and the probability are fitted to that; what they are worth is measured by halves of the
users.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import Indices, Mask, Vector
from ..errors import InputError, MsrError
from ..models.spec import Fused
from ..recall.candidates import Candidate
from ..recall.learning import Hidden, held_back, hidden_by_hand, hidden_from
from ..recall.learning import fitted as fitted_recall
from ..recall.protocols import Case
from ..recall.splits import TRAIN, Split
from ..recipe import calibrated
from ..recipe.judge import Asked
from ..recipe.recommender import Recommender
from ..store import histories, results, runs
from ..store.rows import Log, Score
from .answers import Answers
from .fused import fitted
from .metrics import mean_estimate

USERS = 100
LEAST = 20  # users from whom anything is fitted
_OFFERED = 100  # candidates among which the item must be
# Others that are asked about. On 36 shoppers of the drawn shop, 7 of the 99 give a weight of 4.2 (at the median of 12
# draws; 1.8 to 9.3), 15 one of 3.0 (1.4 to 4.7), 30 one of 2.2, and all 1.9: few draws hold what is hard to tell.
_OTHERS = 15
WAYS = ("recall", "answers", "both")
Offered = tuple[Case, list[Candidate]]  # a case, and its target first among some that recall offers


@dataclass(frozen=True, slots=True)
class Asking:
    """What was asked about some users, of shape [N]: log-odds, recall, 1 for what was taken, and whose question."""

    z: Vector
    recall: Vector
    answers: Vector
    moments: Indices

    def fused(self) -> Fused:
        """The weight of recall and the probability that fit best."""
        return fitted(self.z, self.recall, self.answers, self.moments)

    def of(self, some: Indices) -> Asking:
        """What was asked about some of the users, by the number of their moment."""
        there = np.isin(self.moments, some)
        return Asking(self.z[there], self.recall[there], self.answers[there], self.moments[there])


def calibrate(recommender: Recommender, users: int = USERS, seed: int = 0) -> dict[str, Any]:
    """Fit a recommender to its workspace, for the recall that it uses, and keep what was found; returns facts.

    Raises `InputError` where fewer than `LEAST` users say anything.
    """
    workspace = recommender.workspace
    workspace.require_writable()
    with workspace.snapshot():
        log, texts = histories.log(workspace), recommender.recall.texts()
        learned = results.learned_recall_facts(workspace)
    uses = bool(learned and learned["used"])
    unfinished = recommender.recall.unfinished()
    cases, known, kind = held_back(log)
    if len(cases) < LEAST:
        raise _too_few(f"recall can be asked for what {len(cases):,} users took latest")
    if uses:
        vectors = recommender.vectors.of(texts)
        made = fitted_recall(log, texts, vectors, recommender.progress, unfinished, (cases, known, kind))
        there = hidden_from(made, log, texts, vectors, recommender.progress, unfinished)
    else:
        there = hidden_by_hand(log, texts, cases, known)
    lists = offered(there, users, seed, _unseen(recommender, log))
    if len(lists) < LEAST:
        raise _too_few(f"recall offers what was taken of {len(lists):,} users only")
    asked = ask(recommender, log, lists)
    facts = {
        "recall": calibrated.kind_of(uses),
        "users": len(lists),
        "hidden": sum(bool(there.items[case.target]) for case, _ in lists),
        "questions": len(asked.z),
        "fused": asked.fused().to_json(),
        "before": recommender.fused(uses).to_json(),
        "mrr": _worth(asked),
    }
    calibrated.keep(workspace, recommender.judge.settings, uses, facts)
    unfinished.over()
    return facts


def _too_few(what: str) -> InputError:
    return InputError(f"{what}: too few to fit anything (needed: {LEAST}). Next: ingest more interactions.")


def forget(recommender: Recommender) -> dict[str, Any]:
    """Forget what was fitted, for both kinds of recall; returns what counts from now on."""
    for learned in (False, True):
        calibrated.keep(recommender.workspace, recommender.judge.settings, learned, None)
    facts = results.learned_recall_facts(recommender.workspace)
    uses = bool(facts and facts["used"])
    return {"recall": calibrated.kind_of(uses), "fused": recommender.fused(uses).to_json()}


def _unseen(recommender: Recommender, log: Log) -> Mask | None:
    """The interactions [N] that the adapter was not trained on; None: all, as far as is known."""
    scorer = recommender.cast.scorer
    if scorer is None or runs.run(recommender.workspace, scorer.run_id) is None:
        return None
    return np.asarray(Split.from_json(scorer.split).parts(log) != TRAIN)


def offered(there: Hidden, users: int, seed: int, allowed: Mask | None = None) -> list[Offered]:
    """Cases whose target recall offers, at most `users`, each with its target first and others that are offered too.

    As far as there are so many, a third of them ask for a hidden item, so that the weight suits new items too. Only
    interactions that are `allowed` (mask [N]) are asked for; None: all are.
    """
    order = [place for place, case in enumerate(there.cases) if allowed is None or allowed[case.row]]
    random.Random(f"calibration {seed}").shuffle(order)
    hidden = [place for place in order if there.asked_for[place]]
    others = [place for place in order if not there.asked_for[place]]
    found = _offered(there, hidden, users // 3, seed)
    return [*_offered(there, others, users - len(found), seed), *found]


def _offered(there: Hidden, places: Sequence[int], most: int, seed: int) -> list[Offered]:
    """At most so many of the cases at these places."""
    recall = there.recall
    found: list[Offered] = []
    for place in places:
        if len(found) == most:
            break
        case = there.cases[place]
        if there.ways:
            recall.learned = there.ways[place]
        ids = recall.ids(case.history)
        target = recall.item_ids[case.target]
        later = {*recall.ids(case.taken)} - {target, *ids}
        among = recall.candidates(ids, _OFFERED, exclude=later)
        taken = [one for one in among if one.item_id == target]
        rest = [one for one in among if one.item_id != target]
        if taken and rest:
            drawn = random.Random(f"calibration {seed} {case.user}").sample(rest, min(_OTHERS, len(rest)))
            found.append((case, [*taken, *drawn]))
    return found


def ask(recommender: Recommender, log: Log, lists: Sequence[Offered]) -> Asking:
    """The answers to the questions about all candidates of the lists."""
    questions = Answers(recommender, log).questions([case for case, _ in lists], [some for _, some in lists])
    found = dict(_answered(recommender, questions))
    rows = [(*row, place) for place in sorted(found) for row in found[place]]
    z, recall, answers, moments = np.array(rows, float).T
    return Asking(z, recall, answers, moments.astype(np.int32))


def _answered(
    recommender: Recommender, questions: Iterator[list[Asked]]
) -> Iterator[tuple[int, list[tuple[float, float, float]]]]:
    """(place, (z, recall, 1 for the first) of each question) of each list, as it is finished."""

    def plan(asked: list[Asked]) -> Any:
        scores: dict[str, Score] = yield from recommender.judge.asking(None, asked)
        return [
            (scores[one.item.item_id].log_odds, one.candidate.recall, float(place == 0))
            for place, one in enumerate(asked)
        ]

    for place, made in recommender.side_by_side((place, plan(asked)) for place, asked in enumerate(questions)):
        if isinstance(made, MsrError):
            raise made
        yield place, made


def _worth(asked: Asking) -> dict[str, Any]:
    """The mean of 1 / the rank of what was taken among its candidates, by each of the `WAYS`.

    For both together the weight was fitted to the other half of the users.
    """
    users = np.unique(asked.moments)
    halves = [users[::2], users[1::2]]
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for mine, others in (halves, halves[::-1]):
        weight = asked.of(others).fused().weight
        for user in mine:
            one = asked.of(user)
            for way, scores in zip(WAYS, (one.recall, one.z, one.z + weight * one.recall), strict=True):
                positive = scores[one.answers == 1.0][0]
                others_scores = scores[one.answers == 0.0]
                rank = 1.0 + (others_scores > positive).sum() + 0.5 * (others_scores == positive).sum()
                found[way].append(1.0 / rank)
    return {way: mean_estimate(np.array(values)).to_json() for way, values in found.items()}
