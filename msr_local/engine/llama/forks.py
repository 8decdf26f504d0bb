"""A prefix that is read once, and suffixes that are read after it, side by side.

Sequence 0 holds the prefix and is never written to after that. A suffix is decoded in a sequence forked from it,
which goes back to the prefix when the answer is read.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import llama_cpp as llama

from ...errors import ModelError
from .context import Context, shape
from .native import Embedded, Eyes, NativeLog, Unit
from .prefixes import WORTH, Prefixes

FORKS = 16  # suffixes side by side, at most
_FILLING = 8  # cells that a short suffix may be filled up with

Form = tuple[tuple[str, int], ...]


class Forks:
    """A context of a model, made when it is needed and larger when that is needed, with its prefix and its forks.

    `width` is that of its cache; `adapters` has the loaded adapters by role; `eyes` is the projector.
    """

    def __init__(
        self, model: Any, width: int, adapters: Mapping[str, Any], eyes: Eyes | None, kept: Prefixes | None,
        threads: int, log: NativeLog, *, exact: bool,
    ) -> None:  # fmt: skip
        self._model, self._width, self._adapters, self._eyes, self._kept = model, width, adapters, eyes, kept
        self._threads, self._log, self._exact = threads, log, exact
        self._context: Context | None = None
        self._prefix: tuple[str | None, list[Unit]] | None = None  # what sequence 0 holds
        self._clean: set[int] = set()  # forks that hold the prefix and nothing else
        self.start = 0  # positions that the prefix takes

    @property
    def context(self) -> Context:
        assert self._context is not None
        return self._context

    def hold(self, adapter: str | None, units: list[Unit], more: int, forks: int) -> None:
        """Make sequence 0 hold exactly `units` under `adapter`, with room for `more` cells in each of `forks` forks.

        Raises `ModelError` for an adapter that is not loaded, and without memory.
        """
        context = self._open(cells(units) + more + _FILLING, forks)
        if self._prefix != (adapter, units):
            self._prefix = None
            self._clean.clear()
            context.clear()
            self._activate(adapter)
            self.start = self._read(adapter, units)
            self._prefix = (adapter, units)
        for fork in range(1, context.forks + 1):  # of texts that nobody read to the end
            if fork not in self._clean:
                context.drop(fork)

    def _open(self, size: int, forks: int) -> Context:
        size, forks = shape(self._model, self._width, size, min(max(forks, 1), FORKS), exact=self._exact)
        have = self._context
        if have is None or have.cells < size or have.forks < forks:
            self.close()
            self._context = Context(self._model, size, forks, self._threads, self._log, exact=self._exact)
        return self.context

    def _activate(self, adapter: str | None) -> None:
        if adapter is not None and adapter not in self._adapters:
            raise ModelError(f"no adapter is loaded for {adapter!r}.")
        chosen = [] if adapter is None else [self._adapters[adapter]]
        array = (llama.llama_adapter_lora_p_ctypes * max(1, len(chosen)))(*chosen)
        scales = (ctypes.c_float * max(1, len(chosen)))(*[1.0] * len(chosen))
        if llama.llama_set_adapters_lora(self.context.handle, array, len(chosen), scales) != 0:
            raise ModelError(f"llama.cpp could not switch to the adapter for {adapter!r}. {self._log.last()}")

    def _read(self, adapter: str | None, units: list[Unit]) -> int:
        """Read the prefix, or restore what it was read to in an earlier command; its next position."""
        if self._kept is None or len(units) < WORTH or not all(isinstance(unit, int) for unit in units):
            return self._extend(0, 0, units)
        key = json.dumps([self._exact, adapter, units])
        state = self._kept.load(key)
        if state is None or not self.context.restore(0, state):
            self._extend(0, 0, units)
            self._kept.save(key, self.context.state(0))
        return len(units)

    def _extend(self, sequence: int, position: int, units: Sequence[Unit]) -> int:
        """Append `units`, whose logits nobody reads, to a sequence; its next position."""
        for piece in _pieces(units, self.context.batch):
            if isinstance(piece, list):
                self.context.append([(sequence, position, piece)])
                position += len(piece)
            else:
                assert self._eyes is not None
                position = self._eyes.place(self.context.handle, self.context.batch, sequence, position, piece)
        return position

    # ---- suffixes

    def groups(self, tails: Sequence[list[Unit]]) -> Iterator[list[int]]:
        """Cut suffixes into groups for `append`, as lists of their places: of one form, and of lengths that fit."""
        forms = [_form(_pieces(tail, self.context.batch)) for tail in tails]
        together = self._eyes is None or self._eyes.together
        group: list[int] = []
        order = sorted(range(len(tails)), key=lambda place: (forms[place], place)) if self._exact else range(len(tails))
        for place in order:
            form, length = forms[place]
            lengths = [*(forms[one][1] for one in group), length]
            if group and (
                form != forms[group[0]][0]
                or not self.context.fits(lengths)
                or len(lengths) * max((size for _, size in form), default=0) > self.context.batch
                or not all(self.context.good(size) for _, size in form)
                or not (together or all(kind == "text" for kind, _ in form))
            ):
                yield group
                group = []
            group.append(place)
        if group:
            yield group

    def append(self, first: int, tails: Sequence[list[Unit]]) -> list[int]:
        """Append a group of suffixes to the forks `first`, `first` + 1, …: the index of each one's last logits."""
        for fork in range(first, first + len(tails)):
            if fork not in self._clean:
                self.context.copy(0, fork)
            self._clean.discard(fork)
        position = self.start
        if len(tails) == 1:
            *before, last = _pieces(tails[0], self.context.batch)
            for piece in before:
                position = self._extend(first, position, piece if isinstance(piece, list) else [piece])
            assert isinstance(last, list)
            return self.context.append([(first, position, last)], read=True)
        columns = list(zip(*(_pieces(tail, self.context.batch) for tail in tails), strict=True))
        indices: list[int] = []
        for number, parts in enumerate(columns, start=1):
            numbered: list[tuple[int, Any]] = list(enumerate(parts, start=first))
            if isinstance(parts[0], list):
                runs = [(fork, position, ids) for fork, ids in numbered]
                indices = self.context.append(runs, read=number == len(columns))
                position += len(parts[0])
            else:
                self.context.append_pictures([(fork, position, picture) for fork, picture in numbered])
                position += parts[0].positions
        return indices

    def step(self, tokens: Sequence[tuple[int, int]]) -> list[int]:
        """Append one token, as (position, id), to each of the forks 1, 2, …: the indices of their logits."""
        self._clean.difference_update(self.context.fillers(len(tokens)))
        return self.context.step([(fork, position, token) for fork, (position, token) in enumerate(tokens, start=1)])

    def release(self, fork: int) -> None:
        """Take a fork back to the prefix."""
        if self.context.cut(fork, self.start):
            self._clean.add(fork)
        else:
            self.context.drop(fork)

    def close(self) -> None:
        """Free the context."""
        self._prefix = None
        self._clean.clear()
        if self._context:
            self._context.close()
        self._context = None


def _pieces(units: Sequence[Unit], most: int) -> list[list[int] | Embedded]:
    """Units as pictures and as runs of at most `most` tokens."""
    pieces: list[list[int] | Embedded] = []
    for unit in units:
        if not isinstance(unit, int):
            pieces.append(unit)
        elif pieces and isinstance(pieces[-1], list) and len(pieces[-1]) < most:
            pieces[-1].append(unit)
        else:
            pieces.append([unit])
    return pieces


def _form(pieces: Sequence[list[int] | Embedded]) -> tuple[Form, int]:
    """What suffixes must have in common to be decoded side by side, and the length of the text that they end in."""
    *before, last = pieces
    form = tuple(("text", len(one)) if isinstance(one, list) else ("picture", one.cells) for one in before)
    return form, cells(last) if isinstance(last, list) else 0


def cells(units: Sequence[Unit]) -> int:
    """How many cells of the KV cache `units` take."""
    return sum(1 if isinstance(unit, int) else unit.cells for unit in units)


def positions(units: Sequence[Unit]) -> int:
    """How many positions `units` take."""
    return sum(1 if isinstance(unit, int) else unit.positions for unit in units)
