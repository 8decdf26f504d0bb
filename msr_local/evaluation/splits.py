"""What training may see, what it is validated on, and what nobody sees before the test.

With timestamps the cut is one moment for all users, so that nothing is learned from the future; where a source
has an order but no times, each user's last interaction is for the test and the one before it for validation.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

import numpy as np
import numpy.typing as npt

from ..store.rows import Log

TRAIN, VALIDATION, TEST = 0, 1, 2
FRACTIONS = (0.8, 0.9)  # of the interactions before validation, and before the test


@dataclass(frozen=True, slots=True)
class Split:
    """`kind` "time": moments (ISO-8601) from which interactions are for validation and test; or "order"."""

    kind: str
    validation_from: str | None = None
    test_from: str | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def split(log: Log, fractions: tuple[float, float] = FRACTIONS) -> tuple[Split, npt.NDArray[np.int8]]:
    """The split of a log and the part (TRAIN, VALIDATION or TEST) of each interaction, shape [N]."""
    if len(log.times) and not np.isnan(log.times).any():
        validation, test = np.quantile(log.times, fractions, method="higher")
        part = (log.times >= validation).astype(np.int8) + (log.times >= test)
        if len(np.unique(part)) == 3:
            return Split("time", _iso(validation), _iso(test)), part
    return Split("order"), _by_order(log)


def _by_order(log: Log) -> npt.NDArray[np.int8]:
    part = np.zeros(len(log.users), np.int8)
    if not len(log.users):
        return part
    last = np.r_[log.users[1:] != log.users[:-1], True]
    enough = np.bincount(log.users)[log.users] >= 3  # who has less only ever trains
    part[last & enough] = TEST
    part[np.r_[last[1:], False] & enough & ~last] = VALIDATION
    return part


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(float(seconds), timezone.utc).isoformat()
