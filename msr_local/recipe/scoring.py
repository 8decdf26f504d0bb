"""The scoring question: its evidence, its hint, and what can be left out of it."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace

from ..recall.candidates import Candidate
from ..store.rows import Item
from ..values import words
from .descriptions import shorten

_TOGETHER = ((0.4, "Very often"), (0.2, "Often"), (0.05, "Sometimes"))  # share of those who chose the other
_TOPS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1000)  # ranks that are told apart
_POPULAR = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)  # shares of the catalogue
_COMPANION = 8  # tokens of its title


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a question's evidence; `index` counts the lines of the history, oldest first."""

    kind: str
    index: int = 0

    @property
    def name(self) -> str:
        return f"{self.kind}:{self.index}" if self.kind == "history" else self.kind

    def label(self, titles: Sequence[str]) -> str:
        """The part, as a reader sees it; `titles` are those of the history in the question."""
        return titles[self.index] if self.kind == "history" else _LABELS[self.kind]


_FIELDS = {"caption": "caption", "image": "image_sha256", "hint": "hint", "summary": "summary"}  # of a kind of part
_LABELS = {
    "caption": "the caption of its picture",
    "image": "the picture itself",
    "hint": "what similar users chose",
    "summary": "the preference summary",
}


@dataclass(frozen=True, slots=True)
class Evidence:
    """All evidence of one scoring question; every field is plain text, '' or () where there is none."""

    summary: str
    history: tuple[str, ...]  # one line an item, oldest first
    description: str
    caption: str
    hint: str
    image_sha256: str

    def to_json(self) -> list[object]:
        return [self.summary, self.history, self.description, self.caption, self.hint, self.image_sha256]

    @property
    def parts(self) -> list[Part]:
        """Its parts that are there; those of the candidate come first, then what all questions of a user share."""
        told = [Part(kind) for kind, field in _FIELDS.items() if getattr(self, field)]
        return told + [Part("history", index) for index in range(len(self.history))]

    def less(self, gone: Set[Part]) -> Evidence:
        """This evidence with some parts left out."""
        rest = tuple(line for index, line in enumerate(self.history) if Part("history", index) not in gone)
        return replace(self, history=rest, **{_FIELDS[part.kind]: "" for part in gone if part.kind in _FIELDS})


def hint(candidate: Candidate, companion: Item | None) -> str:
    """What other users' histories say of a candidate, in words that mean the same in any catalogue.

    Ranks are over the whole catalogue: they do not depend on who else is asked about.
    """
    told = []
    if candidate.rank is not None:
        top = next((top for top in _TOPS if candidate.rank <= top), None)
        told.append(f"Similar people: top {top}." if top else f"Similar people: below {_TOPS[-1]}.")
    if candidate.popular is None:
        told.append("New: nobody has chosen it.")
    else:
        share = next((share for share in _POPULAR if candidate.popular <= share), None)
        told.append(f"Popular: top {share:.0%}." if share else "Popular: lower half.")
    word = next((word for least, word in _TOGETHER if candidate.together >= least), "")
    if companion is not None and word:
        told.append(f"{word} with {shorten(words(companion.title), _COMPANION)}.")
    return " ".join(told)
