"""The products of the invented shop.

A title names a maker, a line and the kind of object, never its colour or pattern: those are in the picture only.
To each of the shared tastes there are 10 to 12 products, so that somebody who has bought some can want the rest.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from .drawing import Look, looks
from .themes import DEPARTMENTS, THEMES, Taste, matches

COUNT = 300

_FEWEST, _MOST = 10, 12
_MAKERS = (
    "Halden Brisa Tovik Marnel Oskari Quillon Verano Lindqvist Pavane Corvo Sorrel Amparo Fennick Juno Tessaly Ravello "
    "Kestrin Ostermann Dalby Mirova Norrby Calder Ilmen Sabine Wexcombe Arlo Petrel Zanetti Holm Brackley"
).split()
_LINES = {
    "clothing": "everyday weekend relaxed studio heritage holiday travel city classic essential".split(),
    "shoes": "city promenade weekend club avenue comfort classic harbour".split(),
    "bags": "commuter market day travel city compact classic everyday".split(),
    "accessories": "classic travel weekend city essential holiday club".split(),
    "fresh food": "orchard farm market hillside valley organic select".split(),
    "groceries": "family breakfast dairy organic daily village select".split(),
    "home": "kitchen cottage studio lounge guest classic everyday".split(),
}
_PRICES = {
    "clothing": (15, 90),
    "shoes": (30, 140),
    "bags": (25, 150),
    "accessories": (9, 80),
    "fresh food": (1, 5),
    "groceries": (1, 7),
    "home": (8, 60),
}


@dataclass(frozen=True, slots=True)
class Product:
    """A product, and what its picture shows."""

    item_id: str
    title: str
    category: str
    price: str
    look: Look
    seed: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a drawn catalogue is made by; `looks` are those that its products may have."""

    seed: str
    looks: Sequence[Look]
    departments: Mapping[str, Sequence[str]]  # objects
    themes: Sequence[Taste]
    makers: Sequence[str]
    lines: Mapping[str, Sequence[str]]  # by department, as are
    prices: Mapping[str, tuple[int, int]]


@lru_cache(maxsize=1)
def products() -> tuple[Product, ...]:
    """All products, the same at every call."""
    return planned(Plan("products", looks(), DEPARTMENTS, THEMES, _MAKERS, _LINES, _PRICES))


def planned(plan: Plan) -> tuple[Product, ...]:
    """The `COUNT` products of a plan."""
    rng = random.Random(plan.seed)
    chosen = _assortment(plan, rng)
    rng.shuffle(chosen)
    titles: set[str] = set()
    made = []
    for number, look in enumerate(chosen, 1):
        category = next(name for name, objects in plan.departments.items() if look.object in objects)
        title = _title(plan, look.object, category, rng)
        while title in titles:
            title = _title(plan, look.object, category, rng)
        titles.add(title)
        price = f"{rng.randint(*plan.prices[category])}.{rng.choice(('00', '50', '90', '95'))}"
        made.append(Product(f"p{number:03}", title, category, price, look, rng.randrange(1_000_000)))
    return tuple(made)


def _title(plan: Plan, name: str, category: str, rng: random.Random) -> str:
    return f"{rng.choice(plan.makers)} {rng.choice(plan.lines[category])} {name}"


def _assortment(plan: Plan, rng: random.Random) -> list[Look]:
    """Looks for each theme first, then some that are nobody's theme; fresh food comes again under other names."""
    themes = {look: [k for k, theme in enumerate(plan.themes) if matches(theme, look)] for look in plan.looks}
    nobodys = [look for look in plan.looks if not themes[look]]
    chosen: list[Look] = []
    taken: set[Look] = set()
    counts = [0] * len(plan.themes)

    def add(look: Look) -> None:
        chosen.append(look)
        taken.add(look)

    def take(look: Look) -> bool:
        if any(counts[k] >= _MOST for k in themes[look]):
            return False
        for k in themes[look]:
            counts[k] += 1
        add(look)
        return True

    for k in range(len(plan.themes)):
        fitting = [look for look in plan.looks if k in themes[look]]
        while counts[k] < _FEWEST:
            new = [look for look in fitting if look not in taken] or fitting
            had = Counter(look.object for look in chosen)
            rng.shuffle(new)
            if not any(take(look) for look in sorted(new, key=lambda look: had[look.object])):
                break
    while len(chosen) < COUNT:
        had = Counter(look.object for look in chosen)
        free = [look for look in nobodys if look not in taken]
        rng.shuffle(free)
        add(min(free, key=lambda look: had[look.object]))
    return chosen
