"""Asking until the list cannot change: most candidates of recall are too far behind to reach the first k.

Of each candidate something is known before it is asked about: how recall weighs it. What the answer adds to that falls
about evenly with the logarithm of a candidate's place. So the answers so far predict the others, with Student's
predictive distribution of that regression, and asking ends when no other candidate is likely to reach the first k.
The spread of answers begins at a guess that is wide for every model tried, and is learned from each user's own answers.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

import numpy as np
from scipy.special import stdtr

from ..arrays import Vector

MISS = 0.01  # probability with which an item that is not asked about may belong to the first k
GROUP = 16  # questions between looks, twice as many before the first: they fill a batch
_SPREAD, _WORTH = 1.0, 8  # log-odds: standard deviation about the regression at first, worth so many answers
Step = TypeVar("Step")


def until_settled(
    known: Vector, ask: Callable[[slice], Generator[Step, None, Vector]], k: int, miss: float, group: int = GROUP
) -> Generator[Step, None, None]:
    """Ask about the first of the candidates [N], which are in falling order of what is `known`, until it is enough.

    `ask` gives what is added to a slice of them; its steps are those of this. With `miss` 0 it is asked about all at
    once.
    """
    end = min(len(known), max(2 * group, k)) if miss else len(known)
    added = yield from ask(slice(0, end))
    while end < len(known) and reach(known, added, k).max() > miss:
        start, end = end, min(len(known), end + group)
        added = np.r_[added, (yield from ask(slice(start, end)))]


def reach(known: Vector, added: Vector, k: int) -> Vector:
    """The probability that each candidate beyond the first [n], to which something was `added`, belongs to the best k.

    `known` [N] is in falling order. Raises `ValueError` for fewer than `k` or 3 candidates with `added`.
    """
    count = len(added)
    if count < max(k, 3):
        raise ValueError(f"{count} candidates are too few for the best {k}")
    least = np.partition(known[:count] + added, count - k)[count - k]
    places = np.log(np.arange(1, len(known) + 1))
    asked, rest = places[:count] - places[:count].mean(), places[count:] - places[:count].mean()
    width = float(asked @ asked)
    slope = float(asked @ added) / width
    expected = added.mean() + slope * rest
    errors = added - added.mean() - slope * asked
    freedom = _WORTH + count - 2
    spread = np.sqrt((_WORTH * _SPREAD**2 + errors @ errors) / freedom * (1 + 1 / count + rest**2 / width))
    return np.asarray(stdtr(freedom, -(least - known[count:] - expected) / spread))


def in_order(known: Sequence[float]) -> list[int]:
    """The places of candidates in falling order of what is known, equal ones as they came."""
    return sorted(range(len(known)), key=lambda place: -known[place])
