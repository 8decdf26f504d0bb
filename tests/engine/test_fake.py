"""The engine for tests, and what all engines have in common."""

from __future__ import annotations

import inspect
import random
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from samples import picture

from msr_local.engine.fake import FakeEngine
from msr_local.engine.llama.engine import LlamaEngine
from msr_local.engine.llama.process import EngineProcess
from msr_local.engine.types import Capabilities, Engine, EngineConfig, Question, TokenEngine, Writing

ASKED = [Question("Be brief.", f"Likes {n % 3}.", f"Film {n}?", opening="Well" if n % 2 else "") for n in range(12)]
ASKED += [Question("Be brief.", "", "\ufffc?", picture(seed)) for seed in range(3)]
TEXTS = ["quiet films", "loud ones", "quiet films", "the sea"]


@pytest.fixture(scope="module")
def real(tiny: EngineConfig) -> Iterator[LlamaEngine]:
    with closing(LlamaEngine(tiny)) as engine:
        yield engine


# ---- the protocol


def signatures(kind: type, protocol: type) -> dict[str, list[tuple[str, Any, Any]]]:
    """The parameters of the protocol's methods, as `kind` has them."""
    methods = [name for name, one in inspect.getmembers(protocol, inspect.isfunction) if not name.startswith("_")]
    assert methods
    return {
        name: [
            (one.name, one.kind, one.default)
            for one in inspect.signature(inspect.getattr_static(kind, name)).parameters.values()
        ]
        for name in methods
    }


@pytest.mark.parametrize(
    ("kind", "protocol"),
    [(FakeEngine, Engine), (LlamaEngine, Engine), (LlamaEngine, TokenEngine), (EngineProcess, TokenEngine)],
)
def test_every_engine_has_the_methods_of_its_protocol(kind: type, protocol: type) -> None:
    assert signatures(kind, protocol) == signatures(protocol, protocol)


def test_every_engine_says_what_it_can_do(real: LlamaEngine) -> None:
    for engine in (FakeEngine(), FakeEngine(real), real):
        assert isinstance(engine.can, Capabilities)
    assert FakeEngine(real).can == real.can
    assert FakeEngine(real, can=FakeEngine().can).can == FakeEngine().can


# ---- by a rule


def test_the_same_question_has_the_same_answer_in_any_order_and_company() -> None:
    z = dict(zip(ASKED, (one.z for one in FakeEngine().answers(ASKED)), strict=True))
    texts = {ASKED[place]: made for place, made in FakeEngine().write(ASKED)}
    vectors = {TEXTS[place]: row.tolist() for place, row in FakeEngine().vectors(TEXTS)}
    assert len(set(z.values())) == len({made.text for made in texts.values()}) == len(ASKED)
    assert len({tuple(row) for row in vectors.values()}) == 3
    rng = random.Random(1)
    for _ in range(20):
        some = rng.sample(ASKED, rng.randint(1, len(ASKED)))
        engine = FakeEngine()
        assert [one.z for one in engine.answers(some)] == [z[one] for one in some]
        assert {some[place]: made for place, made in engine.write(some)} == {one: texts[one] for one in some}
        assert engine.asked == some + some
        read = rng.sample(TEXTS, 2)
        assert {read[place]: row.tolist() for place, row in engine.vectors(read)} == {one: vectors[one] for one in read}
        assert engine.read == read


def test_rules_can_be_given() -> None:
    engine = FakeEngine(z=lambda question: float(len(question.own)), text=lambda question: question.own.upper())
    assert [one.z for one in engine.answers(ASKED[:2])] == [7.0, 7.0]
    assert [made.text for _, made in engine.write(ASKED[:2])] == ["FILM 0?", "FILM 1?"]


def test_a_question_fits_by_its_length() -> None:
    asked = Question("", "", "x" * 400)
    assert FakeEngine().fits(asked, 110) and not FakeEngine().fits(asked, 90)


# ---- with an engine behind it


def test_it_answers_as_the_engine_behind_it(real: LlamaEngine) -> None:
    how = Writing(max_tokens=5)
    engine = FakeEngine(real)
    assert list(engine.answers(ASKED)) == list(real.answers(ASKED))
    assert list(engine.write(ASKED, how)) == list(real.write(ASKED, how))
    ours, theirs = list(engine.vectors(TEXTS)), list(real.vectors(TEXTS))
    assert [(place, row.tolist()) for place, row in ours] == [(place, row.tolist()) for place, row in theirs]
    assert [engine.fits(one, 40) for one in ASKED] == [real.fits(one, 40) for one in ASKED]
    assert engine.asked[: len(ASKED)] == ASKED and set(engine.asked[len(ASKED) :]) == set(ASKED)


def test_texts_can_be_cut_short(real: LlamaEngine) -> None:
    assert {made.tokens for _, made in FakeEngine(real, words=3).write(ASKED[:4], Writing(max_tokens=9))} == {3}
    assert {made.tokens for _, made in FakeEngine(real, words=9).write(ASKED[:4], Writing(max_tokens=3))} == {3}


def test_closing_it_leaves_the_engine_behind_it_open(real: LlamaEngine) -> None:
    engine = FakeEngine(real)
    list(engine.answers(ASKED[:2]))
    engine.close()
    assert engine.asked == ASKED[:2] and list(real.answers(ASKED[:1]))


# ---- what is seen of it


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("after", [0, 1, 5])
@pytest.mark.parametrize("method", ["answers", "write"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_what_watch_raises_reaches_whoever_waits_after_so_many_answers(
    real: LlamaEngine, behind: bool, after: int, method: str, error: type[BaseException]
) -> None:
    left = iter(range(after))

    def watch(question: Question) -> None:
        if next(left, None) is None:
            raise error

    engine = FakeEngine(real if behind else None, watch=watch, words=2)
    got = 0
    with pytest.raises(error):
        for _ in getattr(engine, method)(ASKED):
            got += 1
    assert got == after == len(engine.asked)
