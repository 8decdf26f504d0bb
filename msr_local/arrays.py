"""The kinds of arrays that are passed around; shapes stand in the docstrings of those who take and give them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]  # numbers, one for each of something
Matrix = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]  # weights, and texts as a model's vectors
Indices = npt.NDArray[np.integer]
Items = npt.NDArray[np.int32]  # indices of items
Mask = npt.NDArray[np.bool_]


def padded(rows: Sequence[Vector]) -> Matrix:
    """Rows of different lengths as one matrix [N, longest], filled with NaN."""
    matrix = np.full((len(rows), max(map(len, rows), default=0)), np.nan)
    for place, row in enumerate(rows):
        matrix[place, : len(row)] = row
    return matrix


def best(values: Vector, free: Indices, count: int) -> Indices:
    """The `count` indices among `free` with the highest values, equal ones in their order; no sort of all."""
    if 0 < count < len(free):
        least = np.partition(values[free], len(free) - count)[len(free) - count]
        above, equal = free[values[free] > least], free[values[free] == least]
        free = np.concatenate([above, equal[: count - len(above)]])
    return free[np.lexsort((free, -values[free]))][: max(0, count)]
