"""Where in the histories questions are asked, about which items, and which interactions were known by then."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..arrays import Mask
from ..recall.candidates import Recall
from ..recall.splits import Split
from ..store.rows import Log

_SPAN = 15  # interactions of one user in which several questions share most of their summaries
_TOGETHER = 6  # questions in a span
_SLICES = 8  # points in time at which the collaborative evidence of training questions is computed
HARD = 100  # recalled items among which a hard negative is drawn


@dataclass(frozen=True, slots=True)
class Point:
    """A question point: the user's interaction number `at` (counted from 0) is the one to predict."""

    user: int
    at: int
    row: int  # of that interaction in the log


def points(log: Log, eligible: Mask, count: int, first: int, seed: int) -> list[Point]:
    """At most `count` points among the `eligible` interactions [N] that have `first` others before them.

    Users take turns; one turn asks a few times within a short span, since those questions share summaries.
    An item that the user had taken before is never asked about: it would not be recommended either.
    """
    rng = random.Random(f"points {seed}")
    starts = [int(row) for row in np.flatnonzero(np.r_[True, log.users[1:] != log.users[:-1]][: len(log.users)])]
    turns: list[list[list[Point]]] = []
    for start, end in pairwise([*starts, len(log.users)]):
        seen: set[int] = set()
        new = []
        for row in range(start, end):
            if eligible[row] and row - start >= first and int(log.items[row]) not in seen:
                new.append(Point(int(log.users[row]), int(row - start), int(row)))
            seen.add(int(log.items[row]))
        spans: dict[int, list[Point]] = {}
        for point in new:
            spans.setdefault(point.at // _SPAN, []).append(point)
        drawn = [
            sorted(rng.sample(span, min(_TOGETHER, len(span))), key=lambda point: point.at) for span in spans.values()
        ]
        rng.shuffle(drawn)
        if drawn:
            turns.append(drawn)
    rng.shuffle(turns)
    chosen: list[Point] = []
    while turns and len(chosen) < count:
        for spans_left in turns:
            chosen += spans_left.pop()
        turns = [spans_left for spans_left in turns if spans_left]
    return chosen[:count]


def slices(
    log: Log, known: Mask, chosen: Sequence[Point], split: Split, *, training: bool
) -> Iterator[tuple[Mask, list[Point]]]:
    """Groups of points, each with the interactions [N] from which its collaborative evidence may be taken.

    Only `known` ones count, and of these: with times, those before the first target of the group, as it will be
    when a recommendation is asked for; with an order alone, those of the users who are not in the group, since
    a user's own later choices would give the answer away.
    """
    if not training:
        yield known, list(chosen)
    elif split.kind == "time":
        times = np.where(np.isnan(log.times), -np.inf, log.times)  # a step without a time came first
        ordered = sorted(chosen, key=lambda point: (times[point.row], point.row))
        bounds = np.unique(np.linspace(0, len(ordered), _SLICES + 1).astype(int))
        for start, end in pairwise(bounds):
            group = ordered[start:end]
            yield known & (times < times[group[0].row]), group
    else:
        for fold in range(_SLICES):
            group = [point for point in chosen if point.user % _SLICES == fold]
            if group:
                yield known & (log.users % _SLICES != fold), group


def negatives(
    kind: str, count: int, recall: Recall, history: Sequence[str], taken: set[str], rng: random.Random
) -> list[str]:
    """`count` item ids (fewer in a tiny catalogue) that the user of `history` had not `taken`.

    `uniform` over the catalogue; `popularity` in proportion to the interactions so far; `hard` among the items
    that recall would offer.
    """
    if kind == "hard":
        recalled = [one.item_id for one in recall.candidates(history, HARD, exclude=taken)]
        return rng.sample(recalled, min(count, len(recalled)))
    weights = np.cumsum(recall.count + 1e-9).tolist() if kind == "popularity" else None
    draws = rng.choices(recall.item_ids, cum_weights=weights, k=20 * count)
    drawn = list(dict.fromkeys(item_id for item_id in draws if item_id not in taken))[:count]
    if len(drawn) < count:  # a tiny catalogue, or one item that nearly everybody takes
        free = [item_id for item_id in recall.item_ids if item_id not in taken and item_id not in drawn]
        drawn += rng.sample(free, min(count - len(drawn), len(free)))
    return drawn
