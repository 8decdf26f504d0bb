"""Recall picks candidates (100 by default) from the whole catalogue by a weighted sum of five cheap scores.

Each source is scaled to [0, 1] over the whole catalogue, so that an item's recall does not depend on which
other candidates are asked about. A source that knows nothing of a user (one without history, say) drops
out, and the others share its weight.

Sources: item-kNN with cosine and shrinkage (Sarwar et al. 2001), a Markov transition score over a window of
three (first-order chains as in Rendle et al. 2010, smoothed by a 1/distance window), popularity, TF-IDF similarity of
texts (titles, attributes, captions), and the words that the latest items share (recall/words.py). Of a user's items the
latest count most (exponential decay). An item that nobody has taken yet, of which the first three know nothing, is
given what they give to items that read alike (recall/untaken.py).
"""

from __future__ import annotations

import copy
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Sequence, Set
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import scipy.sparse as sparse

from ..arrays import Indices, Items, Mask, Vector, best
from ..store.rows import Log
from .untaken import Untaken
from .words import lift, words_of

# Measured on MovieLens latest-small (benchmarks/fusion.py): the untuned model's log-odds rank no better than
# chance there, and recall needs about this weight for the fused order to come near its own. A tuned model
# brings its own weight, fitted on validation rows.
RECALL_WEIGHT = 16.0
LATE = {"recent popularity": 0.1, "latest popularity": 0.01}  # shares of the interactions, the last ones
# The weight of words was chosen on the 40 training shoppers of the drawn shop (their last purchase, with captions that
# are right) and MovieLens' validation interactions; more would help the shop, and cost on MovieTweetings' validation.
WEIGHTS = {"markov": 0.5, "item_knn": 0.3, "popularity": 0.1, "text": 0.1, "words": 0.2}
_WINDOW = 3
_DECAY = 0.85  # weight of an interaction against the one after it
_RECENT = 50  # interactions looked at
_PEOPLE = 4096  # users of an item that are counted; of more, a fixed random sample
_WITNESSES = 2  # users who must have taken both of two items before one is called the other's companion
_SHRINK = 5.0  # co-occurrences that count half
WEIGHED = 1000  # learned recall ranks so many items that the hand-set weights rank best, and as many of the towers
_READ = ("text", "words")  # sources that say something of items that nobody took
_NEW = 200  # of these, as many may have more than their texts give them
_NO_ITEMS = np.zeros(0, np.int32)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A recalled item; `shares` says how much of `recall` each source gave and sums to 1."""

    item_id: str
    recall: float
    shares: dict[str, float]
    companion: str | None  # the item of the history that it goes with best, by shrunk cosine
    together: float  # share of the companion's users who took this too, shrunk as if two more had not; 0..1
    rank: int | None = None  # by recall among all items that the history does not hold; None: beyond the shortlist
    popular: float | None = None  # share of the catalogue that at least as many users took, 0..1; None: nobody took it


@dataclass(frozen=True, slots=True)
class _Scores:
    """All items as seen from one history."""

    recent: list[int]  # item indices
    pairs: sparse.csr_matrix  # co-occurrence of each of `recent` with every item
    parts: dict[str, Vector]  # weighted score of each source, shape [I]
    recall: Vector  # their sum, shape [I]; of a learned recall it goes on under 0, and is -inf where not weighed
    ranked: Indices  # item indices, [R] of all, among which ranks are counted: they depend on the history alone


@dataclass(frozen=True, slots=True)
class Tables:
    """What recall looks things up in, for U users and I items."""

    by_user: sparse.csr_matrix  # 1 where a user took an item, shape [U, I]
    by_item: sparse.csc_matrix  # the same by item
    follows: sparse.csr_matrix  # how often one item followed another, shape [I, I]
    text: sparse.csr_matrix  # TF-IDF, shape [I, words]
    words: sparse.csc_matrix  # 1 where an item's text has a word, the same shape
    late: sparse.csr_matrix  # how often an item was taken in each of the `LATE` last parts, shape [2, I]


class Ranker(Protocol):
    """A ranking learned from histories, used instead of the hand-set weights: see `recall.learned`."""

    def __call__(
        self, history: Items, by_hand: Vector, recall: Recall, also: Indices, among: Indices
    ) -> tuple[Vector, dict[str, Vector], Indices]: ...  # fmt: skip


class Recall:
    """Cheap scores over a catalogue of I items.

    `users` and `items` are the flat interaction log, each of shape [N], by user and in time order, and `times` their
    timestamps, if they have any; `texts` has I entries. What was `learned` from histories, if anything, is used instead
    of the hand-set weights.
    """

    learned: Ranker | None = None

    def __init__(
        self, item_ids: Sequence[str], users: Items, items: Items, texts: Sequence[str], times: Vector | None = None
    ) -> None:
        shape = (int(users.max()) + 1 if len(users) else 0, len(item_ids))
        taken = sparse.csr_matrix((np.ones(len(users)), (users, items)), shape=shape)
        taken.data[:] = 1.0  # a repeat is no second user
        follows, late = _transitions(users, items, shape[1]), _late(items, times, shape[1])
        text = _tf_idf(texts)
        words = sparse.csr_matrix((np.ones(text.nnz, np.int8), text.indices, text.indptr), text.shape).tocsc()
        self._set(item_ids, Tables(taken, taken.tocsc(), follows, text, words, late))

    @classmethod
    def of_log(cls, log: Log, texts: Sequence[str], known: Mask | None = None) -> Recall:
        """A recall of a log, or of the `known` interactions of it (mask of shape [N])."""
        some = np.ones(len(log.items), bool) if known is None else known
        return cls(log.item_ids, log.users[some], log.items[some], texts, log.times[some])

    @classmethod
    def of(cls, item_ids: Sequence[str], tables: Tables) -> Recall:
        """A recall with tables that were made before."""
        recall = cls.__new__(cls)
        recall._set(item_ids, tables)
        return recall

    def _set(self, item_ids: Sequence[str], tables: Tables) -> None:
        self.item_ids, self.tables = list(item_ids), tables
        self.index = {item_id: i for i, item_id in enumerate(self.item_ids)}
        self._by_user, self._by_item = tables.by_user, tables.by_item
        self._follows, self._text, self._words = tables.follows, tables.text, tables.words
        self.count: Vector = np.diff(tables.by_item.indptr).astype(np.float64)
        self._counts = np.sort(self.count)
        self.untaken = Untaken(tables.text, tables.words, self.count > 0)

    def after(self, history: Sequence[str]) -> Recall:
        """The recall that ranks after a history (item ids): nothing was learned about users without one."""
        if self.learned is None or any(item_id in self.index for item_id in history):
            return self
        by_hand = copy.copy(self)
        by_hand.learned = None
        return by_hand

    def candidates(
        self, history: Sequence[str], count: int, *, exclude: Collection[str] = (), only: Set[str] | None = None
    ) -> list[Candidate]:
        """The `count` best items that are in neither `history` (item ids in time order) nor `exclude`, but in `only`.

        What recall says of each does not depend on who else may be among them.
        """
        size = len(self.item_ids)
        free = np.ones(size, bool) if only is None else np.fromiter((i in only for i in self.item_ids), bool, size)
        free[[self.index[i] for i in {*history, *exclude} if i in self.index]] = False
        among: Indices = np.flatnonzero(free)
        # A learned recall ranks a shortlist, or everything where that might not be enough.
        if only is None:
            enough = count + len(exclude) <= WEIGHED
            scores = self._score(history, _NO_ITEMS if enough else np.arange(size))
        else:
            scores = self._score(history, _NO_ITEMS if count <= WEIGHED else among, among)
        return self._describe(scores, best(scores.recall, among, count))

    def described(self, history: Sequence[str], items: Items) -> list[Candidate]:
        """What recall says of the items with these indices, whether they would be recalled or not."""
        return self._describe(self._score(history, items), items)

    def candidate(self, history: Sequence[str], item_id: str) -> Candidate:
        """What recall says of one item, whether it would be recalled or not. Raises `KeyError`."""
        (candidate,) = self.described(history, np.array([self.index[item_id]], np.int32))
        return candidate

    def ids(self, items: Iterable[int]) -> list[str]:
        """The ids of items with these indices, in this order."""
        return [self.item_ids[item] for item in items]

    def of_all(self, history: Sequence[str]) -> Vector:
        """Recall of all items, [I]; where it is learned, -inf for those that it does not weigh."""
        return self._score(history).recall

    def alike(self, item_id: str) -> dict[str, Vector]:
        """How alike each item is to this one, [I] by source: the cosines of texts, and of takers. Raises `KeyError`."""
        item = self.index[item_id]
        text = (self._text @ self._text[item].T).toarray().ravel()
        return {"text": text, "item_knn": self._co_occurrence([item]).toarray().ravel()}

    def features(self, history: Items, items: Items) -> dict[str, Vector]:
        """What each source says of `items` [C] alone, unscaled, after a history of item indices, oldest first.

        Beside the sums over the history that recall is made of, the best single match of item-kNN and text; and where
        there are timestamps, recent popularity.
        """
        recent = [int(item) for item in history[-_RECENT:]]
        weights = _DECAY ** np.arange(len(recent) - 1, -1, -1.0)
        both = (self._by_item[:, recent].T @ self._by_item[:, items]).toarray()
        cosine = both / np.sqrt(np.maximum(1.0, np.outer(self.count[recent], self.count[items])))
        pairs = cosine * both / (both + _SHRINK) * (np.array(recent, int)[:, None] != items)
        alike = (self._text[recent] @ self._text[items].T).toarray()
        damped = weights / np.sqrt(self.count[recent] + 3.0)
        nothing = np.zeros((1, len(items)))
        return {
            "popularity": np.log1p(self.count[items]),
            "item-kNN": weights @ pairs,
            "best item-kNN": np.r_[pairs, nothing].max(axis=0),
            "Markov": damped @ self._follows[recent][:, items].toarray() / np.sqrt(self.count[items] + 3.0),
            "text": weights @ alike,
            "best text": np.r_[alike, nothing].max(axis=0),
            "words": self._lift(recent)[items],
            **(dict(zip(LATE, np.log1p(self.tables.late[:, items].toarray()), strict=True)) if self.dated else {}),
        }

    @property
    def dated(self) -> bool:
        """Whether the interactions have times."""
        return bool(self.tables.late.nnz)

    def _sources(self, recent: list[int], pairs: sparse.csr_matrix) -> dict[str, Vector]:
        weights = _DECAY ** np.arange(len(recent) - 1, -1, -1.0)
        damped = weights / np.sqrt(self.count[recent] + 3.0)
        return {
            "markov": damped @ self._follows[recent] / np.sqrt(self.count + 3.0),
            "item_knn": weights @ pairs,
            "popularity": np.log1p(self.count),
            "text": self._text @ (weights @ self._text[recent]),
            "words": self._lift(recent),
        }

    def _lift(self, recent: list[int]) -> Vector:
        return lift(self._text, self._words, recent)

    def _score(self, history: Sequence[str], also: Indices = _NO_ITEMS, among: Indices = _NO_ITEMS) -> _Scores:
        """The scores of all items; with a learned recall, only of a shortlist, the best `among` these, and `also`."""
        known = [self.index[i] for i in history if i in self.index]
        recent = known[-_RECENT:]
        pairs = self._co_occurrence(recent)
        scaled = {name: _scaled(values) for name, values in self._sources(recent, pairs).items()}
        total = sum(WEIGHTS[name] for name, values in scaled.items() if values.any()) or 1.0
        parts = self._with_new({name: WEIGHTS[name] / total * values for name, values in scaled.items()})
        recall = sum(parts.values(), np.zeros(len(self.item_ids)))
        ranked: Indices = np.arange(len(self.item_ids), dtype=np.int32)
        if self.learned is not None and known:  # nothing was learned about users without history
            recall, parts, ranked = self.learned(np.array(known, np.int32), recall, self, also, among)
        return _Scores(recent, pairs, parts, recall, np.setdiff1d(ranked, known))

    def _with_new(self, parts: dict[str, Vector]) -> dict[str, Vector]:
        """`parts` in which an item that nobody took is not held to be one that nobody wants.

        Its text is given what the sources that count takers say of taken items that read alike, on average.
        """
        if not any(parts[name].any() for name in _READ):  # nobody's history to go by
            return parts
        takers = [values for name, values in parts.items() if name not in _READ]
        told: Vector = sum(takers, np.zeros(len(self.item_ids)))
        new = self.untaken.likeliest(told, _NEW)
        text = parts["text"].copy()
        text[new] += self.untaken.nearest(new) @ told
        return parts | {"text": text}

    def _describe(self, scores: _Scores, chosen: Indices) -> list[Candidate]:
        """The candidates with these item indices."""
        if scores.recent:
            pairs = scores.pairs[:, chosen].toarray()
            companions = np.array(scores.recent)[pairs.argmax(axis=0)]
            both = np.asarray(self._by_item[:, companions].multiply(self._by_item[:, chosen]).sum(axis=0)).ravel()
            known = pairs.any(axis=0) & (both >= _WITNESSES)
        else:
            companions, both, known = chosen, np.zeros(len(chosen)), np.zeros(len(chosen), bool)
        described = []
        order = np.sort(scores.recall[scores.ranked])
        ranks = 1 + len(order) - np.searchsorted(order, scores.recall[chosen], side="right")
        ranks = np.where(np.isin(chosen, scores.ranked) & bool(scores.recent), ranks, 0)
        popular = 1.0 - np.searchsorted(self._counts, self.count[chosen], side="left") / max(1, len(self._counts))
        for i, companion, together, tied, rank, above in zip(
            chosen, companions, both, known, ranks, popular, strict=True
        ):
            recall = max(0.0, float(scores.recall[i]))
            shares = {
                name: float(part[i] / recall) if recall else 1.0 / len(scores.parts)
                for name, part in scores.parts.items()
            }
            share = float(together / (self.count[companion] + 2.0)) if tied else 0.0
            with_it = self.item_ids[companion] if tied else None
            taken = float(above) if self.count[i] else None
            described.append(Candidate(self.item_ids[i], recall, shares, with_it, share, int(rank) or None, taken))
        return described

    def _co_occurrence(self, recent: list[int]) -> sparse.csr_matrix:
        """Shrunk cosine between each of `recent` and every item, shape [len(recent), I]."""
        if not recent or not self._by_user.shape[0]:
            return sparse.csr_matrix((len(recent), len(self.item_ids)))
        people = [self._people(item) for item in recent]
        lengths = np.array([len(some) for some in people])
        chosen = sparse.csr_matrix(
            (np.ones(lengths.sum()), np.concatenate(people), np.r_[0, lengths.cumsum()]),
            shape=(len(recent), self._by_user.shape[0]),
        )
        joint = (chosen @ self._by_user).tocoo()
        # In a sample, each user stands for several in the cosine; but only sampled users count as witnesses.
        share = self.count[recent] / np.maximum(lengths, 1)
        both = np.minimum(joint.data * share[joint.row], self.count[joint.col])
        item = np.array(recent)[joint.row]
        cosine = both / np.sqrt(self.count[item] * self.count[joint.col])
        values = np.where(item == joint.col, 0.0, cosine * joint.data / (joint.data + _SHRINK))
        return sparse.csr_matrix((values, (joint.row, joint.col)), shape=joint.shape)

    def _people(self, item: int) -> Items:
        """The users who took an item; if there are more than `_PEOPLE`, a fixed random sample of them."""
        start, end = self._by_item.indptr[item : item + 2]
        everybody: Items = self._by_item.indices[start:end]
        if len(everybody) <= _PEOPLE:
            return everybody
        some: Items = np.random.default_rng(item).choice(everybody, _PEOPLE, False, shuffle=False)
        return some


def _transitions(users: Items, items: Items, size: int) -> sparse.csr_matrix:
    """How often item b followed item a within the window, each pair worth 1/distance, shape [I, I]."""
    total = sparse.csr_matrix((size, size))
    for distance in range(1, _WINDOW + 1):  # one after the other: they are the largest thing here
        same = users[:-distance] == users[distance:]
        before, after = items[:-distance][same], items[distance:][same]
        total = total + sparse.csr_matrix((np.full(len(before), 1.0 / distance), (before, after)), shape=(size, size))
    return total


def _late(items: Items, times: Vector | None, size: int) -> sparse.csr_matrix:
    """How often each item was taken in the `LATE` last parts of the log, shape [2, I]; zeros without times."""
    counts = np.zeros((len(LATE), size))
    dated = np.zeros(0) if times is None else times[~np.isnan(times)]  # some rows of a log may have no time
    if times is not None and len(dated):
        for row, share in zip(counts, LATE.values(), strict=True):
            row += np.bincount(items[times >= np.quantile(dated, 1 - share)], minlength=size)
    return sparse.csr_matrix(counts)


def _tf_idf(texts: Sequence[str]) -> sparse.csr_matrix:
    """Sublinear TF-IDF rows of length 1 over words that occur in at least two texts, shape [I, words]."""
    words: dict[str, int] = {}
    columns, times, ends = array("i"), array("i"), array("q", [0])
    for text in texts:
        for word, n in Counter(words_of(text)).items():
            columns.append(words.setdefault(word, len(words)))
            times.append(n)
        ends.append(len(columns))
    where = np.array(columns, np.int32)
    spread = np.bincount(where, minlength=max(1, len(words)))
    rarity = np.log(len(texts) / np.maximum(spread, 1)) if texts else spread
    shape = (len(texts), max(1, len(words)))
    values = (1.0 + np.log(np.array(times, float))) * rarity[where]
    matrix = sparse.csr_matrix((values, where, np.array(ends)), shape=shape)[:, spread > 1]
    length = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    scaled: sparse.csr_matrix = (sparse.diags(1.0 / np.maximum(length, 1e-12)) @ matrix).tocsr()
    return scaled


def _scaled(values: Vector) -> Vector:
    top = float(values.max()) if len(values) else 0.0
    return values / top if top > 0 else values
