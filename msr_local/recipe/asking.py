"""Asking an engine the recipe's questions: templates, fitting the context, and errors of unfit models.

What asks yes/no questions one after the other is written as a plan, which says what it wants to know and does not ask
itself. So one person's plan can be driven alone, and those of many side by side where many engines answer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from ..arrays import Floats
from ..engine.pool import FAULTS, Line, Pool
from ..engine.types import Engine, EngineConfig, Generation, LogOdds, Question, ServerConfig, TokenEngine, Writing
from ..errors import AnswerTokensError, ContextOverflow, InputError, ModelError, MsrError
from ..models.spec import Role, open_engine
from ..prompts import PromptTemplate

Choice = TypeVar("Choice")
Made = TypeVar("Made")
Name = TypeVar("Name")


@dataclass(frozen=True, slots=True)
class Group:
    """Questions of a plan that are asked together; `keep` commits the answer to the one at a place, as it is given."""

    questions: Sequence[Question]
    keep: Callable[[int, LogOdds], None]


Plan = Generator[Group, None, Made]  # goes on when all of a group are answered, or with one of `FAULTS`, raised in it


def driven(plan: Plan[Made], asker: Asker) -> Made:
    """What a plan comes to."""
    error: MsrError | None = None
    while True:
        try:
            group = plan.throw(error) if error else next(plan)
        except StopIteration as end:
            return cast(Made, end.value)
        error = None
        try:
            for place, answer in enumerate(asker.answers(group.questions)):
                group.keep(place, answer)
        except FAULTS as failed:
            error = failed


@dataclass(slots=True)
class _Driven(Generic[Name, Made]):
    """A plan on its way: its present group, and how many answers to it are still to come."""

    name: Name
    plan: Plan[Made]
    group: Group | None = None
    left: int = 0


def side_by_side(
    asker: Asker, plans: Iterable[tuple[Name, Plan[Made]]]
) -> Iterator[tuple[Name, Made | InputError | ContextOverflow]]:
    """What each plan comes to, as it is finished; a plan that cannot go on comes to its error.

    So many are begun as keep the asker's engines busy: one after the other, where it has one.
    """
    waiting = iter(plans)
    ready: deque[_Driven[Name, Made]] = deque()
    finished: deque[tuple[Name, Made | InputError | ContextOverflow]] = deque()
    asked = 0  # groups on their way
    line: Line[_Driven[Name, Made]]
    with asker.line() as line:

        def go_on(one: _Driven[Name, Made], error: MsrError | None = None) -> None:
            try:
                one.group = one.plan.throw(error) if error else next(one.plan)
            except StopIteration as end:
                finished.append((one.name, end.value))
            except (InputError, ContextOverflow) as failed:
                finished.append((one.name, failed))
            else:
                one.left = len(one.group.questions)
                ready.append(one)

        while True:
            while line.free and not finished:
                if ready:
                    one = ready.popleft()
                    assert one.group is not None
                    line.ask(one, one.group.questions)
                    asked += 1
                # What was answered is kept before another plan is begun, which takes a while.
                elif (asked and line.answered) or (new := next(waiting, None)) is None:
                    break
                else:
                    go_on(_Driven(*new))
            if finished:
                yield finished.popleft()
            elif asked:
                one, place, answer = line.next()
                if isinstance(answer, LogOdds):
                    assert one.group is not None
                    one.group.keep(place, answer)
                    one.left -= 1
                if not isinstance(answer, LogOdds) or not one.left:
                    asked -= 1
                    go_on(one, None if isinstance(answer, LogOdds) else answer)
            else:
                return


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
        return self._answering(questions).answers(questions) if questions else iter(())

    def _answering(self, questions: Sequence[Question]) -> Engine:
        """The engine, if it can answer these questions."""
        if self.engine.can.log_odds == "none":
            server = isinstance(self._config, ServerConfig)
            lacks = "the server reports no probabilities (logprobs)" if server else "no single token for yes or for no"
            raise AnswerTokensError(
                f"{self._config.name}: {lacks}, so p(yes) cannot be read. "
                "Next: choose another model with msr-local models use."
            )
        self._require_eyes(questions)
        return self.engine

    def line(self) -> Line[Any]:
        """Groups of yes/no questions on their way to the engine, or to several. Raises as `answers`."""
        return Line(self._answering)

    @property
    def width(self) -> int:
        """How many engines answer at once; 1 before the first question."""
        engine = self.__dict__.get("engine")
        return engine.width if isinstance(engine, Pool) else 1

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
