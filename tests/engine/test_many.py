"""Many texts at a time: the same words as one by one, whatever their number, their length and the room."""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import llama_cpp
import numpy as np
import pytest

from msr_local.engine.llama import context, decoder, native
from msr_local.engine.llama.engine import LlamaEngine
from msr_local.engine.llama.process import EngineProcess
from msr_local.engine.types import EngineConfig, Generation, Image, Prompt, Question, Text, Writing
from msr_local.errors import ContextOverflow, ModelError

PREFIX: Prompt = [Text("Continue the story."), Text("\n")]
WORDS = "a walk by the sea with two dogs and an umbrella that nobody wanted any more since it leaked".split()


def suffixes(count: int) -> list[Prompt]:
    """Texts of many lengths."""
    return [[Text(" ".join(WORDS[n % 7 : n % 7 + 1 + (5 * n) % 11]) + f" {n}:")] for n in range(count)]


def picture(seed: int) -> Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (30 + seed, 40, 3), dtype=np.uint8)
    return Image(40, 30 + seed, pixels.tobytes(), hashlib.sha256(pixels.tobytes()).hexdigest())


@pytest.fixture(scope="module")
def engine(tiny: EngineConfig) -> Iterator[LlamaEngine]:
    with closing(LlamaEngine(tiny)) as engine:
        yield engine


def continued(
    engine: LlamaEngine, asked: list[Prompt], adapter: str | None = None, **how: Any
) -> Iterator[tuple[int, Generation]]:
    return engine.continued(PREFIX, asked, Writing(**how), adapter=adapter)


def many(engine: LlamaEngine, asked: list[Prompt], **how: Any) -> list[Generation]:
    made = dict(continued(engine, asked, **how))
    assert sorted(made) == list(range(len(asked)))
    return [made[n] for n in range(len(asked))]


def alone(engine: LlamaEngine, asked: list[Prompt], **how: Any) -> list[Generation]:
    """The texts, written one by one."""
    return [many(engine, [one], **how)[0] for one in asked]


@pytest.mark.parametrize("count", [0, 1, 2, 16, 17, 40])
def test_the_texts_are_those_that_are_written_one_by_one(engine: LlamaEngine, count: int) -> None:
    asked = suffixes(count)
    assert many(engine, asked, max_tokens=9) == alone(engine, asked, max_tokens=9)


def test_so_they_are_with_pictures(engine: LlamaEngine) -> None:
    asked: list[Prompt] = [[Text("Look: "), picture(n), Text(f" and say {n}:")] for n in range(20)]
    assert many(engine, asked, max_tokens=6) == alone(engine, asked, max_tokens=6)


def test_and_with_pictures_in_some_only(engine: LlamaEngine) -> None:
    asked: list[Prompt] = [[Text("Look: "), *([picture(n)] if n % 3 else []), Text(" now:")] for n in range(9)]
    assert many(engine, asked, max_tokens=6) == alone(engine, asked, max_tokens=6)


