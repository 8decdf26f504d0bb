"""A model's tokens: prompts are read and continued by llama.cpp. It knows nothing of chats.

Only this module, `.context`, `.forks`, `.hidden` and `.native` use ctypes. Yes/no questions and texts are read and
written many at a time, after a prefix that they share (`.forks`). What one gets does not depend on the others: see
`.context`.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import llama_cpp as llama
import numpy as np

from ...arrays import Floats
from ...errors import AnswerTokensError, ContextOverflow, ModelError, PictureError
from ...hardware import usable_threads
from ..answers import answer_log_odds, spellings
from ..types import IMAGE_CELL, EngineConfig, Generation, Image, LogOdds, ModelFacts, Prompt, Writing
from .context import Context, cache_width, unquantised
from .forks import FORKS, Forks, cells, positions
from .gguf import peek, require_gguf
from .hidden import HiddenStates
from .kinds import require_model
from .native import Eyes, NativeLog, Unit, c_path, make_sampler
from .prefixes import Prefixes

_WINDOW = 32  # questions that are sorted by length and answered together
_START = "\x01"  # a token of its own in every SentencePiece
_MARKUP = llama.LLAMA_TOKEN_ATTR_CONTROL | llama.LLAMA_TOKEN_ATTR_USER_DEFINED | llama.LLAMA_TOKEN_ATTR_UNKNOWN
_TEXTS_KEPT = 4096  # tokenised texts: prefixes and descriptions come again and again


@dataclass(slots=True, eq=False)
class _Begun:
    """A text in the making; `position` is where its next token goes."""

    place: int
    tail: list[Unit]
    sampler: Any
    position: int = 0
    token: int = -1
    output: bytearray = field(default_factory=bytearray)
    count: int = 0

    def free(self) -> None:
        """Give the sampler back, once."""
        if self.sampler is not None:
            llama.llama_sampler_free(self.sampler)
        self.sampler = None


class Decoder:
    """A GGUF model, with an optional projector and LoRA adapters, in this process.

    Raises `ModelError` for files that are missing, broken or do not fit together.
    """

    def __init__(self, config: EngineConfig) -> None:
        self._log = NativeLog()
        self._config = config
        self._threads = config.threads or usable_threads()
        self._calls = 0
        self._eyes: Eyes | None = None
        self._hidden: HiddenStates | None = None
        self._sides: list[Forks] = []
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
        for path in (config.copy or config.model, config.projector, *config.adapters.values()):
            if path is not None:
                require_gguf(path)
        llama.llama_backend_init()
        params = llama.llama_model_default_params()
        if config.gpu_layers is not None:
            params.n_gpu_layers = config.gpu_layers
        self._model = llama.llama_model_load_from_file(c_path(config.copy or config.model), params)
        if not self._model:
            require_model(config.model)
            said = self._log.last()
            newer = "a newer llama-cpp-python may know it; or take another model."
            then = newer if "unknown model architecture" in said else "download it again, or take another model."
            raise ModelError(f"{config.model}: llama.cpp cannot load this model. {said} Next: {then}")
        self._vocab = llama.llama_model_get_vocab(self._model)
        self._n_vocab = llama.llama_vocab_n_tokens(self._vocab)
        self._n_ctx: int = min(config.context, llama.llama_model_n_ctx_train(self._model))
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
        # llama.cpp does not give back the very cache of a sliding window.
        whole = not llama.llama_model_n_swa(self._model)
        kept = Prefixes(config.states) if config.states and whole else None
        width = cache_width(self._model, peek(config.model))
        side = functools.partial(Forks, self._model, width, self._adapters, self._eyes, kept, self._threads, self._log)
        self._writing = side(exact=True)
        self._asking = side(exact=False) if unquantised(self._model) else self._writing
        self._sides = [self._writing, self._asking]

    def _read_facts(self) -> ModelFacts:
        template = llama.llama_model_chat_template(self._model, None)
        bos = llama.llama_vocab_bos(self._vocab)
        eos = llama.llama_vocab_eos(self._vocab)
        self._blank_first = self._piece(self._tokenise("x", special=False)[0]).startswith(b" ")
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
            gpu=bool(llama.llama_supports_gpu_offload()),
            around=self._eyes.prepare.family.around if self._eyes and self._eyes.prepare else "",
        )

    def _single_tokens(self, word: str) -> dict[str, int]:
        """Spellings of `word` that are one token each, as {spelling: token id}; no id twice."""
        found: dict[int, str] = {}
        for spelling in spellings(word):
            ids = self._following(spelling, special=False)
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

    def _following(self, text: str, *, special: bool) -> tuple[int, ...]:
        """The tokens of a text that is not the first: SentencePiece may put a blank before that one."""
        if not self._blank_first:
            return self._tokenise(text, special=special)
        return self._tokenise(_START + text, special=special)[len(self._tokenise(_START, special=special)) :]

    def _goes_on(self, before: Unit | None) -> bool:
        """Whether text after `before` goes on; after markup, as at the beginning, it begins anew."""
        if not isinstance(before, int):
            return False
        return not llama.llama_vocab_get_attr(self._vocab, before) & _MARKUP

    def _piece(self, token: int, *, special: bool = False) -> bytes:
        buffer = ctypes.create_string_buffer(256)
        size = llama.llama_token_to_piece(self._vocab, token, buffer, len(buffer), 0, special)
        return buffer.raw[:size] if size > 0 else b""

    def _units(self, prompt: Prompt, before: Unit | None = None) -> list[Unit]:
        """The units of a prompt that stands after the unit `before`."""
        units: list[Unit] = []
        for part in prompt:
            if isinstance(part, Image):
                units += self._embed(part)
            elif self._goes_on(units[-1] if units else before):
                units += self._following(part.text, special=part.special)
            else:
                units += self._tokenise(part.text, special=part.special)
        return units

    def _embed(self, image: Image) -> list[Unit]:
        if self._eyes is None:
            raise ModelError(
                f"{self._config.model.name} has no projector and cannot process pictures. Next: msr-local models use."
            )
        return self._eyes.units(image)

    def _tail(self, head: Sequence[Unit], suffix: Prompt) -> list[Unit]:
        """The units of a suffix of `head`; its last token is the one whose logits are read."""
        units = self._units(suffix, head[-1] if head else None)
        if not units or not isinstance(units[-1], int):
            raise ValueError("a suffix must end in text")
        return units

    def token_ids(self, prompt: Prompt) -> list[int]:
        ids: list[int] = []
        for unit in self._units(prompt):
            ids += [unit] if isinstance(unit, int) else [IMAGE_CELL] * unit.cells
        return ids

    def count_tokens(self, prompt: Prompt) -> int:
        """How many cells of the context `prompt` takes."""
        return cells(self._units(prompt))

    def _require_room(self, positions: int) -> None:
        if positions > self._n_ctx:
            raise ContextOverflow(
                f"a prompt of {positions} tokens does not fit the context of {self._n_ctx}. "
                "Next: a smaller --window, or a larger --context."
            )

    # ---- answers and texts

    def log_odds(self, prefix: Prompt, suffixes: Sequence[Prompt], *, adapter: str | None = None) -> Iterator[LogOdds]:
        for word, found in (("yes", self._yes), ("no", self._no)):
            if not found:
                raise AnswerTokensError(
                    f"{self._config.model.name}: its tokenizer has no single token for {word!r}, "
                    "so p(yes) cannot be read. Next: choose another model with msr-local models use."
                )
        head = self._units(prefix)
        self._require_room(cells(head))
        for start in range(0, len(suffixes), _WINDOW):
            tails: list[list[Unit]] = []
            refused: ModelError | None = None
            for suffix in suffixes[start : start + _WINDOW]:
                try:
                    tail = self._tail(head, suffix)
                    self._require_room(cells(head) + cells(tail))
                except (ContextOverflow, PictureError) as error:
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
        self._calls += 1
        side = self._asking
        side.hold(adapter, head, max(map(cells, tails)), len(tails))
        found: dict[int, LogOdds] = {}
        for group in side.groups(tails):
            try:
                indices = side.append(1, [tails[place] for place in group])
                found |= {place: self._answer(side.context, index) for place, index in zip(group, indices, strict=True)}
            finally:
                for fork in range(1, len(group) + 1):
                    side.release(fork)
        return [found[place] for place in range(len(tails))]

    def _answer(self, context: Context, index: int) -> LogOdds:
        logits = context.logits(index)
        z, coverage = answer_log_odds(logits, list(self._yes.values()), list(self._no.values()))
        if not (math.isfinite(z) and math.isfinite(coverage)):
            raise ModelError(f"{self._config.model.name}: its logits are not finite. Next: is the file whole?")
        top = self._piece(int(np.argmax(logits)), special=True).decode("utf-8", "replace")
        return LogOdds(z, coverage, top)

    def continued(
        self, prefix: Prompt, suffixes: Sequence[Prompt], how: Writing = Writing(), *, adapter: str | None = None
    ) -> Iterator[tuple[int, Generation]]:
        """As `Engine.write`, of prompts: what the model writes after `prefix + suffix`. A suffix ends in text."""

        def sampler(place: int) -> Any:
            said = self._tokenise(how.said[place] if how.said else "", special=False)
            made = make_sampler(self._n_vocab, how.temperature, how.seed, how.repeat_penalty)
            for token in said:
                llama.llama_sampler_accept(made, token)
            return made

        return self._write(prefix, suffixes, adapter, how.max_tokens, sampler)

    def _write(
        self, prefix: Prompt, suffixes: Sequence[Prompt], adapter: str | None, max_tokens: int,
        sampler: Callable[[int], Any],
    ) -> Iterator[tuple[int, Generation]]:  # fmt: skip
        """Write the texts, as many at a time as there are forks; `running` has those in the making, in forks 1, 2, …"""
        side, head = self._writing, self._units(prefix)
        self._require_room(cells(head))

        def longest() -> int:
            return max(cells(one) for _, one in waiting if isinstance(one, list))

        source = ((place, self._tail_or_reason(head, suffix)) for place, suffix in enumerate(suffixes))
        waiting = deque(itertools.islice(source, FORKS))
        running: list[_Begun] = []
        new: list[_Begun] = []
        call, room, most = -1, 0, 1  # the engine's call, cells after the prefix, and texts at a time: not yet known
        try:
            while waiting or running:
                new = []
                while waiting and len(running) + len(new) < most:
                    place, tail = waiting[0]
                    if isinstance(tail, PictureError):
                        if running or new:
                            break  # until the others have ended
                        raise tail
                    need = cells(tail) + max_tokens
                    if need > room:
                        if running or new:
                            break  # until the others have ended
                        self._require_room(cells(head) + need)
                        self._calls += 1
                        call, left = self._calls, self._n_ctx - cells(head)
                        side.hold(adapter, head, min(left, longest() + max_tokens), len(suffixes))
                        room = min(left, side.context.cells - cells(head))
                        most = side.context.forks if side.context.together else 1
                    new.append(_Begun(place, tail, sampler(place)))
                    waiting.popleft()
                    if not waiting:
                        waiting.extend(itertools.islice(source, 1))
                ended: list[_Begun] = []
                for writing, index in self._begin(running, new) if new else self._advance(running):
                    made = self._take(writing, index, max_tokens)
                    if made is not None:
                        ended.append(writing)
                        yield writing.place, made
                        if call != self._calls:
                            raise RuntimeError("these texts were given up when the engine was asked again")
                for writing in ended:
                    self._end(running, writing)
        finally:
            for writing in (*running, *new):  # what was to begin is not among the running yet
                writing.free()

    def _tail_or_reason(self, head: Sequence[Unit], suffix: Prompt) -> list[Unit] | PictureError:
        try:
            return self._tail(head, suffix)
        except PictureError as error:
            return error

    def _begin(self, running: list[_Begun], new: Sequence[_Begun]) -> Iterator[tuple[_Begun, int]]:
        """Decode the suffixes of new texts: each with the index of its last logits, to be sampled at once."""
        side = self._writing
        for group in side.groups([writing.tail for writing in new]):
            first = len(running) + 1
            begun = [new[place] for place in group]
            running += begun
            indices = side.append(first, [writing.tail for writing in begun])
            for fork, writing in enumerate(begun, start=first):
                writing.position = side.start + positions(writing.tail)
                side.context.cut(fork, writing.position)  # what the suffix was filled up with
            yield from zip(begun, indices, strict=True)

    def _advance(self, running: list[_Begun]) -> Iterator[tuple[_Begun, int]]:
        """Decode the last token of each text."""
        indices = self._writing.step([(writing.position, writing.token) for writing in running])
        for writing in running:
            writing.position += 1
        yield from zip(list(running), indices, strict=True)

    def _take(self, writing: _Begun, index: int, max_tokens: int) -> Generation | None:
        """Sample the next token of a text; the text, if that ends it."""
        writing.token = llama.llama_sampler_sample(writing.sampler, self._writing.context.handle, index)
        if llama.llama_vocab_is_eog(self._vocab, writing.token):
            return Generation(writing.output.decode("utf-8", "replace"), writing.count, ended=True)
        writing.output += self._piece(writing.token)
        writing.count += 1
        if writing.count < max_tokens:
            return None
        return Generation(writing.output.decode("utf-8", "ignore"), writing.count, ended=False)

    def _end(self, running: list[_Begun], writing: _Begun) -> None:
        """Take a text out of the running ones; the last of them moves into its fork."""
        fork, last = running.index(writing) + 1, len(running)
        writing.free()
        moved = running.pop()
        if moved is not writing:
            running[fork - 1] = moved
            self._writing.context.copy(last, fork)
        self._writing.release(last)

    def vectors(self, texts: Sequence[str]) -> Iterator[tuple[int, Floats]]:
        if self._hidden is None:
            self._hidden = HiddenStates(self._model, self._threads, self._log)
        return self._hidden.vectors([self._tokenise(text, special=False) for text in texts])

    def close(self) -> None:
        """Free all native memory; the engine cannot be used afterwards."""
        self._calls += 1  # texts in the making are given up
        for side in self._sides:
            side.close()
        if self._hidden:
            self._hidden.close()
        if self._eyes:
            self._eyes.close()
        if self._model:
            llama.llama_model_free(self._model)
        self._eyes = self._model = self._hidden = None
