"""The split of the interactions into training, validation and test.

Three ways to hold interactions back. `time`: one moment for all users, so that nothing is learned from the future.
`order`: each user's last interaction is for the test and the one before it for validation (leave one out), where a
source has an order but no timestamps. `users`: a tenth of the users each for validation and test, as in the paper; who
they are depends on their ids alone, so new users move no others from one part to another.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

import numpy as np
import numpy.typing as npt

from ..store.rows import Log

TRAIN, VALIDATION, TEST = 0, 1, 2
FRACTIONS = (0.8, 0.9)  # of the interactions (or users) before validation, and before the test
KINDS = ("time", "order", "users")


@dataclass(frozen=True, slots=True)
class Split:
    """`kind` and, for "time", the moments (ISO-8601) from which interactions are for validation and test."""

    kind: str
    validation_from: str | None = None
    test_from: str | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Split:
        """The split that `to_json` wrote; what an older release did not know is None."""
        return cls(**{name: document.get(name) for name in ("kind", "validation_from", "test_from")})  # type: ignore[arg-type]

    def parts(self, log: Log) -> npt.NDArray[np.int8]:
        """The part (TRAIN, VALIDATION or TEST) of each interaction, shape [N]; also of a log that grew since."""
        if self.kind == "order":
            return _by_order(log)
        if self.kind == "users":
            share = np.array([_lot(user_id) for user_id in log.user_ids])[log.users]
            return np.asarray((share >= FRACTIONS[0]).astype(np.int8) + (share >= FRACTIONS[1]))
        validation, test = (
            datetime.fromisoformat(str(one)).timestamp() for one in (self.validation_from, self.test_from)
        )
        return np.asarray((log.times >= validation).astype(np.int8) + (log.times >= test))


def split(
    log: Log, kind: str | None = None, *, fractions: tuple[float, float] = FRACTIONS
) -> tuple[Split, npt.NDArray[np.int8]]:
    """The split of a log and the part (TRAIN, VALIDATION or TEST) of each interaction, shape [N].

    Without a `kind`: by time where there are timestamps enough for three parts, else by order. Raises `ValueError` if
    the log cannot be split by time and that was asked for.
    """
    if kind not in (None, *KINDS):
        raise ValueError(f"{kind!r} is none of {', '.join(KINDS)}")
    made = Split(kind or "order")
    dated = log.times[~np.isnan(log.times)]  # what has no time came before all that has
    if kind in (None, "time") and len(dated) and 2 * len(dated) >= len(log.times):
        validation, test = np.quantile(dated, fractions, method="higher")
        part = (log.times >= validation).astype(np.int8) + (log.times >= test)
        if len(np.unique(part)) == 3:
            return Split("time", _iso(validation), _iso(test)), part
    if kind == "time":
        raise ValueError("there are no timestamps, or too few different ones")
    return made, made.parts(log)


def _lot(user_id: str) -> float:
    """A number in [0, 1) that belongs to a user."""
    digest = hashlib.sha256(user_id.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:6], "big") / 2.0**48


def _by_order(log: Log) -> npt.NDArray[np.int8]:
    part = np.zeros(len(log.users), np.int8)
    if not len(log.users):
        return part
    last = np.r_[log.users[1:] != log.users[:-1], True]
    enough = np.bincount(log.users)[log.users] >= 3  # users with fewer are for training only
    part[last & enough] = TEST
    part[np.r_[last[1:], False] & enough & ~last] = VALIDATION
    return part


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(float(seconds), timezone.utc).isoformat()
