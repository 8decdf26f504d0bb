"""Recall that was learned from histories: two towers that read, and weights for all scores of recall.

The weights are those of a softmax over the whole catalogue (recall/fusion.py). So that a catalogue may be large, only
a shortlist is ranked: the best items by the hand-set weights, and the best items by the towers.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import Indices, Items, Vector
from ..store import results
from ..store.rows import LearnedRow
from ..store.workspace import Workspace
from .candidates import LATE, RECALL_WEIGHT, WEIGHED, best
from .fusion import Fusion
from .towers import Towers

Features = Callable[[Items, Any], dict[str, Vector]]  # of items [C] after a history, by name

READING = "two towers that read"
SOURCES = {  # of a candidate's recall, and the scores that each is made of
    "markov": ("Markov",),
    "item_knn": ("item-kNN", "best item-kNN"),
    "popularity": ("popularity", *LATE),
    "text": ("text", "best text"),
    "towers": (READING,),
}
RECALLED = tuple(name for names in SOURCES.values() for name in names)
_SCALE = RECALL_WEIGHT  # nats under the best item at which recall is 0: an untuned model's fused score is z + log-odds


@dataclass(frozen=True, slots=True)
class Learned:
    """Towers over the I items of a recall, and the weights of its scores and theirs."""

    towers: Towers
    fusion: Fusion

    def __call__(
        self, history: Items, by_hand: Vector, features: Features, also: Indices
    ) -> tuple[Vector, dict[str, Vector], Indices]:
        """Recall of the shortlist and of the items `also`, else -inf; each source's part of it, [I]; and the shortlist.

        Recall is 1 for the best of the shortlist and a sixteenth less for each nat of log-odds below it, also under 0.
        A source's part is what it lifts an item above the mean of the shortlist. `history` and `also` are item indices.
        """
        everything = np.arange(len(by_hand), dtype=np.int32)
        free = np.setdiff1d(everything, history)
        read = self.towers(history, everything)
        short = np.union1d(best(by_hand, free, WEIGHED), best(read, free, WEIGHED))
        places = np.union1d(short, also).astype(np.int32)
        scores = features(history, places) | {READING: read[places]}
        nothing = np.zeros(len(places))  # of a log that had timestamps and has none now
        given = self.fusion.parts(np.stack([scores.get(name, nothing) for name in self.fusion.names], axis=-1))
        listed = np.isin(places, short)
        total = given.sum(axis=-1)
        top = total[listed].max(initial=-np.inf) if listed.any() else total.max(initial=0.0)
        recall = np.minimum(1.0 - (top - total) / _SCALE, 1.0)
        middle = given[listed].mean(axis=0) if listed.any() else 0.0
        lifts = np.stack([self._of(given - middle, names) for names in SOURCES.values()])
        lifts = np.where(lifts.sum(axis=0) > 0, lifts, 1.0)
        order, parts = np.full(len(by_hand), -np.inf), np.zeros((len(SOURCES), len(by_hand)))
        order[places], parts[:, places] = recall, np.maximum(recall, 0.0) * lifts / lifts.sum(axis=0)
        return order, dict(zip(SOURCES, parts, strict=True)), short

    def _of(self, given: Vector, names: Sequence[str]) -> Vector:
        mine = [place for place, name in enumerate(self.fusion.names) if name in names]
        return np.asarray(np.maximum(given[:, mine].sum(axis=-1), 0.0))

    def of(self, item_ids: Sequence[str], learned_ids: Sequence[str]) -> Learned:
        """The same for another list of items; those that are not among the `learned_ids` are like the least taken."""
        if list(item_ids) == list(learned_ids):
            return self
        place = {item_id: i for i, item_id in enumerate(learned_ids)}
        found = np.array([place.get(item_id, -1) for item_id in item_ids], int)
        there = found >= 0
        items = np.zeros((len(found), self.towers.items.shape[1]), np.float32)
        bias = np.full(len(found), self.towers.bias.min(initial=0.0), np.float32)
        items[there], bias[there] = self.towers.items[found[there]], self.towers.bias[found[there]]
        return Learned(Towers(items, bias, self.towers.layer), self.fusion)


def save(workspace: Workspace, key: str, learned: Learned, item_ids: Sequence[str], facts: dict[str, Any]) -> None:
    """Keep what was learned about these items, in the place of what was learned before.

    `facts` are to say by "used" whether recall is to rank by it.
    """
    file = io.BytesIO()
    towers = learned.towers
    np.savez(file, items=towers.items.astype(np.float16), bias=towers.bias, layer=towers.layer)
    row = LearnedRow(key, learned.fusion.to_json(), facts, list(item_ids), file.getvalue())
    results.save_learned_recall(workspace, row)


def load(workspace: Workspace, item_ids: Sequence[str]) -> Learned | None:
    """What was learned, for a recall of these items; None where nothing was, or it is not to be used."""
    row = results.learned_recall(workspace)
    if row is None or not row.facts["used"]:
        return None
    arrays = np.load(io.BytesIO(row.towers), allow_pickle=False)
    towers = Towers(arrays["items"].astype(np.float32), arrays["bias"], arrays["layer"])
    return Learned(towers, Fusion.from_json(row.fusion)).of(item_ids, row.item_ids)
