"""The plain results of a recommendation or an explanation: what `--json` prints and the viewer draws.

Nothing here knows a terminal, a database or a model. Strings are user data and may hold anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypedDict


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One ranked item; `shares` says how much each recall source contributed (they sum to 1).

    The list is in the order of `score`. `probability` is the score after calibration, None where none was fitted: then
    nothing here is a probability of being taken. `p_yes` and `log_odds` are the model's own answer, before recall is
    added.
    """

    rank: int
    item_id: str
    title: str
    p_yes: float
    log_odds: float
    score: float
    probability: float | None = None
    caption: str | None = None
    shares: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RecommendationList:
    """All that `recommend` answers: the user's preference summary, and the items in rank order.

    `user` is None for somebody who is in no file. `pictures` says at how many candidates' pictures the model looked,
    and how many it skipped.
    """

    user: str | None
    summary: str
    items: Sequence[Recommendation]
    model: Mapping[str, Any] = field(default_factory=dict)
    timing: Mapping[str, Any] = field(default_factory=dict)
    pictures: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The document that `recommend --json` prints."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class SimilarItem:
    """An item like another; `shares` says how much of `similarity` (0..1) each source gave (they sum to 1).

    The sources are "text", what can be read of the items, and "item_knn", who took them; `both` users took both.
    """

    rank: int
    item_id: str
    title: str
    similarity: float
    shares: Mapping[str, float]
    both: int


@dataclass(frozen=True, slots=True)
class SimilarList:
    """All that `similar` answers: the item, how many users took it, and the items like it, the most alike first."""

    item_id: str
    title: str
    users: int
    items: Sequence[SimilarItem]

    def to_json(self) -> dict[str, Any]:
        """The document that `similar --json` prints."""
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


SMALL = 0.1  # log-odds: moves a probability by two or three points in a hundred at most


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one part of the question says for this item rather than for other candidates.

    `delta_log_odds` is what the part adds for this item: z(question with it) - z(question without it), the mean of this
    difference beside all other parts and without those that may say the same (`recipe.contrast.contexts`). It is less
    `common`, what the part adds for `compared_with` other candidates on average: positive speaks for this item. `ci95`
    is its 95% interval, from how far the others differ among themselves; None where there are fewer than two. Without
    any others `common` is None, and nothing is taken off.

    `kind` is one of summary, history, caption, image, hint; `label` is what a reader sees. `shared` has the words that
    the part and the item have in common, and not all the others as well.
    """

    kind: str
    label: str
    delta_log_odds: float
    ci95: tuple[float, float] | None = None
    common: float | None = None
    compared_with: int = 0
    shared: Sequence[str] = ()

    @property
    def margin(self) -> float | None:
        """How far the interval reaches to either side."""
        return None if self.ci95 is None else (self.ci95[1] - self.ci95[0]) / 2

    @property
    def clear(self) -> bool:
        """Whether it speaks for or against the item at all: not small, and 0 is outside its interval."""
        return abs(self.delta_log_odds) >= max(SMALL, self.margin or 0.0)


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
    probability: float | None = None  # as in `Recommendation`
    description_lines: Sequence[str] = ()
    caption: str | None = None
    image: Thumbnail | None = None
    timeline: Sequence[TimelineBlock] = ()
    interactions: int = 0  # in the history, also where the recipe summarises none of them
    evidence: Sequence[Evidence] = ()
    recommendations: Sequence[Recommendation] = ()
    thumbnails: Mapping[str, Thumbnail] = field(default_factory=dict)  # of the recommended items, by id
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
    def clear_evidence(self) -> list[Evidence]:
        """The evidence that speaks for or against the item, what says most first."""
        return sorted((one for one in self.evidence if one.clear), key=lambda one: -abs(one.delta_log_odds))

    @property
    def unclear_evidence(self) -> list[Evidence]:
        """The evidence whose effect cannot be told from none, in the order of the question."""
        return [one for one in self.evidence if not one.clear]

    @property
    def evidence_meaning(self) -> str:
        """What the numbers of the evidence are, in words."""
        others = max((one.compared_with for one in self.evidence), default=0)
        if not others:
            return (
                "Log-odds that this part of the question adds to the answer; measured. There is no other "
                "candidate to compare with, so a part may say the same for every item."
            )
        rather = f"{others} other candidates" if others > 1 else "the only other candidate"
        interval = "; ± is the 95% interval" if others > 1 else ""
        return f"How much each part speaks for this item rather than for {rather}: log-odds, measured{interval}."

    def to_json(self) -> dict[str, Any]:
        """The document that `explain --json` prints; it leaves out the pictures."""
        return {
            "user": self.user,
            "item_id": self.item_id,
            "title": self.title,
            "description": list(self.description_lines),
            "caption": self.caption,
            "probability": self.probability,
            "p_yes": self.p_yes,
            "log_odds": self.log_odds,
            "timeline": [block.to_json() for block in self.timeline],
            "evidence": [asdict(one) for one in self.evidence],
            "recommendations": [asdict(one) for one in self.recommendations],
            "notes": list(self.notes),
        }
