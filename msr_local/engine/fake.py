"""An engine for tests: by a rule or with a real engine behind it, and it remembers what it was asked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from ..arrays import Floats
from .types import Capabilities, Engine, Generation, LogOdds, Question, Writing

_CAN = Capabilities(context=4096, sees=True, log_odds="exact", reads=True, tokens=False)
_WIDTH = 8  # of the vectors of texts


class FakeEngine:
    """An `Engine` that answers by a rule (`z`, `text`), or as the engine `behind` it does.

    Every question is put into `asked`, and every text for a vector into `read`. `watch` sees each question before its
    answer goes out; what it raises comes to whoever waits, as Ctrl-C or a crash would. `words` caps the tokens of a
    text. Closing it leaves the engine behind it open, which belongs to whoever made it.
    """

    def __init__(
        self,
        behind: Engine | None = None,
        *,
        z: Callable[[Question], float] = lambda question: 4.0 * _number(_words(question)) - 2.0,
        text: Callable[[Question], str] = lambda question: f"Likes {_number(_words(question)):.6f}.",
        watch: Callable[[Question], None] = lambda question: None,
        words: int | None = None,
        can: Capabilities | None = None,
    ) -> None:
        self.behind, self.asked, self.read = behind, list[Question](), list[str]()
        self.can = can or (behind.can if behind else _CAN)
        self._z, self._text, self._watch, self._most = z, text, watch, words

    def _see(self, question: Question) -> None:
        self._watch(question)
        self.asked.append(question)

    def fits(self, question: Question, room: int) -> bool:
        """See `Engine`; by itself it counts a token for four characters."""
        return self.behind.fits(question, room) if self.behind else len(_words(question)) <= 4 * room

    def answers(self, questions: Sequence[Question]) -> Iterator[LogOdds]:
        rule = (LogOdds(self._z(question), 1.0, "Yes") for question in questions)
        answers = self.behind.answers(questions) if self.behind else rule
        for question in questions:
            self._see(question)
            yield next(answers)

    def write(self, questions: Sequence[Question], how: Writing = Writing()) -> Iterator[tuple[int, Generation]]:
        how = replace(how, max_tokens=min(how.max_tokens, self._most or how.max_tokens))
        texts = (Generation(self._text(question), 1, ended=True) for question in questions)
        for place, made in self.behind.write(questions, how) if self.behind else enumerate(texts):
            self._see(questions[place])
            yield place, made

    def vectors(self, texts: Sequence[str]) -> Iterator[tuple[int, Floats]]:
        self.read += texts
        if self.behind:
            yield from self.behind.vectors(texts)
        else:
            for place, text in enumerate(texts):
                seed = int(_number(text) * 2**32)
                yield place, np.random.default_rng(seed).standard_normal(_WIDTH, np.float32)

    def close(self) -> None:
        """Nothing: what it was asked can still be looked at."""


def _words(question: Question) -> str:
    picture = question.image.sha256 if question.image else ""
    return "\n".join([question.system, question.shared, question.own, picture, question.opening])


def _number(text: str) -> float:
    """A number in [0, 1) that belongs to a text."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:6], "big") / 2.0**48
