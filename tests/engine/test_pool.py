"""Many engines as one: the same answers, each given once, whatever becomes of an engine."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import picture

from msr_local.engine.fake import FakeEngine
from msr_local.engine.llama.process import EngineProcess
from msr_local.engine.pool import Line, Pool
from msr_local.engine.types import Engine, EngineConfig, LogOdds, Question, Writing
from msr_local.errors import ContextOverflow, EngineCrashed, ModelError

PEOPLE = [[Question("Yes or no?", f"Person {who}.", f"Item {n}") for n in range(5)] for who in range(6)]
EVERYTHING = [question for person in PEOPLE for question in person]


class Crew:
    """Opens fake engines and remembers them; `watch` sees each question with the number of its engine."""

    def __init__(self, watch: Callable[[int, Question], None] = lambda number, question: None) -> None:
        self.made: list[FakeEngine] = []
        self.closed: list[int] = []
        self._watch, self._lock = watch, threading.Lock()

    def open(self) -> Engine:
        with self._lock:
            number = len(self.made)
            engine = FakeEngine(watch=lambda question: self._watch(number, question))
            engine.close = lambda: self.closed.append(number)  # type: ignore[method-assign]
            self.made.append(engine)
        return engine

    @property
    def asked(self) -> list[list[Question]]:
        """What each engine was asked."""
        return [one.asked for one in self.made]

    @property
    def everything(self) -> list[str]:
        """What all were asked."""
        return [repr(question) for asked in self.asked for question in asked]


@pytest.fixture
def pool_of() -> Iterator[Callable[[Crew, int], Pool]]:
    pools: list[Pool] = []

    def made(crew: Crew, width: int) -> Pool:
        pools.append(Pool(FakeEngine(), crew.open, width))
        return pools[-1]

    yield made
    for one in pools:
        one.close()


def alone() -> FakeEngine:
    return FakeEngine()


@pytest.mark.parametrize("width", [1, 2, 5])
def test_answers_are_those_of_one_engine_in_order(pool_of: Callable[[Crew, int], Pool], width: int) -> None:
    crew = Crew()
    pool = pool_of(crew, width)
    assert list(pool.answers(EVERYTHING)) == list(alone().answers(EVERYTHING))
    assert sorted(crew.everything) == sorted(map(repr, EVERYTHING))
    assert list(pool.answers([])) == [] and pool.fits(EVERYTHING[0], 100) and not pool.can.tokens


def test_one_beginning_stays_with_one_engine(pool_of: Callable[[Crew, int], Pool]) -> None:
    crew = Crew(lambda number, question: time.sleep(0.001))
    pool = pool_of(crew, 3)
    for part in (slice(0, 2), slice(2, 3), slice(3, 5)):
        assert len(list(pool.answers([question for person in PEOPLE for question in person[part]]))) > 0
    homes = Counter(question.shared for asked in crew.asked for question in {one.shared: one for one in asked}.values())
    assert homes == {f"Person {who}.": 1 for who in range(6)}
    assert sum(bool(asked) for asked in crew.asked) == 3


def test_texts_and_vectors_go_to_whoever_is_free(pool_of: Callable[[Crew, int], Pool]) -> None:
    crew = Crew(lambda number, question: time.sleep(0.001))
    pool = pool_of(crew, 2)
    asked = [Question("Say.", "", f"Item {n}") for n in range(50)]
    how = Writing(said=[f"said {n}" for n in range(50)])
    made = list(pool.write(asked, how))
    assert sorted(place for place, _ in made) == list(range(50))
    assert dict(made) == dict(alone().write(asked)) and all(crew.asked)
    texts = [question.own for question in asked]
    expected = {place: vector.tolist() for place, vector in alone().vectors(texts)}
    assert {place: vector.tolist() for place, vector in pool.vectors(texts)} == expected


@settings(max_examples=25)
@given(st.integers(1, 4), st.sets(st.integers(0, 29), max_size=5), st.integers(1, 12))
def test_an_engine_that_dies_is_replaced_and_nothing_is_lost_or_doubled(
    width: int, deadly: set[int], many: int
) -> None:
    """Each deadly question kills the first engine that it is put to."""
    left = {EVERYTHING[n].own + EVERYTHING[n].shared for n in deadly}
    lock = threading.Lock()

    def watch(number: int, question: Question) -> None:
        with lock:
            dies = question.own + question.shared in left
            left.discard(question.own + question.shared)
        if dies:
            raise EngineCrashed("it is gone")

    crew = Crew(watch)
    pool = Pool(FakeEngine(), crew.open, width)
    try:
        assert list(pool.answers(EVERYTHING)) == list(alone().answers(EVERYTHING))
        assert set(Counter(crew.everything).values()) == {1}
    finally:
        pool.close()
    assert len(crew.made) <= width + len(deadly)
    assert sorted(crew.closed) == list(range(len(crew.made)))


def test_what_kills_every_engine_is_told(pool_of: Callable[[Crew, int], Pool]) -> None:
    def watch(number: int, question: Question) -> None:
        if question is EVERYTHING[7]:
            raise EngineCrashed("it is gone")

    pool = pool_of(Crew(watch), 2)
    got: list[LogOdds] = []
    with pytest.raises(EngineCrashed):
        got.extend(pool.answers(EVERYTHING))
    assert list(pool.answers(EVERYTHING[8:])) == list(alone().answers(EVERYTHING[8:]))  # the others go on


@pytest.mark.parametrize("error", [KeyboardInterrupt, ModelError("broken"), ContextOverflow("too long")])
def test_errors_come_to_whoever_asks(pool_of: Callable[[Crew, int], Pool], error: BaseException) -> None:
    def watch(number: int, question: Question) -> None:
        if question is EVERYTHING[12]:
            raise error

    pool = pool_of(Crew(watch), 2)
    got: list[LogOdds] = []
    with pytest.raises(type(error) if isinstance(error, Exception) else KeyboardInterrupt):
        got.extend(pool.answers(EVERYTHING))
    assert got == list(alone().answers(EVERYTHING[:12]))


def test_before_an_over_long_question_all_texts_are_finished(pool_of: Callable[[Crew, int], Pool]) -> None:
    asked = [Question("Say.", "", f"Item {n}") for n in range(40)]

    def watch(number: int, question: Question) -> None:
        if question is asked[25]:
            raise ContextOverflow("too long")

    pool = pool_of(Crew(watch), 2)
    made = set()
    with pytest.raises(ContextOverflow):
        for place, _ in pool.write(asked):
            made.add(place)
    assert min(set(range(40)) - made) == 25


@pytest.mark.parametrize("error", [EngineCrashed("none starts"), ModelError("no model")])
def test_engines_that_do_not_start_are_an_error(error: Exception) -> None:
    def refuse() -> Engine:
        raise error

    pool = Pool(FakeEngine(), refuse, 3)
    for _ in range(2):
        with pytest.raises(type(error)):
            list(pool.answers(EVERYTHING))
    pool.close()


def test_an_engine_that_cannot_be_replaced_leaves_its_work_to_the_others() -> None:
    """As where memory is short: the work is another engine's by then, so it is no error to whoever waits for it."""

    def watch(number: int, question: Question) -> None:
        time.sleep(0.005)
        if number == 0:
            raise EngineCrashed("it is gone")

    crew = Crew(watch)

    def open_two() -> Engine:
        if len(crew.made) == 2:
            raise ModelError("no memory is left")
        return crew.open()

    with contextlib.closing(Pool(FakeEngine(), open_two, 2)) as pool:
        assert list(pool.answers(EVERYTHING)) == list(alone().answers(EVERYTHING))


