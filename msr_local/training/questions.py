"""The training and validation sets of a workspace: yes/no questions at several points of users' histories.

Everything in a question comes from before the interaction that it asks about: the history and its summaries,
and the collaborative evidence. What a set holds depends only on the workspace, the settings and the weights,
so a set is made once and can go on where it was stopped.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from ..errors import InputError
from ..recall.candidates import RECALL_WEIGHT, Candidate, Recall
from ..recall.kept import FORMAT as TABLES
from ..recall.learning import LEAST, VERSION, held_back, learned_from
from ..recall.splits import TEST, TRAIN, VALIDATION, Split, split
from ..recipe.recommender import Recommender
from ..store import histories, results
from ..store.rows import Interaction, Item, Log
from ..store.workspace import fingerprint
from . import rows
from .points import HARD, Point, negatives, points, slices
from .rows import NO, YES, Row
from .settings import Settings

FORMAT = 2  # one more with each change of what is asked about or of what a `Row` means: sets are then made anew
_LEAST = 8  # questions, positive and negative, below which nothing can be learned or measured
_SPARE = 8  # times as many points are drawn for hard negatives: recall offers the items of some only
_FIRST = 3  # interactions before the first question about a user, or one block where that is less


@dataclass(frozen=True, slots=True)
class Questions:
    """A finished set; `split` says what was held back of the workspace's `interactions`."""

    train: list[Row]
    validation: list[Row]
    split: Split
    folder: Path
    interactions: int

    def facts(self) -> dict[str, Any]:
        """Counts and token lengths, for people."""
        lengths = sorted(len(row.ids) for row in (*self.train, *self.validation))
        return {
            "train": _count(self.train),
            "validation": _count(self.validation),
            "split": self.split.to_json(),
            "tokens": {f"p{p}": int(np.percentile(lengths, p)) for p in (0, 50, 90, 99, 100)},
            "history_shortened": sum(row.dropped > 0 for row in (*self.train, *self.validation)),
            "descriptions_shortened": sum(row.cut for row in (*self.train, *self.validation)),
        }


def _content(log: Log, items: list[Item], *, looks: bool) -> str:
    """A hash of the whole catalogue and log: a set made of another state must not be taken for this one's."""
    told = [
        [one.item_id, one.title, one.attributes, [str(one.image), one.image_sha256] if looks else None] for one in items
    ]
    digest = hashlib.sha256(json.dumps([log.user_ids, told]).encode())
    for array in (log.users, log.items, log.times):
        digest.update(array.tobytes())
    return digest.hexdigest()


def _part(log: Log, some: Any) -> Log:
    return Log(log.item_ids, log.user_ids, log.users[some], log.items[some], log.times[some])


def _count(part: list[Row]) -> dict[str, int]:
    yes = sum(row.answer == YES for row in part)
    return {"rows": len(part), "yes": yes, "no": len(part) - yes, "users": len({row.user for row in part})}


def questions(recommender: Recommender, settings: Settings, learn: Callable[[], object] = lambda: None) -> Questions:
    """The sets for `settings`, from the workspace's folder or made now; each question is kept as it is made.

    `learn` may change what the workspace has learned about recall; it is called once there are enough questions.
    Raises `InputError` when the workspace holds too little to train and validate on.
    """
    workspace = recommender.workspace
    with workspace.snapshot():
        log, texts = histories.log(workspace), recommender.recall.texts()
        items = histories.items(workspace, log.item_ids)
    try:
        cut, part = split(log, settings.split)
    except ValueError as error:
        raise InputError(f"the workspace cannot be split by time: {error}. Next: --split order.") from None
    state = [_content(log, items, looks=recommender.cast.looks), recommender.captions.state(), cut.to_json()]
    state += [list(recommender.descriptions.order), fingerprint(TABLES, texts)]
    chosen = _chosen(log, part, recommender.recipe.block_size, settings)  # before anything is computed
    learn()
    known = part == TRAIN
    facts = results.learned_recall_facts(workspace)
    learns = facts is not None and facts["used"] and len(held_back(_part(log, known))[0]) >= LEAST // 2
    asked = [recommender.judge.settings, recommender.preferences.settings]
    asked += [f"learned recall {VERSION}"] * learns
    shape = ["rows", "ratio", "negatives", "validation_rows", "max_length", "seed", "split"]
    key = fingerprint(FORMAT, state, asked, {name: getattr(settings, name) for name in shape})
    folder = workspace.home / "training" / "sets" / key
    folder.mkdir(parents=True, exist_ok=True)
    maker = _Maker(recommender, settings, log, texts, cut, folder, learns=learns)
    try:
        with FileLock(folder / "lock", timeout=0):
            made = {name: maker.make(name, found, wanted, known) for name, (found, wanted) in chosen.items()}
    except Timeout:
        raise InputError("another process is making the same questions. Next: wait until it has finished.") from None
    for name, rows_made in made.items():
        _check(name, rows_made, settings)
    return Questions(made["train"], made["validation"], cut, folder, len(log.items))


