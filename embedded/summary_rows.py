"""What the summariser is trained on: summary questions exactly as the engine reads them, and the rule's answers."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from msr_local.engine.types import Question, Text, TokenEngine
from msr_local.prompts import PromptTemplate
from msr_local.recipe.descriptions import TOKENS, describe

from . import words
from .domains import Catalogue, Thing
from .shoppers import History, People
from .summaries import FADED, FIRST, LATER, NOW, STILL, State, after, shows, text

SHARES = {"invented": 0.38, "drawn": 0.24, "films": 0.22, "fashion": 0.16}
_SIZES = {3: 0.76, 2: 0.08, 4: 0.06, 5: 0.06, 1: 0.04}  # of blocks
_FIRST = 0.14  # share of first summaries
_CUT = 0.1  # share of rows with shortened descriptions
_STRAY, _LOST, _FOREIGN = 0.12, 0.08, 0.03  # shares of rows whose summary before is not what the rule wrote
_POSTERS = 0.08  # share of rows about films with captions of their posters, which say nothing of taste


@dataclass(frozen=True, slots=True)
class Example:
    """A question and its answer; `before` is None at a first block."""

    source: str
    user: str
    before: str | None
    told: tuple[str, ...]  # the block's descriptions
    target: str


@dataclass(frozen=True, slots=True)
class Row:
    """An example and the engine's tokens of it; `prompt` ends in the answer's opening, `completion` in the end."""

    example: Example
    prompt: tuple[int, ...]
    completion: tuple[int, ...]


def example(history: History, rng: random.Random) -> Example | None:
    """A question about one block of a history; None where that shows no terms."""
    (size,) = rng.choices(list(_SIZES), list(_SIZES.values()))
    room = TOKENS // rng.choice((2, 4, 8)) if rng.random() < _CUT else TOKENS
    steps = history.steps
    if "genres" in steps[0].item.attributes and rng.random() < _POSTERS:
        steps = tuple(replace(thing, caption=_poster(rng)) for thing in steps)
    blocks = [steps[start : start + size] for start in range(0, len(steps), size)]
    at = 0 if len(blocks) == 1 or rng.random() < _FIRST else rng.randrange(1, len(blocks))
    state = State()
    for block in blocks[:at]:
        state = after(state, [thing.terms for thing in block])
    told = tuple(describe(thing.item, thing.caption, room) for thing in blocks[at])
    seen = [visible(thing, shown) for thing, shown in zip(blocks[at], told, strict=True)]
    if not any(seen):
        return None
    adjectives, before = history.catalogue.adjectives, None
    if at:
        state, odd = _disturbed(state, history.catalogue, seen, rng)
        opening = FIRST if at == 1 else LATER
        before = text(state, opening + odd, None if odd else rng, adjectives)
    target = text(after(state, seen), LATER if at else FIRST, None, adjectives)
    return Example(history.source, history.user, before, told, target)


def visible(thing: Thing, shown: str) -> list[str]:
    """The terms of a thing that its description, perhaps cut short, still shows."""
    return [term for term in thing.terms if shows(shown, term)]


def _poster(rng: random.Random) -> str:
    kind = rng.choice(("T-shirt", "handbag", "backpack", "shirt", "wallet", "watch"))
    return words.caption(words.Facts(kind, rng.choice(("black", "blue", "red", "white")), rng.choice(("", "printed"))))


def _disturbed(state: State, shop: Catalogue, block: Sequence[Sequence[str]], rng: random.Random) -> tuple[State, str]:
    """The state that the question's summary says, and odd words that it says it with: the model's own mistakes
    and summaries of other models must not put it off."""
    chance = rng.random()
    if chance < _STRAY:
        shown = [term for item in block for term in item]
        pool = list(dict.fromkeys([*rng.choices(list(shop.by_term), k=5), *rng.choices(shown, k=2)]))
        rng.shuffle(pool)
        cuts = [rng.randint(1, NOW), rng.randint(0, STILL), rng.randint(0, FADED)]
        parts = [tuple(pool[sum(cuts[:n]) : sum(cuts[: n + 1])]) for n in range(3)]
        return State(*parts), ""
    if chance < _STRAY + _LOST:
        return State(state.now, state.still if rng.random() < 0.5 else ()), ""
    if chance < _STRAY + _LOST + _FOREIGN:
        return State(state.now), rng.choice((" a mix of", " items about", " a variety of", " to choose"))
    return state, ""


def examples(people: People, count: int, seed: int) -> Iterator[Example]:
    """`count` examples of all sources in mixed order."""
    rng = random.Random(seed)
    shares = {source: SHARES[source] for source in people.sources}
    while count:
        (source,) = rng.choices(list(shares), list(shares.values()))
        if (made := example(people.one(source), rng)) is not None:
            count -= 1
            yield made


class Asking:
    """Makes questions from the shipped templates."""

    def __init__(self) -> None:
        self._templates = {name: PromptTemplate(f"preference_{name}") for name in ("first", "update")}

    def question(self, before: str | None, told: Sequence[str]) -> Question:
        """The question as `Preferences` asks it."""
        values = {} if before is None else {"summary": before}
        return self._templates["first" if before is None else "update"].question({"items": told, **values})


def row(engine: TokenEngine, asking: Asking, made: Example) -> Row:
    """The tokens of an example as the engine decodes them. Raises ValueError if the answer opens otherwise."""
    question = asking.question(made.before, made.told)
    if not made.target.startswith(question.opening):
        raise ValueError(f"{made.target!r} does not begin with the template's {question.opening!r}")
    rest = made.target.removeprefix(question.opening)
    completion = engine.token_ids([Text(rest), Text(engine.facts.eos, special=True)])
    asked = engine.rendered(question)
    return Row(made, tuple(engine.token_ids([*asked.prefix, *asked.suffix])), tuple(completion))


def save(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as JSON lines."""
    part = path.with_suffix(".part")
    part.write_text("".join(json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in rows), encoding="utf-8")
    part.replace(path)


def read(path: Path) -> list[Row]:
    """The rows that `save` wrote."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        document = json.loads(line)
        made = Example(**{**document["example"], "told": tuple(document["example"]["told"])})
        found.append(Row(made, tuple(document["prompt"]), tuple(document["completion"])))
    return found


def report(rows: Sequence[Row]) -> str:
    """Counts by source and lengths in tokens, for people."""
    sources = Counter(one.example.source for one in rows)

    def percentiles(lengths: list[int]) -> str:
        lengths = sorted(lengths)
        return ", ".join(
            f"p{p} {lengths[min(len(lengths) - 1, len(lengths) * p // 100)]}" for p in (0, 50, 90, 99, 100)
        )

    firsts = sum(one.example.before is None for one in rows)
    return "\n".join(
        [
            f"{len(rows)} rows, {firsts} of them first summaries: {dict(sources.most_common())}",
            f"tokens of prompts: {percentiles([len(one.prompt) for one in rows])}",
            f"tokens of answers: {percentiles([len(one.completion) for one in rows])}",
            f"tokens in all: {sum(len(one.prompt) + len(one.completion) for one in rows):,}",
        ]
    )