def test_engines_that_never_start_hold_up_the_end_once_not_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where there are more of them than a cluster has room for."""
    monkeypatch.setattr("msr_local.engine.pool._PATIENCE", 0.3)
    room = threading.Event()

    def never() -> Engine:
        room.wait(20)
        return FakeEngine()

    pool = Pool(FakeEngine(), never, 10)
    began = time.monotonic()
    pool.close()
    took = time.monotonic() - began
    room.set()
    assert took < 1.5


def test_who_gives_up_leaves_the_engines_to_others(pool_of: Callable[[Crew, int], Pool]) -> None:
    crew = Crew(lambda number, question: time.sleep(0.002))
    pool = pool_of(crew, 2)
    answers = pool.answers(EVERYTHING)
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    assert list(pool.answers(PEOPLE[5])) == list(alone().answers(PEOPLE[5]))
    assert sum(map(len, crew.asked)) < len(EVERYTHING)


@pytest.mark.parametrize("width", [0, 1, 3])
def test_groups_on_a_line(pool_of: Callable[[Crew, int], Pool], width: int) -> None:
    """Each group's answers come under its tag, in order; 0 is an engine that is no pool."""
    engine = pool_of(Crew(), width) if width else alone()
    waiting = dict(enumerate(PEOPLE))
    got: dict[int, list[LogOdds]] = {who: [] for who in waiting}
    with Line[int](lambda questions: engine) as line:
        while waiting or any(len(got[who]) < 5 for who in got):
            while waiting and line.free:
                who = min(waiting)
                line.ask(who, waiting.pop(who))
            tag, place, answer = line.next()
            assert isinstance(answer, LogOdds) and place == len(got[tag])
            got[tag].append(answer)
    assert [got[who] for who in range(6)] == [list(alone().answers(person)) for person in PEOPLE]


def test_a_group_that_was_answered_leaves_nothing_to_wait_for(pool_of: Callable[[Crew, int], Pool]) -> None:
    """Whoever took its end for an answer would wait for another one, and hand out nothing meanwhile."""
    with Line[str](lambda _: pool_of(Crew(), 2)) as line:
        line.ask("first", PEOPLE[0])
        taken = [line.next()[1] for _ in PEOPLE[0]]
        time.sleep(0.1)  # the engine is done with it by now
        assert sorted(taken) == list(range(5)) and line.free and not line.answered


def test_a_real_engine_is_killed_in_the_middle(tiny: EngineConfig) -> None:
    """The model's own processes: one is killed, another one starts, and captions and answers are all there."""
    engines: list[EngineProcess] = []

    def open_engine() -> Engine:
        engines.append(EngineProcess(tiny))
        return engines[-1]

    asked = [Question("Describe it.", "", f"Picture {n} \ufffc", picture(n)) for n in range(12)]
    how = Writing(max_tokens=8)
    with EngineProcess(tiny) as front:
        expected = dict(front.write(asked, how))
        pool = Pool(front, open_engine, 2)
        made = {}
        for place, text in pool.write(asked, how):
            if not made:
                os.kill(engines[0]._child._child.pid, signal.SIGKILL)
            assert place not in made
            made[place] = text
        assert made == expected and len(engines) in (2, 3)  # it may have been finished by then
        z = [one.z for one in pool.answers(EVERYTHING[:10])]
        pool.close()
    with EngineProcess(tiny) as front:
        assert z == pytest.approx([one.z for one in front.answers(EVERYTHING[:10])], abs=0.02)
