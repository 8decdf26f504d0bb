"""Worlds in which only what is seen or read decides: drawn, photographed and invented catalogues, and their shoppers.

Each world has its own products, words and themes. A shopper follows two or three themes, one after the other; a theme
is had by several shoppers, so that recall has something to say as well. Captions are as wrong as a captioner's.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from msr_local.demo import drawing
from msr_local.demo.themes import DEPARTMENTS
from msr_local.recall.learning import LEAST
from msr_local.store.rows import Item

from . import shoppers, words
from .domains import HELD_OUT, TRAINED, Catalogue, Thing, catalogue
from .shoppers import Phase

FAITHFUL = 0.85  # share of purchases that follow the theme; the last one always does
_FITTING = (6, 14)  # things to a theme
_SIZES = (160, 320)  # things in a catalogue
_PEOPLE, _MANY = (120, 260), 2 * LEAST + 40
_LENGTHS = (5, 10)  # purchases under one theme
_WRONG = {"drawn": 0.03, "photos": 0.15}  # share of captions whose colour, and of those whose kind is another
_UNNAMED = 0.35  # share of drawn worlds whose titles do not even name the object


@dataclass(frozen=True, slots=True)
class Theme:
    """What somebody is after for a while: all things that have one of the terms of each group."""

    groups: tuple[frozenset[str], ...]

    def __call__(self, thing: Thing) -> bool:
        terms = set(thing.terms)
        return all(group & terms for group in self.groups)


@dataclass(frozen=True, slots=True)
class Shopper:
    """The places in the catalogue of what somebody took, oldest first, and which theme each was taken under."""

    steps: tuple[int, ...]
    phases: tuple[Phase, ...]
    themes: tuple[Theme, ...]

    def theme(self, at: int) -> Theme:
        """The theme that is followed at step `at`."""
        return next(
            theme for phase, theme in reversed([*zip(self.phases, self.themes, strict=True)]) if phase.start <= at
        )


@dataclass(frozen=True, slots=True)
class World:
    """A catalogue and the people who choose from it. `true` has the things with what they truly are."""

    kind: str
    catalogue: Catalogue
    true: tuple[Thing, ...]
    people: tuple[Shopper, ...]


def world(kind: str, rng: random.Random, data: Path, *, measured: bool = False) -> World | None:
    """A world of a kind. None where there are too few themes.

    `measured`: of the parts that are never trained on, and with people enough for recall to learn from half of them.
    """
    made, true, propose = _MAKERS[kind](rng, data, measured)
    themes = _themes(true, propose, rng)
    if len(themes) < 4:
        return None
    popular = list(range(len(true)))
    rng.shuffle(popular)
    weights = [1 / (rank + 5) for rank in popular]
    fits = {theme: [place for place, thing in enumerate(true) if theme(thing)] for theme in themes}
    people = tuple(_shopper(fits, weights, rng) for _ in range(_MANY if measured else rng.randint(*_PEOPLE)))
    return World(kind, made, tuple(true), people)


def _themes(things: Sequence[Thing], propose: Callable[[], Theme], rng: random.Random) -> list[Theme]:
    wanted, found = rng.randint(10, 26), []
    for _ in range(400):
        theme = propose()
        fits = sum(map(theme, things))
        if 5 <= fits <= max(16, len(things) // 8) and theme not in found:
            found.append(theme)
            if len(found) == wanted:
                break
    return found


def _shopper(fits: dict[Theme, list[int]], weights: list[float], rng: random.Random) -> Shopper:
    chosen = rng.sample(list(fits), k=rng.choice((1, 2, 2, 3, 3)))
    steps: dict[int, None] = {}
    phases = []
    for theme in chosen:
        phases.append(Phase(len(steps), ()))
        for _ in range(rng.randint(*_LENGTHS)):
            fitting = [place for place in fits[theme] if place not in steps] if rng.random() < FAITHFUL else []
            among = fitting or [place for place in range(len(weights)) if place not in steps]
            power = 0.5 if fitting else 1.0
            steps[rng.choices(among, [weights[place] ** power for place in among])[0]] = None
    return Shopper(tuple(steps), tuple(phases), tuple(chosen))


# ---- kinds of worlds


def _drawn(rng: random.Random, data: Path, measured: bool) -> tuple[Catalogue, list[Thing], Callable[[], Theme]]:
    """As the demo's shop: titles without colour and pattern, which only the caption says."""
    part = [look for look in drawing.looks() if drawing.held_out(look) == measured]
    departments = [name for name in DEPARTMENTS if rng.random() < 0.8] or list(DEPARTMENTS)
    colours, patterns = sorted({look.colour for look in part}), sorted({look.pattern for look in part} - {"plain"})

    def propose() -> Theme:
        some = frozenset(rng.sample(colours, k=rng.choice((1, 2, 2))))
        if rng.random() < 0.4:
            return Theme((frozenset([rng.choice(patterns)]), some))
        if rng.random() < 0.15:
            return Theme((frozenset([rng.choice(patterns)]), frozenset([rng.choice(departments)])))
        return Theme((frozenset([rng.choice(departments)]), some))

    allowed = [look for look in part if _department(look) in departments]
    chosen: dict[drawing.Look, None] = {}
    for theme in (propose() for _ in range(26)):
        fits = [look for look in allowed if theme(_of_look(look))]
        chosen |= dict.fromkeys(rng.sample(fits, k=min(len(fits), rng.randint(*_FITTING))))
    size = rng.randint(*_SIZES)
    chosen |= dict.fromkeys(rng.sample(allowed, k=min(len(allowed), max(0, size - len(chosen)))))
    named = rng.random() >= _UNNAMED
    houses = [_made_up(rng) for _ in range(24)]
    true = [
        _thing(f"d{n}", look, f"{rng.choice(houses)} {rng.choice(_LINES)}{f' {look.object}' * named}", rng)
        for n, look in enumerate(chosen)
    ]
    rng.shuffle(true)
    return _seen(true, "drawn", colours, rng), true, propose


