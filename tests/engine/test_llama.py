"""The engine on real llama.cpp with a tiny random model: prompts, images, adapters, forks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_models
from samples import picture

from msr_local.engine.llama.engine import LlamaEngine
from msr_local.engine.llama.process import EngineProcess
from msr_local.engine.types import EngineConfig, Image, Text
from msr_local.errors import AnswerTokensError, ContextOverflow, EngineCrashed, ModelError

PREFIX = [Text("<|im_start|>user\n", special=True), Text("This person likes quiet films. " * 8)]
TAIL = Text("<|im_end|>\n<|im_start|>assistant\n", special=True)


@pytest.fixture(scope="module")
def engine(tiny: EngineConfig) -> Iterator[EngineProcess]:
    with EngineProcess(tiny) as opened:
        yield opened


def asks(engine: EngineProcess, suffixes: list[list], **kwargs: object) -> list[float]:
    return [answer.z for answer in engine.log_odds(PREFIX, suffixes, **kwargs)]


def test_facts(engine: EngineProcess) -> None:
    facts = engine.facts
    assert facts.vision and facts.context == 1024
    assert set(facts.yes) == {"Yes", " Yes", "yes", " yes"}
    assert {"No", " no"} <= set(facts.no)
    assert facts.chat_template and "<|im_start|>" in facts.chat_template


def test_only_trusted_text_becomes_control_tokens(engine: EngineProcess) -> None:
    control = engine.token_ids([Text("<|im_end|>", special=True)])
    plain = engine.token_ids([Text("<|im_end|>")])
    assert len(control) == 1
    assert control[0] not in plain and len(plain) > 1


def test_a_score_does_not_depend_on_its_neighbours(engine: EngineProcess) -> None:
    suffixes = [[Text(f"Film {i}, a story of {'x' * i}"), TAIL] for i in range(40)]
    together = asks(engine, suffixes)
    alone = [asks(engine, [suffix])[0] for suffix in suffixes]
    backwards = asks(engine, suffixes[::-1])[::-1]
    assert together == pytest.approx(alone, abs=0.02)
    assert together == pytest.approx(backwards, abs=0.02)
    assert len({round(z, 3) for z in together}) > 30  # and it does depend on the candidate


def test_sharing_the_prefix_changes_nothing(engine: EngineProcess) -> None:
    forked = asks(engine, [[Text("Film 1"), TAIL]])[0]
    whole = next(engine.log_odds([], [[*PREFIX, Text("Film 1"), TAIL]])).z
    assert forked == pytest.approx(whole, abs=0.02)


def test_the_answer_sees_prefix_image_and_adapter(engine: EngineProcess) -> None:
    suffix = [picture(1), Text("Film 1"), TAIL]
    z = asks(engine, [suffix])[0]
    assert asks(engine, [[picture(2), Text("Film 1"), TAIL]])[0] != pytest.approx(z, abs=1e-3)
    assert asks(engine, [suffix], adapter="caption")[0] != pytest.approx(z, abs=1e-3)
    other = [answer.z for answer in engine.log_odds([Text("Likes loud films.")], [suffix])]
    assert other[0] != pytest.approx(z, abs=1e-3)
    assert asks(engine, [suffix])[0] == z  # and is the same again after all of that


def test_images_and_text_mix_in_one_call(engine: EngineProcess) -> None:
    suffixes = [[Text("a"), TAIL], [picture(1), TAIL], [Text("b"), TAIL], [picture(1), TAIL]]
    mixed = asks(engine, suffixes)
    assert mixed[1] == mixed[3]
    assert mixed == pytest.approx([asks(engine, [suffix])[0] for suffix in suffixes], abs=0.02)


def test_an_overview_is_one_pass_and_tiles_are_more(engine: EngineProcess, tiny: EngineConfig) -> None:
    overview = engine.count_tokens([picture(1)])
    assert overview == tiny_models.IMAGE_TOKENS + 3  # <fake><global-img> … <fake>, as transformers writes it
    with EngineProcess(replace(tiny, image_detail="tiles")) as tiled:
        assert tiled.count_tokens([picture(1)]) > 2 * overview


def test_more_images_than_the_cache_keeps(engine: EngineProcess) -> None:
    first = asks(engine, [[picture(0), TAIL]])[0]
    asks(engine, [[picture(i), TAIL] for i in range(70)])
    assert asks(engine, [[picture(0), TAIL]])[0] == first


def test_greedy_text_is_the_same_whatever_ran_before(engine: EngineProcess) -> None:
    first = engine.generate(PREFIX, [Text("Film 1"), TAIL], max_tokens=20)
    asks(engine, [[picture(1), Text("other"), TAIL]])
    engine.generate([Text("Something else")], [TAIL], max_tokens=5)
    assert engine.generate(PREFIX, [Text("Film 1"), TAIL], max_tokens=20) == first
    assert first.tokens == 20 and not first.ended


def test_sampling_follows_its_seed(engine: EngineProcess) -> None:
    def sample(seed: int) -> str:
        return engine.generate(PREFIX, [TAIL], max_tokens=12, temperature=2.0, seed=seed).text

    assert sample(1) == sample(1)
    assert len({sample(seed) for seed in range(4)}) > 1


def test_a_prompt_longer_than_the_context_is_refused(engine: EngineProcess) -> None:
    with pytest.raises(ContextOverflow, match="1024"):
        list(engine.log_odds([Text("word " * 2000)], [[TAIL]]))
    with pytest.raises(ContextOverflow):
        list(engine.log_odds(PREFIX, [[Text("word " * 2000)]]))
    with pytest.raises(ContextOverflow):
        engine.generate(PREFIX, [Text("word " * 900)], max_tokens=200)
    assert asks(engine, [[TAIL]])  # and the engine goes on


def test_a_long_suffix_is_cut_into_batches(engine: EngineProcess) -> None:
    z = asks(engine, [[Text("word " * 600), TAIL], [Text("short"), TAIL]])
    assert len(z) == 2


def test_an_unread_stream_does_not_answer_the_next_request(engine: EngineProcess) -> None:
    suffixes = [[Text(f"Film {i}"), TAIL] for i in range(30)]
    z = asks(engine, [suffixes[7]])[0]
    next(engine.log_odds(PREFIX, suffixes))
    assert asks(engine, [suffixes[7]])[0] == pytest.approx(z, abs=0.02)


def test_missing_adapter_and_missing_eyes_are_named(tiny: EngineConfig) -> None:
    with EngineProcess(replace(tiny, projector=None, adapters={})) as blind:
        with pytest.raises(ModelError, match="no projector"):
            blind.generate([], [picture(1), TAIL])
        with pytest.raises(ModelError, match="'caption'"):
            list(blind.log_odds([], [[TAIL]], adapter="caption"))


@pytest.mark.parametrize("content", [b"", b"no model", b"GGUF\x03\0\0\0" + b"\xff" * 200, b"GGUF\x03\0\0\0"])
def test_a_broken_model_file_is_a_clear_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"broken\.gguf"):
        EngineProcess(EngineConfig(path))


def test_a_truncated_model_file_is_a_clear_error(tmp_path: Path, tiny: EngineConfig) -> None:
    path = tmp_path / "half.gguf"
    path.write_bytes(tiny.model.read_bytes()[:3_000_000])
    with pytest.raises((ModelError, EngineCrashed), match=r"half\.gguf"):
        EngineProcess(EngineConfig(path))


def test_a_missing_model_file_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No such file"):
        EngineProcess(EngineConfig(tmp_path / "none.gguf"))


def test_a_projector_for_another_model_is_a_clear_error(tmp_path: Path, tiny: EngineConfig) -> None:
    wrong = tiny_models.projector(tmp_path / "wrong.gguf", width=96)
    with pytest.raises((ModelError, EngineCrashed), match=r"wrong\.gguf|text\.gguf"):
        EngineProcess(replace(tiny, projector=wrong))


def test_an_adapter_for_another_model_is_a_clear_error(tmp_path: Path, tiny: EngineConfig) -> None:
    wrong = tiny_models.adapter(tmp_path / "wrong.gguf", width=96)
    with pytest.raises((ModelError, EngineCrashed), match=r"wrong\.gguf|text\.gguf"):
        EngineProcess(replace(tiny, adapters={"caption": wrong}))


def test_a_native_abort_is_an_error_and_not_the_end(tiny: EngineConfig, capfd: pytest.CaptureFixture[str]) -> None:
    with EngineProcess(tiny) as engine:
        # Whatever ends the child natively looks like this from here.
        engine._child._child.send_signal(6)
        with pytest.raises(EngineCrashed, match=r"SIGABRT.*Next"):
            list(engine.log_odds(PREFIX, [[TAIL]]))
        with pytest.raises(EngineCrashed):
            engine.count_tokens(PREFIX)
    assert capfd.readouterr() == ("", "")


def test_native_code_prints_nothing(tiny: EngineConfig, capfd: pytest.CaptureFixture[str]) -> None:
    with EngineProcess(tiny) as engine:
        engine.generate([], [picture(3), TAIL], max_tokens=2)
    assert capfd.readouterr() == ("", "")


def test_the_child_and_the_process_itself_agree(tiny: EngineConfig, engine: EngineProcess) -> None:
    inside = LlamaEngine(tiny)
    suffixes = [[Text(f"Film {i}"), TAIL] for i in range(5)]
    assert [a.z for a in inside.log_odds(PREFIX, suffixes)] == asks(engine, suffixes)
    inside.close()


def test_no_token_for_yes_fails_loudly(tiny: EngineConfig) -> None:
    inside = LlamaEngine(tiny)
    inside._yes = {}
    with pytest.raises(AnswerTokensError, match="'yes'"):
        next(inside.log_odds(PREFIX, [[TAIL]]))
    inside.close()


def test_an_answer_given_up_says_so(engine: EngineProcess) -> None:
    stream = engine.log_odds(PREFIX, [[Text(f"Film {i}"), TAIL] for i in range(30)])
    next(stream)
    engine.count_tokens(PREFIX)
    with pytest.raises(RuntimeError, match="given up"):
        next(stream)


def test_an_error_nobody_read_is_not_the_next_answer(engine: EngineProcess) -> None:
    next(engine.log_odds(PREFIX, [[Text("short"), TAIL], [picture(1), TAIL], [Text("word " * 2000), TAIL]]))
    assert engine.count_tokens([Text("fine")]) == 1


@pytest.mark.parametrize("context", [256, 300, 511, 700])
def test_small_contexts(tiny: EngineConfig, context: int) -> None:
    with EngineProcess(replace(tiny, context=context)) as small:
        room = small.facts.context
        word = small.count_tokens([Text("word " * 100)]) / 100
        long = [Text("word " * int((room - 20) / word))]
        assert len(list(small.log_odds(long, [[TAIL], [Text("a"), TAIL]]))) == 2
        with pytest.raises(ContextOverflow):
            list(small.log_odds([*long, *long], [[TAIL]]))


@pytest.mark.parametrize("suffix", [[], [Text("")]])
def test_a_suffix_must_end_in_text(engine: EngineProcess, suffix: list) -> None:
    with pytest.raises(ValueError, match="end in text"):
        list(engine.log_odds(PREFIX, [suffix]))
    with pytest.raises(ValueError, match="end in text"):
        engine.generate(PREFIX, suffix)


def test_a_question_between_two_answers_in_the_same_process(tiny: EngineConfig) -> None:
    inside = LlamaEngine(tiny)
    suffixes = [[picture(i), TAIL] for i in range(3)]
    z = [a.z for a in inside.log_odds(PREFIX, suffixes)]
    stream = inside.log_odds(PREFIX, suffixes)
    between = [next(stream).z]
    inside.generate([Text("x " * 40)], [TAIL], max_tokens=3)
    between += [a.z for a in stream]
    assert between == z
    inside.close()


def test_nothing_is_imported_from_the_current_folder(
    tiny: EngineConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("numpy", "json", "pickle", "llama_cpp"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the current folder')")
    monkeypatch.chdir(tmp_path)
    with EngineProcess(tiny) as engine:
        assert engine.count_tokens([Text("a")]) == 1


def test_a_picture_must_be_whole() -> None:
    with pytest.raises(ValueError, match="no 4x4 RGB picture"):
        Image(4, 4, b"abc", "x")


def test_a_context_only_as_long_as_the_model_knows(tiny: EngineConfig) -> None:
    with EngineProcess(replace(tiny, context=1 << 20)) as engine:
        assert engine.facts.context == 2048