def _chosen(log: Log, part: Any, block_size: int, settings: Settings) -> dict[str, tuple[list[Point], int]]:
    """For each set the points to ask at, and of how many of them questions are wanted; raises `InputError`."""
    each, more = 1 + settings.ratio, _SPARE if settings.negatives == "hard" else 1
    first = min(block_size, _FIRST)  # at least a block before a target: a question without history teaches nothing
    found: dict[str, tuple[list[Point], int]] = {}
    for name, which, count in (("train", TRAIN, settings.rows), ("validation", VALIDATION, settings.validation_rows)):
        wanted = max(1, count // each)
        found[name] = points(log, part == which, wanted * more, first, settings.seed), wanted
    for name, (some, wanted) in found.items():
        if (possible := min(len(some), wanted) * each) < _LEAST:
            raise InputError(
                f"{len(log.users):,} interactions ({int((part == TEST).sum()):,} of them held back for the test) "
                f"give only {possible} {name} questions, which is too few. "
                "Next: ingest more interactions, or use a smaller --block-size, or another --split."
            )
    return found


def _check(name: str, made: list[Row], settings: Settings) -> None:
    """Raises `InputError` for a set from which nothing can be learned."""
    offered = sum(row.answer == YES for row in made)
    if settings.negatives == "hard" and offered * (1 + settings.ratio) < _LEAST:
        raise InputError(
            f"recall offers only {offered} of the positives of the {name} questions: too few for --negatives hard. "
            "Next: --negatives popularity."
        )
    if len({row.answer for row in made}) < 2:
        raise InputError(
            f"the users of the {name} questions have taken every item of the catalogue, so there are no negatives. "
            "Next: ingest the whole catalogue."
        )


class _Maker:
    """Writes one set, question by question."""

    def __init__(
        self, recommender: Recommender, settings: Settings, log: Log, texts: list[str], cut: Split, folder: Path,
        *, learns: bool,
    ) -> None:  # fmt: skip
        self.workspace, self.recipe, self.progress = recommender.workspace, recommender.recipe, recommender.progress
        self.judge, self.preferences, self.vectors = recommender.judge, recommender.preferences, recommender.vectors
        self.rooms = recommender.descriptions.rooms
        self.settings, self.log, self.texts = settings, log, texts
        self.cut, self.folder, self.learns = cut, folder, learns

    def make(self, name: str, chosen: list[Point], wanted: int, known: Any) -> list[Row]:
        """The rows of `name`: a positive and its negatives for each of `chosen`; hard ones for `wanted` of them."""
        whole, part = self.folder / f"{name}.jsonl", self.folder / f"{name}.part"
        if whole.exists():
            return rows.read(whole)
        done = self._go_on(part)
        with part.open("a", encoding="utf-8", errors=rows.ESCAPED) as file:
            asked = self._ask(chosen, wanted, known, done, training=name == "train")
            for number, found in enumerate(asked, start=len(done)):
                file.write("".join(json.dumps(row.to_json(), ensure_ascii=False) + "\n" for row in found))
                file.flush()
                self.progress(f"{name} questions", number + 1, min(wanted, len(chosen)))
        part.replace(whole)
        return rows.read(whole)

    def _go_on(self, part: Path) -> set[tuple[str, int]]:
        """The points that an interrupted run has asked; a half-written last one is cut off."""
        found = rows.read(part) if part.exists() else []
        # The last point may lack rows.
        kept = [row for row in found if (row.user, row.at) != (found[-1].user, found[-1].at)]
        text = "".join(json.dumps(row.to_json(), ensure_ascii=False) + "\n" for row in kept)
        part.write_text(text, encoding="utf-8", errors=rows.ESCAPED)
        return {(row.user, row.at) for row in kept}

    def _ask(
        self, chosen: list[Point], wanted: int, known: Any, done: set[tuple[str, int]], *, training: bool
    ) -> Iterator[list[Row]]:
        turn, passed, so_far = {point: number for number, point in enumerate(chosen)}, 0, 0
        for before, group in slices(self.log, known, chosen, self.cut, training=training):
            passed += len(group)
            missing = [point for point in group if (self.log.user_ids[point.user], point.at) not in done]
            if not missing:
                so_far += len(group)  # where it counts: all of the group were offered
                continue
            recall = Recall.of_log(self.log, self.texts, before)
            learned = self._learned(before, recall) if self.learns and not training else None
            if self.settings.negatives == "hard":
                quota = passed * wanted // len(chosen) - so_far  # with what earlier groups could not give
                offered = self._offered(sorted(group, key=turn.__getitem__), recall, known, quota)
                so_far += len(offered)
                missing = [point for point in missing if point in offered]
            self._summarise(missing)
            for point in sorted(missing, key=lambda point: (point.user, point.at)):
                yield self._rows(point, recall, learned, known)

    def _learned(self, known: Any, recall: Recall) -> Recall:
        """What `recommend` would rank with, had it been learned from the `known` interactions alone."""
        taught, vectors = Recall.of(recall.item_ids, recall.tables), self.vectors.of(self.texts)
        taught.learned = learned_from(_part(self.log, known), self.texts, vectors, self.progress)[0]
        return taught

    def _offered(self, group: list[Point], recall: Recall, known: Any, quota: int) -> set[Point]:
        """The first `quota` points whose item recall would have offered.

        Training on others, against negatives that recall ranks high, would teach the model to distrust recall.
        """
        found: set[Point] = set()
        for number, point in enumerate(group):
            if len(found) >= quota:
                break
            self.progress("recalled positives", number, len(group))
            *seen, target = self._until(point)
            taken = self._taken(point, known) - {target}
            if target in {one.item_id for one in recall.candidates(seen, HARD, exclude=taken)}:
                found.add(point)
        return found

    def _until(self, point: Point) -> list[str]:
        """The user's items up to the one asked about."""
        return [self.log.item_ids[i] for i in self.log.items[self.log.users == point.user][: point.at + 1]]

    def _taken(self, point: Point, known: Any) -> set[str]:
        """Items that are never negatives: taken up to the point, or in the training interactions."""
        own = self.log.users == point.user
        # Items taken after the split may be negatives: to spare them would reveal the answers of the test.
        mine = own if self.cut.kind == "users" else known & own
        return {*self._until(point), *(self.log.item_ids[i] for i in self.log.items[mine])}

    def _rows(self, point: Point, recall: Recall, learned: Recall | None, known: Any) -> list[Row]:
        user = self.log.user_ids[point.user]
        everything = histories.history(self.workspace, user)
        there = self._until(point)
        if [step.item.item_id for step in everything[: point.at + 1]] != there:
            raise InputError("the workspace changed while the questions were made. Next: run the same command again.")
        history, (*seen, target) = everything[: point.at], there
        summary = self._summary(user, history)
        taken = self._taken(point, known)
        rng = random.Random(f"{self.settings.seed} {user} {point.at}")
        others = negatives(self.settings.negatives, self.settings.ratio, recall, seen, taken, rng)
        items = np.array([recall.index[item_id] for item_id in (target, *others)], np.int32)
        answers = [YES, *(NO for _ in others)]
        asked = zip(recall.described(seen, items), answers, strict=True)
        made = [self._row(user, point.at, candidate, answer, summary, history) for candidate, answer in asked]
        if learned is None:
            return made
        scores = [candidate.recall for candidate in learned.described(seen, items)]
        return [replace(row, learned=score) for row, score in zip(made, scores, strict=True)]

    def _summarise(self, chosen: list[Point]) -> None:
        """Write the summaries that the questions at these points need, side by side."""
        if self.recipe.summary:
            users = [(self.log.user_ids[point.user], point.at) for point in chosen]
            people = ((user, histories.history(self.workspace, user)[:at]) for user, at in users)
            for done, _ in enumerate(self.preferences.chains(people, past=True), start=1):
                self.progress("summaries for questions", done, len(users))

    def _summary(self, user: str, history: list[Interaction]) -> str:
        if not self.recipe.summary:
            return ""
        return self.preferences.chain(user, history, past=True)[-1].summary

    def _row(
        self, user: str, at: int, candidate: Candidate, answer: str, summary: str, history: list[Interaction]
    ) -> Row:
        asked = self.judge.ask(candidate, summary, history)
        cut, question = self.judge.fitted(asked, self.settings.max_length)
        engine = self.judge.tokens
        read = engine.rendered(question)
        prefix, suffix = rows.parts_of(read, asked.item.image)
        return Row(
            user=user,
            at=at,
            item_id=candidate.item_id,
            answer=answer,
            prefix=prefix,
            suffix=suffix,
            ids=tuple(engine.token_ids([*read.prefix, *read.suffix])),
            recall=candidate.recall,
            blend=RECALL_WEIGHT * candidate.recall,
            image_sha256=asked.evidence.image_sha256,
            dropped=cut.dropped,
            cut=cut.room != self.rooms[0],
        )
