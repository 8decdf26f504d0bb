"""A llama.cpp context: sequences side by side, and decoding in them, in one of two ways.

**Exact**: what a sequence gets does not depend, to the bit, on which others are decoded with it. Three things see to
that: every sequence has its own stream of the KV cache, so attention adds up the same cells in the same order; no
flash attention, whose kernels change with the number of tokens; and a number of rows in every matrix product for
which llama.cpp takes the same kernels as for all the others (`Rows`).

**Shared**: all sequences in one stream, with flash attention: a fifth to a quarter faster, and with weights that are
not quantised a log-odds moves by less than 0.02 (with quantised ones, whose kernels round activations to 8 bits, by
up to 0.5). `docs/performance.md` has the measurements.

One of the modules that use ctypes; see `.decoder`.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import llama_cpp as llama
import numpy as np

from ...arrays import Floats
from ...errors import ContextOverflow, ModelError
from .native import Embedded, NativeLog

BATCH = 512  # tokens in one decode, at most
_SPARE = 64  # and what a full one may be filled up with
CELLS = 256  # llama.cpp hands out the cells of a sequence in steps of so many
_UNQUANTISED = {0, 1, 32}  # llama_ftype F32, F16, BF16
_ROWWISE = {*_UNQUANTISED, 7}  # and Q8_0
_TILE = 64  # rows of a tile of flash attention: fewer tokens take another kernel
_MEMORY = 512 << 20  # bytes of KV cache that are spent on sequences side by side

Run = tuple[int, int, Sequence[int]]  # sequence, first position, token ids


@dataclass(frozen=True, slots=True)
class Rows:
    """Each row of a matrix product comes out the same for all numbers of rows from `least` on that `step` divides.

    Fewer rows take other kernels; and where weights are repacked, rows beyond a multiple of four are rounded otherwise.
    """

    least: int
    step: int

    @classmethod
    def of(cls, model: Any) -> Rows:
        """What holds for the weight types of `model`."""
        x86 = platform.machine().lower() in ("x86_64", "amd64")
        return cls(2, 1) if x86 and llama.llama_model_ftype(model) in _ROWWISE else cls(8, 4)

    def enough(self, count: int) -> int:
        """The smallest good number of rows that is at least `count`."""
        return max(self.least, -(-count // self.step) * self.step)

    def each(self, count: int, among: int) -> int:
        """The smallest number of at least `count` that makes a good number of rows with as many in each of `among`."""
        count = max(count, -(-self.least // among))
        return next(n for n in range(count, count + self.step) if n * among % self.step == 0)


def unquantised(model: Any) -> bool:
    """Whether the weights of `model` are plain floats."""
    return llama.llama_model_ftype(model) in _UNQUANTISED


def cache_width(model: Any, facts: Mapping[str, Any]) -> int:
    """How many values of keys and values the cache holds of a token, by the GGUF keys `facts` of `model`.

    Layers that are no attention have none.
    """
    architecture, layers = facts.get("general.architecture"), llama.llama_model_n_layer(model)
    heads = facts.get(f"{architecture}.attention.head_count_kv") or llama.llama_model_n_head(model)
    layers //= facts.get(f"{architecture}.full_attention_interval") or 1
    usual: int = llama.llama_model_n_embd(model) // max(1, llama.llama_model_n_head(model))
    width: int = sum(facts.get(f"{architecture}.attention.{kind}_length") or usual for kind in ("key", "value"))
    return max(1, width * (sum(heads) if isinstance(heads, list) else heads * layers))


def reads_alone(model: Any) -> bool:
    """Whether a sequence of `model` keeps a state that cannot be taken back: then it cannot be filled up either."""
    return bool(llama.llama_model_is_recurrent(model) or llama.llama_model_is_hybrid(model))


def shape(model: Any, width: int, cells: int, forks: int, *, exact: bool) -> tuple[int, int]:
    """(cells of a sequence, forks beside sequence 0) for prompts of `cells` tokens, as far as memory goes.

    `width` is that of the cache. Cells come in sizes of 1, 2, 3, 4, 6, 8, 12, … x 256, so that a context serves prompts
    of many lengths.
    """
    steps = max(1, -(-(cells if exact else cells + BATCH + _SPARE) // CELLS))
    doubled = 1 << (steps - 1).bit_length()
    size = CELLS * min(n for n in (doubled, doubled * 3 // 4) if n >= steps)
    if not exact:
        return size, forks
    affordable = _MEMORY // (2 * width * size) - 1  # 2 bytes a value
    rows = Rows.of(model)
    together = min(rows.enough(forks), affordable // rows.step * rows.step)
    return size, together if together >= rows.least else 1


class Context:
    """A context of 1 + `forks` sequences with `cells` cells each (exact) or together (shared).

    Raises `ModelError` without memory for it.
    """

    def __init__(self, model: Any, cells: int, forks: int, threads: int, log: NativeLog, *, exact: bool) -> None:
        self.cells, self.forks, self.exact = cells, forks, exact
        self._rows, self._log = Rows.of(model), log
        # Only then does a text that is written alone get the rows that it gets among others.
        self.together = exact and forks >= self._rows.least
        self.trims = not reads_alone(model)
        params = llama.llama_context_default_params()
        params.n_ctx = cells * (forks + 1) if exact else cells
        params.n_batch = params.n_ubatch = BATCH + _SPARE
        params.n_seq_max = forks + 1
        params.kv_unified = not exact
        if exact:
            params.flash_attn_type = llama.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.n_threads = params.n_threads_batch = threads
        self.handle: Any = llama.llama_init_from_model(model, params)
        if not self.handle:
            raise ModelError(f"no context of {params.n_ctx} tokens. {log.last()} Next: a smaller --context.")
        self._memory = llama.llama_get_memory(self.handle)
        self.batch: int = llama.llama_n_batch(self.handle) - _SPARE  # less than asked for where the context is small
        self._row = ctypes.c_float * llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))

    # ---- sequences

    def clear(self) -> None:
        """Empty all sequences."""
        llama.llama_memory_clear(self._memory, True)

    def copy(self, source: int, target: int) -> None:
        """Make `target` hold what `source` holds."""
        llama.llama_memory_seq_cp(self._memory, source, target, -1, -1)

    def drop(self, sequence: int) -> None:
        """Empty a sequence."""
        llama.llama_memory_seq_rm(self._memory, sequence, -1, -1)

    def cut(self, sequence: int, position: int) -> bool:
        """Take what stands at `position` and after it out of a sequence; False where the model allows no such thing."""
        return self.trims and bool(llama.llama_memory_seq_rm(self._memory, sequence, position, -1))

    def state(self, sequence: int) -> bytes:
        """All that a sequence holds, to be restored in a context of the same model that reads in the same way."""
        size = llama.llama_state_seq_get_size(self.handle, sequence)
        buffer = (ctypes.c_uint8 * size)()
        written = llama.llama_state_seq_get_data(self.handle, buffer, size, sequence)
        return bytes(memoryview(buffer)[:written])

    def restore(self, sequence: int, state: bytes) -> bool:
        """Fill an empty sequence from `state`; False, and all empty, if that is of another kind."""
        buffer = (ctypes.c_uint8 * len(state)).from_buffer_copy(state)
        if llama.llama_state_seq_set_data(self.handle, buffer, len(state), sequence):
            return True
        self.clear()
        return False

    # ---- decoding

    def good(self, rows: int) -> bool:
        """Whether a run of so many tokens comes out the same alone and among others of its length, as it is."""
        return not self.exact or rows == self._rows.enough(rows)

    def fits(self, lengths: Sequence[int]) -> bool:
        """Whether runs of these lengths may be read in one batch, and had better be."""
        if not self.exact:
            return len(lengths) <= self.forks and sum(lengths) <= self.batch
        if not self.trims:  # a run that cannot be filled up gets the same rows alone only
            return len(lengths) == 1
        longest, shortest = max(lengths), min(lengths)
        near = longest <= shortest + shortest // 4 + 2
        return len(lengths) <= self.forks and len(lengths) * longest <= self.batch and near

    def append(self, runs: Sequence[Run], *, read: bool = False) -> list[int]:
        """Append token runs to consecutive sequences in one batch: for each the index of its last token's logits.

        Runs that are read may be filled up: `cut` those sequences afterwards. Others must be equally long.
        """
        widths = [len(ids) for _, _, ids in runs]
        if not read:
            return self._decode(runs, widths, 0)
        reads = self._rows.each(1, len(runs))
        if self.trims and self.exact:
            widths = [self._rows.each(max(2, *widths), len(runs))] * len(runs)
        elif self.trims:
            widths[-1] += max(0, _TILE - sum(widths), reads - widths[-1])
        return self._decode(runs, widths, min(reads, *widths))

    def step(self, tokens: Sequence[tuple[int, int, int]]) -> list[int]:
        """Append one token to each of the sequences 1, 2, …, as (sequence, position, id): indices of the logits."""
        runs: list[Run] = [(sequence, position, [token]) for sequence, position, token in tokens]
        fillers = self.fillers(len(runs))
        for sequence in fillers:
            self.drop(sequence)
        filled = [*runs, *((sequence, 0, [0]) for sequence in fillers)]
        indices = self._decode(filled, [1] * len(filled), 1)[: len(runs)]
        for sequence in fillers:
            self.drop(sequence)
        return indices

    def fillers(self, count: int) -> range:
        """The sequences that a `step` of `count` tokens is filled up with: whatever they hold is lost."""
        return range(count + 1, self._rows.enough(count) + 1) if self.together else range(0)

    def _decode(self, runs: Sequence[Run], widths: Sequence[int], reads: int) -> list[int]:
        """Decode runs, filled up to `widths` tokens, with the logits of `reads` of each, its last id's included."""
        total = sum(widths)
        batch = llama.llama_batch_init(total, 0, 1)
        try:
            last: list[int] = []
            row = 0
            for (sequence, start, ids), width in zip(runs, widths, strict=True):
                last.append(row + len(ids) - 1)
                end = max(len(ids), reads)
                for offset in range(width):
                    batch.token[row] = ids[min(offset, len(ids) - 1)]
                    batch.pos[row] = start + offset
                    batch.n_seq_id[row] = 1
                    batch.seq_id[row][0] = sequence
                    batch.logits[row] = end - reads <= offset < end
                    row += 1
            batch.n_tokens = total
            self._check(llama.llama_decode(self.handle, batch))
        finally:
            llama.llama_batch_free(batch)
        return last

    def append_pictures(self, placed: Sequence[tuple[int, int, Embedded]]) -> None:
        """Append a picture to each of consecutive sequences, in one batch: (sequence, position, picture)."""
        vectors = np.concatenate([unit.vectors for _, _, unit in placed])
        total = sum(unit.cells for _, _, unit in placed)
        batch = llama.llama_batch_init(total, len(vectors) // total, 1)
        try:
            ctypes.memmove(batch.embd, vectors.ctypes.data, vectors.nbytes)
            rows = ((sequence, start + n) for sequence, start, unit in placed for n in range(unit.cells))
            for row, (sequence, position) in enumerate(rows):
                batch.pos[row] = position
                batch.n_seq_id[row] = 1
                batch.seq_id[row][0] = sequence
                batch.logits[row] = False
            batch.n_tokens = total
            self._check(llama.llama_decode(self.handle, batch))
        finally:
            llama.llama_batch_free(batch)

    def logits(self, index: int) -> Floats:
        """The logits at an index that the last decode gave, shape [vocabulary]; valid until the next one."""
        pointer = llama.llama_get_logits_ith(self.handle, index)
        return np.frombuffer(ctypes.cast(pointer, ctypes.POINTER(self._row)).contents, np.float32)

    def _check(self, code: int) -> None:
        if code == 1:
            raise ContextOverflow(f"the {self.cells} cells of a sequence are full.")
        if code != 0:
            raise ModelError(f"llama.cpp could not decode (code {code}). {self._log.last()}")

    def close(self) -> None:
        if self.handle:
            llama.llama_free(self.handle)
        self.handle = None
