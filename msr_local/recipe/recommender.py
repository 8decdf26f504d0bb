"""The recommender (MLLM-MSR, section 4.3): recall candidates, ask about each, rank by the fused score.

Each step looks for its result under the hash of all that makes it, asks the engine only for what is missing,
and commits every single answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

from ..engine.answers import sigmoid
from ..engine.llama.process import EngineProcess
from ..engine.types import Engine, EngineConfig, LogOdds
from ..errors import NotFoundError
from ..models.choice import Weights
from ..progress import Progress, silent
from ..prompts import Question
from ..recall import kept, learned
from ..recall.candidates import Candidate, Recall
from ..recipes import RECIPES, Recipe
from ..store import histories, results
from ..store.rows import Interaction, Item, Score
from ..store.workspace import Workspace, fingerprint
from . import scoring, views
from .asking import ROOMS, Asker
from .captions import LONGEST_EDGE, Captions, picture
from .descriptions import describe, shorten
from .preferences import Preferences
from .scoring import Evidence
from .vectors import Vectors

LOOK = 20  # pictures that a recommendation looks at, where pictures are in its questions
_TOGETHER = 64  # questions built and sent at once: their pictures are held in memory meanwhile


@dataclass(frozen=True, slots=True)
class Asked:
    """A scoring question: the item, what recall knew of it, and the evidence."""

    item: Item
    candidate: Candidate
    evidence: Evidence

    @property
    def blind(self) -> Asked:
        """The same question without the picture."""
        return replace(self, evidence=replace(self.evidence, image_sha256=""))


class Cut(NamedTuple):
    """How a question was made to fit: titles that the history lost, and characters left to a description."""

    dropped: int
    room: int


class Recommender:
    """A workspace, the weights that answer, and a recipe. Use as a context manager."""

    def __init__(
        self,
        workspace: Workspace,
        weights: Weights,
        recipe: Recipe = RECIPES["full"],
        *,
        progress: Progress = silent,
        open_engine: Callable[[EngineConfig], Engine] = EngineProcess,
    ) -> None:
        self.workspace, self.weights, self.recipe, self.progress = workspace, weights, recipe, progress
        self._recall: tuple[tuple[str, str | None], Recall] | None = None
        states = workspace.home / "prefixes" / weights.states_id[:16]
        config, scoring = (replace(one, states=states) for one in (weights.config, weights.scoring_config))
        self.asker = Asker(config, workspace.home / "prompts", open_engine)
        self.judge = self.asker  # who answers yes or no: the same model, or a merged one that was tuned for it
        if scoring != config:
            self.judge = Asker(scoring, workspace.home / "prompts", open_engine)
        self.captions = Captions(workspace, weights, self.asker, progress)
        self.preferences = Preferences(workspace, weights, recipe, self.asker, self.captions, progress)
        self.vectors = Vectors(workspace, weights, self.asker, progress)

    @property
    def looks(self) -> bool:
        """Whether pictures go into the scoring question."""
        return self.recipe.image and self.weights.scoring_sees

    @property
    def recall(self) -> Recall:
        """The collaborative scores over the whole workspace as it is now."""
        made_of = (self.revision(), results.learned_recall_key(self.workspace))
        if self._recall is None or self._recall[0] != made_of:
            folder = self.workspace.home / "recall"
            with self.workspace.snapshot():
                made_of = revision, _ = (self.revision(), results.learned_recall_key(self.workspace))
                there = kept.load(folder, revision)
                recall = there or Recall.of_log(histories.log(self.workspace), self.texts())
                recall.learned = learned.load(self.workspace, recall.item_ids)
            if there is None:
                kept.save(folder, revision, recall)
            self._recall = (made_of, recall)
        return self._recall[1]

    def revision(self) -> str:
        """Hash of all that the tables of recall are made of."""
        captions = self.captions.settings if self.recipe.caption else ""
        return fingerprint("recall", kept.FORMAT, histories.revision(self.workspace), captions)

    def texts(self) -> list[str]:
        """Every item in words, for recall: title, attributes and, where the recipe has captions, its picture."""
        return histories.texts(self.workspace, self.captions.known() if self.recipe.caption else {})

    @cached_property
    def settings(self) -> str:
        """Hash of all that shapes an answer but the question's evidence."""
        model = self.weights.scoring_id if self.looks else self.weights.blind_scoring_id
        shape = [self.recipe.to_json(), self.weights.config.context, ROOMS, LONGEST_EDGE, "oldest first"]
        return fingerprint("score", model, self.judge.template("score").sha256, shape)

    def history(self, user_id: str) -> list[Interaction]:
        """The user's interactions in time order. Raises `NotFoundError` for a user that no file named."""
        history = histories.history(self.workspace, user_id)
        if not history and not histories.user_exists(self.workspace, user_id):
            near = histories.similar_users(self.workspace, user_id)
            hint = f" Did you mean {', '.join(near)}?" if near else ""
            raise NotFoundError(f"there is no user {user_id!r}.{hint} Next: msr-local users.")
        return history

    def recommend(self, user_id: str, k: int = 10, candidates: int = 100, look: int = LOOK) -> views.RecommendationList:
        """The best `k` of `candidates` recalled items that the user has not seen.

        Where pictures are in the questions, all are asked without them first, and the best `look` (at least `k`) with
        them; the others are out of the ranking. Raises `NotFoundError` for a user that no file named.
        """
        clock = [time.perf_counter()]
        history = self.history(user_id)
        seen = [step.item.item_id for step in history]
        disliked, recall = histories.low_rated(self.workspace, user_id), self.recall
        recalled = recall.candidates(seen, max(k, candidates), exclude=disliked)
        clock.append(time.perf_counter())
        summary = self.summary(user_id, history)
        clock.append(time.perf_counter())
        asked = [self.ask(candidate, summary, history) for candidate in recalled]
        weight = self._weight(recall)
        scores, pictures = self._cascade(user_id, asked, max(k, look), weight)
        clock.append(time.perf_counter())
        ranked = _ranked([one for one in asked if one.item.item_id in scores], scores, weight)
        ranking = [(one.item.item_id, one.candidate.recall, score) for score, one in ranked]
        results.save_ranking(self.workspace, user_id, self.settings, ranking)
        names = ("recall_s", "summary_s", "score_s")
        spans = {name: round(end - start, 3) for name, start, end in zip(names, clock, clock[1:], strict=False)}
        return views.RecommendationList(
            user=user_id,
            summary=summary,
            items=[
                _recommendation(rank, score, one, scores[one.item.item_id])
                for rank, (score, one) in enumerate(ranked[:k], start=1)
            ],
            model=self._model(scores),
            timing={"candidates": len(asked), **spans, "total_s": round(clock[-1] - clock[0], 3)},
            pictures=pictures,
        )

    def _cascade(
        self, user_id: str, asked: Sequence[Asked], look: int, weight: float
    ) -> tuple[dict[str, Score], dict[str, int]]:
        """Scores of all questions, or of the `look` best if more have pictures; and how many pictures were seen."""
        pictured = [one for one in asked if one.evidence.image_sha256]
        if len(pictured) <= look:
            return self.scores(user_id, asked), {"looked_at": len(pictured), "skipped": 0}
        scores = self.scores(user_id, [one for one in asked if not one.evidence.image_sha256])
        scores |= self.scores(user_id, [one.blind for one in pictured], without="image")
        best = [one for _, one in _ranked(asked, scores, weight)[:look]]
        seen = sum(bool(one.evidence.image_sha256) for one in best)
        return self.scores(user_id, best), {"looked_at": seen, "skipped": len(pictured) - seen}

    def _weight(self, recall: Recall) -> float:
        """The weight of recall in the fused score: what was fitted for this one, if anything."""
        scorer = self.weights.scorer
        if scorer is None:
            return scoring.RECALL_WEIGHT
        fitted = scorer.recall_weight if recall.learned is None else scorer.learned_weight
        return scoring.RECALL_WEIGHT if fitted is None else fitted

    def _model(self, scores: dict[str, Score]) -> dict[str, object]:
        coverage = sorted(score.coverage for score in scores.values())
        return {
            **self.weights.to_json(),
            "recipe": self.recipe.to_json(),
            "prompt_version": self.judge.template("score").sha256[:12],
            "coverage": coverage[len(coverage) // 2] if coverage else None,
        }

    def summary(self, user_id: str, history: Sequence[Interaction]) -> str:
        """The user's present taste in words; '' where the recipe has no summary or there is no history."""
        chain = self.preferences.chain(user_id, history) if self.recipe.summary else []
        return chain[-1].summary if chain else ""

    # ---- the scoring question

    def ask(self, candidate: Candidate, summary: str, history: Sequence[Interaction]) -> Asked:
        """The question whether the user of `summary` and `history` would take `candidate` next."""
        item = histories.item(self.workspace, candidate.item_id)
        if item is None:
            raise NotFoundError(f"there is no item {candidate.item_id!r}. Next: msr-local items.")
        companion = histories.item(self.workspace, candidate.companion) if candidate.companion else None
        recent = history[-self.recipe.recent :] if self.recipe.recent else ()
        evidence = Evidence(
            summary=summary,
            history=tuple(describe(step.item, room=120) for step in recent),
            description=describe(item),
            caption=(self.captions.of(item) or "") if self.recipe.caption else "",
            hint=scoring.hint(candidate, companion) if self.recipe.hint else "",
            image_sha256=(item.image_sha256 or "") if self.looks else "",
        )
        return Asked(item, candidate, evidence)

    def key(self, evidence: Evidence) -> str:
        """Hash of all that makes the answer to a scoring question."""
        return fingerprint(self.settings, evidence.to_json())

    def question(self, item: Item, evidence: Evidence) -> Question:
        """The prompt; raises `InputError` if the item's picture is no longer good."""
        return self.fitted(item, evidence)[1]

    def fitted(self, item: Item, evidence: Evidence, limit: int | None = None) -> tuple[Cut, Question]:
        """The prompt in at most `limit` tokens (by default what the answering model was tuned with), and what it lost.

        The oldest titles of the history go first, then descriptions are shortened. Raises `InputError` if the
        item's picture is no longer good, `ContextOverflow` if not even the shortest form fits.
        """
        image = picture(item) if evidence.image_sha256 else None
        lines = len(evidence.history)

        def build(cut: Cut) -> Question:
            values = {
                "summary": evidence.summary,
                "history": [shorten(line, cut.room) for line in evidence.history[cut.dropped :]],
                "candidate": describe(item, evidence.caption, cut.room),
                "hint": evidence.hint,
            }
            return self.judge.template("score").question(self.judge.facts, values, image)

        cuts = [*(Cut(n, ROOMS[0]) for n in range(lines + 1)), *(Cut(lines, room) for room in ROOMS[1:])]
        tuned = self.weights.scorer.max_length if self.weights.scorer else None
        return self.judge.fitting(build, cuts, limit=limit or tuned)

    def scores(self, user_id: str, asked: Sequence[Asked], *, without: str = "") -> dict[str, Score]:
        """{item id: score} of all questions; the new ones are asked, and each answer is committed.

        `without` names the evidence that was left out of them.
        """
        kept = results.scores(self.workspace, user_id, self.settings, without)
        found: dict[str, Score] = {}
        missing: list[tuple[Asked, str]] = []
        for one in asked:
            key, known = self.key(one.evidence), kept.get(one.item.item_id)
            if known is not None and known.key == key:
                found[known.item_id] = self._calibrated(user_id, known, without)
            else:
                missing.append((one, key))
        self.progress("scores", 0, len(missing))
        name = self.weights.scoring_name
        for start in range(0, len(missing), _TOGETHER):
            group = missing[start : start + _TOGETHER]
            answers = self.judge.answers([self.question(one.item, one.evidence) for one, _ in group])
            for done, ((one, key), answer) in enumerate(zip(group, answers, strict=True), start=start + 1):
                score = self.new_score(one.item.item_id, answer, key)
                results.save_score(self.workspace, user_id, self.settings, score, name, without)
                found[score.item_id] = score
                self.progress("scores", done, len(missing))
        return found

    def new_score(self, item_id: str, answer: LogOdds, key: str) -> Score:
        """An answer as a row to keep; `p_yes` is calibrated where the tuned model was, for this very recipe."""
        return Score(item_id, answer.z, self._p_yes(answer.z), answer.coverage, key)

    def _p_yes(self, z: float) -> float:
        scorer = self.weights.scorer
        fits = scorer is not None and scorer.calibration is not None and scorer.recipe == self.recipe.to_json()
        slope, shift = scorer.calibration if fits else (1.0, 0.0)  # type: ignore[union-attr, misc]
        return sigmoid(slope * z + shift)

    def _calibrated(self, user_id: str, known: Score, without: str) -> Score:
        """A kept answer with the p(yes) of today's calibration, which is no part of its key: nothing is asked anew."""
        if (p_yes := self._p_yes(known.log_odds)) == known.p_yes:
            return known
        known = replace(known, p_yes=p_yes)
        results.save_score(self.workspace, user_id, self.settings, known, self.weights.scoring_name, without)
        return known

    def close(self) -> None:
        self.asker.close()
        self.judge.close()

    def __enter__(self) -> Recommender:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _ranked(asked: Sequence[Asked], scores: Mapping[str, Score], weight: float) -> list[tuple[float, Asked]]:
    """(fused score, question), best first."""
    fused = (
        (scoring.fused_score(scores[one.item.item_id].log_odds, one.candidate.recall, weight), one) for one in asked
    )
    return sorted(fused, key=lambda pair: (-pair[0], pair[1].item.item_id))


def _recommendation(rank: int, score: float, asked: Asked, answer: Score) -> views.Recommendation:
    return views.Recommendation(
        rank=rank,
        item_id=asked.item.item_id,
        title=asked.item.title,
        p_yes=answer.p_yes,
        log_odds=answer.log_odds,
        score=score,
        caption=asked.evidence.caption or None,
        shares=asked.candidate.shares,
    )
