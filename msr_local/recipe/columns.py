"""What each column of the items file is, and how much it tells about what people take one after the other.

A column tells much where two items that somebody took one after the other have the same value more often than two items
taken by anybody: the Kullback-Leibler divergence of the two shares, in nats. Few interactions say little about that;
then a column counts whose values some items share and others do not.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ..store import histories
from ..store.catalogue import COLUMNS
from ..store.rows import Item, Log
from ..store.workspace import Workspace
from ..values import values

HIDDEN = ("identifier", "link", "empty", "constant", "copy")  # kinds that no description shows
_ITEMS = 4000  # looked at
_PAIRS = 20_000  # pairs of items compared
_WORTH = 50  # pairs that count as much as what is believed without any
_ENOUGH = 500  # pairs from which on a column that tells little is left out
_LITTLE = 0.02  # of what the best column tells: less is left out where there are pairs enough
_GREW = 1.25  # times the items or interactions from which on columns are looked at again
_PROSE = 10  # words on average
_BINS = 10
_LINK = re.compile(r"(?i)(?:[a-z][a-z0-9+.-]*:)?//\S+|www\.\S+|\S+\.(?:jpe?g|png|gif|webp|bmp|svg|html?)(?:\?\S*)?")
_NUMBER = re.compile(r"[-+]?\d+(?:[.,]\d+)?")

Values = Sequence[list[str]]  # of one column, an entry for each item


@dataclass(frozen=True, slots=True)
class Columns:
    """The kind of each column, and those worth showing, the most telling first."""

    kinds: Mapping[str, str]
    order: tuple[str, ...]
    seen: tuple[int, int] = (0, 0)  # items and interactions when this was learned

    @property
    def wordless(self) -> frozenset[str]:
        """Columns that nothing should read: identifiers, links, embeddings, and what repeats another column."""
        return frozenset(name for name, kind in self.kinds.items() if kind in HIDDEN)

    def to_json(self) -> dict[str, Any]:
        return {"kinds": dict(self.kinds), "order": list(self.order), "seen": list(self.seen)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Columns:
        """What `to_json` wrote."""
        items, interactions = document["seen"]
        return cls(document["kinds"], tuple(document["order"]), (items, interactions))


def current(workspace: Workspace) -> Columns:
    """The columns of a workspace.

    They are learned again where it has grown by a quarter since, or one file changed more than a quarter of its items.
    """
    kept = workspace.setting(COLUMNS)
    counts = histories.counts(workspace)
    seen = counts["items"], counts["interactions"]
    if kept is not None:
        columns = Columns.from_json(kept)
        if all(now < _GREW * max(1, before) for now, before in zip(seen, columns.seen, strict=True)):
            return columns
    with workspace.snapshot():
        log = histories.log(workspace)
        columns = learned(histories.items(workspace, log.item_ids), log, seen)
    if seen[0] and not (workspace.in_transaction or workspace.read_only):  # else whoever comes next keeps it
        workspace.set_setting(COLUMNS, columns.to_json())
    return columns


def learned(items: Sequence[Item], log: Log, seen: tuple[int, int] = (0, 0)) -> Columns:
    """What can be learned about the columns of `items`, which are those of the log in its order."""
    draw = random.Random(0)
    names = list(dict.fromkeys(name for item in items for name in item.attributes))
    near, far = _pairs(log, draw)
    places = sorted({*range(len(items))} if len(items) <= _ITEMS else {*draw.sample(range(len(items)), _ITEMS)})
    kinds: dict[str, str] = {}
    tells: dict[str, float] = {}
    telling: dict[str, Values] = {}
    for name in names:
        found = [values(item.attributes.get(name)) for item in items]
        some = [found[place] for place in places]
        kinds[name] = _kind(name, [one for one in some if one])
        if kinds[name] in HIDDEN:
            continue
        if other := next((one for one, its in telling.items() if _alike([its[place] for place in places], some)), None):
            longer = _length(some) > _length([telling[other][place] for place in places])
            shorter = other if longer and kinds[name] != "number" else name
            kinds[shorter] = "copy"
            if shorter == name:
                continue
            del telling[other], tells[other]
        telling[name] = found
        tells[name] = _tells(_sets(kinds[name], found), near, far)
    best = max(tells.values(), default=0.0)
    least = _LITTLE * best if len(near) >= _ENOUGH else 0.0
    order = sorted(
        (name for name in tells if tells[name] >= least), key=lambda name: (kinds[name] == "prose", -tells[name])
    )
    return Columns(kinds, tuple(order), seen)


def _kind(name: str, found: Values) -> str:
    """What the column's values are; `found` has those of items that have any."""
    if not found:
        return "empty"
    texts = [", ".join(one) for one in found]
    different = len({text.casefold() for text in texts})
    if different == 1 and len(found) > 1:
        return "constant"
    if sum(all(_LINK.fullmatch(text) for text in one) for one in found) > 0.5 * len(found):
        return "link"
    if _unique(found, texts, different) or (_named_id(name) and not any(" " in text for text in texts)):
        return "identifier"
    if sum(len(one) > 1 for one in found) > 0.2 * len(found):
        return "list"
    if all(_NUMBER.fullmatch(text) for text in texts):
        return "number"
    return "prose" if sum(len(text.split()) for text in texts) > _PROSE * len(texts) else "category"


