"""llama.cpp behind the `Engine` protocol: with `engine.native` the only module that touches ctypes.

One context. Sequence 0 holds the prefix of the question in hand and is never written to after that; each
suffix is decoded in a sequence forked from it and dropped whole, since partial copies and removals abort or
fail on some models. Batches have the same shape whatever ran before, so greedy text is reproducible.

A native abort ends the process: everyday use goes through `engine.process`, which runs this in a child.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import llama_cpp as llama
import numpy as np
import numpy.typing as npt

from ..errors import AnswerTokensError, ContextOverflow, ModelError
from .answers import answer_log_odds, spellings
from .gguf import require_gguf
from .hardware import usable_threads
from .native import Embedded, Eyes, NativeLog, Unit, c_path, make_sampler
from .types import IMAGE_CELL, EngineConfig, Generation, Image, LogOdds, ModelFacts, Prompt

_BATCH = 512  # tokens in one decode, at most
_FORKS = 16  # sequences beside sequence 0
_UNQUANTISED = {0, 1, 32}  # llama_ftype: F32, F16, BF16


@dataclass(slots=True)
class _Writing:
    """A text in the making; `position` is where its next token goes, `cells` what it may take of the context."""

    place: int
    sequence: int
    tail: list[Unit]
    position: int
    cells: int
    sampler: Any
    token: int = -1
    output: bytearray = field(default_factory=bytearray)
    count: int = 0


class LlamaEngine:
    """A GGUF model, with an optional projector and LoRA adapters, in this process.

    Raises `ModelError` for files that are missing, broken or do not fit together.
    """

    def __init__(self, config: EngineConfig) -> None:
        self._log = NativeLog()
        self._config = config
        self._threads = config.threads or usable_threads()
        self._prefix: tuple[str | None, list[Unit], int] | None = None
        self._calls = 0
        self._eyes: Eyes | None = None
        self._context: Any = None
        self._model: Any = None
        self._adapters: dict[str, Any] = {}
        try:
            self._load()
        except BaseException:
            self.close()
            raise
        self._logits_type = ctypes.c_float * self._n_vocab
        self.facts = self._read_facts()

    # ---- loading

    def _load(self) -> None:
        config = self._config
        for path in (config.model, config.projector, *config.adapters.values()):
            if path is not None:
                require_gguf(path)
        llama.llama_backend_init()
        self._model = llama.llama_model_load_from_file(c_path(config.model), llama.llama_model_default_params())
        if not self._model:
            raise ModelError(
                f"{config.model}: llama.cpp cannot load this model. {self._log.last()} Next: is the file whole?"
            )
        self._vocab = llama.llama_model_get_vocab(self._model)
        self._n_vocab = llama.llama_vocab_n_tokens(self._vocab)
        params = llama.llama_context_default_params()
        params.n_ctx = min(config.context, llama.llama_model_n_ctx_train(self._model))
        params.n_batch = params.n_ubatch = _BATCH
        params.n_seq_max = _FORKS + 1
        params.kv_unified = True  # forks share the prefix's cells instead of copying them
        params.n_threads = params.n_threads_batch = self._threads
        self._context = llama.llama_init_from_model(self._model, params)
        if not self._context:
            raise ModelError(f"{config.model}: no context of {params.n_ctx} tokens. {self._log.last()}")
        self._memory = llama.llama_get_memory(self._context)
        self._n_ctx = llama.llama_n_ctx(self._context)
        self._batch = llama.llama_n_batch(self._context)  # less than asked for where the context is small
        for role, path in config.adapters.items():
            self._adapters[role] = llama.llama_adapter_lora_init(self._model, c_path(path))
            if not self._adapters[role]:
                raise ModelError(
                    f"{path}: this adapter does not fit {config.model.name}. {self._log.last()} "
                    "Next: the adapter's own base model."
                )
        if config.projector is not None:
            whole = config.image_detail != "overview"
            around = [] if whole else self._tokenise("<fake_token_around_image><global-img>", special=True)
            self._eyes = Eyes(config.projector, config, self._model, around, self._log)

    def _read_facts(self) -> ModelFacts:
        template = llama.llama_model_chat_template(self._model, None)
        bos = llama.llama_vocab_bos(self._vocab)
        eos = llama.llama_vocab_eos(self._vocab)
        self._yes = self._single_tokens("yes")
        self._no = self._single_tokens("no")
        return ModelFacts(
            name=self._meta("general.name") or self._config.model.stem,
            context=self._n_ctx,
            vision=self._eyes is not None,
            batch_stable=llama.llama_model_ftype(self._model) in _UNQUANTISED,
            chat_template=template.decode() if template else None,
            bos=self._piece(bos, special=True).decode() if bos >= 0 else "",
            eos=self._piece(eos, special=True).decode() if eos >= 0 else "",
            add_bos=bool(llama.llama_vocab_get_add_bos(self._vocab)),
            yes=tuple(self._yes),
            no=tuple(self._no),
            threads=self._threads,
            system=llama.llama_print_system_info().decode(),
        )

    def _single_tokens(self, word: str) -> dict[str, int]:
        """Spellings of `word` that are one token each, as {spelling: token id}; no id twice."""
        found: dict[int, str] = {}
        for spelling in spellings(word):
            ids = self._tokenise(spelling, special=False)
            if len(ids) == 1:
                found.setdefault(ids[0], spelling)
        return {spelling: token for token, spelling in found.items()}

    def _meta(self, key: str) -> str | None:
        buffer = ctypes.create_string_buffer(4096)
        size = llama.llama_model_meta_val_str(self._model, key.encode(), buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace") if size >= 0 else None

    # ---- tokens

    def _tokenise(self, text: str, *, special: bool) -> list[int]:
        data = text.encode("utf-8", "replace")
        room = len(data) + 2
        tokens = (llama.llama_token * room)()
        count = llama.llama_tokenize(self._vocab, data, len(data), tokens, room, False, special)
        if count < 0:
            raise ModelError(f"{self._config.model.name}: the tokenizer refused {text[:40]!r}.")
        return list(tokens[:count])

    def _piece(self, token: int, *, special: bool = False) -> bytes:
        buffer = ctypes.create_string_buffer(256)
        size = llama.llama_token_to_piece(self._vocab, token, buffer, len(buffer), 0, special)
        return buffer.raw[:size] if size > 0 else b""

    def _units(self, prompt: Prompt) -> list[Unit]:
        units: list[Unit] = []
        for part in prompt:
            if isinstance(part, Image):
                units += self._embed(part)
            else:
                units += self._tokenise(part.text, special=part.special)
        return units

    def _embed(self, image: Image) -> list[Unit]:
        if self._eyes is None:
            raise ModelError(
                f"{self._config.model.name} has no projector, so it cannot see pictures. Next: msr-local models use."
            )
        return self._eyes.units(image)

    def _tail(self, suffix: Prompt) -> list[Unit]:
        """The units of a suffix; its last token is the one whose logits are read."""
        units = self._units(suffix)
        if not units or not isinstance(units[-1], int):
            raise ValueError("a suffix must end in text")
        return units

    def token_ids(self, prompt: Prompt) -> list[int]:
        """See `Engine`."""
        ids: list[int] = []
        for unit in self._units(prompt):
            ids += [unit] if isinstance(unit, int) else [IMAGE_CELL] * unit.cells
        return ids

    def count_tokens(self, prompt: Prompt) -> int:
        """See `Engine`."""
        return _cells(self._units(prompt))

    # ---- decoding

    def _decode(self, runs: Sequence[tuple[int, int, Sequence[int]]]) -> list[int]:
        """Decode token runs of (sequence, first position, ids) in one batch: indices of their last logits."""
        total = sum(len(ids) for _, _, ids in runs)
        batch = llama.llama_batch_init(total, 0, 1)
        try:
            row = 0
            last: list[int] = []
            for sequence, start, ids in runs:
                for offset, token in enumerate(ids):
                    batch.token[row] = token
                    batch.pos[row] = start + offset
                    batch.n_seq_id[row] = 1
                    batch.seq_id[row][0] = sequence
                    batch.logits[row] = offset == len(ids) - 1
                    row += 1
                last.append(row - 1)
            batch.n_tokens = total
            code = llama.llama_decode(self._context, batch)
        finally:
            llama.llama_batch_free(batch)
        self._check_decoded(code)
        return last

    def _check_decoded(self, code: int) -> None:
        if code == 1:
            raise ContextOverflow(f"the context of {self._n_ctx} tokens is full.")
        if code != 0:
            raise ModelError(f"llama.cpp could not decode (code {code}). {self._log.last()}")

    def _extend(self, sequence: int, position: int, units: Sequence[Unit]) -> tuple[int, int]:
        """Append `units` to a sequence; returns (next position, index of the last token's logits or -1)."""
        index = -1
        run: list[int] = []
        for unit in [*units, None]:
            if isinstance(unit, int) and len(run) < self._batch:
                run.append(unit)
                continue
            if run:
                index = self._decode([(sequence, position, run)])[-1]
                position += len(run)
                run = []
            if isinstance(unit, int):
                run = [unit]
            elif unit is not None:
                assert self._eyes is not None
                position = self._eyes.place(self._context, self._batch, sequence, position, unit)
                index = -1
        return position, index

    def _hold(self, adapter: str | None, units: list[Unit]) -> int:
        """Make sequence 0 hold exactly `units` under `adapter`, and the others nothing; its length in positions."""
        self._calls += 1
        for fork in range(1, _FORKS + 1):  # of texts that nobody read to the end
            llama.llama_memory_seq_rm(self._memory, fork, -1, -1)
        if self._prefix is None or self._prefix[:2] != (adapter, units):
            self._prefix = None
            llama.llama_memory_clear(self._memory, True)
            self._activate(adapter)
            length, _ = self._extend(0, 0, units)
            self._prefix = (adapter, units, length)
        return self._prefix[2]

    def _activate(self, adapter: str | None) -> None:
        if adapter is not None and adapter not in self._adapters:
            raise ModelError(f"no adapter is loaded for {adapter!r}.")
        chosen = [] if adapter is None else [self._adapters[adapter]]
        array = (llama.llama_adapter_lora_p_ctypes * max(1, len(chosen)))(*chosen)
        scales = (ctypes.c_float * max(1, len(chosen)))(*[1.0] * len(chosen))
        if llama.llama_set_adapters_lora(self._context, array, len(chosen), scales) != 0:
            raise ModelError(f"llama.cpp could not switch to the adapter for {adapter!r}. {self._log.last()}")

    def _logits(self, index: int) -> npt.NDArray[np.float32]:
        pointer = llama.llama_get_logits_ith(self._context, index)
        return np.frombuffer(ctypes.cast(pointer, ctypes.POINTER(self._logits_type)).contents, np.float32)

    def _require_room(self, positions: int) -> None:
        if positions > self._n_ctx:
            raise ContextOverflow(
                f"a prompt of {positions} tokens does not fit the context of {self._n_ctx}. "
                "Next: a shorter --history, or a larger --context."
            )

    # ---- the protocol

    def log_odds(self, prefix: Prompt, suffixes: Sequence[Prompt], *, adapter: str | None = None) -> Iterator[LogOdds]:
        """See `Engine`."""
        for word, found in (("yes", self._yes), ("no", self._no)):
            if not found:
                raise AnswerTokensError(
                    f"{self._config.model.name}: its tokenizer has no single token for {word!r}, "
                    "so p(yes) cannot be read. Next: choose another model with msr-local models use."
                )
        head = self._units(prefix)
        self._require_room(_cells(head))
        for group in self._groups(suffixes, self._n_ctx - _cells(head)):
            yield from self._read_answers(self._hold(adapter, head), group)

    def _groups(self, suffixes: Sequence[Prompt], room: int) -> Iterator[list[list[Unit]]]:
        """Cut the suffixes into batches: one each where quantised kernels would let neighbours change z."""
        group: list[list[Unit]] = []
        size = 0
        for suffix in suffixes:
            tail = self._tail(suffix)
            if _cells(tail) > room:
                self._require_room(self._n_ctx - room + _cells(tail))
            alone = not self.facts.batch_stable or any(isinstance(unit, Embedded) for unit in tail)
            if group and (alone or len(group) == _FORKS or size + len(tail) > min(self._batch, room)):
                yield group
                group, size = [], 0
            if alone:
                yield [tail]
            else:
                group.append(tail)
                size += len(tail)
        if group:
            yield group

    def _read_answers(self, start: int, group: list[list[Unit]]) -> Iterator[LogOdds]:
        for fork in range(1, len(group) + 1):
            llama.llama_memory_seq_cp(self._memory, 0, fork, -1, -1)
        try:
            if len(group) == 1:
                indices = [self._extend(1, start, group[0])[1]]
            else:
                runs = [(fork, start, tail) for fork, tail in enumerate(group, start=1)]
                indices = self._decode(runs)  # type: ignore[arg-type]  # no images in groups of several
            answers = [self._answer(index) for index in indices]
        finally:
            for fork in range(1, len(group) + 1):
                llama.llama_memory_seq_rm(self._memory, fork, -1, -1)
        yield from answers

    def _answer(self, index: int) -> LogOdds:
        logits = self._logits(index)
        z, coverage = answer_log_odds(logits, list(self._yes.values()), list(self._no.values()))
        if not (math.isfinite(z) and math.isfinite(coverage)):
            raise ModelError(f"{self._config.model.name}: its logits are not finite. Next: is the file whole?")
        top = self._piece(int(np.argmax(logits)), special=True).decode("utf-8", "replace")
        return LogOdds(z, coverage, top)

    def generate(
        self,
        prefix: Prompt,
        suffix: Prompt,
        *,
        adapter: str | None = None,
        max_tokens: int = 128,
        temperature: float = 0.0,
        seed: int = 0,
        repeat_penalty: float = 1.0,
        said: str = "",
    ) -> Generation:
        """See `Engine`."""
        head, tail = self._units(prefix), self._tail(suffix)
        self._require_room(_cells(head) + _cells(tail) + max_tokens)
        sampler = make_sampler(self._n_vocab, temperature, seed, repeat_penalty)
        try:
            for token in self._tokenise(said, special=False):
                llama.llama_sampler_accept(sampler, token)
            position = self._hold(adapter, head)
            llama.llama_memory_seq_cp(self._memory, 0, 1, -1, -1)
            position, index = self._extend(1, position, tail)
            output = bytearray()
            for count in range(max_tokens):
                token = llama.llama_sampler_sample(sampler, self._context, index)
                if llama.llama_vocab_is_eog(self._vocab, token):
                    return Generation(output.decode("utf-8", "replace"), count, ended=True)
                output += self._piece(token)
                index = self._decode([(1, position, [token])])[-1]
                position += 1
            return Generation(output.decode("utf-8", "ignore"), max_tokens, ended=False)
        finally:
            llama.llama_sampler_free(sampler)
            llama.llama_memory_seq_rm(self._memory, 1, -1, -1)

    def generate_many(
        self,
        prefix: Prompt,
        suffixes: Sequence[Prompt],
        *,
        adapter: str | None = None,
        max_tokens: int = 128,
        repeat_penalty: float = 1.0,
    ) -> Iterator[tuple[int, Generation]]:
        """See `Engine`."""
        head = self._units(prefix)
        room = self._n_ctx - _cells(head)
        self._require_room(_cells(head))
        start = self._hold(adapter, head)
        call = self._calls
        free = list(range(_FORKS if self.facts.batch_stable else 1, 0, -1))
        running: dict[int, _Writing] = {}
        waiting = enumerate(suffixes)
        arriving = next(waiting, None)
        tail = self._tail(arriving[1]) if arriving else []
        try:
            while arriving or running:
                new: list[_Writing] = []
                while arriving and free:
                    cells = _cells(tail) + max_tokens
                    if cells + sum(one.cells for one in running.values()) > room:
                        if not running:
                            self._require_room(_cells(head) + cells)
                        break  # when one of the others has ended
                    sampler = make_sampler(self._n_vocab, 0.0, 0, repeat_penalty)
                    new.append(_Writing(arriving[0], free.pop(), tail, start, cells, sampler))
                    running[new[-1].sequence] = new[-1]
                    arriving = next(waiting, None)
                    tail = self._tail(arriving[1]) if arriving else []
                for writing, index in self._begin(new) if new else self._advance(list(running.values())):
                    made = self._take(writing, index, max_tokens)
                    if made is None:
                        continue
                    self._end(running.pop(writing.sequence))
                    free.append(writing.sequence)
                    yield writing.place, made
                    if call != self._calls:
                        raise RuntimeError("these texts were given up when the engine was asked again")
        finally:
            for writing in running.values():
                llama.llama_sampler_free(writing.sampler)
                if call == self._calls:  # else its sequence is another's by now
                    llama.llama_memory_seq_rm(self._memory, writing.sequence, -1, -1)

    def _begin(self, new: list[_Writing]) -> Iterator[tuple[_Writing, int]]:
        """Decode the suffixes of new texts: each with the index of its last logits, to be sampled at once."""
        for writing in new:
            llama.llama_memory_seq_cp(self._memory, 0, writing.sequence, -1, -1)
        pieces = [_pieces(writing.tail) for writing in new]
        shapes = {tuple(map(type, one)) for one in pieces}
        longest = max(_cells(part) if isinstance(part, list) else part.cells for one in pieces for part in one)
        together = self._batch // longest if len(shapes) == 1 and (self._eyes is None or self._eyes.together) else 0
        if together < 2:
            for writing in new:
                writing.position, index = self._extend(writing.sequence, writing.position, writing.tail)
                yield writing, index
            return
        for at in range(0, len(new), together):
            some = new[at : at + together]
            indices: list[int] = []
            for parts in zip(*pieces[at : at + together], strict=True):
                if isinstance(parts[0], list):
                    indices = self._decode([(w.sequence, w.position, ids) for w, ids in zip(some, parts, strict=True)])
                else:
                    self._place_all([(w.sequence, w.position, unit) for w, unit in zip(some, parts, strict=True)])
                for writing, part in zip(some, parts, strict=True):
                    writing.position += len(part) if isinstance(part, list) else part.positions
            yield from zip(some, indices, strict=True)

    def _place_all(self, placed: Sequence[tuple[int, int, Embedded]]) -> None:
        """Append a picture to each of several sequences, in one batch: (sequence, position, picture)."""
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
            self._check_decoded(llama.llama_decode(self._context, batch))
        finally:
            llama.llama_batch_free(batch)

    def _advance(self, running: list[_Writing]) -> Iterator[tuple[_Writing, int]]:
        """Decode the last token of each text."""
        indices = self._decode([(writing.sequence, writing.position, [writing.token]) for writing in running])
        for writing in running:
            writing.position += 1
        yield from zip(running, indices, strict=True)

    def _take(self, writing: _Writing, index: int, max_tokens: int) -> Generation | None:
        """Sample the next token of a text; the text, if that ends it."""
        writing.token = llama.llama_sampler_sample(writing.sampler, self._context, index)
        if llama.llama_vocab_is_eog(self._vocab, writing.token):
            return Generation(writing.output.decode("utf-8", "replace"), writing.count, ended=True)
        writing.output += self._piece(writing.token)
        writing.count += 1
        if writing.count < max_tokens:
            return None
        return Generation(writing.output.decode("utf-8", "ignore"), writing.count, ended=False)

    def _end(self, writing: _Writing) -> None:
        llama.llama_sampler_free(writing.sampler)
        llama.llama_memory_seq_rm(self._memory, writing.sequence, -1, -1)

    def close(self) -> None:
        """Free all native memory; the engine cannot be used afterwards."""
        self._prefix = None
        self._calls += 1  # texts in the making are given up
        if self._eyes:
            self._eyes.close()
        if self._context:
            llama.llama_free(self._context)
        if self._model:
            llama.llama_model_free(self._model)
        self._eyes = self._context = self._model = None


def _pieces(units: Sequence[Unit]) -> list[list[int] | Embedded]:
    """Units as runs of tokens and pictures."""
    pieces: list[list[int] | Embedded] = []
    for unit in units:
        if not isinstance(unit, int):
            pieces.append(unit)
        elif pieces and isinstance(pieces[-1], list):
            pieces[-1].append(unit)
        else:
            pieces.append([unit])
    return pieces


def _cells(units: Sequence[Unit]) -> int:
    """How many cells of the KV cache `units` take."""
    return sum(1 if isinstance(unit, int) else unit.cells for unit in units)
