"""Questions to llama.cpp: plain data, answered as their prompts are, whatever company they are in."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import picture

from msr_local.engine.llama.engine import LlamaEngine
from msr_local.engine.llama.process import EngineProcess
from msr_local.engine.types import CAPTION, SCORE, SUMMARY, EngineConfig, Generation, Question, TokenEngine, Writing
from msr_local.errors import ContextOverflow

CLOSE = 0.02  # the most that a log-odds may move where weights are not quantised
LONG = Question("Be brief.", "", "word " * 2000)
ASKED = [
    Question(
        "Be brief." if n % 4 else "Say much.",
        f"This person likes {'quiet' if n % 8 < 4 else 'loud'} films. " * (n % 3),
        f"\ufffc Film {n}, a story of {'x' * n}?" if n % 5 == 0 else f"Film {n}, a story of {'x' * n}?",
        picture(n) if n % 5 == 0 else None,
        "Well, " if n % 7 == 0 else "",
    )
    for n in range(24)
]


@pytest.fixture(scope="module")
def inside(tiny: EngineConfig) -> Iterator[LlamaEngine]:
    with closing(LlamaEngine(tiny)) as engine:
        yield engine


@pytest.fixture(scope="module")
def child(tiny: EngineConfig) -> Iterator[EngineProcess]:
    with EngineProcess(tiny) as engine:
        yield engine


@pytest.fixture(params=["inside", "child"])
def engine(request: pytest.FixtureRequest) -> TokenEngine:
    made: TokenEngine = request.getfixturevalue(request.param)
    return made


# ---- plain data

TEXT = st.text(max_size=20)


@given(st.builds(Question, TEXT, TEXT, TEXT, st.none() | st.builds(picture, st.integers(0, 3)), TEXT))
@settings(max_examples=50)
def test_a_question_is_plain_data(question: Question) -> None:
    again = pickle.loads(pickle.dumps(question))
    assert again == question and hash(again) == hash(question)


def test_no_pixels_in_what_is_shown_of_a_question() -> None:
    assert len(repr(Question("", "", "", picture(1, 300, 300)))) < 300


# ---- answers


def test_the_answer_is_that_of_the_prompt(engine: TokenEngine) -> None:
    z = [answer.z for answer in engine.answers(ASKED)]
    for place, question in enumerate(ASKED):
        asked = engine.rendered(question)
        (alone,) = engine.log_odds(asked.prefix, [asked.suffix])
        (whole,) = engine.log_odds([], [[*asked.prefix, *asked.suffix]])
        assert z[place] == pytest.approx(alone.z, abs=CLOSE) == pytest.approx(whole.z, abs=CLOSE)
    assert len({round(one, 3) for one in z}) > 20  # and it depends on the question


def test_an_answer_does_not_depend_on_the_others(engine: TokenEngine) -> None:
    z = [answer.z for answer in engine.answers(ASKED)]
    rng = random.Random(1)
    for _ in range(25):
        places = rng.sample(range(len(ASKED)), rng.randint(1, len(ASKED)))
        again = [answer.z for answer in engine.answers([ASKED[place] for place in places])]
        assert again == pytest.approx([z[place] for place in places], abs=CLOSE)


def test_the_child_answers_as_the_engine_in_this_process(inside: LlamaEngine, child: EngineProcess) -> None:
    assert list(child.answers(ASKED)) == list(inside.answers(ASKED))
    how = Writing(max_tokens=6, temperature=1.0, seed=5, repeat_penalty=1.2, said=["a film"] * len(ASKED))
    assert list(child.write(ASKED, how)) == list(inside.write(ASKED, how))
    assert [child.rendered(one) for one in ASKED] == [inside.rendered(one) for one in ASKED]


def test_no_questions_no_answers(engine: TokenEngine) -> None:
    assert list(engine.answers([])) == list(engine.write([])) == list(engine.vectors([])) == []


def test_neighbours_are_read_together(inside: LlamaEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    log_odds = LlamaEngine.log_odds
    monkeypatch.setattr(
        LlamaEngine,
        "log_odds",
        lambda self, prefix, suffixes, **how: (calls.append(len(suffixes)), log_odds(self, prefix, suffixes, **how))[1],
    )
    shared = [Question("S", "H" if n < 5 else "other", f"Film {n}?") for n in range(8)]
    list(inside.answers([*shared, shared[0]]))
    assert calls == [5, 3, 1]


@pytest.mark.parametrize("at", [0, 1, 7, 23])
def test_all_before_an_over_long_question_are_answered(engine: TokenEngine, at: int) -> None:
    asked = [*ASKED[:at], LONG, *ASKED[at:]]
    got: list[float] = []
    with pytest.raises(ContextOverflow, match="1024"):
        for answer in engine.answers(asked):
            got.append(answer.z)  # noqa: PERF401  # what came before the error counts
    assert got == pytest.approx([answer.z for answer in engine.answers(ASKED[:at])], abs=CLOSE) and len(got) == at


# ---- texts


def written(engine: TokenEngine, questions: list[Question], how: Writing) -> list[Generation]:
    made = dict(engine.write(questions, how))
    assert sorted(made) == list(range(len(questions)))
    return [made[place] for place in range(len(questions))]


def test_the_text_is_that_of_the_prompt(inside: LlamaEngine) -> None:
    how = Writing(max_tokens=6)
    made = written(inside, ASKED, how)
    for place, question in enumerate(ASKED):
        asked = inside.rendered(question)
        assert dict(inside.continued(asked.prefix, [asked.suffix], how)) == {0: made[place]}


def test_what_was_said_before_belongs_to_its_question(engine: TokenEngine) -> None:
    how = Writing(max_tokens=12, repeat_penalty=1.8)
    plain = written(engine, ASKED, how)
    said = [made.text if place % 2 else "" for place, made in enumerate(plain)]
    together = written(engine, ASKED, replace(how, said=said))
    alone = [written(engine, [one], replace(how, said=[said[place]]))[0] for place, one in enumerate(ASKED)]
    assert together == alone
    assert together[::2] == plain[::2]
    assert all(one != other for one, other in zip(together[1::2], plain[1::2], strict=True))


@pytest.mark.parametrize("at", [0, 1, 7, 23])
def test_all_before_an_over_long_question_are_written(engine: TokenEngine, at: int) -> None:
    asked, how = [*ASKED[:at], LONG, *ASKED[at:]], Writing(max_tokens=4)
    made: dict[int, Generation] = {}
    with pytest.raises(ContextOverflow):
        made.update(engine.write(asked, how))
    assert made == dict(engine.write(ASKED[:at], how))


# ---- LoRAs


def test_each_role_has_its_adapter(tiny: EngineConfig, inside: LlamaEngine) -> None:
    lora = tiny.adapters["caption"]
    one = ASKED[1:2]
    plain = next(inside.answers(one)).z
    with closing(LlamaEngine(replace(tiny, adapters={SCORE: lora}))) as tuned:
        asked = tuned.rendered(one[0])
        z = next(tuned.answers(one)).z
        assert z == next(tuned.log_odds(asked.prefix, [asked.suffix], adapter=SCORE)).z
        assert abs(z - plain) > 0.001 > abs(next(tuned.log_odds(asked.prefix, [asked.suffix])).z - plain)
        how = Writing(max_tokens=20)
        texts = {role: written(tuned, one, replace(how, role=role)) for role in ("", CAPTION, SUMMARY, SCORE)}
        assert texts[""] == texts[CAPTION] == texts[SUMMARY] != texts[SCORE]
        assert texts[""] == written(inside, one, how) == written(inside, one, replace(how, role=SUMMARY))
        assert texts[SCORE] == written(inside, one, replace(how, role=CAPTION))


# ---- room


@pytest.mark.parametrize("place", range(0, len(ASKED), 3))
def test_a_question_fits_to_the_token(engine: TokenEngine, place: int) -> None:
    asked = engine.rendered(ASKED[place])
    size = len(engine.token_ids([*asked.prefix, *asked.suffix]))
    assert engine.fits(ASKED[place], size) and not engine.fits(ASKED[place], size - 1)
    assert engine.fits(ASKED[place], 10**6) and not engine.fits(ASKED[place], 0)


WIDE = st.text(st.characters(codec="utf-8"), max_size=60)


@settings(max_examples=60)
@given(system=WIDE, shared=WIDE, own=WIDE, seen=st.booleans())
def test_any_question_fits_to_the_token(inside: LlamaEngine, system: str, shared: str, own: str, seen: bool) -> None:
    question = Question(system, shared, "\ufffc" + own if seen else own, picture(1) if seen else None)
    asked = inside.rendered(question)
    size = inside.count_tokens([*asked.prefix, *asked.suffix])
    assert inside.fits(question, size) and not inside.fits(question, size - 1)


def test_what_fits_the_context_is_answered(engine: TokenEngine) -> None:
    def question(words: int) -> Question:
        return Question("", "word " * words, "\ufffc?", picture(1))

    room = engine.can.context
    most = max(words for words in range(900, 1024) if engine.fits(question(words), room))
    assert len(list(engine.answers([question(most)]))) == 1
    with pytest.raises(ContextOverflow):
        list(engine.answers([question(most + 1)]))
