"""Sixty invented shoppers whose taste changes, with all that was decided about each.

The process, by which the tests check the histories:

- A shopper has two or three tastes, one after the other. They come from a short list of themes that others have
  as well, dealt like cards, so that each theme is had by about as many people; no product is to two successive
  tastes.
- A taste lasts 6 to 10 purchases, the last one 5 to 8; a history has 14 to 28.
- A purchase is from the current taste with probability 0.85, otherwise any product. The last one is from the taste.
  Nothing is bought twice.
- Products differ in popularity: the weight of the r-th is 1 / (r + 5). Among any products the choice goes by the
  weight, among those of a taste by its square root.
- The moments of a history are drawn evenly from the days of two years, between 8 and 22 o'clock.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from .catalogue import Product, products
from .themes import THEMES, Taste, matches

__all__ = [
    "FAITHFUL",
    "Course",
    "Market",
    "Shopper",
    "Taste",
    "courses",
    "market",
    "matches",
    "popularity",
    "shop",
    "shoppers",
]

FAITHFUL = 0.85
"""The probability that a purchase is from the current taste."""

_HELD_OUT = (
    "ada bruno celia dmitri edda farid greta hugo ilse jonas kira lorenz mila nadia otis petra quinn ramon signe timo"
)
_TRAINING = (
    "alma anton bela boris cora clara dario dora elio emil fenna flora gita goran hanna henk ines ivo jana jasper "
    "katya kofi lena luca maya milo nora noor oda oscar paula pavel rosa rune sami sofia tara theo uma vera"
)
_ADA = (0, 18)  # from navy and grey clothing to pink and red flowers on anything
_START = datetime(2024, 1, 1)
_DAY = 24 * 60
_OPENS, _OPEN = 8 * 60, 14 * 60


@dataclass(frozen=True, slots=True)
class Shopper:
    """A shopper, and the truth about them: which tastes, and where in the history the next one begins."""

    user_id: str
    tastes: tuple[Taste, ...]
    changes: tuple[int, ...]
    history: tuple[tuple[str, str], ...]
    training: bool


@dataclass(frozen=True, slots=True)
class Market:
    """What shoppers choose from: the weight of each item, and the items that are to each of the shared tastes."""

    weights: Mapping[str, float]  # in the order of the catalogue
    tastes: Sequence[frozenset[str]]
    lengths: tuple[int, int] = (6, 10)  # purchases that a taste lasts
    last: tuple[int, int] = (5, 8)
    least: int = 14  # purchases of a history


class Course(NamedTuple):
    """A shopper's tastes, by their numbers; where in the history the next one begins; and (item, moment) of each."""

    tastes: tuple[int, ...]
    changes: tuple[int, ...]
    history: tuple[tuple[str, str], ...]


def popularity(items: Sequence[str], seed: str) -> dict[str, float]:
    """The weight of each item."""
    order = list(items)
    random.Random(seed).shuffle(order)
    weights = {item: 1 / (rank + 5) for rank, item in enumerate(order)}
    return {item: weights[item] for item in items}


@lru_cache(maxsize=1)
def shop() -> Market:
    """What the shoppers of the demo choose from."""
    return market(products(), THEMES, "popularity")


def market(goods: Sequence[Product], themes: Sequence[Taste], seed: str) -> Market:
    """Drawn products for shoppers with these tastes; the seed makes some more popular than others."""
    tastes = [frozenset(one.item_id for one in goods if matches(theme, one.look)) for theme in themes]
    return Market(popularity([one.item_id for one in goods], seed), tastes)


@lru_cache(maxsize=1)
def shoppers() -> tuple[Shopper, ...]:
    """All shoppers, the same at every call: 20 that are held out, then 40 for training."""
    training = _TRAINING.split()
    made = courses(shop(), [*training, *_HELD_OUT.split()], "shoppers", {"ada": _ADA})
    everybody = (
        Shopper(name, tuple(THEMES[k] for k in one.tastes), one.changes, one.history, name in training)
        for name, one in made.items()
    )
    return tuple(sorted(everybody, key=lambda one: (one.training, one.user_id)))


def courses(
    market: Market, names: Iterable[str], seed: str, given: Mapping[str, tuple[int, ...]] = MappingProxyType({})
) -> dict[str, Course]:
    """What became of each of these shoppers; the tastes are dealt but for those that are `given`."""
    rng = random.Random(seed)
    deck: list[int] = []
    return {name: _course(market, given.get(name) or _deal(market, deck, rng), rng) for name in names}


def _deal(market: Market, deck: list[int], rng: random.Random) -> tuple[int, ...]:
    def fits(k: int) -> bool:
        return k not in dealt and not (dealt and market.tastes[dealt[-1]] & market.tastes[k])

    dealt: list[int] = []
    for _ in range(rng.choice((2, 3))):
        if not any(map(fits, deck)):
            new = list(range(len(market.tastes)))
            rng.shuffle(new)
            deck.extend(new)
        card = next(filter(fits, deck))
        deck.remove(card)
        dealt.append(card)
    return tuple(dealt)


def _course(market: Market, tastes: tuple[int, ...], rng: random.Random) -> Course:
    while True:
        lengths = [*(rng.randint(*market.lengths) for _ in tastes[1:]), rng.randint(*market.last)]
        if sum(lengths) < market.least:
            continue
        bought = _purchases(market, tastes, lengths, rng)
        if bought[-1] in market.tastes[tastes[-1]]:  # else nothing was left of that taste
            break
    moments = [_moment(minute) for minute in sorted(rng.sample(range(2 * 365 * _DAY), len(bought)))]
    changes = tuple(sum(lengths[: k + 1]) for k in range(len(tastes) - 1))
    return Course(tastes, changes, tuple(zip(bought, moments, strict=True)))


def _purchases(market: Market, tastes: Sequence[int], lengths: Sequence[int], rng: random.Random) -> list[str]:
    bought: dict[str, None] = {}
    for number, length in enumerate(lengths, 1):
        for left in range(length, 0, -1):
            last = left == 1 and number == len(lengths)
            bought[_choice(market, market.tastes[tastes[number - 1]], bought, rng, last=last)] = None
    return list(bought)


def _moment(minute: int) -> str:
    day, part = divmod(minute, _DAY)
    return (_START + timedelta(days=day, minutes=_OPENS + part * _OPEN // _DAY)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _choice(market: Market, taste: frozenset[str], bought: dict[str, None], rng: random.Random, *, last: bool) -> str:
    left = [item for item in market.weights if item not in bought]
    fitting = [item for item in left if item in taste]
    faithful = rng.random() < FAITHFUL or last
    among, power = (fitting, 0.5) if faithful and fitting else (left, 1)
    return rng.choices(among, [market.weights[item] ** power for item in among])[0]
