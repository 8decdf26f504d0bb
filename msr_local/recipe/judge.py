"""The yes/no question (MLLM-MSR, section 4.3): its text, its key in the tables, and its answers.

An answer is stored under the hash of all that it depends on; the engine is asked only for what is missing, and every
single answer is committed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

from ..engine.answers import sigmoid
from ..engine.types import LogOdds, Question, TokenEngine
from ..errors import AnswerTokensError, ContextOverflow, EngineCrashed, InputError, ModelError, MsrError
from ..models.spec import Cast
from ..progress import Progress, silent
from ..recall.candidates import Candidate
from ..store import histories, results
from ..store.rows import Interaction, Item, Score
from ..store.workspace import Workspace, fingerprint, versioned
from . import scoring
from .asking import Asker, Group, Plan, driven
from .captions import LONGEST_EDGE, Captions, picture
from .descriptions import Descriptions, shorten
from .scoring import Evidence

_KIND = versioned("score", 1)  # another number where what is asked of the same evidence changes, beside the template
_TOGETHER = 64  # questions built and sent at once: their pictures are held in memory meanwhile


@dataclass(frozen=True, slots=True)
class Asked:
    """A yes/no question: the item, its recall, and the evidence."""

    item: Item
    candidate: Candidate
    evidence: Evidence

    @property
    def blind(self) -> Asked:
        """The same question without the picture."""
        return replace(self, evidence=replace(self.evidence, image_sha256=""))


class Cut(NamedTuple):
    """How a question was made to fit: lines that the history lost, and tokens left to a description."""

    dropped: int
    room: int


class _Shown(NamedTuple):
    """A question as it goes to the model, and what its answer is kept under."""

    asked: Asked
    key: str
    question: Question


class Judge:
    """Asks the model of a cast whether a user will take an item next.

    `unseen` is {item id: why} of items that were asked about without their picture, because it could not be shown.
    """

    def __init__(
        self, workspace: Workspace, cast: Cast, asker: Asker, captions: Captions, descriptions: Descriptions,
        progress: Progress,
    ) -> None:  # fmt: skip
        self._workspace, self._cast, self._asker = workspace, cast, asker
        self._captions, self._descriptions, self._progress = captions, descriptions, progress
        self.unseen: dict[str, str] = {}

    @cached_property
    def settings(self) -> str:
        """Hash of all that shapes an answer but the question's evidence."""
        cast = self._cast
        shape = [cast.recipe.to_json(), cast.config.context, self._descriptions.rooms, LONGEST_EDGE, "oldest first"]
        return fingerprint(_KIND, cast.judge.identity, self._asker.template("score").sha256, shape)

    @property
    def prompt_sha256(self) -> str:
        """Hash of the question's template."""
        return self._asker.template("score").sha256

    @property
    def tokens(self) -> TokenEngine:
        """The engine that answers, with its tokens. Raises `ModelError` where it gives no access to them."""
        return self._asker.tokens

    def sample(self) -> Question:
        """An invented question, to test a model with."""
        values = {"summary": "", "history": ["A quiet film"], "candidate": "Another quiet film", "hint": ""}
        return self._asker.template("score").question(values)

    def trial(self) -> LogOdds:
        """The answer to `sample`. Raises `AnswerTokensError` where p(yes) cannot be read."""
        (answer,) = self._asker.answers([self.sample()])
        return answer

    def ask(self, candidate: Candidate, summary: str, history: Sequence[Interaction]) -> Asked:
        """The question whether the user of `summary` and `history` would take `candidate` next.

        Raises `NotFoundError` for an item that is not in the catalogue.
        """
        (asked,) = self.ask_all([candidate], summary, history)
        return asked

    def ask_all(self, candidates: Sequence[Candidate], summary: str, history: Sequence[Interaction]) -> list[Asked]:
        """The questions about several candidates; see `ask`."""
        recipe, told = self._cast.recipe, self._descriptions
        recent = history[-recipe.recent :] if recipe.recent else ()
        lines = tuple(told.of(step.item, self._caption(step.item), told.line) for step in recent)
        asked = []
        for candidate in candidates:
            item = histories.existing_item(self._workspace, candidate.item_id)
            companion = histories.item(self._workspace, candidate.companion) if candidate.companion else None
            evidence = Evidence(
                summary=summary,
                history=lines,
                description=told.of(item),
                caption=self._caption(item),
                hint=scoring.hint(candidate, companion) if recipe.hint else "",
                image_sha256=(item.image_sha256 or "") if self._cast.looks else "",
            )
            asked.append(Asked(item, candidate, evidence))
        return asked

    def _caption(self, item: Item) -> str:
        return (self._captions.of(item) or "") if self._cast.recipe.caption else ""

    def key(self, asked: Asked) -> str:
        """Hash of all that makes the answer to a question."""
        return fingerprint(self.settings, asked.evidence.to_json())

    def question(self, asked: Asked) -> Question:
        """The prompt; raises `InputError` if the item's picture is no longer good."""
        return self.fitted(asked)[1]

    def fitted(self, asked: Asked, limit: int | None = None) -> tuple[Cut, Question]:
        """The prompt in at most `limit` tokens (by default as many as in the adapter's training), and what it lost.

        The oldest lines of the history go first, then descriptions are shortened. Raises `InputError` if the
        item's picture is no longer good, `ContextOverflow` if not even the shortest form fits.
        """
        item, evidence = asked.item, asked.evidence
        image = picture(item) if evidence.image_sha256 else None
        lines = len(evidence.history)

        def build(cut: Cut) -> Question:
            values = {
                "summary": evidence.summary,
                "history": [shorten(line, cut.room) for line in evidence.history[cut.dropped :]],
                "candidate": self._descriptions.of(item, evidence.caption, cut.room),
                "hint": evidence.hint,
            }
            return self._asker.template("score").question(values, image)

        first, *rooms = self._descriptions.rooms
        cuts = [*(Cut(n, first) for n in range(lines + 1)), *(Cut(lines, room) for room in rooms)]
        scorer = self._cast.scorer
        return self._asker.fitting(build, cuts, limit=limit or (scorer.max_length if scorer else None))

    def scores(
        self, user_id: str, asked: Sequence[Asked], *, without: str = "", progress: Progress | None = None
    ) -> dict[str, Score]:
        """{item id: score} of all questions; the new ones are asked, and each answer is committed.

        `without` names the evidence that was left out of them.
        """
        return driven(self.asking(user_id, asked, without, progress or self._progress), self._asker)

    def past_scores(self, asked: Sequence[Asked], *, progress: Progress = silent) -> dict[str, Score]:
        """{item id: score} of questions about a point of the past, or about somebody who is no user.

        Each is kept under the hash of all that makes it. Users' present scores stay as they are.
        """
        return driven(self.asking(None, asked, progress=progress), self._asker)

    def asking(
        self, user_id: str | None, asked: Sequence[Asked], without: str = "", progress: Progress = silent
    ) -> Plan[dict[str, Score]]:
        """The plan of `scores`, or, without a `user_id`, of `past_scores`: it yields the questions that are new."""
        keys = [self.key(one) for one in asked]
        names = [one.item.item_id for one in asked] if user_id is not None else keys
        found = self._kept(user_id, names, keys, without)
        named = zip(names, keys, asked, strict=True)
        missing = list({name: (name, key, one) for name, key, one in named if name not in found}.values())
        progress("scores", 0, len(missing))
        for start in range(0, len(missing), _TOGETHER):
            some = missing[start : start + _TOGETHER]

            def keep(
                place: int, shown: _Shown, answer: LogOdds, some: Sequence[tuple[str, str, Asked]] = some,
                start: int = start,
            ) -> None:  # fmt: skip
                name, _, one = some[place]
                found[name] = Score(one.item.item_id, answer.z, sigmoid(answer.z), answer.coverage, shown.key)
                self._save(user_id, found[name], without)
                progress("scores", start + place + 1, len(missing))

            yield from self._each([self._shown(one, key) for _, key, one in some], keep)
        ids = [one.item.item_id for one in asked]
        return {one: replace(found[name], item_id=one) for one, name in zip(ids, names, strict=True)}

    def _each(self, shown: Sequence[_Shown], keep: Callable[[int, _Shown, LogOdds], None]) -> Plan[None]:
        """The plan for a group; where the model fails over pictures, each of those that are left is asked alone."""
        left = dict(enumerate(shown))

        def answered(place: int, answer: LogOdds) -> None:
            keep(place, left.pop(place), answer)

        try:
            yield Group([one.question for one in shown], answered)
        except (ContextOverflow, AnswerTokensError):
            raise
        except (ModelError, EngineCrashed):
            if not any(one.question.image for one in left.values()):
                raise
            for place, one in left.items():
                yield from self._alone(one, functools.partial(keep, place))

    def _alone(self, shown: _Shown, keep: Callable[[_Shown, LogOdds], None]) -> Plan[None]:
        """The plan for one question: without its picture, if the model fails over it."""
        try:
            yield Group([shown.question], lambda _, answer: keep(shown, answer))
        except (ModelError, EngineCrashed) as error:
            if not shown.question.image:
                raise
            hidden = self._hidden(shown.asked, error)  # if this fails too, it was not the picture
            yield Group([hidden.question], lambda _, answer: keep(hidden, answer))

    def _shown(self, asked: Asked, key: str) -> _Shown:
        try:
            return _Shown(asked, key, self.question(asked))
        except InputError as error:  # the file changed or went away since it was checked
            return self._hidden(asked, error)

    def _hidden(self, asked: Asked, why: MsrError) -> _Shown:
        blind = asked.blind
        shown = _Shown(blind, self.key(blind), self.question(blind))
        self.unseen[asked.item.item_id] = str(why)
        return shown

    def _kept(
        self, user_id: str | None, names: Sequence[str], keys: Sequence[str], without: str
    ) -> dict[str, Score]:  # fmt: skip
        """{name: score} of what was asked before; `names` are item ids, or keys where there is no user."""
        if user_id is None:
            there = {key: kept for key in keys if (kept := results.answer(self._workspace, key))}
            return {key: Score("", z, sigmoid(z), coverage, key) for key, (z, coverage) in there.items()}
        rows = results.scores(self._workspace, user_id, self.settings, without)
        known = ((rows.get(name), key) for name, key in zip(names, keys, strict=True))
        return {one.item_id: self._uncalibrated(user_id, one, without) for one, key in known if one and one.key == key}

    def _save(self, user_id: str | None, score: Score, without: str) -> None:
        if user_id is None:
            results.save_answer(self._workspace, score.key, score.log_odds, score.coverage, self.settings)
            return
        results.save_score(self._workspace, user_id, self.settings, score, self._cast.name, without)

    def _uncalibrated(self, user_id: str, known: Score, without: str) -> Score:
        """A kept answer with the model's own p(yes): earlier releases kept a calibrated one. Nothing is asked anew."""
        if (p_yes := sigmoid(known.log_odds)) == known.p_yes:
            return known
        again = replace(known, p_yes=p_yes)
        self._save(user_id, again, without)
        return again
