"""What a picture shows, as facts, and the captions that say it: pure functions.

The facts come from the attributes of the catalogues (fashion, groceries) or from the renderer (drawings).
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Facts:
    """One picture's truth; '' for what the catalogue does not say."""

    kind: str  # as it stands in a caption: "T-shirt", "casual shoes", "apple"
    colour: str = ""
    pattern: str = ""
    whom: str = ""  # "men", "women", "girls", "boys"
    use: str = ""  # "casual", "formal", "sports", "ethnic"
    variety: str = ""  # of food: "Golden Delicious"
    food: str = ""  # "fresh" or "package"


# Words that are fine as they are although they end in "s", and come in pairs or as one piece all the same.
_PAIRS = frozenset(
    """shoes heels sandals flats socks sunglasses flip-flops gloves cufflinks stockings trousers jeans shorts pants
    leggings capris tights boots sneakers trainers flops""".split()
)
_SINGULAR = {
    "Ties": "tie", "Tshirts": "T-shirt",
    "Dresses": "dress", "Briefs": "briefs", "Clutches": "clutch", "Scarves": "scarf",
    "Accessory Gift Set": "accessory gift set", "Boxers": "boxers", "Free Gifts": "free gift", "Bra": "bra",
    "Shoe Accessories": "shoe accessory", "Necklace and Chains": "necklace", "Kurta Sets": "kurta set",
    "Travel Accessory": "travel accessory", "Perfume and Body Mist": "perfume",
}  # fmt: skip
_PATTERN_WORDS = (
    (r"\bstrip\w*", "striped"), (r"\bcheck\w*", "checked"), (r"\bpolka\w*", "polka-dotted"),
    (r"\bfloral\w*", "floral"), (r"\bsolids?\b", "plain"), (r"\bprint\w*", "printed"),
)  # fmt: skip
_PACKAGES = frozenset(
    ["Juice", "Milk", "Oatghurt", "Oat Milk", "Sour Cream", "Sour Milk", "Soyghurt", "Soy Milk", "Yoghurt"]
)

# A caption may name a colour by one of these instead: neighbours that people (and the catalogue's own labels)
# do not keep apart.
NEAR_COLOURS: dict[str, frozenset[str]] = {
    name: frozenset(near)
    for name, near in {
        "navy blue": ["blue", "navy"], "blue": ["navy blue", "turquoise blue"], "turquoise blue": ["blue", "teal"],
        "teal": ["turquoise blue", "sea green"], "sea green": ["green", "teal"], "fluorescent green": ["green"],
        "grey": ["charcoal", "silver", "grey melange", "steel"], "grey melange": ["grey"], "charcoal": ["grey"],
        "silver": ["steel", "grey", "metallic"], "steel": ["silver", "grey", "metallic"],
        "metallic": ["silver", "steel"], "off white": ["white", "cream"], "white": ["off white"],
        "cream": ["off white", "beige"], "beige": ["cream", "tan", "khaki", "nude", "skin"], "nude": ["beige"],
        "skin": ["beige"], "tan": ["brown", "beige"], "khaki": ["beige", "olive"], "olive": ["green", "khaki"],
        "green": ["olive"], "brown": ["tan", "coffee brown", "bronze"], "coffee brown": ["brown"], "taupe": ["brown"],
        "copper": ["bronze", "brown", "gold"], "bronze": ["copper", "gold", "brown"], "gold": ["bronze", "copper"],
        "maroon": ["burgundy", "red"], "burgundy": ["maroon", "red"], "red": ["maroon"],
        "rust": ["orange", "brown"], "orange": ["rust", "peach"], "peach": ["orange", "pink"],
        "mustard": ["yellow"], "yellow": ["mustard"], "pink": ["magenta", "peach"], "magenta": ["pink", "purple"],
        "purple": ["lavender", "mauve"], "lavender": ["purple"], "mauve": ["purple", "lavender"],
    }.items()
}  # fmt: skip


