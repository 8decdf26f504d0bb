"""Explanations: taste over time, then why one item rather than others, by asking without each part of the question.

No explanation is text that a model wrote about itself: each number is measured (recipe/contrast.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from ..catalogue.images import load_rgb
from ..errors import InputError, NotFoundError
from ..store import histories
from ..store.rows import Interaction, Item, Preference, Score
from ..values import values
from . import views
from .blocks import changes
from .contrast import compared, evidence
from .enough import MISS
from .recommender import LOOK, Recommender

WEAK = 0.5  # coverage under which an answer is called weak
_PICTURE, _THUMBNAIL = 320, 96  # pixels on the longer side: of the item, and of those in the list
UNCALIBRATED = (
    "The score of this model and recipe was not calibrated, so the list shows no probability: it is in the order of "
    "the score, and p(yes) is the model's own answer, before recall is added. Next: msr-local calibrate."
)


def explain(
    recommender: Recommender,
    user_id: str,
    item_id: str | None = None,
    k: int = 10,
    candidates: int = 100,
    look: int = LOOK,
    miss: float = MISS,
) -> views.Explanation:
    """Why `item_id` (by default the first recommendation) for this user.

    Raises `NotFoundError` for a user or an item that is not there.
    """
    workspace = recommender.workspace
    if item_id is not None:
        histories.existing_item(workspace, item_id)
    ranking = recommender.rank(user_id, k, candidates, look, miss)
    listed = recommender.listed(ranking, k)
    if item_id is None:
        if not listed.items:
            why = f"nothing to recommend: user {user_id!r} has taken every item, or rated it low"
            raise NotFoundError(f"{why}. Next: msr-local explain USER ITEM.")
        item_id = listed.items[0].item_id
    history = recommender.history(user_id)
    seen = [step.item.item_id for step in history if step.item.item_id != item_id]
    recall = recommender.recall.now().after(seen)
    candidate = recall.candidate(seen, item_id)
    asked = recommender.judge.ask(candidate, ranking.summary, history)
    score = recommender.judge.scores(user_id, [asked])[item_id]
    fused = recommender.fused(recall.learned is not None)
    probability = fused.probability(fused.score(score.log_odds, candidate.recall))
    others = compared([one for _, one in ranking.ranked.items], item_id, k)
    chain = recommender.preferences.chain(user_id, history) if recommender.recipe.summary else []
    recent = history[-recommender.recipe.recent :] if recommender.recipe.recent else []
    return views.Explanation(
        user=user_id,
        item_id=item_id,
        title=asked.item.title,
        p_yes=score.p_yes,
        log_odds=score.log_odds,
        probability=probability,
        description_lines=[
            f"{name.replace('_', ' ').capitalize()}: {', '.join(shown)}"
            for name, value in asked.item.attributes.items()
            if (shown := values(value))
        ],
        caption=recommender.captions.of(asked.item),
        image=_thumbnail(asked.item, _PICTURE),
        timeline=_timeline(recommender, chain),
        interactions=len(history),
        evidence=evidence(recommender, user_id, asked, others, [step.item.title for step in recent]),
        recommendations=listed.items,
        thumbnails=_thumbnails([one.item for _, one in ranking.ranked.items[:k]]),
        notes=_notes(recommender, asked.item, history, score, calibrated=probability is not None),
    )


def weak_answer(coverage: float) -> str:
    """The note for a model that would rather answer something other than yes or no."""
    return (
        f'The model gives only {coverage:.1%} of its probability to "yes" and "no" together. It was not trained for '
        "this question: read p(yes) as a tendency, not as a probability."
    )


def _timeline(recommender: Recommender, chain: Sequence[Preference]) -> list[views.TimelineBlock]:
    timeline = []
    before = chain[0].summary if chain else ""
    for preference in chain:
        added, dropped = changes(before, preference.summary)
        items = histories.items(recommender.workspace, preference.items)
        timeline.append(
            views.TimelineBlock(
                block=preference.block,
                start=preference.start,
                end=preference.end,
                items=[{"item_id": item.item_id, "title": item.title} for item in items],
                summary=preference.summary,
                added=added,
                dropped=dropped,
            )
        )
        before = preference.summary
    return timeline


def _notes(
    recommender: Recommender, item: Item, history: Sequence[Interaction], score: Score, *, calibrated: bool
) -> list[str]:
    notes = []
    if any(step.item.item_id == item.item_id for step in history):
        notes.append("This item is already in the user's history.")
    if item.image is not None and not recommender.cast.looks:
        if not recommender.cast.sees:
            why = "no vision model is configured"
        elif not recommender.recipe.image:
            why = "the recipe does not use pictures"
        else:
            why = "the model was not trained with pictures. It read the caption, if there is one"
        notes.append(f"The question contained no picture: {why}.")
    if recommender.recall.unread:
        notes.append(recommender.recall.unread)
    if not calibrated:
        notes.append(UNCALIBRATED)
    if score.coverage < WEAK:
        notes.append(weak_answer(score.coverage))
    return notes


def _thumbnails(items: Sequence[Item]) -> dict[str, views.Thumbnail]:
    found = ((item.item_id, _thumbnail(item, _THUMBNAIL)) for item in items)
    return {item_id: thumbnail for item_id, thumbnail in found if thumbnail}


def _thumbnail(item: Item, longest_edge: int) -> views.Thumbnail | None:
    if item.image is None:
        return None
    try:
        small = load_rgb(item.image, longest_edge=longest_edge)
    except InputError:
        return None
    return views.Thumbnail(small.width, small.height, small.pixels)
