"""The rule that writes target summaries: what a summary says after a block, given what it said before.

A summary names attributes of items, its `terms`, and says all that the rule needs to go on from its text:

- `now`: what the latest block repeats, the most frequent first, and among equals what is new; where it repeats
  nothing, two that it shows, those that were named before first.
- `still`: what was named before and is seen once more, or stood under `now` until this block.
- `faded`: what stood under `still` and is not in the block. After that it is no longer named.

So what is no longer chosen goes down by one step a block, and never comes first.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import product

NOW, STILL, FADED = 4, 3, 2  # terms of each, at most
FIRST, LATER = "This person likes", "This person now likes"  # how the templates open the answer

# The first form of each is the usual one. The plainest are read last: others would fit them too.
_NOW = (" {}", " mostly {}", " above all {}")
_STILL = (", and still some {}", "; still {}", ", with some {} as before")
_FADED = ("; less {} than before", "; hardly any {} now", ". Less {} than before")
_USUAL = 0.75  # share of the usual form
_THINGS = " things"  # after a list that ends in an adjective

Block = Sequence[Sequence[str]]  # the terms of each item, oldest first


@dataclass(frozen=True, slots=True)
class State:
    """What a summary says: its terms, the weightiest first."""

    now: tuple[str, ...] = ()
    still: tuple[str, ...] = ()
    faded: tuple[str, ...] = ()

    @property
    def terms(self) -> tuple[str, ...]:
        return (*self.now, *self.still, *self.faded)


def after(before: State, block: Block) -> State:
    """The state after a block. One that shows no terms at all changes nothing."""
    counts = Counter(term for item in block for term in dict.fromkeys(item))
    if not counts:
        return before
    known = dict.fromkeys((*before.now, *before.still))
    # Counter keeps the order of the block, and sorting keeps it among equals.
    repeated = sorted((one for one in counts if counts[one] > 1), key=lambda one: (-counts[one], one in known))
    now = repeated[:NOW] or sorted(counts, key=lambda one: one not in known)[:2]
    seen = sorted((one for one in counts if one in known), key=lambda one: -counts[one])
    still = [term for term in (*seen, *before.now) if term not in now]
    faded = [term for term in before.still if term not in counts]
    return State(tuple(now), tuple(dict.fromkeys(still))[:STILL], tuple(faded[:FADED]))


def text(
    state: State, opening: str, wording: random.Random | None = None, adjectives: Collection[str] = frozenset()
) -> str:
    """The summary that says `state`; with `wording`, now and then in another form."""

    def form(forms: Sequence[str]) -> str:
        return forms[0] if wording is None or wording.random() < _USUAL else wording.choice(forms[1:])

    said = opening + form(_NOW).format(_list(state.now, adjectives))
    if state.still:
        said += form(_STILL).format(_list(state.still, adjectives))
    if state.faded:
        said += form(_FADED).format(_list(state.faded, adjectives))
    return said + "."


def parse(summary: str) -> State | None:
    """The state that a summary says; None where it is in none of the forms of `text`."""
    for reader in _READERS:
        if (found := reader.fullmatch(summary)) and not any(map(_OTHER_FORM.search, filter(None, found.groups()))):
            return State(*(tuple(_terms(found[part] or "")) for part in ("now", "still", "faded")))
    return None


def _list(terms: Sequence[str], adjectives: Collection[str]) -> str:
    joined = " and ".join(part for part in (", ".join(terms[:-1]), terms[-1]) if part)
    return joined + _THINGS if terms[-1] in adjectives else joined


def _terms(listed: str) -> list[str]:
    return [term for term in re.split(r", | and ", listed.removesuffix(_THINGS)) if term]


def _reader(now: str, still: str, faded: str) -> re.Pattern[str]:
    listed = {"now": now, "still": still, "faded": faded}
    parts = {name: re.escape(form).replace(r"\{\}", rf"(?P<{name}>[^;.]+?)") for name, form in listed.items()}
    return re.compile(f"This person (?:now )?likes{parts['now']}(?:{parts['still']})?(?:{parts['faded']})?[.]")


_OTHER_FORM = re.compile(r"\b(mostly|above all|some|less|hardly any)\b")  # in a list: it was read in the wrong form
_READERS = [_reader(*forms) for forms in product(_NOW[::-1], _STILL, _FADED)]


def said(word: str) -> str:
    """An attribute of a catalogue as a summary names it: in lower case, unless its capitals mean something."""

    def plain(part: str) -> bool:
        return part not in NAMES and all(len(one) > 1 and one[1:] == one[1:].lower() for one in part.split("-"))

    return " ".join(part.lower() if plain(part) else part for part in word.split())


NAMES = frozenset(
    """Thai Mexican Indian Italian French Greek Japanese Korean Lebanese Ethiopian Moroccan Vietnamese Spanish Persian
    Turkish Peruvian Iceland Scotland Sicily Lisbon Kyoto Patagonia Andalusia Provence Cornwall Bavaria Crete Norway
    Victorian Roman Viking Celtic Brazilian Cuban Nordic""".split()
)


def plural(kind: str) -> str:
    """What a caption calls by one ("T-shirt"), as a summary names it ("T-shirts")."""
    if kind.endswith("ss") or kind.endswith(("ch", "sh", "x")) or kind.endswith("tomato"):
        return kind + "es"
    if kind.endswith("s"):
        return kind
    return kind[:-1] + "ies" if re.search("[^aeiou]y$", kind) else kind + "s"


def shows(description: str, term: str) -> bool:
    """Whether a description, which may have been cut short, shows what a summary calls `term`."""
    return _stem(term) in description.lower()


def named(summary: str, vocabulary: Iterable[str]) -> list[str]:
    """The terms of a vocabulary that a summary names, in the order of their first places; the longest fit wins."""
    left, places = summary.lower(), []
    for term in sorted(set(vocabulary), key=lambda term: (-len(term), term)):
        pattern = rf"(?<![\w-]){re.escape(_stem(term))}(?:'s|'|es|s|ies)?(?![\w-])"
        if found := re.search(pattern, left):
            places.append((found.start(), term))
            left = re.sub(pattern, lambda match: "\0" * len(match[0]), left)
    return [term for _, term in sorted(places)]


def _stem(term: str) -> str:
    stem = re.sub(r"('s|')$", "", term.lower())
    if stem.endswith("ies"):
        return stem[:-3]
    if stem.endswith(("sses", "ches", "shes", "xes", "toes")):
        return stem[:-2]
    return stem[:-1] if stem.endswith("s") and not stem.endswith("ss") else stem
