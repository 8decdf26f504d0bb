"""Recall that was learned from histories: two towers that read, and weights for all scores of recall.

The weights are those of a softmax over the whole catalogue (recall/fusion.py); items that nobody took have weights of
their own. So that a catalogue may be large, only a shortlist is ranked: the best items by the hand-set weights, and the
best items by the towers.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np

from ..arrays import Floats, Indices, Items, Vector, best
from ..store import results
from ..store.rows import LearnedRow
from ..store.workspace import Workspace
from .candidates import LATE, RECALL_WEIGHT, WEIGHED, Recall
from .fusion import Fusion
from .towers import Reading, Towers

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
_ITS_OWN = (*SOURCES["text"], *SOURCES["words"])  # scores that an item has though nobody took it
READ = (READING, *_ITS_OWN)  # and what the towers make of its text
_COUNTING = np.isin(list(SOURCES), ("markov", "item_knn", "popularity"))  # takers, that is
_READER, _READS = "reader", "reads_"  # in the file
_NOTHING = np.zeros(0, np.int32)
_SCALE = RECALL_WEIGHT  # nats under the best item at which recall is 0: an untuned model's fused score is z + log-odds


@dataclass(frozen=True, slots=True)
class OfUntaken:
    """The log-odds of an item that nobody took.

    A share of those that it would have if takers said of it what they say of items that read alike; more for what is
    `read` of itself, a weight for each of `READ`; and some nats, with a `start` on top for an item that has come since
    recall was learned: nobody can take what is never shown.
    """

    expected: float
    read: Sequence[float]
    nats: float
    start: float


@dataclass(frozen=True, slots=True)
class Learned:
    """Towers over the I items of a recall, and the weights of its scores and theirs.

    `untaken` is for items that nobody took; None: they are weighed like the others. `reader` is a hash of what makes
    the vectors that the towers read; '' where they are not kept. `new` are items whose text was not there when it was
    learned.
    """

    towers: Towers
    fusion: Fusion
    untaken: OfUntaken | None = None
    reader: str = ""
    new: Indices = field(default_factory=lambda: _NOTHING)

    def __call__(
        self, history: Items, by_hand: Vector, recall: Recall, also: Indices, among: Indices = _NOTHING
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
        given = self._given(recall, history, places)
        listed = np.isin(places, short)
        total = given.sum(axis=-1)
        top = total[listed].max(initial=-np.inf) if listed.any() else total.max(initial=0.0)
        value = np.minimum(1.0 - (top - total) / _SCALE, 1.0)
        middle = given[listed].mean(axis=0) if listed.any() else 0.0
        lifts = np.stack([self._of(given - middle, names) for names in SOURCES.values()])
        lifts[np.outer(_COUNTING, recall.count[places] == 0)] = 0.0  # no taker stands for it
        lifts = np.where(lifts.sum(axis=0) > 0, lifts, 1.0)
        order, parts = np.full(len(by_hand), -np.inf), np.zeros((len(SOURCES), len(by_hand)))
        order[places], parts[:, places] = value, np.maximum(value, 0.0) * lifts / lifts.sum(axis=0)
        return order, dict(zip(SOURCES, parts, strict=True)), short

    def weighed(self, recall: Recall, history: Items, items: Items) -> tuple[Vector, Vector]:
        """What each score gives of the log-odds of items, [C, F], and the scores `READ` of themselves, [C, R].

        Of an item that nobody took, the scores that count takers are those of taken items that read alike, on average.
        """

        def told(some: Items) -> dict[str, Vector]:
            return recall.features(history, some) | {READING: self.towers(history, some)}

        found, untaken = told(items), recall.count[items] == 0
        own = np.stack([found[name] for name in READ], axis=-1)
        if untaken.any():
            near = recall.untaken.nearest(items[untaken])
            columns = np.unique(near.indices).astype(np.int32)
            of_near, weights = told(columns), near[:, columns]
            for name in found.keys() - {*_ITS_OWN}:
                found[name][untaken] = weights @ of_near[name]
        return self._parts(found), own

    def _parts(self, scores: dict[str, Vector]) -> Vector:
        nothing = np.zeros(len(scores[READING]))  # of a log that had timestamps and has none now
        return self.fusion.parts(np.stack([scores.get(name, nothing) for name in self.fusion.names], axis=-1))

    def _given(self, recall: Recall, history: Items, items: Items) -> Vector:
        """What each score gives of the log-odds of items, and at last what is given to those that nobody took."""
        lone = self.untaken
        if lone is None:
            scores = recall.features(history, items) | {READING: self.towers(history, items)}
            return np.column_stack([self._parts(scores), np.zeros(len(items))])
        given, own = self.weighed(recall, history, items)
        untaken, names = recall.count[items] == 0, self.fusion.names
        whole = given[untaken].sum(axis=-1) * lone.expected
        given[untaken] *= np.isin(names, _ITS_OWN) * lone.expected
        given[untaken, names.index("text")] += whole - given[untaken].sum(axis=-1)  # as what reads alike has it
        for name, weight, score in zip(READ, lone.read, own[untaken].T, strict=True):
            given[untaken, names.index(name)] += weight * score
        return np.column_stack([given, untaken * (lone.nats + lone.start * np.isin(items, self.new))])

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


def save(
    workspace: Workspace, key: str, learned: Learned, item_ids: Sequence[str], facts: dict[str, Any], since: str
) -> None:
    """Keep what was learned about these items, in the place of what was learned before; see `LearnedRow`.

    `facts` are to say by "used" whether recall is to rank by it.
    """
    file = io.BytesIO()
    towers = learned.towers
    reads = {}
    if towers.reading and learned.reader:
        reads = {_READS + name: value for name, value in asdict(towers.reading).items()}
        reads[_READER] = np.array(learned.reader)
    np.savez(file, items=towers.items.astype(np.float16), bias=towers.bias, layer=towers.layer, **reads)
    weights = learned.fusion.to_json() | {"untaken": learned.untaken and asdict(learned.untaken)}
    row = LearnedRow(key, weights, facts, list(item_ids), file.getvalue(), since)
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
    untaken = row.fusion.get("untaken")  # earlier releases weighed all items alike
    return Learned(towers, Fusion.from_json(row.fusion), untaken and OfUntaken(**untaken), reader), row.item_ids
