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
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from .catalogue import Product, products
from .themes import THEMES, Taste, matches

__all__ = ["FAITHFUL", "Shopper", "Taste", "matches", "popularity", "shoppers"]

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


@lru_cache(maxsize=1)
def popularity() -> dict[str, float]:
    """The weight of each product, by its id."""
    ids = [product.item_id for product in products()]
    random.Random("popularity").shuffle(ids)
    return {item: 1 / (rank + 5) for rank, item in enumerate(ids)}


@lru_cache(maxsize=1)
def shoppers() -> tuple[Shopper, ...]:
    """All shoppers, the same at every call: 20 that are held out, then 40 for training."""
    rng = random.Random("shoppers")
    deck: list[int] = []
    made = []
    for name in [*_TRAINING.split(), *_HELD_OUT.split()]:
        numbers = _ADA if name == "ada" else _deal(deck, rng)
        made.append(_shopper(name, tuple(THEMES[k] for k in numbers), name in _TRAINING.split(), rng))
    return tuple(sorted(made, key=lambda one: (one.training, one.user_id)))


def _deal(deck: list[int], rng: random.Random) -> tuple[int, ...]:
    dealt: list[int] = []
    for _ in range(rng.choice((2, 3))):
        fits = [k for k in deck if k not in dealt and not (dealt and _overlap(dealt[-1], k))]
        if not fits:
            new = list(range(len(THEMES)))
            rng.shuffle(new)
            deck.extend(new)
            fits = [k for k in deck if k not in dealt and not (dealt and _overlap(dealt[-1], k))]
        deck.remove(fits[0])
        dealt.append(fits[0])
    return tuple(dealt)


def _overlap(one: int, other: int) -> bool:
    return any(matches(THEMES[one], each.look) and matches(THEMES[other], each.look) for each in products())


def _shopper(name: str, tastes: tuple[Taste, ...], training: bool, rng: random.Random) -> Shopper:
    while True:
        lengths = [*(rng.randint(6, 10) for _ in tastes[1:]), rng.randint(5, 8)]
        if sum(lengths) >= 14:
            break
    bought: dict[str, None] = {}
    for taste, length in zip(tastes, lengths, strict=True):
        for left in range(length, 0, -1):
            last = left == 1 and taste is tastes[-1]
            bought[_choice(taste, bought, rng, last=last)] = None
    moments = [_moment(minute) for minute in sorted(rng.sample(range(2 * 365 * _DAY), len(bought)))]
    changes = tuple(sum(lengths[: k + 1]) for k in range(len(tastes) - 1))
    return Shopper(name, tastes, changes, tuple(zip(bought, moments, strict=True)), training)


def _moment(minute: int) -> str:
    day, part = divmod(minute, _DAY)
    return (_START + timedelta(days=day, minutes=_OPENS + part * _OPEN // _DAY)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _choice(taste: Taste, bought: dict[str, None], rng: random.Random, *, last: bool) -> str:
    left = [product for product in products() if product.item_id not in bought]
    fitting = [product for product in left if matches(taste, product.look)]
    faithful = rng.random() < FAITHFUL or last
    if faithful and fitting:
        return _drawn(fitting, 0.5, rng)
    return _drawn(left, 1, rng)


def _drawn(among: list[Product], power: float, rng: random.Random) -> str:
    weights = [popularity()[product.item_id] ** power for product in among]
    return rng.choices(among, weights)[0].item_id
