"""What the latest items have in common, in words: what somebody seems to be after.

Bayesian concept learning (Tenenbaum & Griffiths 2001). Each word, and each pair of words, is a guess at what the person
is after. Under a guess the next item is one of those with these words, with probability `_FAITHFUL`, and else any item.
So a guess that few items of the catalogue meet gains more from an item that meets it, each loses by an item that does
not, and what a single item says (its maker's name) counts little. Since taste changes, the exponent of an item's
likelihood halves every `_HALF_LIFE` items.

"Red" and "floral" in several of the last items make it look for red floral things, where a sum of similarities would
also take anything red, and the things of each maker.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import scipy.sparse as sparse

from ..arrays import Indices, Matrix, Vector

# Chosen on the training shoppers of the drawn shop; half-lives of 3 to 6, 0.4 to 0.7 and 12 to 48 words are as good.
_HALF_LIFE = 4.0  # items
_FAITHFUL = 0.5
_WORDS = 12  # that explain the latest items best; pairs are made of these
_LOOK = 20  # items back; before them the weight is less than a thirtieth
_WORD = re.compile(r"\w+")
_HAN = "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9d\U00020000-\U0003ffff"  # and kana
_RUN = re.compile(f"(?P<han>[{_HAN}]+)|[^{_HAN}]+")
_KINDS = (np.arange(1 << _WORDS)[:, None] >> np.arange(_WORDS) & 1).astype(np.float64)  # all that an item can have


def words_of(text: str) -> Iterator[str]:
    """The words of a text in lower case, in their order.

    Chinese and Japanese leave no blanks between words: there, two letters side by side are taken for one.
    """
    for word in _WORD.findall(text.lower()):
        if word.isascii():
            yield word
            continue
        for run in _RUN.finditer(word):
            if run["han"] and len(run[0]) > 1:
                yield from map("".join, pairwise(run[0]))
            else:
                yield run[0]


def lift(text: sparse.csr_matrix, words: sparse.csc_matrix, recent: Sequence[int]) -> Vector:
    """Of how much likelier than by chance each item comes after `recent`, oldest first, log1p: from 0 on, shape [I].

    `text` has an entry for each word of an item, and `words` has the same by word, both of shape [I, words].
    """
    size = words.shape[0]
    recent = recent[-_LOOK:]
    theirs = text[recent]
    found = np.unique(theirs.indices)
    spread = words.indptr[found + 1] - words.indptr[found]
    found, spread = found[spread < size], spread[spread < size]  # what all items say tells none from another
    if not len(found):
        return np.zeros(size)
    weights = 0.5 ** (np.arange(len(recent) - 1, -1, -1.0) / _HALF_LIFE)
    has = _entries(theirs, found)
    chosen = np.argsort(-_evidence(weights @ has, weights.sum(), spread / size), kind="stable")[:_WORDS]
    has, kinds = has[:, chosen], _kinds(words, found[chosen])
    # Items that have the same of these words are alike from here on.
    kind_has = _KINDS[: 1 << len(chosen), : len(chosen)]
    counts = np.bincount(kinds, minlength=len(kind_has)).astype(np.float64)
    share = np.maximum((kind_has.T * counts) @ kind_has / size, 1e-12)
    met = np.triu((has.T * weights) @ has)  # single words on the diagonal, each pair once
    evidence = np.where(met > 0, _evidence(met, weights.sum(), share), -np.inf)
    top = max(0.0, float(evidence.max()))
    likely = np.exp(evidence - top)
    likely /= likely.sum() + np.exp(-top)  # or it is none of these words
    return np.asarray(np.log1p(((kind_has @ (_FAITHFUL * likely / share)) * kind_has).sum(axis=1))[kinds])


def _evidence(count: Vector, whole: float, share: Vector) -> Vector:
    """Log-likelihood of guesses over that of chance: `count` of `whole` items meet one, and a `share` of all items."""
    return np.asarray(count * np.log(1 - _FAITHFUL + _FAITHFUL / share) + (whole - count) * np.log(1 - _FAITHFUL))


def _entries(rows: sparse.csr_matrix, columns: Indices) -> Matrix:
    """1 where a row has an entry in one of the `columns`, which are sorted, shape [rows, columns]."""
    place = np.minimum(np.searchsorted(columns, rows.indices), len(columns) - 1)
    there = columns[place] == rows.indices
    dense = np.zeros((rows.shape[0], len(columns)))
    dense[np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))[there], place[there]] = 1.0
    return dense


def _kinds(words: sparse.csc_matrix, chosen: Indices) -> Indices:
    """Which of the chosen words each item has, as the bits of a number, shape [I]."""
    kinds = np.zeros(words.shape[0], np.intp)
    for bit, word in enumerate(chosen):
        kinds[words.indices[words.indptr[word] : words.indptr[word + 1]]] |= 1 << bit
    return kinds
