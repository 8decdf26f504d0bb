"""Logistic regression of a few columns."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

Vector = npt.NDArray[np.float64]


def logistic(features: npt.NDArray[np.float64], targets: Vector, ridge: float = 1e-3) -> Vector:
    """Logistic regression of `targets` (0..1, shape [N]) on `features` [N, F]: F weights, then the intercept."""
    middle, spread = features.mean(axis=0), features.std(axis=0)
    scale = np.where(spread > 1e-9 * (1e-3 + np.abs(middle)), spread, 1.0)  # what never changes gets no weight
    x = np.c_[(features - middle) / scale, np.ones(len(features))]

    def loss(w: Vector) -> tuple[float, Vector]:
        s = x @ w
        penalty = np.r_[w[:-1], 0.0] * ridge
        value = np.mean(np.logaddexp(0.0, s) - targets * s) + 0.5 * float(penalty @ w)
        return float(value), x.T @ (sigmoid(s) - targets) / len(s) + penalty

    weights: Vector = minimize(loss, np.zeros(x.shape[1]), jac=True, method="BFGS").x
    slopes = weights[:-1] / scale
    return np.append(slopes, weights[-1] - slopes @ middle)


def sigmoid(s: Vector) -> Vector:
    """1 / (1 + exp(-s)) without overflow."""
    return np.asarray(np.exp(-np.logaddexp(0.0, -s)))