def _unique(found: Values, texts: Sequence[str], different: int) -> bool:
    """Whether nearly every item has a value of its own that is one word with a figure in it, or a whole number."""
    if len(found) < 20 or different < 0.95 * len(found):
        return False
    codes = sum(len(one) == 1 and " " not in text and any(c.isdigit() for c in text) and "." not in text
                for one, text in zip(found, texts, strict=True))  # fmt: skip
    return codes > 0.9 * len(found)


def _named_id(name: str) -> bool:
    parts = re.split(r"[^a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())
    return parts[-1] in ("id", "ids", "uuid", "guid", "ean", "upc", "isbn", "asin", "sku")


def _alike(one: Values, other: Values) -> bool:
    """Whether each value of one column goes with one value of the other, and the reverse: the same, written twice."""
    pairs = {(tuple(a), tuple(b)) for a, b in zip(one, other, strict=True) if a and b}
    if len(pairs) < 2 or sum(bool(a) != bool(b) for a, b in zip(one, other, strict=True)) > 0.02 * len(one):
        return False
    left, right = {a for a, _ in pairs}, {b for _, b in pairs}
    return len(pairs) <= 1.02 * min(len(left), len(right)) and len(pairs) < 0.9 * len(one)


def _length(found: Values) -> float:
    return sum(sum(map(len, one)) for one in found) / max(1, len(found))


def _sets(kind: str, found: Values) -> list[frozenset[str]]:
    """The values as sets to compare: numbers by tenths, prose by its words."""
    if kind == "number":
        # Not all items were looked at for its kind: some may have other values.
        numbers = [float(one[0].replace(",", ".")) if one and _NUMBER.fullmatch(one[0]) else math.nan for one in found]
        bounds = np.nanquantile(numbers, np.arange(1, _BINS) / _BINS)
        return [frozenset() if math.isnan(n) else frozenset([str(int(np.searchsorted(bounds, n)))]) for n in numbers]
    if kind == "prose":
        return [frozenset(re.findall(r"\w{4,}", " ".join(one).casefold())) for one in found]
    return [frozenset(text.casefold() for text in one) for one in found]


def _pairs(log: Log, draw: random.Random) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Items taken one after the other, and items taken by anybody, as pairs of different ones."""
    follows = [
        (int(a), int(b))
        for (a, b), same in zip(pairwise(log.items), log.users[1:] == log.users[:-1], strict=True)
        if same and a != b
    ]
    near = follows if len(follows) <= _PAIRS else draw.sample(follows, _PAIRS)
    pool: Sequence[int] = log.items.tolist() if near else range(len(log.item_ids))
    drawn = min(_PAIRS, len(pool) * (len(pool) - 1))
    far = [(a, b) for a, b in (draw.choices(pool, k=2) for _ in range(drawn)) if a != b]
    return near, far


def _tells(sets: Sequence[frozenset[str]], near: list[tuple[int, int]], far: list[tuple[int, int]]) -> float:
    anybody = _share(sets, far)
    believed = -anybody * math.log(anybody) / 10 if anybody > 0 else 0.0
    together = _share(sets, near)
    chance = 2 * math.sqrt(anybody * (1 - anybody) / max(1, len(near)))  # two standard errors
    measured = _divergence(together, anybody) if together > anybody + chance else 0.0
    return (len(near) * measured + _WORTH * believed) / (len(near) + _WORTH)


def _share(sets: Sequence[frozenset[str]], pairs: list[tuple[int, int]]) -> float:
    """The mean overlap (Jaccard) of the pairs that have values."""
    there = [(sets[a], sets[b]) for a, b in pairs if sets[a] and sets[b]]
    return sum(len(a & b) / len(a | b) for a, b in there) / len(there) if there else 0.0


def _divergence(p: float, q: float) -> float:
    q = min(max(q, 1e-4), 1 - 1e-4)
    return sum(a * math.log(a / b) for a, b in ((p, q), (1 - p, 1 - q)) if a > 0)
