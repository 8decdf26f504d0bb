"""Fitting how answer and recall make the score: the weight of recall, and the score as a probability."""

from __future__ import annotations

import numpy as np

from ..arrays import Indices, Vector
from ..models.spec import Fused
from ..recall.candidates import RECALL_WEIGHT
from ..recall.logistic import logistic, softmax
from .metrics import platt

_MOST_RECALL = 256.0
_LISTS = 20  # from which on weights are fitted within them


def fitted(z: Vector, recall: Vector, answers: Vector, moments: Indices) -> Fused:
    """The weight of recall beside the log-odds z, and the scaling of the score, if there is one; all of shape [N].

    Rows of one of the `moments` are candidates of one user; `answers` are 1 for what was taken, 0 for the others.
    """
    weight = recall_weight(z, recall, answers, moments)
    scaling = platt(z + weight * recall, answers)
    return Fused(weight, (scaling.a, scaling.b) if scaling else None)


def recall_weight(z: Vector, recall: Vector, answers: Vector, moments: Indices) -> float:
    """The weight of recall beside z that tells best what was taken from what was asked beside it, all of shape [N].

    Rows of one of the `moments` are a list (conditional logit, McFadden 1974): what makes all answers about somebody
    likelier changes no list. With fewer than `_LISTS` lists, that of a logistic regression over all rows instead. As
    much as can be where z tells nothing; `RECALL_WEIGHT` where recall does not either, or all answers are the same.
    """
    if not answers.any() or answers.all():
        return RECALL_WEIGHT
    lists = _lists(np.c_[z, recall], answers, moments)
    if len(lists) < _LISTS:
        on_z, on_recall, _ = logistic(np.c_[z, recall], answers)
    else:
        on_z, on_recall = softmax(lists, np.zeros(lists.shape[:2]))
    if on_z <= 1e-6:
        return _MOST_RECALL if on_recall > 1e-6 else RECALL_WEIGHT
    return float(np.clip(on_recall / on_z, 0.0, _MOST_RECALL))


def _lists(scores: Vector, answers: Vector, moments: Indices) -> Vector:
    """Each positive and the negatives of its moment, [L, C, F], padded with NaN."""
    found = []
    for moment in np.unique(moments):
        there = moments == moment
        negatives = scores[there & (answers == 0.0)]
        found += [np.vstack([one, negatives]) for one in scores[there & (answers == 1.0)] if len(negatives)]
    lists = np.full((len(found), max(map(len, found), default=0), scores.shape[1]), np.nan)
    for place, one in enumerate(found):
        lists[place, : len(one)] = one
    return lists
