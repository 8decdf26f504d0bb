"""The departments of the invented shop, and the tastes that its shoppers share."""

from __future__ import annotations

from dataclasses import dataclass

from .drawing import OBJECTS, Look

DEPARTMENTS: dict[str, tuple[str, ...]] = {
    "clothing": ("T-shirt", "shirt", "sweater", "jacket", "dress", "skirt", "trousers", "shorts", "sock"),
    "shoes": ("sandal", "sneaker", "boot", "high heel"),
    "bags": ("handbag", "backpack", "wallet"),
    "accessories": ("belt", "wristwatch", "sunglasses", "cap", "scarf", "tie", "umbrella"),
    "fresh food": ("apple", "pear", "banana", "lemon", "tomato", "bell pepper", "carrot", "strawberry"),
    "groceries": ("milk carton", "juice carton", "yoghurt pot", "jam jar", "cereal box"),
    "home": ("mug", "teapot", "cushion", "lamp"),
}


@dataclass(frozen=True, slots=True)
class Taste:
    """What somebody is after for a while; no `pattern` means that any will do."""

    objects: tuple[str, ...]
    colours: tuple[str, ...]
    pattern: str | None


def matches(taste: Taste, look: Look) -> bool:
    """Whether a product of this look is to that taste."""
    return look.object in taste.objects and look.colour in taste.colours and taste.pattern in (None, look.pattern)


def _of(department: str, *colours: str) -> Taste:
    return Taste(DEPARTMENTS[department], colours, None)


def _anything(pattern: str, *colours: str) -> Taste:
    return Taste(OBJECTS, colours, pattern)


THEMES: tuple[Taste, ...] = (
    _of("clothing", "navy", "grey"),
    _of("clothing", "pink", "purple"),
    _of("clothing", "green"),
    _of("clothing", "white", "black"),
    _of("shoes", "brown", "beige"),
    _of("shoes", "red"),
    _of("shoes", "blue", "white"),
    _of("bags", "black", "brown"),
    _of("bags", "yellow", "orange"),
    _of("accessories", "blue", "navy"),
    _of("accessories", "red", "orange"),
    _of("accessories", "black", "grey"),
    _of("fresh food", "red", "orange"),
    _of("fresh food", "yellow", "green"),
    _of("groceries", "green", "white"),
    _of("groceries", "purple", "pink"),
    _of("home", "white", "blue"),
    _of("home", "brown", "beige"),
    _anything("floral", "pink", "red"),
    _anything("floral", "yellow", "green"),
    _anything("checked", "red", "green"),
    _anything("checked", "brown", "orange"),
    _anything("polka-dotted", "black", "red"),
    _anything("polka-dotted", "purple", "blue"),
    _anything("striped", "navy", "white"),
    _anything("zigzag", "orange", "beige"),
)
