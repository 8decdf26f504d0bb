"""The recommender (MLLM-MSR, section 4.3): recall candidates, ask about each, rank by the fused score."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from ..arrays import Vector
from ..engine.types import Engine, EngineConfig, ServerConfig, TokenEngine
from ..errors import ContextOverflow, InputError
from ..models import choice
from ..models.spec import Cast, Fused, Role, open_engine
from ..progress import Progress, silent
from ..recall.current import CurrentRecall
from ..recipes import Recipe
from ..store import histories, results
from ..store.rows import Interaction, Score
from ..store.workspace import Workspace
from . import calibrated, views
from .asking import Asker, Group, Made, Name, Plan, driven, side_by_side
from .captions import Captions
from .descriptions import Descriptions
from .enough import GROUP, MISS, in_order, until_settled
from .judge import Asked, Judge
from .preferences import Preferences
from .vectors import Vectors

LOOK = 20  # candidates that are asked about again with their pictures, if questions contain pictures
# Questions, and what was left out of them -> the plan that comes to their scores by item id.
Ask = Callable[[Sequence[Asked], str], Plan[dict[str, Score]]]


@dataclass(frozen=True, slots=True)
class Ranked:
    """Questions in the order of a recommendation."""

    items: list[tuple[float, Asked]]  # the fused score and the question, best first
    scores: dict[str, Score]  # of these items
    asked: int  # how many candidates it was asked about before the list could not change any more
    fused: Fused
    pictures: dict[str, int]  # how many were looked at, and how many were skipped


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody to recommend to. `user_id` is None for somebody who is in no file."""

    user_id: str | None
    history: Sequence[Interaction]  # in time order
    disliked: Collection[str] = ()  # item ids
    summary: str | None = None  # the latest preference summary, where it is known already

    @property
    def seen(self) -> list[str]:
        """The ids of what the person took, in time order."""
        return [step.item.item_id for step in self.history]


@dataclass(frozen=True, slots=True)
class Ranking:
    """What was recommended to a person, all candidates of it."""

    user_id: str | None
    summary: str
    ranked: Ranked
    timing: Mapping[str, Any]


