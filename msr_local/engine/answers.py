"""Reading yes or no from next-token logits (the score of MLLM-MSR, section 4.3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..arrays import Vector


def spellings(word: str) -> list[str]:
    """The ways a model may begin its answer: capitalised, lower and upper case, with and without a blank."""
    return [blank + form for form in (word.capitalize(), word.lower(), word.upper()) for blank in ("", " ")]


def answer_log_odds(logits: npt.NDArray[np.floating], yes: Sequence[int], no: Sequence[int]) -> tuple[float, float]:
    """(log p(yes) - log p(no), p(yes or no)) from one row of logits, shape [vocabulary], in float64.

    Each of yes and no is the sum over its spellings. Only the difference of logits enters the first value,
    so it does not depend on the rest of the vocabulary; the second says how much of the softmax it covers.
    """
    row = np.asarray(logits, dtype=np.float64)
    log_yes, log_no, log_all = _log_sum(row[list(yes)]), _log_sum(row[list(no)]), _log_sum(row)
    return log_yes - log_no, float(np.exp(np.logaddexp(log_yes, log_no) - log_all))


def sigmoid(z: float) -> float:
    """p(yes) = p(yes) / (p(yes) + p(no)) for log-odds `z`; never overflows."""
    return float(np.exp(-np.logaddexp(0.0, -z)))


def _log_sum(values: Vector) -> float:
    top = float(values.max())
    return top + float(np.log(np.exp(values - top).sum()))
