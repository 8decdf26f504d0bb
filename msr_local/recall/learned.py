"""Recall that was learned from histories: two towers that read, and weights for all scores of recall.

The weights are those of a softmax over the whole catalogue (recall/fusion.py). So that a catalogue may be large, only
a shortlist is ranked: the best items by the hand-set weights, and the best items by the towers.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np

from ..arrays import Floats, Indices, Items, Vector
from ..store import results
from ..store.rows import LearnedRow
from ..store.workspace import Workspace
from .candidates import LATE, RECALL_WEIGHT, WEIGHED, best
from .fusion import Fusion
from .towers import Reading, Towers

Features = Callable[[Items, Any], dict[str, Vector]]  # of items [C] after a history, by name

READING = "two towers that read"
SOURCES = {  # of a candidate's recall, and the scores that each is made of
    "markov": ("Markov",),
    "item_knn": ("item-kNN", "best item-kNN"),
    "popularity": ("popularity", *LATE),
    "text": ("text", "best text"),
    "words": ("words",),
    "towers": (READING,),
}
RECALLED = tuple(name for names in SOURCES.values() for name in names)
_READER, _READS = "reader", "reads_"  # in the file
# Nats for an item whose text is new: it had no time to be taken together with others. Chosen on MovieTweetings, a
# tenth of the films taken out and brought back after learning. The next of these that somebody takes is in the best
# hundred of all for 10% of 300 users (6% without; where only the order is known, 6% and 2%); for the next of the
# other films, of 150 users, nothing changed. A second nat would double that, and lose 2 to 7 in 100 of the others.
_NEW = 1.0
_NOTHING = np.zeros(0, np.int32)
_SCALE = RECALL_WEIGHT  # nats under the best item at which recall is 0: an untuned model's fused score is z + log-odds


@dataclass(frozen=True, slots=True)
class Learned:
    """Towers over the I items of a recall, and the weights of its scores and theirs.

    `reader` is a hash of what makes the vectors that the towers read; '' where they are not kept. `new` are items whose
    text was not there when it was learned.
    """

    towers: Towers
    fusion: Fusion
    reader: str = ""
    new: Indices = field(default_factory=lambda: _NOTHING)

    def __call__(
        self, history: Items, by_hand: Vector, features: Features, also: Indices, among: Indices = _NOTHING
    ) -> tuple[Vector, dict[str, Vector], Indices]:
        """Recall of the shortlist and of the items `also`, else -inf; each source's part of it, [I]; and the shortlist.

        Recall is 1 for the best of the shortlist and a sixteenth less for each nat of log-odds below it, also under 0.
        A source's part is what it lifts an item above the mean of the shortlist. `history`, `also` and `among` are item
        indices; the best `among` these are weighed too, as many as a shortlist has, but are no part of it.
        """
        everything = np.arange(len(by_hand), dtype=np.int32)
        free = np.setdiff1d(everything, history)
        read = self.towers(history, everything)
        short = np.union1d(best(by_hand, free, WEIGHED), best(read, free, WEIGHED))
        asked_for = [also, best(by_hand, among, WEIGHED), best(read, among, WEIGHED)]
        places = np.unique(np.concatenate([short, *asked_for])).astype(np.int32)
        scores = features(history, places) | {READING: read[places]}
        nothing = np.zeros(len(places))  # of a log that had timestamps and has none now
        given = self.fusion.parts(np.stack([scores.get(name, nothing) for name in self.fusion.names], axis=-1))
        given[np.isin(places, self.new), self.fusion.names.index(READING)] += _NEW
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

    def of(
        self, item_ids: Sequence[str], learned_ids: Sequence[str],
        new: Indices = _NOTHING, vectors: Floats | None = None,
    ) -> Learned:  # fmt: skip
        """The same for another list of items; those that are not among the `learned_ids` are like the least taken.

        But the items at `new` [N] are what the towers make of the `vectors` [N, D] of their texts.
        """
        if list(item_ids) == list(learned_ids) and vectors is None:
            return self
        place = {item_id: i for i, item_id in enumerate(learned_ids)}
        found = np.array([place.get(item_id, -1) for item_id in item_ids], int)
        there = found >= 0
        items = np.zeros((len(found), self.towers.items.shape[1]), np.float32)
        bias = np.full(len(found), self.towers.bias.min(initial=0.0), np.float32)
        items[there], bias[there] = self.towers.items[found[there]], self.towers.bias[found[there]]
        if vectors is None or not self.towers.reading:
            return replace(self, towers=replace(self.towers, items=items, bias=bias))
        items[new], bias[new] = self.towers.reading(vectors)
        return replace(self, towers=replace(self.towers, items=items, bias=bias), new=new)


def save(workspace: Workspace, key: str, learned: Learned, item_ids: Sequence[str], facts: dict[str, Any]) -> None:
    """Keep what was learned about these items, in the place of what was learned before.

    `facts` are to say by "used" whether recall is to rank by it.
    """
    file = io.BytesIO()
    towers = learned.towers
    reads = {}
    if towers.reading and learned.reader:
        reads = {_READS + name: value for name, value in asdict(towers.reading).items()}
        reads[_READER] = np.array(learned.reader)
    np.savez(file, items=towers.items.astype(np.float16), bias=towers.bias, layer=towers.layer, **reads)
    row = LearnedRow(key, learned.fusion.to_json(), facts, list(item_ids), file.getvalue())
    results.save_learned_recall(workspace, row)


def load(workspace: Workspace) -> tuple[Learned, list[str]] | None:
    """What was learned, and the ids of its items; None where nothing was, or it is not to be used."""
    row = results.learned_recall(workspace)
    if row is None or not row.facts["used"]:
        return None
    arrays = np.load(io.BytesIO(row.towers), allow_pickle=False)
    reading, reader = None, ""
    if _READER in arrays:  # earlier releases did not keep it
        reading = Reading(*(arrays[_READS + one.name] for one in fields(Reading)))
        reader = str(arrays[_READER])
    towers = Towers(arrays["items"].astype(np.float32), arrays["bias"], arrays["layer"], reading)
    return Learned(towers, Fusion.from_json(row.fusion), reader), row.item_ids
