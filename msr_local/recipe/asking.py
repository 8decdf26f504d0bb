"""Asking an engine the recipe's questions: templates, fitting the context, and errors of unfit models."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TypeVar, cast

from ..arrays import Floats
from ..engine.types import Engine, EngineConfig, Generation, LogOdds, Question, ServerConfig, TokenEngine, Writing
from ..errors import AnswerTokensError, ContextOverflow, ModelError
from ..models.spec import Role, open_engine
from ..prompts import PromptTemplate

Choice = TypeVar("Choice")


class Asker:
    """An engine that starts with the first question, and the prompt templates of one workspace."""

    def __init__(
        self,
        config: EngineConfig | ServerConfig,
        prompts: Path | None = None,
        open_engine: Callable[[EngineConfig | ServerConfig], Engine] = open_engine,
    ) -> None:
        self._config, self._overrides, self._open = config, prompts, open_engine
        self._templates: dict[str, PromptTemplate] = {}

    @cached_property
    def engine(self) -> Engine:
        return self._open(self._config)

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
        context = self.engine.can.context
        room = min(context - reserve, limit or context)
        for choice in choices:
            question = build(choice)
            if self.engine.fits(question, room):
                return choice, question
        raise ContextOverflow(
            f"the question is longer than {room} tokens even with all descriptions shortened. "
            "Next: a smaller --block-size or --window, or a larger --context or --max-length."
        )

    def answers(self, questions: Sequence[Question]) -> Iterator[LogOdds]:
        """The log-odds of yes, in order. Raises `AnswerTokensError` where the engine cannot give them."""
        if questions and self.engine.can.log_odds == "none":
            raise AnswerTokensError(
                f"{self._config.name}: no single token for yes or for no, so p(yes) cannot be read. "
                "Next: choose another model with msr-local models use."
            )
        self._require_eyes(questions)
        return self.engine.answers(questions) if questions else iter(())

    def write(self, questions: Sequence[Question], how: Writing) -> Iterator[tuple[int, str]]:
        """(place of the question, its answer on one line) as each is finished.

        Where the cap cut an answer off, it goes up to its last whole sentence.
        """
        self._require_eyes(questions)
        for place, made in self.engine.write(questions, how) if questions else ():
            yield place, _one_line(questions[place], made)

    def vectors(self, texts: Sequence[str]) -> Iterator[tuple[int, Floats]]:
        """See `Engine`. Raises `ModelError` where the engine gives no vectors."""
        self._require(self.engine.can.reads, "gives no vectors of texts")
        return self.engine.vectors(texts)

    def _require_eyes(self, questions: Sequence[Question]) -> None:
        if any(one.image for one in questions):
            self._require(self.engine.can.sees, "cannot process pictures")

    def _require(self, able: bool, what: str) -> None:
        if not able:
            raise ModelError(f"{self._config.name} {what}. Next: another model, with msr-local models use.")

    @property
    def tokens(self) -> TokenEngine:
        """The engine with its tokens. Raises `ModelError` where it gives no access to them."""
        self._require(self.engine.can.tokens, "does not give access to its tokens, so it cannot be trained")
        return cast(TokenEngine, self.engine)

    def close(self) -> None:
        """End the engine; the next question starts a new one."""
        if "engine" in self.__dict__:
            self.engine.close()
            del self.engine


def repeat_penalty(role: Role | None, untuned: float) -> float:
    """The penalty for repeats: small models otherwise go round in circles, unless tuned for what they write."""
    return 1.0 if role and role.tuned else untuned


def _one_line(question: Question, made: Generation) -> str:
    if not made.text.strip():
        return ""
    text = " ".join((question.opening + made.text).split())
    return text[: text.rindex(".") + 1] if not made.ended and "." in text else text
