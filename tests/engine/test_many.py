"""Many texts at a time: the same words as one by one, whatever their number, their length and the room."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace

import llama_cpp
import numpy as np
import pytest

from msr_local.engine.llama import context
from msr_local.engine.llama.engine import LlamaEngine
from msr_local.engine.llama.process import EngineProcess
from msr_local.engine.types import EngineConfig, Generation, Image, Prompt, Text
from msr_local.errors import ContextOverflow

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
    engine = LlamaEngine(tiny)
    yield engine
    engine.close()


def many(engine: LlamaEngine | EngineProcess, asked: list[Prompt], **options: object) -> list[Generation]:
    made = dict(engine.generate_many(PREFIX, asked, **options))  # type: ignore[arg-type]
    assert sorted(made) == list(range(len(asked)))
    return [made[n] for n in range(len(asked))]


@pytest.mark.parametrize("count", [0, 1, 2, 16, 17, 40])
def test_the_texts_are_those_that_are_written_one_by_one(engine: LlamaEngine, count: int) -> None:
    asked = suffixes(count)
    assert many(engine, asked, max_tokens=9) == [engine.generate(PREFIX, one, max_tokens=9) for one in asked]


def test_so_they_are_with_pictures(engine: LlamaEngine) -> None:
    asked: list[Prompt] = [[Text("Look: "), picture(n), Text(f" and say {n}:")] for n in range(20)]
    assert many(engine, asked, max_tokens=6) == [engine.generate(PREFIX, one, max_tokens=6) for one in asked]


def test_and_with_pictures_in_some_only(engine: LlamaEngine) -> None:
    asked: list[Prompt] = [[Text("Look: "), *([picture(n)] if n % 3 else []), Text(" now:")] for n in range(9)]
    assert many(engine, asked, max_tokens=6) == [engine.generate(PREFIX, one, max_tokens=6) for one in asked]


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
    texts = engine.generate_many(PREFIX, [[picture(n), Text(":")] for n in range(40)], max_tokens=3)
    next(texts)
    assert len(seen) == 17  # those being written, and the next to come
    assert len(list(texts)) == 39 and len(seen) == 40


def test_texts_that_end_by_themselves_make_room_one_by_one(
    engine: LlamaEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llama_cpp, "llama_vocab_is_eog", lambda _, token: token % 7 == 0)
    asked = suffixes(40)
    alone = [engine.generate(PREFIX, one, max_tokens=20) for one in asked]
    assert len({one.tokens for one in alone}) > 5 and len({one.ended for one in alone}) == 2
    assert many(engine, asked, max_tokens=20) == alone


def test_without_memory_for_many_texts_are_written_one_by_one(
    tiny: EngineConfig, engine: LlamaEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "_MEMORY", 1)
    asked = suffixes(5)
    poor = LlamaEngine(tiny)
    try:
        alone = [poor.generate(PREFIX, one, max_tokens=5) for one in asked]
        assert many(poor, asked, max_tokens=5) == alone
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
    engine.generate(PREFIX, suffixes(1)[0], max_tokens=3)
    assert written and 0 not in written


def test_penalty_and_adapter_count(engine: LlamaEngine) -> None:
    asked = suffixes(5)
    for options in ({"repeat_penalty": 1.3}, {"adapter": "caption"}):
        alone = [engine.generate(PREFIX, one, max_tokens=12, **options) for one in asked]  # type: ignore[arg-type]
        assert many(engine, asked, max_tokens=12, **options) == alone
    assert many(engine, asked, max_tokens=12) != many(engine, asked, max_tokens=12, adapter="caption")


def test_a_small_context_takes_fewer_at_a_time(tiny: EngineConfig) -> None:
    engine = LlamaEngine(replace(tiny, context=256))
    try:
        asked = suffixes(12)
        assert many(engine, asked, max_tokens=60) == [engine.generate(PREFIX, one, max_tokens=60) for one in asked]
    finally:
        engine.close()


def test_a_text_that_cannot_fit_is_refused(engine: LlamaEngine) -> None:
    with pytest.raises(ContextOverflow):
        list(engine.generate_many(PREFIX, [[Text("word " * 2000)]], max_tokens=4))
    assert many(engine, suffixes(3), max_tokens=4)  # nothing is left behind


@pytest.mark.parametrize("at", [0, 3, 20, 29])
def test_the_first_suffix_without_a_text_is_the_one_that_cannot_fit(engine: LlamaEngine, at: int) -> None:
    asked = suffixes(30)
    asked[at] = [Text("word " * 2000)]
    made: dict[int, Generation] = {}
    with pytest.raises(ContextOverflow):
        made.update(engine.generate_many(PREFIX, asked, max_tokens=5))
    assert made == {n: engine.generate(PREFIX, asked[n], max_tokens=5) for n in range(at)}


def test_the_end_of_a_text_makes_room_for_the_next(engine: LlamaEngine) -> None:
    """The first texts come while later ones have not begun."""
    texts = engine.generate_many(PREFIX, suffixes(40), max_tokens=5)
    assert {next(texts)[0] for _ in range(16)} == set(range(16))


def test_texts_can_be_given_up_in_the_middle(engine: LlamaEngine) -> None:
    texts = engine.generate_many(PREFIX, suffixes(40), max_tokens=5)
    next(texts)
    texts.close()  # type: ignore[attr-defined]
    assert many(engine, suffixes(17), max_tokens=5) == [
        engine.generate(PREFIX, one, max_tokens=5) for one in suffixes(17)
    ]


def test_texts_may_outlive_their_engine(tiny: EngineConfig) -> None:
    engine = LlamaEngine(tiny)
    texts = engine.generate_many(PREFIX, suffixes(4), max_tokens=5)
    next(texts)
    engine.close()
    texts.close()  # type: ignore[attr-defined]


def test_a_newer_call_ends_the_texts_and_is_not_disturbed(engine: LlamaEngine) -> None:
    left = engine.generate_many(PREFIX, suffixes(20), max_tokens=8)
    next(left)
    alone = [engine.generate(PREFIX, one, max_tokens=8) for one in suffixes(4)]
    newer = engine.generate_many(PREFIX, suffixes(4), max_tokens=8)
    first = next(newer)
    with pytest.raises(RuntimeError, match="given up"):
        next(left)
    assert dict([first, *newer]) == dict(enumerate(alone))


def test_they_stream_out_of_the_process(tiny: EngineConfig, engine: LlamaEngine) -> None:
    asked = suffixes(18)
    with EngineProcess(tiny) as child:
        assert many(child, asked, max_tokens=5) == many(engine, asked, max_tokens=5)
        texts = child.generate_many(PREFIX, asked, max_tokens=5)
        next(texts)
        assert child.generate(PREFIX, asked[0], max_tokens=5) == engine.generate(PREFIX, asked[0], max_tokens=5)
        with pytest.raises(RuntimeError, match="given up"):
            list(texts)
