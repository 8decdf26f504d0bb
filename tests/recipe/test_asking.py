"""Asking for texts: whose adapter writes them, and what becomes of the words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from msr_local.engine.llama.process import EngineProcess
from msr_local.engine.types import EngineConfig, Generation, Text
from msr_local.prompts import Question
from msr_local.recipe.asking import CAPTION, SCORE, SUMMARY, Asker

QUESTION = Question((Text("Continue."), Text("\n")), (Text("A walk by the sea:"),))


class Scribe:
    """Writes what it was told to, and remembers how it was asked."""

    def __init__(self, *texts: Generation) -> None:
        self.texts, self.options = texts, list[dict[str, Any]]()

    def generate(self, _prefix: Any, _suffix: Any, **options: Any) -> Generation:
        self.options.append(options)
        return self.texts[0]

    def generate_many(self, _prefix: Any, suffixes: Any, **options: Any) -> Iterator[tuple[int, Generation]]:
        self.options.append(options)
        yield from reversed(list(enumerate(self.texts[: len(suffixes)])))

    def close(self) -> None:
        pass


def asker(tiny: EngineConfig, scribe: Scribe, *roles: str) -> Asker:
    config = replace(tiny, adapters=dict.fromkeys(roles, tiny.adapters["caption"]))
    return Asker(config, open_engine=lambda _: scribe)  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize("role", [CAPTION, SUMMARY])
@pytest.mark.parametrize("roles", [(), (CAPTION,), (SUMMARY,), (SCORE,), (CAPTION, SUMMARY, SCORE)])
def test_a_text_is_written_under_the_adapter_of_its_role_or_by_the_plain_model(
    tiny: EngineConfig, role: str, roles: tuple[str, ...]
) -> None:
    scribe = Scribe(Generation("Fine.", 2, ended=True))
    asking = asker(tiny, scribe, *roles)
    asking.write(QUESTION, 9, 1.2, role=role)
    list(asking.write_many([QUESTION], 9, 1.2, role=role))
    expected = (role, 1.0) if role in roles else (None, 1.2)
    assert [(one["adapter"], one["repeat_penalty"]) for one in scribe.options] == [expected] * 2
    assert all(one["max_tokens"] == 9 for one in scribe.options)


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
    assert asking.write(question, 9, 1.0, role=SUMMARY) == expected
    assert list(asking.write_many([question], 9, 1.0, role=SUMMARY)) == [(0, expected)]


def test_each_answer_belongs_to_its_question_whatever_order_they_come_in(tiny: EngineConfig) -> None:
    asking = asker(tiny, Scribe(Generation("One.", 1, True), Generation("Two.", 1, True)))
    questions = [replace(QUESTION, opening="First: "), replace(QUESTION, opening="Second: ")]
    assert list(asking.write_many(questions, 9, 1.0, role=CAPTION)) == [(1, "Second: Two."), (0, "First: One.")]


def test_no_questions_start_no_engine(tiny: EngineConfig) -> None:
    asking = Asker(tiny, open_engine=lambda _: pytest.fail("an engine was started"))
    assert list(asking.write_many([], 9, 1.0, role=CAPTION)) == []


def test_a_real_adapter_changes_the_words(tiny: EngineConfig, running: EngineProcess) -> None:
    asking = Asker(tiny, open_engine=lambda _: running)
    tuned, plain = (asking.write(QUESTION, 12, 1.0, role=role) for role in (CAPTION, SUMMARY))
    assert tuned != plain
    assert list(asking.write_many([QUESTION], 12, 1.0, role=CAPTION)) == [(0, tuned)]
    assert list(asking.write_many([QUESTION], 12, 1.0, role=SUMMARY)) == [(0, plain)]
