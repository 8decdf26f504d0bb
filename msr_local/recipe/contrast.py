"""What one part of a question does for an item rather than for others: measured, by asking with it and without it.

Leaving a part out often moves the answers about all items alike: a short question is answered otherwise than a long
one. That is no reason to choose this item. So the same is left out of the questions about other candidates as well,
and what it does to them on average is taken off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import stdtrit

from ..arrays import Floats
from ..progress import silent
from ..values import values
from . import views
from .judge import Asked
from .recommender import Recommender
from .scoring import Part
from .words import content_words

_OF_THE_USER = ("summary", "history")
COMPARED = 12  # other candidates, if there are so many: each part costs a question about each


@dataclass(frozen=True, slots=True)
class Effect:
    """What an item loses with a part, less `common`, what others lose on average; for fewer than two no `ci95`."""

    value: float
    common: float | None
    ci95: tuple[float, float] | None


def effect(own: float, others: Sequence[float]) -> Effect:
    """The effect of a part that costs this item `own` log-odds, and `others` what it costs each of them.

    The 95% interval is Student's, of the mean of the others.
    """
    if not others:
        return Effect(own, None, None)
    common = float(np.mean(others))
    value, count = own - common, len(others)
    if count < 2:
        return Effect(value, common, None)
    margin = float(stdtrit(count - 1, 0.975) * np.std(others, ddof=1) / np.sqrt(count))
    return Effect(value, common, (value - margin, value + margin))


def compared(candidates: Sequence[Asked], item_id: str, listed: int) -> list[Asked]:
    """At most `COMPARED` of the ranked `candidates` to compare an item with: the first of the list, then a spread.

    A third is the first of the `listed` best, the rest is taken at even distances from all that follow: near the top
    all items have much in common, and what speaks for one speaks for its neighbours.
    """
    others = [one for one in candidates if one.item.item_id != item_id]
    if len(others) <= COMPARED:
        return others
    first = others[: min(listed, COMPARED // 3)]
    places = np.linspace(len(first), len(others) - 1, COMPARED - len(first)).round().astype(int)
    return first + [others[place] for place in places]


def contexts(part: Part, parts: Sequence[Part]) -> list[frozenset[Part]]:
    """What else is left out of the two questions in which a part is measured: nothing, and all that may say the same.

    Ten lines of one taste make up for each other, so that none is missed; alone, each can tell what it has to tell. So
    a part is measured as the last one out and as the first one in, which are the two ends of Shapley's value (Shapley
    1953, for features Strumbelj and Kononenko 2010). Of the item, only what similar users chose says the same.
    """
    hint = {one for one in parts if one.kind == "hint"}
    of_the_user = {one for one in parts if one.kind in _OF_THE_USER}
    same = hint if part.kind in ("caption", "image") else of_the_user | hint
    return [frozenset(), *([frozenset(rest)] if (rest := same - {part}) else [])]


def evidence(
    recommender: Recommender, user_id: str, asked: Asked, others: Sequence[Asked], titles: Sequence[str]
) -> list[views.Evidence]:
    """What each part of the question `asked` says for its item rather than for `others`.

    They are asked by the same user, so their questions begin alike. `titles` are those of the history.
    """
    everyone = [asked, *others]
    whole = recommender.judge.scores(user_id, everyone, progress=silent)

    def z(gone: frozenset[Part]) -> Floats:
        less = [replace(one, evidence=one.evidence.less(gone)) for one in everyone]
        found = recommender.judge.past_scores(less) if gone else whole
        return np.array([found[one.item.item_id].log_odds for one in everyone])

    measured, parts = [], asked.evidence.parts
    for done, part in enumerate(parts, start=1):
        # Who has no such part (no picture, say) loses nothing without it.
        lost = np.mean([z(gone) - z(gone | {part}) for gone in contexts(part, parts)], axis=0)
        found = effect(float(lost[0]), lost[1:].tolist())
        measured.append(
            views.Evidence(
                kind=part.kind,
                label=part.label(titles),
                delta_log_odds=found.value,
                ci95=found.ci95,
                common=found.common,
                compared_with=len(others),
                shared=shared_words(_of_the_user(asked, part), asked, others),
            )
        )
        recommender.progress("evidence", done, len(parts))
    return measured


def shared_words(text: str, asked: Asked, others: Sequence[Asked]) -> list[str]:
    """The content words of `text` that the item's description has too, but for those that all `others` have as well."""
    own = _described(asked)
    everywhere = set.intersection(*map(_described, others)) if others else set()
    return [word for key, word in content_words(text).items() if key in own - everywhere]


def _of_the_user(asked: Asked, part: Part) -> str:
    """What the part tells of the user; '' for a part that tells of the item."""
    if part.kind == "history":
        return asked.evidence.history[part.index]
    return asked.evidence.summary if part.kind == "summary" else ""


def _described(asked: Asked) -> set[str]:
    """The keys of all content words of an item: of its title, the values of its attributes and its caption."""
    item = asked.item
    told = (text for value in item.attributes.values() for text in values(value))
    return set(content_words(" ".join([item.title, *told, asked.evidence.caption])))
