"""Systems that rank without a language model: each scores candidates after a history.

They use the interactions that they are given and no others. Item-kNN with recency, Markov and text similarity are the
sources of the project's own recall (recall/candidates.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import scipy.linalg
import scipy.sparse as sparse

from ..arrays import Items, Mask, Vector
from ..progress import Progress, silent
from ..recall import towers
from ..recall.candidates import Recall
from ..store.rows import Log
from . import sequential

Scorer = Callable[[Items, Items], dict[str, Vector]]  # {name: scores of the items [C]}; a history is oldest first
TOWERS = "two towers"  # over item ids alone
_EASE_L2 = 150.0
_EASE_ITEMS = 20_000  # whose dense matrix is 1.6 GB


def scorers(
    log: Log, known: Mask, recall: Recall, *, seed: int, slow: bool, note: Callable[[str], None],
    progress: Progress = silent,
) -> Iterator[Scorer]:  # fmt: skip
    """The baselines. Those that cannot be computed here are left out, with a note that says why.

    `slow` asks for SASRec and GRU4Rec too. `recall` is one of the `known` interactions (mask of shape [N]).
    """
    size = len(log.item_ids)
    random = np.random.default_rng(seed)
    yield lambda history, items: {"random": random.random(len(items))}
    yield recall.features
    if not recall.dated:
        note("Recent and latest popularity are left out: the interactions have no timestamps.")
    if size <= _EASE_ITEMS:
        yield ease(recall.tables.by_user)
    else:
        note(f"EASE is left out: its dense matrix is too large for {size:,} items (at most {_EASE_ITEMS:,}).")
    trained = towers.trained(
        log.users[known], log.items[known], size, seed=seed, progress=lambda done, total: progress(TOWERS, done, total)
    )
    yield lambda history, items: {TOWERS: trained(history, items)}
    if slow and (missing := sequential.missing_packages()):
        wanted = ", ".join(missing)
        note(f"SASRec and GRU4Rec are left out: they need {wanted}. Next: pip install 'msr-local[baselines]'.")
    elif slow and sequential.sessions(log, known) < 2:
        note("SASRec and GRU4Rec are left out: fewer than two users have two interactions to train on.")
    elif slow:
        for name in sequential.NAMES:
            progress(sequential.TITLES[name], 0, 1)
            yield sequential.trained(name, log, known, seed)
            progress(sequential.TITLES[name], 1, 1)


def ease(by_user: sparse.csr_matrix, l2: float = _EASE_L2) -> Scorer:
    """EASE (Steck 2019): item weights in closed form. `by_user` [U, I] has a 1 where a user took an item."""
    taken = np.flatnonzero(np.diff(by_user.tocsc().indptr))  # the others' weights are zero
    gram = (by_user[:, taken].T @ by_user[:, taken]).toarray().astype(np.float32)
    gram[np.diag_indices(len(gram))] += l2
    weights = scipy.linalg.inv(gram, overwrite_a=True, check_finite=False)
    weights /= -np.diag(weights)[None, :]
    np.fill_diagonal(weights, 0.0)
    place = np.full(by_user.shape[1], -1)
    place[taken] = np.arange(len(taken))

    def score(history: Items, items: Items) -> dict[str, Vector]:
        once = place[list(dict.fromkeys(history.tolist()))]  # a repeat counts no more here than in the matrix
        seen = once[once >= 0]
        sums = weights[np.ix_(seen, place[items])].sum(axis=0, dtype=float)
        return {"EASE": np.where(place[items] >= 0, sums, 0.0)}

    return score