def test_pictures_share_batches_where_the_projector_allows_it(
    engine: LlamaEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert engine._eyes is not None
    asked: list[Prompt] = [[picture(n), Text(f" and say {n}:")] for n in range(20)]
    shared: list[int] = []
    append = context.Context.append_pictures
    monkeypatch.setattr(
        context.Context, "append_pictures", lambda self, placed: (shared.append(len(placed)), append(self, placed))
    )
    together = many(engine, asked, max_tokens=6)
    assert max(shared) == 16 and sum(shared) == 20
    monkeypatch.setattr(engine._eyes, "together", False)
    assert many(engine, asked, max_tokens=6) == together and sum(shared) == 20


def test_pictures_are_encoded_when_it_is_their_turn(engine: LlamaEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    encode = engine._embed
    monkeypatch.setattr(engine, "_embed", lambda image: (seen.append(1), encode(image))[1])
    texts = continued(engine, [[picture(n), Text(":")] for n in range(40)], max_tokens=3)
    next(texts)
    assert len(seen) == 17  # those being written, and the next to come
    assert len(list(texts)) == 39 and len(seen) == 40


def test_texts_that_end_by_themselves_make_room_one_by_one(
    engine: LlamaEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llama_cpp, "llama_vocab_is_eog", lambda _, token: token % 7 == 0)
    asked = suffixes(40)
    single = alone(engine, asked, max_tokens=20)
    assert len({one.tokens for one in single}) > 5 and len({one.ended for one in single}) == 2
    assert many(engine, asked, max_tokens=20) == single


def test_without_memory_for_many_texts_are_written_one_by_one(
    tiny: EngineConfig, engine: LlamaEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "_MEMORY", 1)
    asked = suffixes(5)
    poor = LlamaEngine(tiny)
    try:
        assert many(poor, asked, max_tokens=5) == alone(poor, asked, max_tokens=5)
        assert poor._writing.context.forks == 1
    finally:
        poor.close()


def test_the_prefix_is_kept_for_the_next_call(engine: LlamaEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    many(engine, suffixes(3), max_tokens=3)
    written: list[int] = []
    decode = context.Context._decode

    def watched(self: context.Context, runs: list[context.Run], widths: list[int], reads: int) -> list[int]:
        written.extend(sequence for sequence, _, _ in runs)
        return decode(self, runs, widths, reads)

    monkeypatch.setattr(context.Context, "_decode", watched)
    many(engine, suffixes(3), max_tokens=3)
    many(engine, suffixes(1), max_tokens=3)
    assert written and 0 not in written


def test_penalty_and_adapter_count(engine: LlamaEngine) -> None:
    asked = suffixes(5)
    options: dict[str, Any]
    for options in ({"repeat_penalty": 1.3}, {"adapter": "caption"}):
        assert many(engine, asked, max_tokens=12, **options) == alone(engine, asked, max_tokens=12, **options)
    assert many(engine, asked, max_tokens=12) != many(engine, asked, max_tokens=12, adapter="caption")


def test_a_small_context_takes_fewer_at_a_time(tiny: EngineConfig) -> None:
    engine = LlamaEngine(replace(tiny, context=256))
    try:
        asked = suffixes(12)
        assert many(engine, asked, max_tokens=60) == alone(engine, asked, max_tokens=60)
    finally:
        engine.close()


def test_a_text_that_cannot_fit_is_refused(engine: LlamaEngine) -> None:
    with pytest.raises(ContextOverflow):
        list(continued(engine, [[Text("word " * 2000)]], max_tokens=4))
    assert many(engine, suffixes(3), max_tokens=4)  # nothing is left behind


@pytest.mark.parametrize("at", [0, 3, 20, 29])
def test_the_first_suffix_without_a_text_is_the_one_that_cannot_fit(engine: LlamaEngine, at: int) -> None:
    asked = suffixes(30)
    asked[at] = [Text("word " * 2000)]
    made: dict[int, Generation] = {}
    with pytest.raises(ContextOverflow):
        made.update(continued(engine, asked, max_tokens=5))
    assert made == dict(enumerate(alone(engine, asked[:at], max_tokens=5)))


def test_the_end_of_a_text_makes_room_for_the_next(engine: LlamaEngine) -> None:
    """The first texts come while later ones have not begun."""
    texts = continued(engine, suffixes(40), max_tokens=5)
    assert {next(texts)[0] for _ in range(16)} == set(range(16))


def test_texts_can_be_given_up_in_the_middle(engine: LlamaEngine) -> None:
    texts = continued(engine, suffixes(40), max_tokens=5)
    next(texts)
    texts.close()  # type: ignore[attr-defined]
    assert many(engine, suffixes(17), max_tokens=5) == alone(engine, suffixes(17), max_tokens=5)


@pytest.mark.parametrize("failing", ["room", "make", "append", "given up", "nothing"])
def test_every_sampler_is_freed_once(engine: LlamaEngine, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    made: list[int] = []
    freed: list[int] = []
    make, free = decoder.make_sampler, llama_cpp.llama_sampler_free
    monkeypatch.setattr(decoder, "make_sampler", lambda *how: _noted(make(*how), made))
    monkeypatch.setattr(llama_cpp, "llama_sampler_free", lambda one: free(_noted(one, freed)))
    asked = suffixes(9)
    if failing == "room":
        asked.insert(5, [Text("word " * 3000)])
    elif failing == "append":
        monkeypatch.setattr(decoder.Decoder, "_begin", _broken)
    elif failing == "make":
        monkeypatch.setattr(decoder, "make_sampler", _once_broken(decoder.make_sampler, 5))
    texts = continued(engine, asked, max_tokens=4)
    if failing == "given up":
        next(texts)
        texts.close()  # type: ignore[attr-defined]
    elif failing == "nothing":
        assert len(list(texts)) == 9
    else:
        with pytest.raises((ContextOverflow, Broken)):
            list(texts)
    assert made and sorted(made) == sorted(freed)


def _noted(sampler: Any, addresses: list[int]) -> Any:
    addresses.append(ctypes.addressof(sampler.contents))
    return sampler


class Broken(Exception):
    pass


def _broken(*_: object) -> Any:
    raise Broken


def _once_broken(real: Any, after: int) -> Any:
    calls = iter(range(10**6))

    def call(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == after:
            raise Broken
        return real(*args, **kwargs)

    return call


def test_a_picture_without_finite_vectors_is_refused_and_the_next_is_not(
    engine: LlamaEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: Prompt = [picture(77), Text(" What is it?")]
    (expected,) = many(engine, [[picture(78), Text(" What is it?")]], max_tokens=3)
    with monkeypatch.context() as patch:
        patch.setattr(native.np.ctypeslib, "as_array", lambda _, shape: np.full(shape, np.nan, np.float32))
        with pytest.raises(ModelError, match="not finite"):
            many(engine, [asked], max_tokens=3)
    assert many(engine, [asked], max_tokens=3)  # it was not remembered so
    assert many(engine, [[picture(78), Text(" What is it?")]], max_tokens=3) == [expected]


def test_texts_may_outlive_their_engine(tiny: EngineConfig) -> None:
    engine = LlamaEngine(tiny)
    texts = continued(engine, suffixes(4), max_tokens=5)
    next(texts)
    engine.close()
    texts.close()  # type: ignore[attr-defined]


def test_a_newer_call_ends_the_texts_and_is_not_disturbed(engine: LlamaEngine) -> None:
    left = continued(engine, suffixes(20), max_tokens=8)
    next(left)
    single = alone(engine, suffixes(4), max_tokens=8)
    newer = continued(engine, suffixes(4), max_tokens=8)
    first = next(newer)
    with pytest.raises(RuntimeError, match="given up"):
        next(left)
    assert dict([first, *newer]) == dict(enumerate(single))


def test_they_stream_out_of_the_process(tiny: EngineConfig, engine: LlamaEngine) -> None:
    asked = [Question("Continue the story.", "", "".join(part.text for part in one)) for one in suffixes(18)]
    how = Writing(max_tokens=5)
    with EngineProcess(tiny) as child:
        assert list(child.write(asked, how)) == list(engine.write(asked, how))
        texts = child.write(asked, how)
        next(texts)
        assert list(child.write(asked[:1], how)) == list(engine.write(asked[:1], how))
        with pytest.raises(RuntimeError, match="given up"):
            list(texts)
