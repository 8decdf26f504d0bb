"""The recipe at work on a workspace: captions, preference summaries, recommendations, explanations.

Each step looks for its result under the hash of all that makes it, asks the engine only for what is missing,
and commits every single result. The engine starts when the first question needs it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from .catalogue.images import RgbImage, load_rgb
from .engine.answers import sigmoid
from .engine.process import EngineProcess
from .engine.types import Engine, Image, LogOdds
from .errors import ContextOverflow, InputError, NotFoundError
from .recipe import preferences as recurrence
from .recipe import scoring, views
from .recipe.candidates import Candidate, Recall
from .recipe.descriptions import attribute_values, describe, shorten
from .recipe.prompts import PromptTemplate, Question
from .recipe.recipes import RECIPES, Recipe
from .recipe.scoring import Evidence
from .store import histories, results
from .store.rows import Interaction, Item, Preference, Score
from .store.workspace import Workspace, fingerprint
from .weights import Weights

CAPTION_TOKENS, SUMMARY_TOKENS = 96, 128  # hard caps on generated text
_IMAGE_EDGE = 1024  # pixels on the longer side that an engine gets to see
_TOGETHER = 32  # questions built and sent at once: pictures are held in memory meanwhile
_ROOMS = (640, 320, 160, 80, 40)  # characters a description may take, tried until the prompt fits

Progress = Callable[[str, int, int], None]


def _silent(stage: str, done: int, total: int) -> None: ...


@dataclass(slots=True)
class CaptionRun:
    """What became of the pictures: `failed` holds (item, reason)."""

    total: int = 0
    present: int = 0
    made: int = 0
    failed: list[tuple[Item, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Asked:
    """One scoring question with its evidence and what recall knew of the candidate."""

    item: Item
    candidate: Candidate
    evidence: Evidence
    key: str


class Recommender:
    """A workspace, the weights that answer, and a recipe. Use as a context manager."""

    def __init__(
        self,
        workspace: Workspace,
        weights: Weights,
        recipe: Recipe = RECIPES["full"],
        *,
        progress: Progress = _silent,
        open_engine: Callable[[Any], Engine] = EngineProcess,
    ) -> None:
        self.workspace, self.weights, self.recipe = workspace, weights, recipe
        self._progress = progress
        self._open_engine = open_engine
        self._prompts: dict[str, PromptTemplate] = {}

    # ---- what the steps share

    @cached_property
    def engine(self) -> Engine:
        return self._open_engine(self.weights.config)

    def _prompt(self, name: str) -> PromptTemplate:
        if name not in self._prompts:
            self._prompts[name] = PromptTemplate(name, self.workspace.home / "prompts")
        return self._prompts[name]

    @property
    def sees(self) -> bool:
        """Whether a vision model is configured."""
        return self.weights.vision_id is not None

    def _fits(self, question: Question, reserve: int) -> bool:
        context = self.engine.facts.context - reserve
        parts = [*question.prefix, *question.suffix]
        if all(not isinstance(part, Image) for part in parts):
            # A token is at least one byte: most prompts need no counting.
            size = sum(len(part.text.encode("utf-8", "replace")) for part in parts if not isinstance(part, Image))
            if size <= context:
                return True
        return self.engine.count_tokens(parts) <= context

    def _fitting(self, build: Callable[[int], Question], reserve: int = 0) -> Question:
        """The question built with the most room for each description that fits the context."""
        for room in _ROOMS:
            question = build(room)
            if self._fits(question, reserve):
                return question
        raise ContextOverflow(
            f"the question does not fit a context of {self.engine.facts.context} tokens even with every "
            "description cut short. Next: a smaller --block-size or --history, or a larger --context."
        )

    # ---- item summaries

    @cached_property
    def _caption_settings(self) -> str:
        template = self._prompt("item_caption")
        return fingerprint("caption", self.weights.vision_id, template.sha256, CAPTION_TOKENS)

    def _caption_key(self, item: Item) -> str:
        return fingerprint(self._caption_settings, item.image_sha256, item.title)

    def caption_of(self, item: Item) -> str | None:
        """The caption that belongs to this item's picture, title and model, if it was made."""
        if not self.sees or item.image is None:
            return None
        return results.caption(self.workspace, item.item_id, self._caption_settings, self._caption_key(item))

    def caption_items(self, items: Iterable[Item] | None = None, limit: int | None = None) -> CaptionRun:
        """Caption the items that have a picture and no caption yet (all by default, popular ones first)."""
        chosen = list(histories.items_with_image(self.workspace) if items is None else items)
        known = results.captions(self.workspace, self._caption_settings)
        run = CaptionRun(total=len(chosen))
        missing = []
        for item in chosen:
            if known.get(item.item_id, ("",))[0] == self._caption_key(item):
                run.present += 1
            else:
                missing.append(item)
        missing = missing[:limit]
        for done, item in enumerate(missing):
            self._progress("captions", done, len(missing))
            try:
                text = self._caption(item)
            except InputError as error:  # the file changed or went away since it was checked
                run.failed.append((item, str(error)))
                continue
            results.save_caption(
                self.workspace,
                item.item_id,
                self._caption_settings,
                self._caption_key(item),
                text,
                self._model,
            )
            run.made += 1
        self._progress("captions", len(missing), len(missing))
        return run

    def _caption(self, item: Item) -> str:
        template, image = self._prompt("item_caption"), self._picture(item)
        question = template.question(self.engine.facts, {"title": item.title}, image)
        return self._write(question, CAPTION_TOKENS)

    def _picture(self, item: Item) -> Image:
        assert item.image is not None
        picture: RgbImage = load_rgb(item.image, longest_edge=_IMAGE_EDGE)
        return Image(picture.width, picture.height, picture.pixels, picture.sha256)

    def _write(self, question: Question, tokens: int) -> str:
        made = self.engine.generate(question.prefix, question.suffix, max_tokens=tokens)
        text = " ".join(made.text.split())
        if not made.ended and "." in text:
            text = text[: text.rindex(".") + 1]  # the cap fell inside a sentence
        return text

    @property
    def _model(self) -> str:
        return self.weights.config.model.name

    # ---- preference summaries

    @cached_property
    def _preference_settings(self) -> str:
        recipe = self.recipe
        names = ["preference_direct"] if recipe.direct else ["preference_first", "preference_update"]
        hashes = [self._prompt(name).sha256 for name in names]
        shape = [recipe.block_size, recipe.window, recipe.direct, recipe.caption]
        return fingerprint("preference", self.weights.text_id, hashes, shape, SUMMARY_TOKENS)

    def preferences(self, user_id: str, history: Sequence[Interaction] | None = None) -> list[Preference]:
        """The chain of summaries of a user, oldest block first; only what is missing or stale is written."""
        if history is None:
            history = self._history(user_id)
        blocks = recurrence.blocks(history, self.recipe.block_size, self.recipe.window)
        if not blocks:
            return []
        if self.recipe.direct:
            everything = tuple(step for block in blocks for step in block.interactions)
            blocks = [recurrence.Block(blocks[-1].index, everything)]
        kept = results.preferences(self.workspace, user_id, self._preference_settings)
        chain: list[Preference] = []
        for done, block in enumerate(blocks):
            before = chain[-1] if chain else None
            items = [(step.item, self._used_caption(step.item)) for step in block.interactions]
            told = [describe(item, caption) for item, caption in items]
            key = fingerprint(self._preference_settings, before.key if before else None, told)
            known = kept.get(block.index)
            if known is None or known.key != key:
                self._progress("summary", done, len(blocks))
                ids = tuple(item.item_id for item, _ in items)
                summary = self._summary(before.summary if before else None, items)
                known = Preference(block.index, summary, block.start, block.end, ids, key)
                results.save_preference(self.workspace, user_id, self._preference_settings, known, self._model)
            chain.append(known)
        if set(kept) - {block.index for block in blocks}:
            results.drop_preferences_outside(
                self.workspace, user_id, self._preference_settings, blocks[0].index, blocks[-1].index
            )
        self._progress("summary", len(blocks), len(blocks))
        return chain

    def _summary(self, before: str | None, items: Sequence[tuple[Item, str | None]]) -> str:
        values = {} if before is None else {"summary": before}
        name = "direct" if self.recipe.direct else "first" if before is None else "update"
        template = self._prompt(f"preference_{name}")

        def build(room: int) -> Question:
            told = [describe(item, caption, room) for item, caption in items]
            return template.question(self.engine.facts, {"items": told, **values})

        return self._write(self._fitting(build, SUMMARY_TOKENS), SUMMARY_TOKENS)

    def _used_caption(self, item: Item) -> str | None:
        return self.caption_of(item) if self.recipe.caption else None

    def _history(self, user_id: str) -> list[Interaction]:
        history = histories.history(self.workspace, user_id)
        if not history and not histories.user_exists(self.workspace, user_id):
            near = histories.similar_users(self.workspace, user_id)
            hint = f" Did you mean {', '.join(near)}?" if near else ""
            raise NotFoundError(f"there is no user {user_id!r}.{hint} Next: msr-local users.")
        return history

    # ---- scores

    @cached_property
    def _score_settings(self) -> str:
        recipe = self.recipe
        model = self.weights.vision_id if self._asks_with_images else self.weights.text_id
        shape = [
            recipe.name,
            recipe.recent,
            recipe.summary,
            recipe.caption,
            recipe.hint,
            self._preference_settings,
        ]
        return fingerprint("score", model, self._prompt("score").sha256, shape)

    @property
    def _asks_with_images(self) -> bool:
        return self.recipe.image and self.sees

    @cached_property
    def recall(self) -> Recall:
        """The collaborative scores over the whole workspace."""
        return Recall(*histories.interaction_arrays(self.workspace), histories.texts(self.workspace))

    def _asked(self, candidate: Candidate, summary: str, history: Sequence[Interaction]) -> _Asked:
        item = histories.item(self.workspace, candidate.item_id)
        assert item is not None
        companion = candidate.companion and histories.item(self.workspace, candidate.companion)
        recent = history[-self.recipe.recent :] if self.recipe.recent else ()
        evidence = Evidence(
            summary=summary,
            history=tuple(describe(step.item, room=120) for step in recent),
            description=describe(item),
            caption=self._used_caption(item) or "",
            hint=scoring.hint(candidate, companion or None) if self.recipe.hint else "",
            image_sha256=(item.image_sha256 or "") if self._asks_with_images else "",
        )
        return _Asked(item, candidate, evidence, self._score_key(evidence))

    def _score_key(self, evidence: Evidence) -> str:
        return fingerprint(
            self._score_settings,
            [evidence.summary, evidence.history, evidence.description, evidence.caption, evidence.hint],
            evidence.image_sha256,
        )

    def _score_question(self, item: Item, evidence: Evidence) -> Question:
        image = self._picture(item) if evidence.image_sha256 else None

        def build(room: int) -> Question:
            return self._prompt("score").question(
                self.engine.facts,
                {
                    "summary": evidence.summary,
                    "history": [shorten(line, room) for line in evidence.history],
                    "candidate": describe(item, evidence.caption, room),
                    "hint": evidence.hint,
                },
                image,
            )

        return self._fitting(build)

    def _answers(self, questions: Sequence[Question]) -> Iterator[LogOdds]:
        """Answers in order; neighbours with the same prefix are asked together."""
        start = 0
        while start < len(questions):
            prefix = questions[start].prefix
            end = start
            while end < len(questions) and questions[end].prefix == prefix:
                end += 1
            yield from self.engine.log_odds(prefix, [question.suffix for question in questions[start:end]])
            start = end

    def _scores(self, user_id: str, asked: Sequence[_Asked]) -> dict[str, Score]:
        """{item id: score} of all questions; the new ones are asked, and each answer is committed."""
        kept = results.scores(self.workspace, user_id, self._score_settings)
        found = {a.item.item_id: kept[a.item.item_id] for a in asked if self._is_current(kept, a)}
        missing = [a for a in asked if a.item.item_id not in found]
        self._progress("scores", 0, len(missing))
        for start in range(0, len(missing), _TOGETHER):
            group = missing[start : start + _TOGETHER]
            answers = self._answers([self._score_question(a.item, a.evidence) for a in group])
            for done, (one, answer) in enumerate(zip(group, answers, strict=True), start=start + 1):
                score = _score(one.item.item_id, answer, one.key)
                results.save_score(self.workspace, user_id, self._score_settings, score, self._model)
                found[score.item_id] = score
                self._progress("scores", done, len(missing))
        return found

    @staticmethod
    def _is_current(kept: dict[str, Score], asked: _Asked) -> bool:
        known = kept.get(asked.item.item_id)
        return known is not None and known.key == asked.key

    # ---- recommend and explain

    def recommend(self, user_id: str, k: int = 10, candidates: int = 100) -> views.RecommendationList:
        """The best `k` of `candidates` recalled items that the user has not seen.

        Raises `NotFoundError` for a user that no file named.
        """
        started = time.perf_counter()
        history = self._history(user_id)
        seen = [step.item.item_id for step in history]
        recalled = self.recall.candidates(
            seen, max(k, candidates), exclude=histories.low_rated(self.workspace, user_id)
        )
        recall_s = time.perf_counter() - started
        chain = self.preferences(user_id, history) if self.recipe.summary else []
        summary = chain[-1].summary if chain else ""
        summary_s = time.perf_counter() - started - recall_s
        asked = [self._asked(candidate, summary, history) for candidate in recalled]
        scores = self._scores(user_id, asked)
        ranked = sorted(
            ((scoring.fused_score(scores[a.item.item_id].log_odds, a.candidate.recall), a) for a in asked),
            key=lambda pair: (-pair[0], pair[1].item.item_id),
        )
        results.save_ranking(
            self.workspace,
            user_id,
            self._score_settings,
            [(a.item.item_id, a.candidate.recall, score) for score, a in ranked],
        )
        total_s = time.perf_counter() - started
        items = [
            views.Recommendation(
                rank=rank,
                item_id=a.item.item_id,
                title=a.item.title,
                p_yes=scores[a.item.item_id].p_yes,
                log_odds=scores[a.item.item_id].log_odds,
                score=score,
                caption=a.evidence.caption or None,
                shares=a.candidate.shares,
            )
            for rank, (score, a) in enumerate(ranked[:k], start=1)
        ]
        coverage = sorted(score.coverage for score in scores.values())
        return views.RecommendationList(
            user=user_id,
            summary=summary,
            items=items,
            model={
                **self.weights.to_json(),
                "recipe": self.recipe.to_json(),
                "prompt_version": self._prompt("score").sha256[:12],
                "coverage": coverage[len(coverage) // 2] if coverage else None,
            },
            timing={
                "candidates": len(asked),
                "recall_s": round(recall_s, 3),
                "summary_s": round(summary_s, 3),
                "score_s": round(total_s - recall_s - summary_s, 3),
                "total_s": round(total_s, 3),
            },
        )

    def explain(
        self, user_id: str, item_id: str | None = None, k: int = 10, candidates: int = 100
    ) -> views.Explanation:
        """Taste over time, then the measured evidence for one item (by default the first recommendation).

        Raises `NotFoundError` for a user or an item that is not there.
        """
        ranking = self.recommend(user_id, k, candidates)
        if item_id is None:
            if not ranking.items:
                raise NotFoundError(f"there is nothing left to recommend to user {user_id!r}.")
            item_id = ranking.items[0].item_id
        item = histories.item(self.workspace, item_id)
        if item is None:
            raise NotFoundError(f"there is no item {item_id!r}. Next: msr-local items.")
        history = self._history(user_id)
        seen = [step.item.item_id for step in history if step.item.item_id != item_id]
        candidate = self.recall.candidate(seen, item_id)
        asked = self._asked(candidate, ranking.summary, history)
        score = self._scores(user_id, [asked])[item_id]
        chain = self.preferences(user_id, history) if self.recipe.summary else []
        return views.Explanation(
            user=user_id,
            item_id=item_id,
            title=item.title,
            p_yes=score.p_yes,
            log_odds=score.log_odds,
            description_lines=[
                f"{name.replace('_', ' ').capitalize()}: {', '.join(attribute_values(value))}"
                for name, value in item.attributes.items()
            ],
            caption=self.caption_of(item),
            image=_thumbnail(item),
            timeline=self._timeline(chain),
            evidence=self._evidence(user_id, asked, score),
            recommendations=ranking.items,
            notes=self._notes(item, history, score),
        )

    def _evidence(self, user_id: str, asked: _Asked, whole: Score) -> list[views.Evidence]:
        """z(all) - z(all but one part), for each part: asked anew, never inferred."""
        parts = list(asked.evidence.without())
        found: dict[int, float] = {}
        missing: list[tuple[int, str, str, Question]] = []
        for index, (kind, _, evidence) in enumerate(parts):
            without, key = f"{kind}:{index}", self._score_key(evidence)
            kept = results.scores(self.workspace, user_id, self._score_settings, without).get(whole.item_id)
            if kept and kept.key == key:
                found[index] = kept.log_odds
            else:
                missing.append((index, without, key, self._score_question(asked.item, evidence)))
        answers = self._answers([question for *_, question in missing])
        for done, ((index, without, key, _), answer) in enumerate(zip(missing, answers, strict=True), start=1):
            score = _score(whole.item_id, answer, key)
            results.save_score(self.workspace, user_id, self._score_settings, score, self._model, without)
            found[index] = score.log_odds
            self._progress("evidence", done, len(missing))
        return [
            views.Evidence(kind, label, whole.log_odds - found[index]) for index, (kind, label, _) in enumerate(parts)
        ]

    def _timeline(self, chain: Sequence[Preference]) -> list[views.TimelineBlock]:
        timeline, before = [], None
        for preference in chain:
            added, dropped = recurrence.changes(before, preference.summary) if before is not None else ([], [])
            items = histories.items(self.workspace, preference.items)
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

    def _notes(self, item: Item, history: Sequence[Interaction], score: Score) -> list[str]:
        notes = []
        if any(step.item.item_id == item.item_id for step in history):
            notes.append("This item is already in the person's history.")
        if self.recipe.image and item.image is not None and not self.sees:
            notes.append("The picture was not looked at: no vision model is configured (msr-local models use).")
        if score.coverage < 0.5:
            notes.append(weak_answer(score.coverage))
        return notes

    def close(self) -> None:
        if "engine" in self.__dict__:
            self.engine.close()

    def __enter__(self) -> Recommender:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def weak_answer(coverage: float) -> str:
    """The note for a model that would rather not answer yes or no."""
    return (
        f"The model gives yes and no together {coverage:.1%} of its probability: it was not tuned for this "
        "question, so read p(yes) as a leaning, not as a chance."
    )


def _score(item_id: str, answer: LogOdds, key: str) -> Score:
    return Score(item_id, answer.z, sigmoid(answer.z), answer.coverage, key)


def _thumbnail(item: Item) -> views.Thumbnail | None:
    if item.image is None:
        return None
    try:
        small = load_rgb(Path(item.image), longest_edge=320)
    except InputError:
        return None
    return views.Thumbnail(small.width, small.height, small.pixels)
