"""Asking for texts: whose adapter writes them, and what becomes of the words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from samples import picture

from msr_local.engine.fake import FakeEngine
from msr_local.engine.llama.process import EngineProcess
from msr_local.engine.types import CAPTION, SUMMARY, Capabilities, Engine, EngineConfig, Generation, Question, Writing
from msr_local.errors import ModelError
from msr_local.models.spec import Role
from msr_local.recipe.asking import Asker, repeat_penalty

QUESTION = Question("Continue.", "", "A walk by the sea:")


class Scribe(FakeEngine):
    """Writes what it was told to, the last text first."""

    def __init__(self, *texts: Generation) -> None:
        super().__init__()
        self.texts = texts

    def write(self, questions: Sequence[Question], how: Writing = Writing()) -> Iterator[tuple[int, Generation]]:
        yield from reversed(list(enumerate(self.texts[: len(questions)])))


def asker(tiny: EngineConfig, engine: Engine) -> Asker:
    return Asker(tiny, open_engine=lambda _: engine)


def test_repeats_are_penalised_unless_a_lora_was_trained_for_the_question(tiny: EngineConfig) -> None:
    assert repeat_penalty(Role(tiny, "id", tuned=False), 1.2) == repeat_penalty(None, 1.2) == 1.2
    assert repeat_penalty(Role(tiny, "id", tuned=True), 1.2) == 1.0


@pytest.mark.parametrize(
    ("can", "asked", "error"),
    [
        ({"log_odds": "none"}, lambda asking: asking.answers([QUESTION]), "p\\(yes\\) cannot be read"),
        (
            {"sees": False},
            lambda asking: asking.answers([replace(QUESTION, image=picture(1))]),
            "cannot process pictures",
        ),
        (
            {"sees": False},
            lambda asking: list(asking.write([replace(QUESTION, image=picture(1))], Writing())),
            "cannot process",
        ),
        ({"reads": False}, lambda asking: asking.vectors(["a text"]), "no vectors"),
        ({"tokens": False}, lambda asking: asking.tokens, "does not give access to its tokens"),
    ],
)
def test_what_an_engine_cannot_do_is_refused_before_it_is_asked(
    tiny: EngineConfig, can: dict[str, Any], asked: Callable[[Asker], object], error: str
) -> None:
    engine = FakeEngine(can=replace(Capabilities(512, True, "exact", reads=True, tokens=True), **can))
    with pytest.raises(ModelError, match=rf"text\.gguf.*{error}.*Next: "):
        asked(asker(tiny, engine))
    assert engine.asked == [] and engine.read == []


@pytest.mark.parametrize(
    ("made", "ended", "opening", "expected"),
    [
        ("A red dress.", True, "", "A red dress."),
        ("A red\n  dress. It", True, "", "A red dress. It"),
        ("A red dress. It is ma", False, "", "A red dress."),
        ("A red dress and mo", False, "", "A red dress and mo"),
        (" likes red.", True, "This person", "This person likes red."),
        (" \n", True, "This person", ""),
        ("", True, "", ""),
    ],
)
def test_an_answer_is_one_line_of_whole_sentences(
    tiny: EngineConfig, made: str, ended: bool, opening: str, expected: str
) -> None:
    asking = asker(tiny, Scribe(Generation(made, 3, ended)))
    question = replace(QUESTION, opening=opening)
    assert list(asking.write([question], Writing(SUMMARY))) == [(0, expected)]


def test_each_answer_belongs_to_its_question_whatever_order_they_come_in(tiny: EngineConfig) -> None:
    asking = asker(tiny, Scribe(Generation("One.", 1, True), Generation("Two.", 1, True)))
    questions = [replace(QUESTION, opening="First: "), replace(QUESTION, opening="Second: ")]
    assert list(asking.write(questions, Writing(CAPTION))) == [(1, "Second: Two."), (0, "First: One.")]


def test_no_questions_start_no_engine(tiny: EngineConfig) -> None:
    asking = Asker(tiny, open_engine=lambda _: pytest.fail("an engine was started"))
    assert list(asking.write([], Writing(CAPTION))) == list(asking.answers([])) == []


def test_a_real_adapter_changes_the_words(tiny: EngineConfig, running: EngineProcess) -> None:
    asking = asker(tiny, running)
    (tuned,), (plain,) = (list(asking.write([QUESTION], Writing(role, 12))) for role in (CAPTION, SUMMARY))
    assert tuned != plain
