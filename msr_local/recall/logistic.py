"""Logistic regression of a few columns: of answers, and of which candidate of a list was taken."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from ..arrays import Vector


def logistic(features: Vector, targets: Vector, ridge: float = 1e-3) -> Vector:
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


def softmax(features: Vector, offsets: Vector, ridge: float = 1e-3) -> Vector:
    """Weights [F] of `features` [N, C, F] under which the first candidate of each list is most probable.

    Candidates with a NaN are none. The probabilities are a softmax of weighted features less `offsets` [N, C].
    """
    there = ~np.asarray(np.isnan(features).any(axis=-1))
    middle, spread = features[there].mean(axis=0), features[there].std(axis=0)
    scale = np.where(spread > 1e-9 * (1e-3 + np.abs(middle)), spread, np.inf)  # what never changes gets no weight
    x = np.where(there[..., None], (features - middle) / scale, 0.0)
    shift = np.where(there, -offsets, -np.inf)

    def loss(w: Vector) -> tuple[float, Vector]:
        s = x @ w + shift
        top = s.max(axis=1, keepdims=True)
        p = np.exp(s - top)
        total = p.sum(axis=1, keepdims=True)
        value = np.mean(np.log(total[:, 0]) + top[:, 0] - s[:, 0])
        p /= total
        p[:, 0] -= 1.0
        return float(value + 0.5 * ridge * w @ w), np.tensordot(p, x, 2) / len(x) + ridge * w

    weights: Vector = minimize(loss, np.zeros(x.shape[-1]), jac=True, method="L-BFGS-B").x
    return weights / scale


def sigmoid(s: Vector) -> Vector:
    """1 / (1 + exp(-s)) without overflow."""
    return np.asarray(np.exp(-np.logaddexp(0.0, -s)))
