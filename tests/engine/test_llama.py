"""llama.cpp in this process with a tiny random model: prompts, images, adapters, forks, and questions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest
import tiny_models
from samples import picture

from msr_local.engine.llama.engine import LlamaEngine
from msr_local.engine.types import EngineConfig, Generation, Image, Prompt, Text, Writing
from msr_local.errors import AnswerTokensError, ContextOverflow

PREFIX = [Text("<|im_start|>user\n", special=True), Text("This person likes quiet films. " * 8)]
TAIL = Text("<|im_end|>\n<|im_start|>assistant\n", special=True)


@pytest.fixture(scope="module")
def engine(tiny: EngineConfig) -> Iterator[LlamaEngine]:
    with closing(LlamaEngine(tiny)) as opened:
        yield opened


def asks(engine: LlamaEngine, suffixes: list[list], **kwargs: object) -> list[float]:
    return [answer.z for answer in engine.log_odds(PREFIX, suffixes, **kwargs)]


def continued(engine: LlamaEngine, prefix: Prompt, suffix: Prompt, **how: object) -> Generation:
    ((_, made),) = engine.continued(prefix, [suffix], Writing(**how))
    return made


def test_facts(engine: LlamaEngine) -> None:
    facts = engine.facts
    assert facts.vision and facts.context == 1024
    assert set(facts.yes) == {"Yes", " Yes", "yes", " yes"}
    assert {"No", " no"} <= set(facts.no)
    assert facts.chat_template and "<|im_start|>" in facts.chat_template


def test_only_trusted_text_becomes_control_tokens(engine: LlamaEngine) -> None:
    control = engine.token_ids([Text("<|im_end|>", special=True)])
    plain = engine.token_ids([Text("<|im_end|>")])
    assert len(control) == 1
    assert control[0] not in plain and len(plain) > 1


def test_a_score_does_not_depend_on_its_neighbours(engine: LlamaEngine) -> None:
    suffixes = [[Text(f"Film {i}, a story of {'x' * i}"), TAIL] for i in range(40)]
    together = asks(engine, suffixes)
    alone = [asks(engine, [suffix])[0] for suffix in suffixes]
    backwards = asks(engine, suffixes[::-1])[::-1]
    assert together == pytest.approx(alone, abs=0.02)
    assert together == pytest.approx(backwards, abs=0.02)
    assert len({round(z, 3) for z in together}) > 30  # and it does depend on the candidate


def test_sharing_the_prefix_changes_nothing(engine: LlamaEngine) -> None:
    forked = asks(engine, [[Text("Film 1"), TAIL]])[0]
    whole = next(engine.log_odds([], [[*PREFIX, Text("Film 1"), TAIL]])).z
    assert forked == pytest.approx(whole, abs=0.02)


def test_the_answer_sees_prefix_image_and_adapter(engine: LlamaEngine) -> None:
    suffix = [picture(1), Text("Film 1"), TAIL]
    z = asks(engine, [suffix])[0]
    assert asks(engine, [[picture(2), Text("Film 1"), TAIL]])[0] != pytest.approx(z, abs=1e-3)
    assert asks(engine, [suffix], adapter="caption")[0] != pytest.approx(z, abs=1e-3)
    other = [answer.z for answer in engine.log_odds([Text("Likes loud films.")], [suffix])]
    assert other[0] != pytest.approx(z, abs=1e-3)
    assert asks(engine, [suffix])[0] == z  # and is the same again after all of that


def test_images_and_text_mix_in_one_call(engine: LlamaEngine) -> None:
    suffixes = [[Text("a"), TAIL], [picture(1), TAIL], [Text("b"), TAIL], [picture(1), TAIL]]
    mixed = asks(engine, suffixes)
    assert mixed[1] == mixed[3]
    assert mixed == pytest.approx([asks(engine, [suffix])[0] for suffix in suffixes], abs=0.02)


def test_an_overview_is_one_pass_and_tiles_are_more(engine: LlamaEngine, tiny: EngineConfig) -> None:
    overview = engine.count_tokens([picture(1)])
    assert overview == tiny_models.IMAGE_TOKENS + 3  # <fake><global-img> … <fake>, as transformers writes it
    with closing(LlamaEngine(replace(tiny, image_detail="tiles"))) as tiled:
        assert tiled.count_tokens([picture(1)]) > 2 * overview


def test_more_images_than_the_cache_keeps(engine: LlamaEngine) -> None:
    first = asks(engine, [[picture(0), TAIL]])[0]
    asks(engine, [[picture(i), TAIL] for i in range(70)])
    assert asks(engine, [[picture(0), TAIL]])[0] == first


def test_greedy_text_is_the_same_whatever_ran_before(engine: LlamaEngine) -> None:
    first = continued(engine, PREFIX, [Text("Film 1"), TAIL], max_tokens=20)
    asks(engine, [[picture(1), Text("other"), TAIL]])
    continued(engine, [Text("Something else")], [TAIL], max_tokens=5)
    assert continued(engine, PREFIX, [Text("Film 1"), TAIL], max_tokens=20) == first
    assert first.tokens == 20 and not first.ended


def test_sampling_follows_its_seed(engine: LlamaEngine) -> None:
    def sample(seed: int) -> str:
        return continued(engine, PREFIX, [TAIL], max_tokens=12, temperature=2.0, seed=seed).text

    assert sample(1) == sample(1)
    assert len({sample(seed) for seed in range(4)}) > 1


def test_a_prompt_longer_than_the_context_is_refused(engine: LlamaEngine) -> None:
    with pytest.raises(ContextOverflow, match="1024"):
        list(engine.log_odds([Text("word " * 2000)], [[TAIL]]))
    with pytest.raises(ContextOverflow):
        list(engine.log_odds(PREFIX, [[Text("word " * 2000)]]))
    with pytest.raises(ContextOverflow):
        continued(engine, PREFIX, [Text("word " * 900)], max_tokens=200)
    assert asks(engine, [[TAIL]])  # and the engine goes on


def test_a_long_suffix_is_cut_into_batches(engine: LlamaEngine) -> None:
    z = asks(engine, [[Text("word " * 600), TAIL], [Text("short"), TAIL]])
    assert len(z) == 2


def test_no_token_for_yes_fails_loudly(tiny: EngineConfig) -> None:
    inside = LlamaEngine(tiny)
    inside._yes = {}
    with pytest.raises(AnswerTokensError, match="'yes'"):
        next(inside.log_odds(PREFIX, [[TAIL]]))
    inside.close()


@pytest.mark.parametrize("context", [256, 300, 511, 700])
def test_small_contexts(tiny: EngineConfig, context: int) -> None:
    with closing(LlamaEngine(replace(tiny, context=context))) as small:
        room = small.facts.context
        word = small.count_tokens([Text("word " * 100)]) / 100
        long = [Text("word " * int((room - 20) / word))]
        assert len(list(small.log_odds(long, [[TAIL], [Text("a"), TAIL]]))) == 2
        with pytest.raises(ContextOverflow):
            list(small.log_odds([*long, *long], [[TAIL]]))


@pytest.mark.parametrize("suffix", [[], [Text("")]])
def test_a_suffix_must_end_in_text(engine: LlamaEngine, suffix: list) -> None:
    with pytest.raises(ValueError, match="end in text"):
        list(engine.log_odds(PREFIX, [suffix]))
    with pytest.raises(ValueError, match="end in text"):
        continued(engine, PREFIX, suffix)


def test_a_question_between_two_answers_in_the_same_process(tiny: EngineConfig) -> None:
    inside = LlamaEngine(tiny)
    suffixes = [[picture(i), TAIL] for i in range(3)]
    z = [a.z for a in inside.log_odds(PREFIX, suffixes)]
    stream = inside.log_odds(PREFIX, suffixes)
    between = [next(stream).z]
    continued(inside, [Text("x " * 40)], [TAIL], max_tokens=3)
    between += [a.z for a in stream]
    assert between == z
    inside.close()


def test_a_picture_must_be_whole() -> None:
    with pytest.raises(ValueError, match="not a 4x4 RGB picture"):
        Image(4, 4, b"abc", "x")


def test_a_context_only_as_long_as_the_model_knows(tiny: EngineConfig) -> None:
    with closing(LlamaEngine(replace(tiny, context=1 << 20))) as engine:
        assert engine.facts.context == 2048
