"""Asking the engine the recipe's questions: templates, fitting the context, batches with one prefix."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from ..engine.llama.process import EngineProcess
from ..engine.types import Engine, EngineConfig, Generation, Image, LogOdds, ModelFacts
from ..errors import ContextOverflow
from ..prompts import PromptTemplate, Question

CAPTION, SUMMARY, SCORE = "caption", "summary", "score"  # roles of adapters: the question each was trained for
ROOMS = (640, 320, 160, 80, 40, 20, 10)  # characters a description may take, tried until the prompt fits

Choice = TypeVar("Choice")


class Asker:
    """An engine that starts with the first question, and the prompt templates of one workspace.

    Each question is answered under the adapter for its role, if the configuration names one.
    """

    def __init__(
        self,
        config: EngineConfig,
        prompts: Path | None = None,
        open_engine: Callable[[EngineConfig], Engine] = EngineProcess,
    ) -> None:
        self._config, self._overrides, self._open = config, prompts, open_engine
        self._judge = self._adapter(SCORE)
        self._templates: dict[str, PromptTemplate] = {}

    @cached_property
    def engine(self) -> Engine:
        return self._open(self._config)

    @property
    def facts(self) -> ModelFacts:
        return self.engine.facts

    def template(self, name: str) -> PromptTemplate:
        """The template `name`, the workspace's own if there is one."""
        if name not in self._templates:
            self._templates[name] = PromptTemplate(name, self._overrides)
        return self._templates[name]

    def fitting(
        self,
        build: Callable[[Choice], Question],
        choices: Sequence[Choice],
        *,
        reserve: int = 0,
        limit: int | None = None,
    ) -> tuple[Choice, Question]:
        """The first of `choices` whose question leaves `reserve` tokens of the context free, and that question.

        `limit` caps the tokens of the question itself. Raises `ContextOverflow` when not even the last one fits.
        """
        room = min(self.facts.context - reserve, limit or self.facts.context)
        for choice in choices:
            question = build(choice)
            if self._fits(question, room):
                return choice, question
        raise ContextOverflow(
            f"the question does not fit {room} tokens even with every description cut short. "
            "Next: a smaller --block-size or --history, or more room (--context, --max-length)."
        )

    def _fits(self, question: Question, room: int) -> bool:
        parts = [*question.prefix, *question.suffix]
        texts = [part.text for part in parts if not isinstance(part, Image)]
        # A token is at least one byte: most prompts need no counting.
        if len(texts) == len(parts) and sum(len(text.encode("utf-8", "replace")) for text in texts) <= room:
            return True
        return self.engine.count_tokens(parts) <= room

    def write(self, question: Question, max_tokens: int, repeat_penalty: float, *, role: str, said: str = "") -> str:
        """The answer on one line; where the cap cut it off, up to its last whole sentence.

        Greedy. Without an adapter for `role`, repeats are penalised, of `said` too: small models otherwise go round
        in circles.
        """
        tuned = self._adapter(role)
        made = self.engine.generate(
            question.prefix, question.suffix, adapter=tuned, max_tokens=max_tokens,
            repeat_penalty=1.0 if tuned else repeat_penalty, said=said,
        )  # fmt: skip
        return _one_line(question, made)

    def write_many(
        self, questions: Sequence[Question], max_tokens: int, repeat_penalty: float, *, role: str,
        said: Sequence[str] = (),
    ) -> Iterator[tuple[int, str]]:  # fmt: skip
        """The answers of `write`, many at a time: (place of the question, answer), as they are finished.

        Questions with the same prefix are answered together.
        """
        tuned = self._adapter(role)
        for start, end in _same_prefix(questions):
            group = questions[start:end]
            written = self.engine.generate_many(
                group[0].prefix, [question.suffix for question in group], adapter=tuned, max_tokens=max_tokens,
                repeat_penalty=1.0 if tuned else repeat_penalty, said=said[start:end],
            )  # fmt: skip
            for place, made in written:
                yield start + place, _one_line(group[place], made)

    def _adapter(self, role: str) -> str | None:
        return role if role in self._config.adapters else None

    def answer_alone(self, question: Question) -> LogOdds:
        """One answer that no neighbour in a batch can touch: differences of a few thousandths mean something."""
        (answer,) = self.engine.log_odds(question.prefix, [question.suffix], adapter=self._judge)
        return answer

    def answers(self, questions: Sequence[Question]) -> Iterator[LogOdds]:
        """The log-odds of yes, in order; neighbours with the same prefix are asked together."""
        for start, end in _same_prefix(questions):
            suffixes = [question.suffix for question in questions[start:end]]
            yield from self.engine.log_odds(questions[start].prefix, suffixes, adapter=self._judge)

    def close(self) -> None:
        """End the engine; the next question starts a new one."""
        if "engine" in self.__dict__:
            self.engine.close()
            del self.engine


def _same_prefix(questions: Sequence[Question]) -> Iterator[tuple[int, int]]:
    """Cut questions into runs of neighbours with the same prefix: (first, end) of each."""
    start = 0
    for end in range(1, len(questions) + 1):
        if end == len(questions) or questions[end].prefix != questions[start].prefix:
            yield start, end
            start = end


def _one_line(question: Question, made: Generation) -> str:
    if not made.text.strip():
        return ""
    text = " ".join((question.opening + made.text).split())
    return text[: text.rindex(".") + 1] if not made.ended and "." in text else text
