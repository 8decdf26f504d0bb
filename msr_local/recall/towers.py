"""Two towers: a history and an item as vectors whose product says how well the item continues the history.

An item is a vector for its id plus, where there are vectors of texts from the language model, one hidden layer of its
text's vector, so that similar items are similar before any user took them (as in Hou et al. 2022 and Yuan et al. 2023,
with frozen text vectors). Ids are left out at random in training, so that a text can stand for a cold item (Volkovs et
al. 2017). Trained without texts, by ids alone, the same network shows what the texts are worth. The user tower is one
layer over three means of the history's items, which weigh recent items more, almost alone, and not more than others.
Trained with a softmax over sampled items, corrected for how likely each is to be sampled (Bengio & Senécal 2008).

Small enough for NumPy: a minute or two for a hundred thousand interactions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sparse
from threadpoolctl import threadpool_limits

from ..arrays import Floats, Indices, Vector
from .unfinished import State, Unfinished

Weights = dict[str, Floats]

_LOOK = 20  # interactions of a history that count
_DECAYS = (0.85, 0.3, 1.0)  # of an interaction's weight against the one after it, in each mean
_INPUT, _HIDDEN, _WIDTH = 256, 128, 64  # of the item tower
_SMOOTH = 0.1  # of the mean variance: small directions of the vectors are not blown up
_DROPOUT, _FORGET = 0.3, 0.1  # shares of inputs, and of a history's items, that a step leaves out
_UNKNOWN = 0.05  # share of items with a text whose id a step leaves out
_BATCH, _SAMPLED = 512, 2048
_EPOCHS, _LEAST_STEPS, _MOST_STEPS = 12, 200, 20_000
_RATE, _WEIGHT_DECAY = 3e-3, 0.05
_WARM_UP = 0.05  # share of the steps
_STATE = 1  # another number where the training changes
_BY_ITEM = ("ids", "bias")  # weights with a row for each item


@dataclass(frozen=True, slots=True)
class Whitening:
    """The mean [D] of some vectors, and main directions [D, <= 256] along each of which they vary by about 1."""

    mean: Floats
    directions: Floats

    @classmethod
    def of(cls, vectors: Floats) -> Whitening:
        """That of these vectors [N, D]."""
        some = vectors if len(vectors) else np.zeros((1, vectors.shape[1]), np.float32)
        mean = np.asarray(some.mean(axis=0), np.float32)
        centred = np.asarray(some - mean, np.float32)
        variances, directions = np.linalg.eigh(centred.T @ centred / len(centred))
        scale = np.sqrt(variances[::-1][:_INPUT] + max(_SMOOTH * float(variances.mean()), 1e-12))
        return cls(mean, np.asarray(directions[:, ::-1][:, :_INPUT] / scale, np.float32))

    def __call__(self, vectors: Floats) -> Floats:
        return np.asarray((vectors - self.mean) @ self.directions)


@dataclass(frozen=True, slots=True)
class Reading:
    """The item tower of trained towers, without ids: from the vectors of texts [N, D] to items [N, W] and bias [N]."""

    mean: Floats  # [D]
    first: Floats  # whitening and the first layer in one, [D, H]
    second: Floats  # [H, W]
    third: Floats  # how popular a text makes an item, [H]

    def __call__(self, vectors: Floats) -> tuple[Floats, Floats]:
        hidden = np.maximum((vectors - self.mean) @ self.first, 0)
        return hidden @ self.second, hidden @ self.third


@dataclass(slots=True)
class Towers:
    """Trained towers over I items: `items` [I, W], `bias` [I], and the user tower's layer of three means [3, W, W].

    With their `reading`, an item that comes later can have a vector too.
    """

    items: Floats
    bias: Floats
    layer: Floats
    reading: Reading | None = None

    def __call__(self, history: Indices, items: Indices) -> Vector:
        """The scores of `items` [C] after `history` (item indices, oldest first)."""
        if not len(history):
            return np.asarray(self.bias[items], np.float64)
        recent = self.items[history[-_LOOK:]]
        age = np.arange(len(recent), dtype=np.float32)[::-1]
        weights = np.array(_DECAYS, np.float32)[:, None] ** age
        means = weights / weights.sum(axis=1, keepdims=True) @ recent
        person = means[0] + np.einsum("dw,dwv->v", means, self.layer)
        return np.asarray(self.items[items] @ person + self.bias[items], np.float64)


def trained(
    users: Indices, items: Indices, size: int, vectors: Floats | None = None, *, seed: int = 0,
    unfinished: Unfinished | None = None, progress: Callable[[int, int], None] = lambda done, total: None,
) -> Towers:  # fmt: skip
    """Towers for `size` items that predict each interaction of the log from those before it.

    The flat log is `users` and `items` [N], by user and in time order. `vectors` [size, D] are the language model's
    vectors of the items' texts; without them the items are known by their ids alone. Cold items are not part of the
    training: their vectors go through the trained tower. What is kept in `unfinished` goes on, to the same end.
    """
    known, places = np.unique(items, return_inverse=True)
    texts = None if vectors is None else (Whitening.of(vectors[known]), vectors)
    inputs = None if texts is None else texts[0](texts[1][known])
    training = _Training(users, places.astype(np.int32), len(known), inputs, seed)
    steps = min(_MOST_STEPS, max(_LEAST_STEPS, _EPOCHS * -(-len(training.examples) // _BATCH)))
    unfinished = unfinished or Unfinished(None)
    name, begun, state = unfinished.begun(users, places, inputs, np.array([_STATE, seed, steps]))
    if begun and not training.resume(state):
        begun = 0
    # On these sizes a second thread gains nothing, and on a busy machine the two wait for each other.
    with threadpool_limits(1, "blas"):
        for step in range(begun, steps if len(training.examples) else 0):
            training.step(step, steps)
            if unfinished.due() or step + 1 == steps:
                unfinished.keep(name, step + 1, training.state())
            progress(step + 1, steps)
    return training.towers(size, known, texts)


@dataclass(slots=True)
class _Adam:
    """AdamW (Loshchilov & Hutter 2019); of what has a row for each item, only the rows of a step move."""

    weights: Weights
    first: Weights = field(default_factory=dict)
    second: Weights = field(default_factory=dict)
    count: int = 0

    def __post_init__(self) -> None:
        self.first, self.second = ({name: np.zeros_like(one) for name, one in self.weights.items()} for _ in "12")

    def __call__(self, gradients: Weights, rows: Indices, rate: float) -> None:
        self.count += 1
        for name, gradient in gradients.items():
            at = rows if name in _BY_ITEM else slice(None)
            first = 0.9 * self.first[name][at] + 0.1 * gradient
            second = 0.999 * self.second[name][at] + 0.001 * gradient * gradient
            self.first[name][at], self.second[name][at] = first, second
            step = first / (1 - 0.9**self.count) / (np.sqrt(second / (1 - 0.999**self.count)) + 1e-8)
            decay = 0.0 if name == "bias" else _WEIGHT_DECAY
            self.weights[name][at] -= rate * (step + decay * self.weights[name][at])


@dataclass(frozen=True, slots=True)
class _Histories:
    """The items before some rows, one row after the other as `ends` says, and their weights in each mean."""

    items: Indices
    ends: Indices
    weights: list[Floats]


class _Training:
    def __init__(self, users: Indices, items: Indices, size: int, inputs: Floats | None, seed: int) -> None:
        self._items, self._size, self._inputs = items, size, inputs
        self._random = np.random.default_rng(seed)
        new = np.r_[True, users[1:] != users[:-1]][: len(users)]
        self._starts = np.maximum.accumulate(np.where(new, np.arange(len(users)), 0)) if len(users) else users
        self.examples = np.flatnonzero(~new)
        self._left = self.examples[:0]  # of this epoch
        count = np.bincount(items, minlength=size)
        self._share = count / max(1, count.sum())
        normal = self._random.standard_normal
        self.weights: Weights = {
            "bias": (0.5 * np.log1p(count)).astype(np.float32),
            "layer": (normal((len(_DECAYS), _WIDTH, _WIDTH)) * 0.05).astype(np.float32),
            "ids": (normal((size, _WIDTH)) * 0.02).astype(np.float32),
        }
        if inputs is not None:
            wide = inputs.shape[1]
            self.weights["first"] = (normal((wide, _HIDDEN)) * wide**-0.5).astype(np.float32)
            self.weights["second"] = (normal((_HIDDEN, _WIDTH)) * 0.5 * _HIDDEN**-0.5).astype(np.float32)
            self.weights["third"] = np.zeros(_HIDDEN, np.float32)  # how popular a text makes an item
            self.weights["bias"] -= self.weights["bias"].sum() / max(1, size)
        self._adam = _Adam(self.weights)

    def state(self) -> State:
        """All that the next steps depend on, but for what it was made of."""
        parts = {"weights": self.weights, "first": self._adam.first, "second": self._adam.second}
        arrays = {f"{part} {name}": value for part, some in parts.items() for name, value in some.items()}
        drawn = np.array(json.dumps(self._random.bit_generator.state))
        return arrays | {"left": self._left, "count": np.array(self._adam.count), "random": drawn}

    def resume(self, state: State) -> bool:
        """Go on from a state; False, and nothing is changed, where it is none of this training."""
        now = self.state()
        if state.keys() != now.keys() or any(state[name].shape != now[name].shape for name in now if name != "left"):
            return False
        for part, some in (("weights", self.weights), ("first", self._adam.first), ("second", self._adam.second)):
            some.update({name: state[f"{part} {name}"] for name in some})
        self._left, self._adam.count = state["left"], int(state["count"])
        self._random.bit_generator.state = json.loads(str(state["random"]))
        return True

    def towers(self, size: int, known: Indices, texts: tuple[Whitening, Floats] | None) -> Towers:
        """The towers for all `size` items, and their texts as vectors [size, D].

        Those that are not `known` are what their texts make of them; without texts, popular like the least popular.
        """
        w = self.weights
        items = np.zeros((size, _WIDTH), np.float32)
        bias = np.full(size, w["bias"].min(initial=0.0), np.float32)
        if not len(self.examples):  # nobody took two items: nothing was learned
            bias[known] = w["bias"]
            return Towers(items, bias, w["layer"])
        reading = None
        if texts is not None:
            white, vectors = texts
            reading = Reading(white.mean, white.directions @ w["first"], w["second"], w["third"])
            items, bias = reading(vectors)
        items[known] += w["ids"]
        bias[known] = w["bias"] + (bias[known] if reading else 0)
        return Towers(items, bias, w["layer"], reading)

    def step(self, step: int, steps: int) -> None:
        """One step on a batch of examples."""
        if len(self._left) < _BATCH:
            self._left = np.r_[self._left, self._random.permutation(self.examples)]
        rows, self._left = self._left[:_BATCH], self._left[_BATCH:]
        before = self._histories(rows)
        classes, correction = self._classes(self._items[rows])
        everything = np.union1d(before.items, classes)
        places, shape = np.searchsorted(everything, before.items), (len(rows), len(everything))
        history = [sparse.csr_matrix((one, places, before.ends), shape=shape) for one in before.weights]
        gradients = self._gradients(
            history, everything, np.searchsorted(everything, classes), correction,
            np.searchsorted(classes, self._items[rows]),
        )  # fmt: skip
        rate = _RATE * min(1.0, (step + 1) / (_WARM_UP * steps)) * 0.5 * (1 + np.cos(np.pi * step / steps))
        self._adam(gradients, everything, float(rate))

    def _histories(self, rows: Indices) -> _Histories:
        """The items before each row, and their weights in each mean; some items are left out at random."""
        lengths = np.minimum(rows - self._starts[rows], _LOOK)
        ends = lengths.cumsum()
        age = np.repeat(ends, lengths) - np.arange(ends[-1])  # 1 for the latest
        there = (self._random.random(len(age)) > _FORGET) | (age == 1)
        weights = [decay ** (age - 1.0) * there for decay in _DECAYS]
        sums = [np.repeat(np.add.reduceat(one, ends - lengths), lengths) for one in weights]
        return _Histories(
            self._items[np.repeat(rows, lengths) - age], np.r_[0, ends],
            [np.asarray(one / whole, np.float32) for one, whole in zip(weights, sums, strict=True)],
        )  # fmt: skip

    def _classes(self, targets: Indices) -> tuple[Indices, Floats]:
        """The items of the softmax, sorted, and the log-probability of each to be among them."""
        if self._size <= _SAMPLED + len(targets):
            return np.arange(self._size), np.zeros(self._size, np.float32)
        drawn = self._random.choice(self._size, _SAMPLED, replace=False, shuffle=False)
        classes = np.union1d(drawn, targets)
        missed = (1 - self._share[classes]) ** len(targets) * (1 - _SAMPLED / self._size)
        return classes, np.log1p(-missed).astype(np.float32)

    def _gradients(
        self, history: Sequence[sparse.csr_matrix], everything: Indices, classes: Indices,
        correction: Floats, targets: Indices,
    ) -> Weights:  # fmt: skip
        """Of the mean cross-entropy of the targets, for every weight; `classes` are places in `everything`."""
        w = self.weights
        found: Weights = {}
        known = self._mask((len(everything), _WIDTH))
        named = np.ones(len(everything), np.float32)
        if self._inputs is not None:
            named = (self._random.random(len(everything)) >= _UNKNOWN).astype(np.float32)
            known *= named[:, None]
        vectors, bias = w["ids"][everything] * known, w["bias"][everything] * named
        if self._inputs is not None:
            inputs = self._inputs[everything] * self._mask((len(everything), self._inputs.shape[1]))
            hidden = np.maximum(inputs @ w["first"], 0)
            kept = self._mask(hidden.shape)
            hidden *= kept
            vectors += hidden @ w["second"]
            bias += hidden @ w["third"]
        means = [mean @ vectors for mean in history]
        drop = self._mask(means[0].shape)
        person = (means[0] + sum(mean @ layer for mean, layer in zip(means, w["layer"], strict=True))) * drop
        logits = person @ vectors[classes].T + (bias[classes] - correction)
        logits -= logits.max(axis=1, keepdims=True)
        np.exp(logits, out=logits)
        logits /= logits.sum(axis=1, keepdims=True)  # probabilities from here on
        logits[np.arange(len(targets)), targets] -= 1
        logits /= len(targets)
        to_bias = np.zeros(len(everything), np.float32)
        to_bias[classes] = logits.sum(axis=0)
        to_person = (logits @ vectors[classes]) * drop
        to_vectors = history[0].T @ to_person
        for mean, layer in zip(history, w["layer"], strict=True):
            to_vectors += mean.T @ (to_person @ layer.T)
        to_vectors[classes] += logits.T @ person
        found["layer"] = np.stack([mean.T @ to_person for mean in means])
        found["ids"], found["bias"] = to_vectors * known, to_bias * named
        if self._inputs is not None:
            found["third"] = hidden.T @ to_bias
            found["second"] = hidden.T @ to_vectors
            to_hidden = to_vectors @ w["second"].T + np.outer(to_bias, w["third"])
            found["first"] = inputs.T @ (to_hidden * kept * (hidden > 0))
        return found

    def _mask(self, shape: tuple[int, ...]) -> Floats:
        """A dropout mask: zeros for what a step leaves out, and 1 / (1 - p) for the rest."""
        kept = self._random.random(shape, np.float32) > _DROPOUT
        return np.asarray(kept * np.float32(1 / (1 - _DROPOUT)), np.float32)
