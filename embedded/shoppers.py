"""People whose histories the summariser learns from, real and simulated, and the catalogues they choose from."""

from __future__ import annotations

import csv
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from msr_local.demo import drawing
from msr_local.demo.catalogue import products
from msr_local.demo.themes import DEPARTMENTS
from msr_local.demo.users import shoppers
from msr_local.store.rows import Item

from . import words
from .domains import HELD_OUT, TRAINED, Catalogue, Thing, catalogue
from .summaries import plural, said

NOISE = 0.15  # share of what a simulated person takes without regard to taste
_LEAST = 4  # things that a taste needs to choose from
_OWNED = {"men": "men's", "women": "women's", "girls": "girls'", "boys": "boys'", "children": "children's"}
_LOOKS = """multi plain striped checked polka-dotted floral zigzag printed casual formal sports ethnic travel
unisex""".split()
ADJECTIVES = frozenset([*words.NEAR_COLOURS, *words.COLOURS, *_OWNED.values(), *_LOOKS, "smart casual"])


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of a history that begins at interaction `start` and follows a taste for things with these terms."""

    start: int
    terms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class History:
    """What somebody chose, oldest first; `phases` are known of simulated people only."""

    source: str
    user: str
    catalogue: Catalogue
    steps: tuple[Thing, ...]
    phases: tuple[Phase, ...] = ()


def held_out(*key: str) -> bool:
    """Whether a user or an item (by its id) is for measuring only: one in ten."""
    return sha256("/".join(key).encode()).digest()[0] * 10 < 256


def simulate(shop: Catalogue, user: str, rng: random.Random, lengths: Sequence[int], noise: float = NOISE) -> History:
    """Somebody whose taste changes after each of `lengths`."""
    steps: list[Thing] = []
    phases: list[Phase] = []
    for length in lengths:
        taken = {term for phase in phases for term in phase.terms}
        taste = _taste(shop, rng, taken)
        phases.append(Phase(len(steps), taste))
        fitting = [thing for thing in shop.by_term[taste[0]] if set(taste) <= set(thing.terms)]
        for _ in range(length):
            pool = shop.things if rng.random() < noise else fitting
            # The same thing twice would be repeated in all it has.
            steps.append(
                rng.choice([thing for thing in rng.sample(pool, k=min(8, len(pool))) if thing not in steps] or pool)
            )
    return History(shop.name, user, shop, tuple(steps), tuple(phases))


def _taste(shop: Catalogue, rng: random.Random, taken: set[str]) -> tuple[str, ...]:
    """One term or two that some things have, none of them `taken` before."""
    usable = [term for term, things in shop.by_term.items() if len(things) >= _LEAST and term not in taken]
    first = rng.choice(usable or list(shop.by_term))
    second = rng.choice(rng.choice(shop.by_term[first]).terms)
    both = sum(second in thing.terms for thing in shop.by_term[first])
    # What nearly all things have is no taste.
    tells = second not in taken and both >= _LEAST and len(shop.by_term[second]) < len(shop.things) / 3
    return (first, second) if second != first and tells and rng.random() < 0.5 else (first,)


# ---- films


def films(data: Path, name: str, *, measured: bool) -> tuple[Catalogue, list[History]]:
    """The films of "movielens-small" or "movietweetings", and real people's histories in time order.

    With `measured`, those that are held out. The films of the two parts are for simulated people; real ones
    may have any.
    """
    folder, (user, film) = data / name, _FILM_KEYS[name]
    things = {
        row[film]: Thing(Item(row[film], row["title"], {"genres": genres}), None, tuple(map(_genre, genres)))
        for row in _rows(folder / "movies.csv")
        if (genres := [genre for genre in row["genres"].split("|") if genre and "(" not in genre])
    }
    taken: dict[str, list[tuple[int, str]]] = {}
    for row in _rows(folder / "ratings.csv"):
        row = {key.lower(): value for key, value in row.items()}
        if row[film.lower()] in things:
            taken.setdefault(row[user.lower()], []).append((int(row["timestamp"]), row[film.lower()]))
    adjectives = frozenset(["children's", "short"])
    every = Catalogue(name, list(things.values()), adjectives)
    real = [
        History(name, person, every, tuple(things[one] for _, one in sorted(steps)))
        for person, steps in taken.items()
        if len(steps) >= 3 and held_out(name, person) == measured
    ]
    part = [thing for thing in things.values() if held_out(name, thing.item.item_id) == measured]
    return Catalogue(name, part, adjectives), real


_FILM_KEYS = {"movielens-small": ("userId", "movieId"), "movietweetings": ("user_id", "imdb_id")}


def genres(item: Item) -> list[str]:
    """The genres of a film as a summary names them; none for other items."""
    found = item.attributes.get("genres") or []
    listed = found if isinstance(found, list) else str(found).split("|")
    return [_genre(genre) for genre in listed if genre and "(" not in genre]


def _genre(genre: str) -> str:
    return _OWNED.get(genre.lower(), said(genre))


# ---- products


def fashion(data: Path, rng: random.Random, *, pictured: bool, measured: bool, size: int = 2000) -> Catalogue:
    """Products of the fashion catalogue: their attributes as fields, or a category, a price and a caption."""
    rows = [row for row in _rows(data / "fashion" / "products.csv") if (row["split"] != "train") == measured]
    names = {
        "articleType": rng.choice(["Type", "Article type", "Category"]),
        "baseColour": rng.choice(["Colour", "Base colour", "Color"]),
        "gender": rng.choice(["Gender", "For", ""]),
        "usage": rng.choice(["Usage", "", ""]),
    }
    things = []
    for row in rng.sample(rows, k=min(size, len(rows))):
        if pictured:
            facts = words.fashion(row["articleType"], row["baseColour"], row["gender"], row["usage"], row["title"])
            things.append(_pictured(Item(row["id"], row["title"], _offer(row["masterCategory"], rng)), facts, rng))
        else:
            given = {heading: row[key] for key, heading in names.items() if heading and row[key] not in ("", "NA")}
            terms = tuple(dict.fromkeys(_OWNED.get(value.lower(), said(value)) for value in given.values()))
            things.append(Thing(Item(row["id"], row["title"], given), None, terms))
    return Catalogue("fashion", [one for one in things if not any(" and " in t for t in one.terms)], ADJECTIVES)


def drawn(rng: random.Random, *, measured: bool, size: int = 1500) -> Catalogue:
    """Products as those of the demo, of other makers: drawn objects with a category, a price and a caption."""
    things = []
    part = [look for look in drawing.looks() if drawing.held_out(look) == measured]
    for number, look in enumerate(rng.sample(part, k=min(size, len(part)))):
        title = f"{rng.choice(_HOUSES)} {rng.choice(_LINES)}" + (f" {look.object}" if rng.random() < 0.7 else "")
        category = next(name for name, objects in DEPARTMENTS.items() if look.object in objects)
        things.append(_pictured(Item(f"drawn-{number}", title, _offer(category, rng)), _facts(look, rng), rng))
    return Catalogue("drawn", things, ADJECTIVES)


def shop(rng: random.Random, *, measured: bool) -> list[History]:
    """The shoppers of the demo; with `measured`, those that are held out."""
    things = {
        one.item_id: _pictured(
            Item(one.item_id, one.title, {"category": one.category, "price": one.price}), _facts(one.look, rng), rng
        )
        for one in products()
    }
    whole = Catalogue("shop", list(things.values()), ADJECTIVES)
    found = []
    for one in shoppers():
        if one.training != measured:
            steps = tuple(things[item] for item, _ in one.history)
            phases: list[Phase] = []
            for start, end, taste in zip((0, *one.changes), (*one.changes, len(steps)), one.tastes, strict=True):
                usual = taste.pattern or next(name for name, objects in DEPARTMENTS.items() if objects == taste.objects)
                if phases and phases[-1].terms[0] == usual:  # what is new is the colour
                    shown = Counter(term for thing in steps[start:end] for term in thing.terms)
                    usual = max(taste.colours, key=lambda colour: shown[colour])
                phases.append(Phase(start, (usual,)))
            found.append(History("shop", one.user_id, whole, steps, tuple(phases)))
    return found


def _facts(look: drawing.Look, rng: random.Random) -> words.Facts:
    """What a captioner that was trained on fashion as well says of a drawing: now and then for whom, or less."""
    pattern = "" if look.pattern == "plain" and rng.random() < 0.15 else look.pattern
    worn = look.object in DEPARTMENTS["clothing"] + DEPARTMENTS["shoes"]
    whom = rng.choice(("men", "women")) if worn and rng.random() < 0.15 else ""
    use = rng.choice(("casual", "sports")) if worn and rng.random() < 0.1 else ""
    return words.Facts(look.object, look.colour, pattern, whom, use)


def _offer(category: str, rng: random.Random) -> dict[str, str]:
    return {"category": category, "price": f"{rng.randint(3, 149)}.{rng.choice(('00', '50', '90'))}"}


def _pictured(item: Item, facts: words.Facts, rng: random.Random) -> Thing:
    caption = words.caption(facts, rng if rng.random() < 0.3 else None)
    seen = [facts.colour, facts.pattern, plural(facts.kind), _OWNED.get(facts.whom, facts.whom), facts.use]
    terms = tuple(dict.fromkeys(term for term in [said(item.attributes["category"]), *seen] if term))
    return Thing(item, caption, terms)


_HOUSES = (
    "Alder Birch Coastal Dune Elm Fable Garnet Haven Indigo Juniper Kestrel Lumen Meadow Nimbus Otter Plume".split()
)
_LINES = "Tee classic No.2 everyday studio original weekend mini line basic edit duo prime market loft city".split()


# ---- everybody


class People:
    """An endless stream of histories of one part, by source; a source that is not there is left out."""

    def __init__(self, data: Path, seed: int, *, measured: bool) -> None:
        self._rng, self._measured, self._count = random.Random(seed), measured, 0
        self._films = [
            films(data, name, measured=measured) for name in _FILM_KEYS if (data / name / "ratings.csv").exists()
        ]
        self._fashion = [
            fashion(data, self._rng, pictured=pictured, measured=measured)
            for pictured in (False, True, False, True)
            if (data / "fashion" / "products.csv").exists()
        ]
        self._drawn = drawn(self._rng, measured=measured)
        self.shop = shop(self._rng, measured=measured)
        self.sources = ["invented", "drawn", *["films"] * bool(self._films), *["fashion"] * bool(self._fashion)]

    def one(self, source: str, lengths: Sequence[int] | None = None, noise: float = NOISE) -> History:
        """Somebody of a source; with `lengths`, a simulated one whose taste changes after each of them.

        Without, two in three of films are real, and one in four of drawn products is a shopper of the demo.
        """
        rng = self._rng
        self._count += 1
        user = f"{source}-{self._count}"
        if source == "films":
            chosen, real = rng.choice(self._films)
            if lengths is None and rng.random() < 2 / 3:
                return _stretch(rng.choice(real), rng)
        elif source == "fashion":
            chosen = rng.choice(self._fashion)
        elif source == "drawn":
            chosen = self._drawn
            if lengths is None and rng.random() < 1 / 4:
                return _stretch(rng.choice(self.shop), rng)
        else:
            chosen = catalogue(rng.choice(HELD_OUT if self._measured else TRAINED), rng)
        lengths = lengths or [rng.randint(3, 9) for _ in range(rng.choice((1, 2, 2, 3)))]
        return simulate(chosen, user, rng, lengths, noise)


def _stretch(history: History, rng: random.Random) -> History:
    """Up to 18 consecutive interactions of a history."""
    length = min(len(history.steps), rng.randint(3, 18))
    start = rng.randint(0, len(history.steps) - length)
    return History(history.source, history.user, history.catalogue, history.steps[start : start + length])


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)