class Recommender:
    """A workspace and the models that answer in it, by default those of the command line. Use as a context manager.

    Its parts, for those who need one of them: `captions`, `descriptions`, `preferences`, `vectors`, `recall`, `judge`.
    """

    def __init__(
        self,
        workspace: Workspace,
        cast: Cast | None = None,
        *,
        progress: Progress = silent,
        open_engine: Callable[[EngineConfig | ServerConfig], Engine] = open_engine,
    ) -> None:
        self.workspace, self.progress = workspace, progress
        self.cast = cast = cast or choice.cast(workspace)
        self._open = open_engine
        self._writer = self._asker(cast.summariser)
        judge = self._writer if cast.judge.config == cast.config else self._asker(cast.judge)
        self._answerer, self._askers = judge, [self._writer] if judge is self._writer else [self._writer, judge]
        self.captions = Captions(workspace, cast, self._writer, progress)
        self.descriptions = Descriptions(workspace)
        self.preferences = Preferences(workspace, cast, self._writer, self.captions, self.descriptions, progress)
        self.vectors = Vectors(workspace, cast.reader, self._writer, progress)
        self.recall = CurrentRecall(
            workspace, self.vectors, self.captions if cast.recipe.caption else None, lambda: self.descriptions.columns
        )
        self.judge = Judge(workspace, cast, judge, self.captions, self.descriptions, progress)

    def _asker(self, role: Role) -> Asker:
        home = self.workspace.home
        return Asker(self.cast.loaded(role, home / "prefixes"), home / "prompts", self._open)

    @property
    def recipe(self) -> Recipe:
        """What goes into the questions."""
        return self.cast.recipe

    @property
    def prompts(self) -> dict[str, str]:
        """{template: SHA-256} of all prompts that shape a question: its own, and those of what it reads."""
        written = self.preferences.prompts if self.recipe.summary else {}
        seen = self.captions.prompts if self.recipe.caption and self.cast.captioner else {}
        return {"score": self.judge.prompt_sha256, **written, **seen}

    @property
    def tokens(self) -> TokenEngine:
        """The engine that writes, with its tokens. Raises `ModelError` where it gives no access to them."""
        return self._writer.tokens

    def history(self, user_id: str) -> list[Interaction]:
        """The user's interactions in time order. Raises `NotFoundError` for a user that no file named."""
        return histories.existing_history(self.workspace, user_id)

    def user(self, user_id: str) -> Person:
        """A user of the workspace. Raises `NotFoundError` for one that no file named."""
        return Person(user_id, self.history(user_id), histories.low_rated(self.workspace, user_id))

    def stranger(self, item_ids: Sequence[str]) -> Person:
        """Somebody who is in no file and took these items, in time order. Raises `NotFoundError` for an unknown one."""
        return Person(None, [Interaction(histories.existing_item(self.workspace, one)) for one in item_ids])

    def learn(self) -> dict[str, Any]:
        """Learn from the histories how to recall; see `CurrentRecall.learn`."""
        return self.recall.learn(self.progress)

    def recommend(
        self, user: str | Person, k: int = 10, candidates: int = 100, look: int = LOOK, miss: float = MISS,
        *, only: Set[str] | None = None,
    ) -> views.RecommendationList:  # fmt: skip
        """The best `k` of `candidates` recalled items that the user has not taken, of all items or `only` of these ids.

        The user is one of the workspace, by id, or a `stranger`: of that one no table of users learns anything.

        The model is asked about them in the order of recall, until no other is likelier than `miss` to belong to the
        best `k`; with `miss` 0, about all. If questions contain pictures, first without them, then about the best with
        theirs, at most `look` (at least `k`). Raises `NotFoundError` for an unknown user, `InputError` for `k` < 1.
        """
        return self.listed(self.rank(user, k, candidates, look, miss, only=only), k)

    def rank(
        self, user: str | Person, k: int = 10, candidates: int = 100, look: int = LOOK, miss: float = MISS,
        *, only: Set[str] | None = None,
    ) -> Ranking:  # fmt: skip
        """All candidates that were asked about, as `recommend` orders them."""
        return driven(self.ranking(user, k, candidates, look, miss, only=only), self._answerer)

    def ranking(
        self, user: str | Person, k: int = 10, candidates: int = 100, look: int = LOOK, miss: float = MISS,
        *, only: Set[str] | None = None,
    ) -> Plan[Ranking]:  # fmt: skip
        """The plan of `rank`; the summary is no part of it, and is written when the plan begins, if it is not there."""
        if k < 1:
            raise InputError(f"k={k}: no list is so short. Next: k=1 or more.")
        clock = [time.perf_counter()]
        person = self.user(user) if isinstance(user, str) else user
        recall = self.recall.now().after(person.seen)
        recalled = recall.candidates(person.seen, max(k, candidates), exclude=person.disliked, only=only)
        clock.append(time.perf_counter())
        summary = self.summary(person)
        clock.append(time.perf_counter())
        asked = self.judge.ask_all(recalled, summary, person.history)

        told = 0

        def ask(some: Sequence[Asked], without: str) -> Plan[dict[str, Score]]:
            nonlocal told
            before, told = told, told + len(some)

            def tell(stage: str, done: int, total: int, detail: str = "") -> None:
                self.progress(stage, before + len(some) - total + done, max(len(asked), told), detail)

            return self.judge.asking(person.user_id, some, without, tell)

        ranked = yield from self.ranked(asked, self.fused(recall.learned is not None), ask, k, look, miss)
        clock.append(time.perf_counter())
        if person.user_id is not None and only is None:  # a part of the list would pass for all of it
            kept = [(one.item.item_id, one.candidate.recall, score) for score, one in ranked.items]
            results.save_ranking(self.workspace, person.user_id, self.judge.settings, kept)
        names = ("recall_s", "summary_s", "score_s")
        spans = {name: round(end - start, 3) for name, start, end in zip(names, clock, clock[1:], strict=False)}
        timing = {"candidates": len(asked), "asked": ranked.asked, **spans, "total_s": round(clock[-1] - clock[0], 3)}
        return Ranking(person.user_id, summary, ranked, timing)

    def listed(self, ranking: Ranking, k: int) -> views.RecommendationList:
        """The best `k` of a ranking, to show."""
        return views.RecommendationList(
            user=ranking.user_id,
            summary=ranking.summary,
            items=[
                _recommendation(rank, ranking.ranked.fused, score, one, ranking.ranked.scores[one.item.item_id])
                for rank, (score, one) in enumerate(ranking.ranked.items[:k], start=1)
            ],
            model=self._model(ranking.ranked.scores),
            timing=ranking.timing,
            pictures=ranking.ranked.pictures,
        )

    def ranked(
        self, asked: Sequence[Asked], fused: Fused, ask: Ask, k: int = 10, look: int = LOOK, miss: float = MISS
    ) -> Plan[Ranked]:
        """The plan that puts questions in the order of a recommendation, now or in the past, by the `fused` score.

        It is asked until no other is likelier than `miss` to belong to the best `k`; with `miss` 0, about all. If more
        than `look` (at least k) of them have pictures, first without pictures; then about the best with theirs, at
        most `look`, in the same way. Who was not asked about is left out.
        """
        look, pictured = max(k, look), sum(bool(one.evidence.image_sha256) for one in asked)
        recalled = [fused.score(0.0, one.candidate.recall) for one in asked]
        if pictured <= look:
            scores = yield from _enough(asked, recalled, ask, k, miss)
            ranked = _ranked(asked, scores, fused)
            looked_at = sum(bool(one.evidence.image_sha256) for _, one in ranked)
            pictures = {"looked_at": looked_at, "skipped": pictured - looked_at}
            return Ranked(ranked, scores, len(scores), fused, pictures)

        def blindly(some: Sequence[Asked], _: str) -> Plan[dict[str, Score]]:
            found = yield from ask([one for one in some if not one.evidence.image_sha256], "")
            return found | (yield from ask([one.blind for one in some if one.evidence.image_sha256], "image"))

        blind = yield from _enough(asked, recalled, blindly, look, miss)
        best = _ranked(asked, blind, fused)[:look]
        known = [score for score, _ in best]
        scores = yield from _enough([one for _, one in best], known, ask, k, miss, blind, group=4)
        seen = [one for _, one in best if one.item.item_id in scores]
        looked_at = sum(bool(one.evidence.image_sha256) for one in seen)
        pictures = {"looked_at": looked_at, "skipped": pictured - looked_at}
        return Ranked(_ranked(seen, scores, fused), scores, len(blind), fused, pictures)

    def fused(self, learned: bool) -> Fused:
        """How answer and recall make the score, where recall is `learned` or not.

        As was fitted in this workspace, else as it came with the model.
        """
        return calibrated.fused(self.workspace, self.judge.settings, learned) or self.cast.fused(learned)

    def _model(self, scores: Mapping[str, Score]) -> dict[str, object]:
        coverage = sorted(score.coverage for score in scores.values())
        return {
            **self.cast.to_json(),
            "recipe": self.recipe.to_json(),
            "prompt_version": self.judge.prompt_sha256[:12],
            "coverage": coverage[len(coverage) // 2] if coverage else None,
        }

    def summary(self, person: Person) -> str:
        """The person's latest preference summary; '' where the recipe has no summary or there is no history."""
        if person.summary is not None:
            return person.summary
        chain = self.preferences.chain(person.user_id, person.history) if self.recipe.summary else []
        return chain[-1].summary if chain else ""

    def side_by_side(
        self, plans: Iterable[tuple[Name, Plan[Made]]]
    ) -> Iterator[tuple[Name, Made | InputError | ContextOverflow]]:
        """What each plan comes to, as it is finished; one that cannot go on comes to its error."""
        return side_by_side(self._answerer, plans)

    def start(self) -> None:
        """Load the models, which otherwise waits for the first question. Raises `ModelError` for what is no model."""
        for asker in self._askers:
            _ = asker.engine.can

    def close(self) -> None:
        for asker in self._askers:
            asker.close()

    def __enter__(self) -> Recommender:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _enough(
    asked: Sequence[Asked], known: Sequence[float], ask: Ask, k: int, miss: float,
    before: Mapping[str, Score] = MappingProxyType({}), group: int = GROUP,
) -> Plan[dict[str, Score]]:  # fmt: skip
    """The answers to as many of the questions as it takes; the log-odds of `before` are in what is `known` already."""
    order = in_order(known)
    scores: dict[str, Score] = {}

    def added(part: slice) -> Generator[Group, None, Vector]:
        some = [asked[place] for place in order[part]]
        scores.update((yield from ask(some, "")))
        ids = [one.item.item_id for one in some]
        return np.array([scores[one].log_odds - (before[one].log_odds if one in before else 0.0) for one in ids])

    yield from until_settled(np.array(known)[order], added, k, miss, group)
    return scores


def _ranked(asked: Sequence[Asked], scores: Mapping[str, Score], fused: Fused) -> list[tuple[float, Asked]]:
    """(score, question) of what was asked about, best first."""
    found = ((scores.get(one.item.item_id), one) for one in asked)
    scored = ((fused.score(score.log_odds, one.candidate.recall), one) for score, one in found if score)
    return sorted(scored, key=lambda pair: (-pair[0], pair[1].item.item_id))


def _recommendation(rank: int, fused: Fused, score: float, asked: Asked, answer: Score) -> views.Recommendation:
    return views.Recommendation(
        rank=rank,
        item_id=asked.item.item_id,
        title=asked.item.title,
        probability=fused.probability(score),
        p_yes=answer.p_yes,
        log_odds=answer.log_odds,
        score=score,
        caption=asked.evidence.caption or None,
        shares=asked.candidate.shares,
    )