def _thing(name: str, look: drawing.Look, title: str, rng: random.Random) -> Thing:
    category = _department(look)
    attributes = {"category": category, "price": f"{rng.randint(3, 149)}.{rng.choice(('00', '50', '90'))}"}
    pattern = "" if look.pattern == "plain" and rng.random() < 0.15 else look.pattern
    caption = words.caption(words.Facts(look.object, look.colour, pattern))
    return Thing(Item(name, title, attributes), caption, _of_look(look).terms)


def _of_look(look: drawing.Look) -> Thing:
    terms = (_department(look), look.colour, look.pattern, shoppers.plural(look.object))
    return Thing(Item("", ""), None, terms)


def _department(look: drawing.Look) -> str:
    return next(name for name, objects in DEPARTMENTS.items() if look.object in objects)


def _photos(rng: random.Random, data: Path, measured: bool) -> tuple[Catalogue, list[Thing], Callable[[], Theme]]:
    """Fashion photos: titles that say nothing or little, and captions as wrong as they are for photos."""
    shop = shoppers.fashion(data, rng, pictured=True, measured=measured, size=rng.randint(*_SIZES) * 2)
    mute = rng.random() < 0.7
    true = []
    for number, one in enumerate(shop.things):
        item, terms = one.item, one.terms
        if mute:
            item, terms = Item(item.item_id, f"Product {number + 1}"), terms[1:]  # the first one is the category
        true.append(Thing(item, one.caption, terms))
    colours = sorted({*words.NEAR_COLOURS, *words.COLOURS} & {term for one in true for term in one.terms})
    return _seen(true, "photos", colours, rng), true, _any_terms(true, rng)


def _invented(rng: random.Random, data: Path, measured: bool) -> tuple[Catalogue, list[Thing], Callable[[], Theme]]:
    """Catalogues of many kinds without pictures: only their attributes say what a thing is."""
    made = catalogue(rng.choice(HELD_OUT if measured else TRAINED), rng, rng.randint(*_SIZES))
    return made, made.things, _any_terms(made.things, rng)


def _any_terms(things: Sequence[Thing], rng: random.Random) -> Callable[[], Theme]:
    """Themes of one or two groups of terms that some thing has together."""

    def propose() -> Theme:
        terms = rng.choice(things).terms
        some = rng.sample(terms, k=min(len(terms), rng.choice((1, 2, 2, 2, 3))))
        return Theme(tuple(frozenset([term]) for term in some))

    return propose


def _seen(true: Sequence[Thing], kind: str, colours: Sequence[str], rng: random.Random) -> Catalogue:
    """The catalogue as its captions tell it: now and then they name another colour, or another kind of thing."""
    things = []
    for one in true:
        seen = rng.choice(true) if kind == "photos" and rng.random() < _WRONG[kind] else one
        caption, terms = seen.caption or "", seen.terms
        told = next((term for term in terms if term in colours and f" {term} " in caption), None)
        if told and rng.random() < _WRONG[kind]:
            other = rng.choice(sorted(words.NEAR_COLOURS.get(told, ())) or colours)
            caption = caption.replace(f" {told} ", f" {other} ", 1)
            terms = tuple(other if term == told else term for term in terms)
        things.append(Thing(one.item, caption, tuple(dict.fromkeys(terms))))
    return Catalogue(kind, things, shoppers.ADJECTIVES)


_MAKERS = {"drawn": _drawn, "photos": _photos, "invented": _invented}
_LINES = "Tee classic No.2 everyday studio original weekend mini line basic edit duo prime market loft city".split()
_SYLLABLES = "bra ven tor lin dal mer os quil ka fen ros ul zan pe ild ar no vi sel gar hu eb ny cor".split()


def _made_up(rng: random.Random) -> str:
    return "".join(rng.choice(_SYLLABLES) for _ in range(rng.choice((2, 2, 3)))).capitalize()
