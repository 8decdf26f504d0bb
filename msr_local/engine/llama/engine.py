"""llama.cpp behind the `Engine` protocol: questions in the model's own chat format, neighbours read together.

A native abort ends the process: everyday use goes through `.process`, which runs this in a child.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ..types import SCORE, EngineConfig, Generation, LogOdds, Question, Rendered, Writing
from .chat import rendered, within
from .decoder import Decoder


class LlamaEngine(Decoder):
    """A GGUF model, with an optional projector and LoRA adapters, in this process: a `TokenEngine`.

    Raises `ModelError` for files that are missing, broken or do not fit together.
    """

    def __init__(self, config: EngineConfig) -> None:
        super().__init__(config)
        self.can = self.facts.can

    def rendered(self, question: Question) -> Rendered:
        return rendered(self.facts, question)

    def fits(self, question: Question, room: int) -> bool:
        asked = self.rendered(question)
        return within(asked, room) or self.count_tokens([*asked.prefix, *asked.suffix]) <= room

    def answers(self, questions: Sequence[Question]) -> Iterator[LogOdds]:
        for _, group in self._together(questions):
            suffixes = [one.suffix for one in group]
            yield from self.log_odds(group[0].prefix, suffixes, adapter=self._tuned(SCORE))

    def write(self, questions: Sequence[Question], how: Writing = Writing()) -> Iterator[tuple[int, Generation]]:
        for start, group in self._together(questions):
            own = replace(how, said=how.said[start : start + len(group)])
            suffixes = [one.suffix for one in group]
            for place, made in self.continued(group[0].prefix, suffixes, own, adapter=self._tuned(how.role)):
                yield start + place, made

    def _tuned(self, role: str) -> str | None:
        return role if role in self._adapters else None

    def _together(self, questions: Sequence[Question]) -> Iterator[tuple[int, list[Rendered]]]:
        """Runs of neighbours with the same prefix, each with the place of its first."""
        asked = [self.rendered(question) for question in questions]
        start = 0
        for end in range(1, len(asked) + 1):
            if end == len(asked) or asked[end].prefix != asked[start].prefix:
                yield start, asked[start:end]
                start = end
