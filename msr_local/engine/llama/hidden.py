"""Texts as vectors: what the model's middle layer makes of each token, averaged over the text.

The layers in the middle say more of what a text means than the last ones, which have turned to its next word (Skean et
al. 2025); and half of the model is read in half of the time: decoding ends with the layer that is wanted.

One of the modules that use ctypes; see `.decoder`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from typing import Any

import llama_cpp as llama
import numpy as np
from llama_cpp._ggml import libggml

from ...arrays import Floats
from ...errors import ModelError
from ..types import LONGEST
from .context import BATCH, reads_alone
from .native import NativeLog

_TEXTS = 64  # side by side, at most


_name, _count, _read = libggml.ggml_get_name, libggml.ggml_nelements, libggml.ggml_backend_tensor_get
_name.argtypes, _name.restype = [ctypes.c_void_p], ctypes.c_char_p
_count.argtypes, _count.restype = [ctypes.c_void_p], ctypes.c_int64
_read.argtypes, _read.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t], None


class HiddenStates:
    """A context that gives the middle layer of a model. Raises `ModelError` without memory for it."""

    def __init__(self, model: Any, threads: int, log: NativeLog) -> None:
        self._log, self._width = log, int(llama.llama_model_n_embd(model))
        self._layer = f"l_out-{max(0, llama.llama_model_n_layer(model) // 2 - 1)}".encode()
        # Of sequences with a state, llama.cpp reads equally long parts together, in another order.
        self._most = 1 if reads_alone(model) else _TEXTS
        self._states: Floats | None = None  # of the last decode, shape [tokens, D]

        @llama.ggml_backend_sched_eval_callback  # type: ignore[untyped-decorator]
        def look(tensor: int, asking: bool, _: Any) -> bool:
            if _name(tensor) != self._layer:
                return not asking
            if not asking:
                states = np.empty((_count(tensor) // self._width, self._width), np.float32)
                _read(tensor, states.ctypes.data, 0, states.nbytes)
                self._states = states
            return asking  # what comes after it need not be computed

        self._callback = look  # a collected callback would crash the library
        params = llama.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = BATCH
        params.n_seq_max = _TEXTS
        params.kv_unified = True
        params.n_threads = params.n_threads_batch = threads
        params.cb_eval = look
        self._handle: Any = llama.llama_init_from_model(model, params)
        if not self._handle:
            raise ModelError(f"no context of {BATCH} tokens for vectors. {log.last()}")

    def vectors(self, texts: Sequence[Sequence[int]]) -> Iterator[tuple[int, Floats]]:
        """(place, vector [D]) of each text, given as token ids; as many are read together as fit."""
        group: list[int] = []
        for place in sorted(range(len(texts)), key=lambda place: len(texts[place])):
            size = min(len(texts[place]), LONGEST)
            taken = sum(min(len(texts[one]), LONGEST) for one in group)
            if group and (len(group) == self._most or taken + size > BATCH):
                yield from self._together(group, texts)
                group = []
            group.append(place)
        if group:
            yield from self._together(group, texts)

    def _together(self, group: list[int], texts: Sequence[Sequence[int]]) -> Iterator[tuple[int, Floats]]:
        runs = [list(texts[place][:LONGEST]) for place in group]
        states = self._decode(runs)
        # A few directions of the first token's state are huge whatever it is (Sun et al. 2024): no length survives.
        states /= np.sqrt((states * states).mean(axis=1, keepdims=True) + 1e-6)
        start = 0
        for place, run in zip(group, runs, strict=True):
            first = start + 1 if len(run) > 1 else start
            yield place, states[first : start + len(run)].mean(axis=0)
            start += len(run)

    def _decode(self, runs: Sequence[Sequence[int]]) -> Floats:
        """The states of all tokens of some runs, one after the other, each run a sequence of its own."""
        llama.llama_memory_clear(llama.llama_get_memory(self._handle), True)
        total = sum(map(len, runs))
        batch = llama.llama_batch_init(total, 0, 1)
        try:
            rows = ((number, at, token) for number, run in enumerate(runs) for at, token in enumerate(run))
            for row, (number, at, token) in enumerate(rows):
                batch.token[row], batch.pos[row] = token, at
                batch.n_seq_id[row], batch.seq_id[row][0] = 1, number
                batch.logits[row] = False
            batch.n_tokens = total
            self._states = None
            code = llama.llama_decode(self._handle, batch)
        finally:
            llama.llama_batch_free(batch)
        if code != 0 or self._states is None or len(self._states) != total:
            raise ModelError(
                f"llama.cpp gave no {self._layer.decode()} of this model (code {code}), so its layers cannot be read. "
                f"{self._log.last()} Next: another model, or evaluate --no-model."
            )
        return self._states

    def close(self) -> None:
        """Free the context."""
        if self._handle:
            llama.llama_free(self._handle)
        self._handle = None
