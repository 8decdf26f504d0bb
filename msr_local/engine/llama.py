"""llama.cpp behind the `Engine` protocol: with `engine.context` and `engine.native` the only module on ctypes.

Sequence 0 holds the prefix of the question in hand and is never written to after that. Suffixes are decoded in
sequences forked from it, side by side; a fork goes back to the prefix when its answer is read. What a question
gets is the same, to the bit, alone or among others (see `engine.context`).

A native abort ends the process: everyday use goes through `engine.process`, which runs this in a child.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import json
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import llama_cpp as llama
import numpy as np

from ..errors import AnswerTokensError, ContextOverflow, ModelError
from .answers import answer_log_odds, spellings
from .context import Context, shape
from .gguf import require_gguf
from .hardware import usable_threads
from .native import Embedded, Eyes, NativeLog, Unit, c_path, make_sampler
from .prefixes import WORTH, Prefixes
from .types import IMAGE_CELL, EngineConfig, Generation, Image, LogOdds, ModelFacts, Prompt

_FORKS = 16  # suffixes side by side, at most
_WINDOW = 32  # questions that are sorted by length and answered together
_FILLING = 8  # cells that a short suffix may be filled up with
_TEXTS_KEPT = 4096  # tokenised texts: prefixes and descriptions come again and again


@dataclass(slots=True)
class _Writing:
    """A text in the making; `position` is where its next token goes."""

    place: int
    tail: list[Unit]
    sampler: Any
    position: int = 0
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
        self._prefix: tuple[str | None, list[Unit], int] | None = None  # what sequence 0 holds, and its length
        self._forked: set[int] = set()  # sequences that hold the prefix and nothing else
        self._calls = 0
        self._kept = Prefixes(config.states) if config.states else None
        self._eyes: Eyes | None = None
        self._context: Context | None = None
        self._model: Any = None
        self._adapters: dict[str, Any] = {}
        # Both are asked for the same texts all the time, to see whether a prompt fits.
        self._tokenise = functools.lru_cache(_TEXTS_KEPT)(self._tokenise_anew)
        try:
            self._load()
        except BaseException:
            self.close()
            raise
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
        self._n_ctx: int = min(config.context, llama.llama_model_n_ctx_train(self._model))
        self._open(1, 1)
        for role, path in config.adapters.items():
            self._adapters[role] = llama.llama_adapter_lora_init(self._model, c_path(path))
            if not self._adapters[role]:
                raise ModelError(
                    f"{path}: this adapter does not fit {config.model.name}. {self._log.last()} "
                    "Next: the adapter's own base model."
                )
        if config.projector is not None:
            whole = config.image_detail != "overview"
            around = [] if whole else list(self._tokenise("<fake_token_around_image><global-img>", special=True))
            self._eyes = Eyes(config.projector, config, self._model, around, self._log)

    def _open(self, cells: int, forks: int) -> Context:
        """The context, made larger if prompts of `cells` tokens, `forks` of them side by side, need it."""
        cells, forks = shape(self._model, cells, min(forks, _FORKS))
        have = self._context
        if have is None or have.cells < cells or have.forks < forks:
            if have is not None:
                have.close()
            self._prefix, self._context = None, None
            self._context = Context(self._model, cells, forks, self._threads, self._log)
        assert self._context is not None
        return self._context

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

    def _tokenise_anew(self, text: str, *, special: bool) -> tuple[int, ...]:
        data = text.encode("utf-8", "replace")
        room = len(data) + 2
        tokens = (llama.llama_token * room)()
        count = llama.llama_tokenize(self._vocab, data, len(data), tokens, room, False, special)
        if count < 0:
            raise ModelError(f"{self._config.model.name}: the tokenizer refused {text[:40]!r}.")
        return tuple(tokens[:count])

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

    # ---- the prefix and its forks

    def _hold(self, adapter: str | None, units: list[Unit], more: int, forks: int) -> tuple[Context, int]:
        """Make sequence 0 hold exactly `units` under `adapter`, with room for `more` cells in each of `forks` forks.

        The context, and how many positions the prefix takes.
        """
        self._calls += 1
        context = self._open(_cells(units) + more, forks)
        if self._prefix is None or self._prefix[:2] != (adapter, units):
            self._prefix = None
            self._forked.clear()
            context.clear()
            self._activate(adapter)
            self._prefix = (adapter, units, self._read_prefix(context, adapter, units))
        for fork in range(1, context.forks + 1):  # of texts that nobody read to the end
            if fork not in self._forked:
                context.drop(fork)
        return context, self._prefix[2]

    def _read_prefix(self, context: Context, adapter: str | None, units: list[Unit]) -> int:
        if self._kept is None or len(units) < WORTH or not all(isinstance(unit, int) for unit in units):
            return self._extend(context, 0, 0, units)
        key = json.dumps([adapter, units])
        state = self._kept.load(key)
        if state is None or not context.restore(0, state):
            self._extend(context, 0, 0, units)
            self._kept.save(key, context.state(0))
        return len(units)

    def _fork(self, context: Context, sequence: int) -> None:
        """Make a sequence hold the prefix, to be written to."""
        if sequence not in self._forked:
            context.copy(0, sequence)
        self._forked.discard(sequence)

    def _release(self, context: Context, sequence: int, start: int) -> None:
        """Take a fork back to the prefix."""
        if context.cut(sequence, start):
            self._forked.add(sequence)
        else:
            context.drop(sequence)

    def _extend(self, context: Context, sequence: int, position: int, units: Sequence[Unit]) -> int:
        """Append `units`, whose logits nobody reads, to a sequence; its next position."""
        for piece in _pieces(units, context.batch):
            if isinstance(piece, list):
                context.append([(sequence, position, piece)])
                position += len(piece)
            else:
                assert self._eyes is not None
                position = self._eyes.place(context.handle, context.batch, sequence, position, piece)
        return position

    def _append(self, context: Context, first: int, position: int, tails: Sequence[list[Unit]]) -> list[int]:
        """Append suffixes of one form to the forks `first`, `first` + 1, …: the index of each one's last logits."""
        if len(tails) == 1:
            *before, last = _pieces(tails[0], context.batch)
            assert isinstance(last, list)
            for piece in before:
                position = self._extend(context, first, position, piece if isinstance(piece, list) else [piece])
            return context.append([(first, position, last)], read=True)
        columns = list(zip(*(_pieces(tail, context.batch) for tail in tails), strict=True))
        indices: list[int] = []
        for number, parts in enumerate(columns, start=1):
            numbered = list(enumerate(parts, start=first))
            if isinstance(parts[0], list):
                runs = [(fork, position, ids) for fork, ids in numbered]
                indices = context.append(runs, read=number == len(columns))
                position += len(parts[0])
            else:
                context.append_pictures([(fork, position, picture) for fork, picture in numbered])
                position += parts[0].positions
        return indices

    def _activate(self, adapter: str | None) -> None:
        if adapter is not None and adapter not in self._adapters:
            raise ModelError(f"no adapter is loaded for {adapter!r}.")
        chosen = [] if adapter is None else [self._adapters[adapter]]
        array = (llama.llama_adapter_lora_p_ctypes * max(1, len(chosen)))(*chosen)
        scales = (ctypes.c_float * max(1, len(chosen)))(*[1.0] * len(chosen))
        assert self._context is not None
        if llama.llama_set_adapters_lora(self._context.handle, array, len(chosen), scales) != 0:
            raise ModelError(f"llama.cpp could not switch to the adapter for {adapter!r}. {self._log.last()}")

    def _require_room(self, positions: int) -> None:
        if positions > self._n_ctx:
            raise ContextOverflow(
                f"a prompt of {positions} tokens does not fit the context of {self._n_ctx}. "
                "Next: a shorter --history, or a larger --context."
            )

    def _groups(self, context: Context, tails: Sequence[list[Unit]]) -> Iterator[list[int]]:
        """Cut suffixes into groups for `_append`, as lists of their places: of one form, and nearly of one length."""
        forms = [_form(_pieces(tail, context.batch)) for tail in tails]
        group: list[int] = []
        for place in sorted(range(len(tails)), key=lambda place: (forms[place], place)):
            form, length = forms[place]
            if group:
                (shared, shortest), pictures = forms[group[0]], any(kind == "picture" for kind, _ in form)
                longest = max(length, *(size for _, size in form)) if form else length
                if (
                    form != shared
                    or len(group) == context.forks
                    or (len(group) + 1) * longest > context.batch
                    or length > (shortest + shortest // 4 + 2 if context.trims else shortest)
                    or (pictures and not (self._eyes and self._eyes.together))
                ):
                    yield group
                    group = []
            group.append(place)
        if group:
            yield group

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
        for start in range(0, len(suffixes), _WINDOW):
            tails: list[list[Unit]] = []
            refused: ContextOverflow | None = None
            for suffix in suffixes[start : start + _WINDOW]:
                tail = self._tail(suffix)
                try:
                    self._require_room(_cells(head) + _cells(tail))
                except ContextOverflow as error:
                    refused = error
                    break
                tails.append(tail)
            yield from self._answers(adapter, head, tails)
            if refused:
                raise refused

    def _answers(self, adapter: str | None, head: list[Unit], tails: list[list[Unit]]) -> list[LogOdds]:
        """The answers to questions, in order."""
        if not tails:
            return []
        longest = max(map(_cells, tails))
        context, start = self._hold(adapter, head, longest + _FILLING, len(tails))
        found: dict[int, LogOdds] = {}
        for group in self._groups(context, tails):
            forks = range(1, len(group) + 1)
            for fork in forks:
                self._fork(context, fork)
            try:
                indices = self._append(context, 1, start, [tails[place] for place in group])
                found |= {place: self._answer(context, index) for place, index in zip(group, indices, strict=True)}
            finally:
                for fork in forks:
                    self._release(context, fork, start)
        return [found[place] for place in range(len(tails))]

    def _answer(self, context: Context, index: int) -> LogOdds:
        logits = context.logits(index)
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

        def sampler(place: int) -> Any:
            return self._sampler(temperature, seed, repeat_penalty, said)

        ((_, made),) = self._write(prefix, [suffix], adapter, max_tokens, sampler)
        return made

    def generate_many(
        self,
        prefix: Prompt,
        suffixes: Sequence[Prompt],
        *,
        adapter: str | None = None,
        max_tokens: int = 128,
        repeat_penalty: float = 1.0,
        said: Sequence[str] = (),
    ) -> Iterator[tuple[int, Generation]]:
        """See `Engine`."""

        def sampler(place: int) -> Any:
            return self._sampler(0.0, 0, repeat_penalty, said[place] if said else "")

        return self._write(prefix, suffixes, adapter, max_tokens, sampler)

    def _sampler(self, temperature: float, seed: int, repeat_penalty: float, said: str) -> Any:
        sampler = make_sampler(self._n_vocab, temperature, seed, repeat_penalty)
        for token in self._tokenise(said, special=False):
            llama.llama_sampler_accept(sampler, token)
        return sampler

    def _write(
        self, prefix: Prompt, suffixes: Sequence[Prompt], adapter: str | None, max_tokens: int,
        sampler: Callable[[int], Any],
    ) -> Iterator[tuple[int, Generation]]:  # fmt: skip
        """Write the texts, as many at a time as there are forks; `running` has those in the making, in forks 1, 2, …"""
        head = self._units(prefix)
        self._require_room(_cells(head))
        source = ((place, self._tail(suffix)) for place, suffix in enumerate(suffixes))
        waiting = deque(itertools.islice(source, _FORKS))
        running: list[_Writing] = []
        context, start, call = self._context, 0, -1
        assert context is not None
        try:
            while waiting or running:
                new: list[_Writing] = []
                while waiting and (call < 0 or len(running) + len(new) < (context.forks if context.together else 1)):
                    place, tail = waiting[0]
                    need = _cells(tail) + max_tokens
                    if call < 0 or _cells(head) + need > min(context.cells, self._n_ctx):
                        if running or new:
                            break  # until the others have ended
                        self._require_room(_cells(head) + need)
                        most = max(_cells(one) for _, one in waiting) + max_tokens
                        room = min(most, self._n_ctx - _cells(head)) + _FILLING
                        context, start = self._hold(adapter, head, room, len(suffixes))
                        call = self._calls
                    new.append(_Writing(place, tail, sampler(place)))
                    waiting.popleft()
                    if not waiting:
                        waiting.extend(itertools.islice(source, 1))
                ended: list[_Writing] = []
                for writing, index in (
                    self._begin(context, start, running, new) if new else self._advance(context, running)
                ):
                    made = self._take(context, writing, index, max_tokens)
                    if made is not None:
                        ended.append(writing)
                        yield writing.place, made
                        if call != self._calls:
                            raise RuntimeError("these texts were given up when the engine was asked again")
                for writing in ended:
                    self._end(context, start, running, writing)
        finally:
            for writing in running:
                llama.llama_sampler_free(writing.sampler)

    def _begin(
        self, context: Context, start: int, running: list[_Writing], new: Sequence[_Writing]
    ) -> Iterator[tuple[_Writing, int]]:
        """Decode the suffixes of new texts: each with the index of its last logits, to be sampled at once."""
        for group in self._groups(context, [writing.tail for writing in new]):
            first = len(running) + 1
            begun = [new[place] for place in group]
            running += begun
            for fork in range(first, len(running) + 1):
                self._fork(context, fork)
            indices = self._append(context, first, start, [writing.tail for writing in begun])
            for fork, writing in enumerate(begun, start=first):
                writing.position = start + _positions(writing.tail)
                context.cut(fork, writing.position)  # what the suffix was filled up with
            yield from zip(begun, indices, strict=True)

    def _advance(self, context: Context, running: list[_Writing]) -> Iterator[tuple[_Writing, int]]:
        """Decode the last token of each text."""
        self._forked.difference_update(context.fillers(len(running)))
        numbered = enumerate(list(running), start=1)
        indices = context.step([(fork, writing.position, writing.token) for fork, writing in numbered])
        for writing in running:
            writing.position += 1
        yield from zip(list(running), indices, strict=True)

    def _take(self, context: Context, writing: _Writing, index: int, max_tokens: int) -> Generation | None:
        """Sample the next token of a text; the text, if that ends it."""
        writing.token = llama.llama_sampler_sample(writing.sampler, context.handle, index)
        if llama.llama_vocab_is_eog(self._vocab, writing.token):
            return Generation(writing.output.decode("utf-8", "replace"), writing.count, ended=True)
        writing.output += self._piece(writing.token)
        writing.count += 1
        if writing.count < max_tokens:
            return None
        return Generation(writing.output.decode("utf-8", "ignore"), writing.count, ended=False)

    def _end(self, context: Context, start: int, running: list[_Writing], writing: _Writing) -> None:
        """Take a text out of the running ones; the last of them moves into its fork."""
        fork, last = running.index(writing) + 1, len(running)
        llama.llama_sampler_free(writing.sampler)
        moved = running.pop()
        if moved is not writing:
            running[fork - 1] = moved
            context.copy(last, fork)
        self._release(context, last, start)

    def close(self) -> None:
        """Free all native memory; the engine cannot be used afterwards."""
        self._prefix = None
        self._calls += 1  # texts in the making are given up
        if self._eyes:
            self._eyes.close()
        if self._context:
            self._context.close()
        if self._model:
            llama.llama_model_free(self._model)
        self._eyes = self._context = self._model = None


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


def _form(pieces: Sequence[list[int] | Embedded]) -> tuple[tuple[tuple[str, int], ...], int]:
    """What suffixes must have in common to be decoded side by side, and the length of the text that they end in."""
    *before, last = pieces
    form = tuple(("text", len(one)) if isinstance(one, list) else ("picture", one.cells) for one in before)
    return form, _cells(last) if isinstance(last, list) else 0


def _cells(units: Sequence[Unit]) -> int:
    """How many cells of the KV cache `units` take."""
    return sum(1 if isinstance(unit, int) else unit.cells for unit in units)


def _positions(units: Sequence[Unit]) -> int:
    """How many positions `units` take."""
    return sum(1 if isinstance(unit, int) else unit.positions for unit in units)