def fashion(article_type: str, base_colour: str, gender: str, usage: str, title: str) -> Facts:
    """The facts of a row of the fashion catalogue; the pattern is taken from the title where that names one."""
    pattern = next((name for word, name in _PATTERN_WORDS if re.search(word, title.lower())), "")
    use = usage.lower() if usage in ("Casual", "Formal", "Sports", "Ethnic") else ""
    return Facts(
        kind=article_name(article_type),
        colour="" if base_colour in ("", "NA") else "multicoloured" if base_colour == "Multi" else base_colour.lower(),
        pattern=pattern,
        whom="" if gender == "Unisex" else gender.lower(),
        use=use,
    )


def article_name(article_type: str) -> str:
    """An article type of the fashion catalogue as it stands in a caption."""
    if article_type in _SINGULAR:
        return _SINGULAR[article_type]
    name = article_type.lower()
    last = name.split()[-1]
    if last in _PAIRS or not name.endswith("s") or name.endswith("ss"):
        return name
    if name.endswith("ies"):
        return name[:-3] + "y"
    return name[:-2] if name.endswith(("ches", "shes", "sses", "xes")) else name[:-1]


def grocery(coarse_class: str, variety: str) -> Facts:
    """The facts of a row of the groceries."""
    kind = {"Pepper": "bell pepper"}.get(coarse_class, coarse_class.lower())
    food = "package" if coarse_class in _PACKAGES else "fresh"
    return Facts(kind=kind, variety="" if variety.lower() == kind else variety, food=food)


def caption(facts: Facts, wording: random.Random | None = None) -> str:
    """A sentence that says the facts; with `wording`, now and then in another form."""
    form = wording.random() if wording else 0.0
    if facts.food:
        head = f"A package of {facts.kind}" if facts.food == "package" else f"Fresh {facts.kind}"
        if not facts.variety:
            return f"{head}."
        return f"{head}: {facts.variety}." if form < 0.9 else f"{facts.variety}, {head[0].lower()}{head[1:]}."
    kind = f"pair of {_worn(facts)}{facts.kind}" if facts.kind.split()[-1] in _PAIRS else f"{_worn(facts)}{facts.kind}"
    whom = f" for {facts.whom}" if facts.whom else ""
    use = f", {facts.use} style" if facts.use else ""
    if form < 0.85 or not facts.colour:
        text = f"{kind}{whom}{use}"
    else:
        bare = caption(Facts(facts.kind, "", facts.pattern))[:-1].removeprefix("A ").removeprefix("An ")
        text = f"{bare} in {facts.colour}{whom}{use}"
    return f"{'An' if text[0] in 'aeiou' else 'A'} {text}."


def _worn(facts: Facts) -> str:
    return "".join(f"{word} " for word in (facts.colour, facts.pattern) if word)


def names(text: str, phrase: str) -> bool:
    """Whether `text` names `phrase` as whole words, whatever the case, hyphens and plural "s"."""
    return f" {_plain(phrase)} " in f" {_plain(text)} "


def names_colour(text: str, colour: str) -> bool:
    """Whether `text` names `colour` or one of its near synonyms, but no other colour in front of it."""
    wanted = {colour, *NEAR_COLOURS.get(colour, ())}
    found = _first(text, {*NEAR_COLOURS, *COLOURS, *wanted})
    return found in wanted


COLOURS = ("black", "white", "multicoloured")  # beside those of NEAR_COLOURS


def _first(text: str, phrases: Iterable[str]) -> str | None:
    """The phrase that stands first in `text`; the longest where several begin there."""
    plain = f" {_plain(text)} "
    places = [(plain.find(f" {_plain(phrase)} "), -len(phrase), phrase) for phrase in phrases]
    return min((place for place in places if place[0] >= 0), default=(0, 0, None))[2]


def _plain(text: str) -> str:
    words = re.sub(r"[^a-z0-9 ]", "", text.lower().replace("-", "")).split()
    return " ".join(word[:-1] if word.endswith("s") and not word.endswith("ss") else word for word in words)
