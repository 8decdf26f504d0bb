"""The scoring question: its evidence, its hint, what can be left out of it, and the fused score."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..store.rows import Item
from .candidates import Candidate
from .descriptions import shorten

RECALL_WEIGHT = 8.0
_HINTS = ((0.2, "very often"), (0.1, "often"), (0.03, "sometimes"))


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that one scoring question says; every field is plain text, '' or () where there is none."""

    summary: str
    history: tuple[str, ...]
    description: str
    caption: str
    hint: str
    image_sha256: str

    def without(self) -> Iterator[tuple[str, str, Evidence]]:
        """(kind, label, this evidence with one part left out) for each part that is there.

        Parts of the candidate come first: without them the question's shared prefix stays as it was.
        """
        if self.caption:
            yield "caption", "what the picture shows, in words", replace(self, caption="")
        if self.image_sha256:
            yield "image", "the picture itself", replace(self, image_sha256="")
        if self.hint:
            yield "hint", self.hint, replace(self, hint="")
        if self.summary:
            yield "summary", "the summary of this person's taste", replace(self, summary="")
        for index, title in enumerate(self.history):
            rest = self.history[:index] + self.history[index + 1 :]
            yield "history", title, replace(self, history=rest)


def hint(candidate: Candidate, companion: Item | None) -> str:
    """What other people's histories say of a candidate, in one sentence; '' where they say nothing."""
    if companion is None:
        return ""
    for least, word in _HINTS:
        if candidate.together >= least:
            return f"People who chose {shorten(companion.title, 60)} {word} chose this too."
    return ""


def fused_score(log_odds: float, recall: float) -> float:
    """The ranking score: the model's log-odds plus the collaborative recall (0..1), on the scale of log-odds."""
    return log_odds + RECALL_WEIGHT * recall
