"""Moments at which somebody chose, as groups of yes/no questions: of worlds, and of real histories.

What the questions show is made by the functions that `recommend` uses: descriptions, captions in the history, ranks of
recall over the whole catalogue. Summaries are written by the rule that the summariser has learned (`summaries`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from msr_local.arrays import Floats
from msr_local.engine.types import Question
from msr_local.prompts import PromptTemplate
from msr_local.recall.candidates import Candidate, Recall
from msr_local.recall.learning import learned_from
from msr_local.recall.splits import TRAIN, VALIDATION, split
from msr_local.recipe import columns
from msr_local.recipe.descriptions import TOKENS, describe
from msr_local.recipe.recommender import Recommender
from msr_local.recipe.scoring import hint
from msr_local.recipes import Recipe
from msr_local.store import histories
from msr_local.store.rows import Log

from .domains import Thing
from .shoppers import genres
from .summaries import FIRST, LATER, State, after, text
from .worlds import Shopper, World

OTHERS = 7  # negatives in a group
_TOP = 30  # of recall, from which the hardest negatives come
_EACH = 2  # moments of a person
_SUMMARISED = 0.7  # share of moments with a summary
# How questions for training are shown, and what share of them. A model that always sees what similar people chose
# learns to repeat it; one that often has to do without, or is told wrongly, learns to read.
WHOLE, UNTOLD, MISLED, FEW = "whole", "no hint", "hints of other candidates", "few lines, no hint, no summary"
_WORLD = {WHOLE: 0.4, UNTOLD: 0.3, MISLED: 0.15, FEW: 0.15}
_REAL = {WHOLE: 0.7, UNTOLD: 0.3}  # titles often say little there, and what similar people chose is true
APART = ", "  # between a source and the way in which its questions are shown, where they are measured apart
_FEWEST = (1, 2, 3)  # lines of the history in FEW
_RECENT, _BLOCK, _WINDOW = Recipe().recent, Recipe().block_size, Recipe().window


@dataclass(frozen=True, slots=True)
class Moment:
    """Questions about one moment of somebody's history: candidates with their answers, and recall of each."""

    source: str
    user: str
    at: int
    questions: tuple[Question, ...]
    answers: tuple[bool, ...]
    candidates: tuple[Candidate, ...]
    learned: bool = False  # whether their recall is a learned one


