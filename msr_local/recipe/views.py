"""The plain results of a recommendation or an explanation: what `--json` prints and the viewer draws.

Nothing here knows a terminal, a database or a model. Strings are user data and may hold anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypedDict


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One ranked item; `shares` says how much each recall source contributed (they sum to 1)."""

    rank: int
    item_id: str
    title: str
    p_yes: float
    log_odds: float
    score: float
    caption: str | None = None
    shares: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RecommendationList:
    """All that `recommend` answers: the user's preference summary, and the items in rank order.

    `pictures` says at how many candidates' pictures the model looked, and how many it skipped.
    """

    user: str
    summary: str
    items: Sequence[Recommendation]
    model: Mapping[str, Any] = field(default_factory=dict)
    timing: Mapping[str, Any] = field(default_factory=dict)
    pictures: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The document that `recommend --json` prints."""
        return asdict(self)


class BlockItem(TypedDict):
    """An item as a block of the history names it."""

    item_id: str
    title: str


@dataclass(frozen=True, slots=True)
class TimelineBlock:
    """One block of the history, the preference summary after it, and what that changed.

    `added` and `dropped` are the words that this summary has and the one before had not, and the reverse.
    """

    block: int
    start: str | None
    end: str | None
    items: Sequence[BlockItem]
    summary: str
    added: Sequence[str] = ()
    dropped: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        """The block as `explain --json` prints it."""
        names = {"start": "from", "end": "to"}
        return {names.get(name, name): value for name, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one part of the question did to the answer.

    `delta_log_odds` is z(whole question) - z(question without this part): positive speaks for the item.
    `kind` is one of summary, history, caption, image, hint; `label` is what a reader sees.
    """

    kind: str
    label: str
    delta_log_odds: float


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small decoded picture: `rgb` holds three bytes a pixel, row by row from the top left."""

    width: int
    height: int
    rgb: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1 or len(self.rgb) != 3 * self.width * self.height:
            raise ValueError(f"{len(self.rgb)} bytes are not a {self.width}x{self.height} RGB picture")


@dataclass(frozen=True, slots=True)
class Explanation:
    """All that `explain` answers: taste over time, then why this item."""

    user: str
    item_id: str
    title: str
    p_yes: float
    log_odds: float
    description_lines: Sequence[str] = ()
    caption: str | None = None
    image: Thumbnail | None = None
    timeline: Sequence[TimelineBlock] = ()
    interactions: int = 0  # in the history, also where the recipe summarises none of them
    evidence: Sequence[Evidence] = ()
    recommendations: Sequence[Recommendation] = ()
    notes: Sequence[str] = ()

    @property
    def no_timeline(self) -> str:
        """Why there is no taste over time to show, in words; empty where there is."""
        if self.timeline:
            return ""
        if not self.interactions:
            return "This user has no history yet, so there is no preference summary."
        return f"{self.interactions:,} interactions. This recipe has no preference summaries; --recipe full has."

    @property
    def ranked_evidence(self) -> list[Evidence]:
        """The evidence, what moved the answer most first."""
        return sorted(self.evidence, key=lambda evidence: -abs(evidence.delta_log_odds))

    def to_json(self) -> dict[str, Any]:
        """The document that `explain --json` prints; it leaves out the picture."""
        return {
            "user": self.user,
            "item_id": self.item_id,
            "title": self.title,
            "description": list(self.description_lines),
            "caption": self.caption,
            "p_yes": self.p_yes,
            "log_odds": self.log_odds,
            "timeline": [block.to_json() for block in self.timeline],
            "evidence": [asdict(one) for one in self.evidence],
            "recommendations": [asdict(one) for one in self.recommendations],
            "notes": list(self.notes),
        }
