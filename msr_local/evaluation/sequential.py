"""SASRec and GRU4Rec as baselines, through cornac (the extra `baselines`). Both score from a history alone."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

from ..arrays import Items, Mask, Vector
from ..store.rows import Log

TITLES = {"sasrec": "SASRec", "gru4rec": "GRU4Rec"}
NAMES = tuple(TITLES)
EPOCHS = {"sasrec": 10, "gru4rec": 10}
_LONGEST = 20  # items of a history; padding to more costs most of the time


def missing_packages() -> list[str]:
    """What these baselines need and is not installed."""
    return [name for name in ("cornac", "torch") if find_spec(name) is None]


def sessions(log: Log, known: Mask) -> int:
    """How many users have at least two `known` interactions: what there is to train on."""
    return int((np.bincount(log.users[known]) > 1).sum())


def trained(name: str, log: Log, known: Mask, seed: int) -> Callable[[Items, Items], dict[str, Vector]]:
    """A model (SASRec: Kang & McAuley 2018; GRU4Rec: Hidasi et al. 2016) of the `known` interactions, shape [N].

    What is returned scores items (indices, shape [C]) after a history of items, oldest first, as {name: scores}; those
    that were never seen in training get the lowest score that there is.
    """
    from cornac.data import SequentialDataset
    from cornac.models import GRU4Rec, SASRec

    rows = np.flatnonzero(known)
    data = [(int(log.users[row]), int(log.items[row]), place) for place, row in enumerate(rows)]
    train = SequentialDataset.build(data, fmt="SIT", seed=seed)
    common: dict[str, Any] = {"n_epochs": EPOCHS[name], "seed": seed, "verbose": False}
    if name == "sasrec":
        model = SASRec(embedding_dim=64, max_len=_LONGEST, use_biases=True, **common)
    else:
        side_by_side = min(512, sessions(log, known) // 2)  # cornac cannot read more than there are
        model = GRU4Rec(layers=[100], dropout_p_hidden=0.2, batch_size=side_by_side, **common)
    model.fit(train)
    place = train.iid_map  # item index of the log -> that of cornac
    at = np.array([place.get(item, -1) for item in range(len(log.item_ids))])

    def score(history: Items, items: Items) -> dict[str, Vector]:
        seen = [int(at[item]) for item in history if at[item] >= 0][-_LONGEST:]
        found = np.asarray(model.score(0, seen), float)
        return {TITLES[name]: np.where(at[items] >= 0, found[at[items]], found.min())}

    return score