class Asking:
    """Makes the questions of one catalogue."""

    def __init__(self, things: Sequence[Thing], order: Sequence[str], adjectives: frozenset[str]) -> None:
        self._template, self._order, self._adjectives = PromptTemplate("score"), order, adjectives
        self._things = {thing.item.item_id: thing for thing in things}

    def moment(
        self,
        source: str,
        user: str,
        history: Sequence[str],
        asked: Sequence[tuple[Candidate, bool]],
        *,
        rng: random.Random,
        shown: str = WHOLE,
        summarised: bool = True,
        learned: bool = False,
    ) -> Moment:
        """The questions about `asked` (candidate, answer) after a history of item ids, oldest first."""
        summarised = summarised and shown != FEW and rng.random() < _SUMMARISED
        summary = self._summary(history) if summarised else ""
        recent = history[-(rng.choice(_FEWEST) if shown == FEW else _RECENT) :]
        lines = [self._line(self._things[one], TOKENS // 2) for one in recent]
        hints = ["" if shown in (UNTOLD, FEW) else self._hint(candidate) for candidate, _ in asked]
        if shown == MISLED:
            rng.shuffle(hints)
        questions = []
        for (candidate, _), told in zip(asked, hints, strict=True):
            values = {"summary": summary, "history": lines, "hint": told,
                      "candidate": self._line(self._things[candidate.item_id], TOKENS)}  # fmt: skip
            questions.append(self._template.question(values))
        answers = tuple(answer for _, answer in asked)
        candidates = tuple(one for one, _ in asked)
        return Moment(source, user, len(history), tuple(questions), answers, candidates, learned)

    def _hint(self, candidate: Candidate) -> str:
        return hint(candidate, self._things[candidate.companion].item if candidate.companion else None)

    def _line(self, thing: Thing, room: int) -> str:
        return describe(thing.item, thing.caption, room, self._order)

    def _summary(self, history: Sequence[str]) -> str:
        """What the rule says after the last whole or part block, as `Preferences` cuts them."""
        start = max(0, len(history) - _WINDOW)
        start -= start % _BLOCK
        state, blocks = State(), range(start, len(history), _BLOCK)
        for at in blocks:
            state = after(state, [self._things[one].terms for one in history[at : at + _BLOCK]])
        return text(state, FIRST if len(blocks) == 1 else LATER, None, self._adjectives) if state.terms else ""


# ---- worlds


def of_world(
    world: World,
    name: str,
    rng: random.Random,
    most: int,
    read: Callable[[list[str]], Floats] | None = None,
    *,
    measured: bool = False,
) -> Iterator[Moment]:
    """Two moments each of `most` people of one half; the others are those whom recall knows.

    With `read`, which makes the vectors of texts, recall is learned from them. A moment that is `measured` is asked
    about as a whole and, under another source, without its hints.
    """
    things, ids = world.catalogue.things, [thing.item.item_id for thing in world.catalogue.things]
    half = len(world.people) // 2
    log = _log(ids, [one.steps for one in world.people[half:]])
    told = [" ".join([one.item.title, *map(str, one.item.attributes.values()), one.caption or ""]) for one in things]
    recall, used = Recall.of_log(log, told), False
    if read is not None:
        taught, facts = learned_from(log, told, read(told))
        recall.learned, used = (taught, True) if facts["used"] else (None, False)
    order = columns.learned([thing.item for thing in things], log).order
    asking = Asking(things, order, world.catalogue.adjectives)
    for number, one in enumerate(world.people[: min(half, most)]):
        free = [at for at in range(3, len(one.steps)) if one.theme(at)(world.true[one.steps[at]])]
        for at in sorted(rng.sample(free, k=min(_EACH, len(free)))):
            chosen = _candidates(world, one, at, recall, rng)
            if len(chosen) > OTHERS:
                seen = [ids[place] for place in one.steps[:at]]
                described = recall.described(seen, np.array([place for place, _ in chosen], np.int32))
                asked = [(candidate, answer) for candidate, (_, answer) in zip(described, chosen, strict=True)]
                for source, shown in _ways(world.kind, _WORLD, rng, measured=measured):
                    yield asking.moment(source, f"{name} {number}", seen, asked, rng=rng, shown=shown, learned=used)


def _ways(source: str, shares: Mapping[str, float], rng: random.Random, *, measured: bool) -> list[tuple[str, str]]:
    """(source, how its questions are shown) of a moment: drawn for training, fixed for what is measured."""
    if measured:
        return [(source, WHOLE), (f"{source}{APART}{UNTOLD}", UNTOLD)]
    return [(source, rng.choices([*shares], [*shares.values()])[0])]


def _log(ids: list[str], steps: Sequence[Sequence[int]]) -> Log:
    users = np.repeat(np.arange(len(steps)), [len(one) for one in steps]).astype(np.int32)
    items = np.array([place for one in steps for place in one], np.int32)
    times = np.arange(len(items), dtype=float)
    return Log(ids, [f"u{n}" for n in range(len(steps))], users, items, times)


def _candidates(world: World, person: Shopper, at: int, recall: Recall, rng: random.Random) -> list[tuple[int, bool]]:
    """What was taken, one more that fits as well, and things that do not: high in recall, near misses, and any."""
    theme, seen = person.theme(at), set(person.steps[: at + 1])
    left = [place for place in range(len(world.true)) if place not in seen]
    fitting = [place for place in left if theme(world.true[place])]
    others = [place for place in left if not theme(world.true[place])]
    history = [recall.item_ids[place] for place in person.steps[:at]]
    high = [recall.index[one.item_id] for one in recall.candidates(history, _TOP + len(fitting))]
    older = [one for one in person.themes if one != theme]
    mine = set(world.true[person.steps[at]].terms)
    shared = [len(mine & set(thing.terms)) for thing in world.true]
    near = [place for place in others if any(one(world.true[place]) for one in older) or shared[place] == len(mine) - 1]
    negatives: dict[int, None] = {}
    for pool, count in (([place for place in high if place in others], 3), (near, 5), (others, OTHERS)):
        new = [place for place in pool if place not in negatives]
        negatives |= dict.fromkeys(rng.sample(new, k=min(len(new), max(0, count - len(negatives)))))
    chosen = [(person.steps[at], True), *((place, True) for place in rng.sample(fitting, k=min(1, len(fitting))))]
    chosen += [(place, False) for place in negatives]
    rng.shuffle(chosen)
    return chosen


# ---- real histories


@dataclass(frozen=True, slots=True)
class Real:
    """A real catalogue: how it is split, and how many moments are asked about."""

    split: str
    moments: int
    popular6: float = 0.0  # share of moments in the shape of that protocol


REAL = {
    "movielens": Real("order", 200),
    "movietweetings": Real("time", 300),
    "microlens": Real("users", 600, popular6=0.6),
}


def of_histories(recommender: Recommender, name: str, rng: random.Random) -> Iterator[tuple[bool, Moment]]:
    """(whether it is for validation, moment) of a real catalogue's training and validation interactions.

    Recall is learned from a part of the training interactions; moments are asked of the others.
    """
    asked = REAL[name]
    workspace = recommender.workspace
    log, texts = histories.log(workspace), recommender.recall.texts()
    _, part = split(log, asked.split)
    known = part == TRAIN
    if asked.split == "time":
        taught = known & (log.times < np.quantile(log.times[known], 0.75))
    else:
        taught = known & (log.users % 2 == 0)
    recall = Recall.of_log(log, texts, taught)
    some = Log(log.item_ids, log.user_ids, log.users[taught], log.items[taught], log.times[taught])
    made, facts = learned_from(some, texts, recommender.vectors.of(texts), recommender.progress)
    recall.learned = made if facts["used"] else None
    print(name, facts, flush=True)
    items = histories.items(workspace, log.item_ids)
    things = [Thing(item, None, tuple(genres(item))) for item in items]
    order = columns.learned(items, some).order
    asking = Asking(things, order, frozenset(["children's", "short"]))
    terms = any(thing.terms for thing in things)
    for which, eligible, count in (
        (False, known & ~taught, asked.moments), (True, part == VALIDATION, max(40, asked.moments // 8)),
    ):  # fmt: skip
        asked_about = 0
        for user in rng.sample(range(len(log.user_ids)), k=len(log.user_ids)):
            if asked_about == count:
                break
            rows = np.flatnonzero(log.users == user)
            found = _real_moment(log, rows, eligible, recall, asked, rng)
            if found is not None:
                history, chosen = found
                described = recall.described([log.item_ids[i] for i in history], np.array(chosen, np.int32))
                pairs = [(candidate, n == 0) for n, candidate in enumerate(described)]
                rng.shuffle(pairs)
                seen = [log.item_ids[i] for i in history]
                asked_about += 1
                for source, shown in _ways(name, _REAL, rng, measured=which):
                    yield which, asking.moment(source, f"{name} {user}", seen, pairs, rng=rng, shown=shown,
                                               summarised=terms, learned=facts["used"])  # fmt: skip


def _real_moment(
    log: Log,
    rows: np.ndarray[Any, Any],
    eligible: np.ndarray[Any, Any],
    recall: Recall,
    asked: Real,
    rng: random.Random,
) -> tuple[list[int], list[int]] | None:
    """A history, and candidates of which the first was taken next; the others are drawn from recall or from all."""
    own = log.items[rows]
    if rng.random() < asked.popular6:
        if len(rows) < 6 or not eligible[rows].all():
            return None
        kept = np.sort(np.argsort(-recall.count[own], kind="stable")[:6])
        history, target, uniform = own[kept[:-1]].tolist(), int(own[kept[-1]]), True
    else:
        places = [n for n in range(3, len(rows)) if eligible[rows[n]] and own[n] not in own[:n]]
        if not places:
            return None
        at = rng.choice(places[-6:])
        history, target, uniform = own[:at].tolist(), int(own[at]), rng.random() < 0.4
    taken = {*own.tolist()}
    if uniform:
        pool = [item for item in rng.sample(range(len(recall.item_ids)), k=3 * OTHERS) if item not in taken]
        return history, [target, *pool[:OTHERS]]
    ids = [log.item_ids[i] for i in history]
    out = {log.item_ids[i] for i in taken - {target}}
    offered = [recall.index[one.item_id] for one in recall.candidates(ids, 100, exclude=out)]
    if target not in offered:
        return None
    others = [item for item in offered if item != target]
    return history, [target, *rng.sample(others, k=min(OTHERS, len(others)))]
