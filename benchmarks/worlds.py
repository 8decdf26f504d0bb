"""Worlds of invented shoppers in which it is known what everybody likes now: a catalogue, purchases, and the truth.

    python -m benchmarks.worlds --data ../shared/data work/worlds shop second fashion

Each is a folder with items.csv, interactions.csv, images/ and truth.json. What a shopper bought last, which is always
to the last taste, is in truth.json only.

- `shop`: the demo's shop, and shoppers that nothing was trained on.
- `second`: another drawn shop: of its looks, tastes, departments, makers and lines none is the demo's.
- `fashion`: photos of clothes that the captioner was not trained on. Titles and attributes tell nothing.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import shutil
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from itertools import combinations
from pathlib import Path

from embedded import words
from msr_local.demo import drawing, shop, users
from msr_local.demo.catalogue import Plan, Product, planned, products
from msr_local.demo.themes import DEPARTMENTS, THEMES, Taste
from msr_local.demo.users import Shopper, courses

NAMES = ("shop", "second", "fashion")
DRAWN, PHOTOGRAPHED = 300, 240  # shoppers
TRUTH = "truth.json"
Wish = Mapping[str, Sequence[str]]  # a taste: the values that it takes, by attribute


@dataclass(frozen=True, slots=True)
class Person:
    """The truth about a shopper; `last` is the purchase that is held back."""

    tastes: Sequence[Wish]
    changes: Sequence[int]  # where in the history the next taste begins
    last: str


@dataclass(frozen=True, slots=True)
class World:
    """The true attributes of each item, and the truth about each shopper."""

    items: Mapping[str, Mapping[str, str]]
    people: Mapping[str, Person]

    def fits(self, item_id: str, wish: Wish) -> bool:
        """Whether an item is to a taste."""
        return all(self.items[item_id][name] in values for name, values in wish.items())

    def names(self, text: str, wish: Wish) -> bool:
        """Whether a text names a taste: for each attribute a value, or a kind of item with that value."""
        return all(any(words.names(text, term) for term in self._terms(name, wish[name])) for name in wish)

    def _terms(self, name: str, values: Sequence[str]) -> set[str]:
        if name == "articleType":
            return {words.article_name(value) for value in values}
        kinds = {
            words.article_name(item["articleType"]) if "articleType" in item else item["object"]
            for item in self.items.values()
            if name in ("department", "subCategory") and item[name] in values
        }
        return {value.lower() for value in values} | kinds


def write(name: str, folder: Path, data: Path, *, image_size: int = 256) -> World:
    """Write a world; files that are there already stay. `data` holds the folder fashion.

    Drawn pictures are `image_size` pixels square.
    """
    if name == "fashion":
        return _fashion(folder, data / "fashion")
    if name == "second":
        choice = users.market(second(), SECOND_THEMES, "second popularity")
        return _drawn(folder, second(), SECOND, fresh(DRAWN, "second shoppers", choice, SECOND_THEMES), image_size)
    return _drawn(folder, products(), DEPARTMENTS, fresh(DRAWN), image_size)


def _written(
    folder: Path,
    items: Mapping[str, Mapping[str, str]],
    everybody: Iterable[tuple[str, Sequence[Wish], Sequence[int], Sequence[tuple[str, str]]]],
) -> World:
    """Write the truth; `everybody` has of each the name, the tastes, the changes and the whole history."""
    people = {user: Person(wishes, changes, history[-1][0]) for user, wishes, changes, history in everybody}
    world = World(items, people)
    shop.write_whole(folder / TRUTH, (json.dumps(asdict(world), indent=1) + "\n").encode())
    return world


# ---- drawn


def fresh(
    count: int, seed: str = "fresh", choice: users.Market | None = None, themes: Sequence[Taste] = THEMES
) -> list[Shopper]:
    """Shoppers of a drawn shop, by default the demo's: none of its own, but they came about like them."""
    made = courses(choice or users.shop(), _names(count), seed)
    return [
        Shopper(name, tuple(themes[k] for k in one.tastes), one.changes, one.history, training=False)
        for name, one in made.items()
    ]


def _names(count: int) -> Iterable[str]:
    return (f"fresh-{number:03}" for number in range(1, count + 1))


def _drawn(
    folder: Path,
    goods: Sequence[Product],
    departments: Mapping[str, Sequence[str]],
    people: Sequence[Shopper],
    size: int,
) -> World:
    bought = ((one.user_id, item, moment) for one in people for item, moment in one.history[:-1])
    shop.write_files(folder, goods, bought, image_size=size)
    items = {
        one.item_id: {"department": one.category, "object": one.look.object, "colour": one.look.colour,
                      "pattern": one.look.pattern}
        for one in goods
    }  # fmt: skip

    def wish(taste: Taste) -> Wish:
        if taste.pattern:  # on anything
            return {"pattern": [taste.pattern], "colour": taste.colours}
        return {"department": [name for name in departments if taste.objects == departments[name]],
                "colour": taste.colours}  # fmt: skip

    return _written(
        folder,
        items,
        ((one.user_id, [wish(taste) for taste in one.tastes], one.changes, one.history) for one in people),
    )


SECOND: dict[str, tuple[str, ...]] = {
    "sport": ("T-shirt", "shorts", "sock", "sneaker", "backpack", "cap"),
    "office": ("shirt", "trousers", "tie", "belt", "wristwatch", "wallet"),
    "winter": ("sweater", "jacket", "boot", "scarf"),
    "going out": ("dress", "skirt", "high heel", "handbag"),
    "holidays": ("sandal", "sunglasses", "umbrella"),
    "breakfast": ("milk carton", "juice carton", "yoghurt pot", "jam jar", "cereal box", "mug", "teapot"),
    "living room": ("cushion", "lamp"),
}
_SECOND_COLOURS = {
    "sport": ("blue orange", "yellow black", "white red"),
    "office": ("navy beige", "grey blue", "white brown"),
    "winter": ("red beige", "green navy", "grey pink"),
    "going out": ("black purple", "orange pink"),
    "holidays": ("green blue", "yellow white"),
    "breakfast": ("blue yellow", "red brown", "black green", "pink beige"),
    "living room": ("yellow grey", "navy purple"),
}
_SECOND_PATTERNS = {
    "floral": ("blue black", "white orange"),
    "checked": ("yellow purple", "pink white"),
    "polka-dotted": ("green beige", "navy red"),
    "striped": ("grey red", "orange black"),
    "zigzag": ("pink blue", "brown navy"),
}
SECOND_THEMES: tuple[Taste, ...] = (
    *(Taste(SECOND[name], tuple(pair.split()), None) for name, pairs in _SECOND_COLOURS.items() for pair in pairs),
    *(
        Taste(sum(SECOND.values(), ()), tuple(pair.split()), name)
        for name, pairs in _SECOND_PATTERNS.items()
        for pair in pairs
    ),
)
_SECOND_MAKERS = """Abelson Birkwood Castellan Drover Eskdale Falkner Gellert Hesper Ivarsen Jarrow Kolbe Lomax Medina
Nevis Orsini Pelham Quist Rowntree Sandoval Thackray Ulmer Varga Whitlock Yarrow Zeller""".split()
_SECOND_LINES = {
    "sport": "active team court trail training stadium".split(),
    "office": "business executive tailored signature boardroom".split(),
    "winter": "alpine nordic chalet frost fireside".split(),
    "going out": "evening gala soiree festive premiere".split(),
    "holidays": "beach resort island cruise lagoon".split(),
    "breakfast": "morning sunrise table homely fresh".split(),
    "living room": "gallery manor loft parlour hearth".split(),
}


@cache
def second() -> tuple[Product, ...]:
    """The products of the second drawn shop: fruit, of which there are few looks, has none of it."""
    taken = {product.look for product in products()}
    sold = set(sum(SECOND.values(), ()))
    looks = [look for look in drawing.looks() if look.object in sold and look not in taken]
    prices = dict.fromkeys(SECOND, (4, 95))
    return planned(Plan("second products", looks, SECOND, SECOND_THEMES, _SECOND_MAKERS, _SECOND_LINES, prices))


# ---- photos

_ATTRIBUTES = ("articleType", "subCategory", "baseColour", "gender", "usage")
_FEWEST, _MOST = 12, 40  # items that are to a taste
_NARROWS = 1.25  # how many times more there are without any of its attributes


def _fashion(folder: Path, data: Path) -> World:
    with (data / "products.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "val"]
    random.Random("fashion").shuffle(rows)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    items, listed = {}, []
    for number, row in enumerate(rows, 1):
        item, image = f"f{number:03}", f"images/f{number:03}.jpg"
        items[item] = {name: row[name] for name in _ATTRIBUTES}
        listed.append((item, f"Product {number}", image))
        if not (folder / image).exists():
            shutil.copyfile(data / row["image"], folder / image)
    shop.write_csv(folder / "items.csv", ("item_id", "title", "image"), listed)
    wishes = _wishes(items)
    choice = users.Market(
        users.popularity(list(items), "fashion popularity"), list(wishes), lengths=(5, 9), last=(5, 9), least=10
    )
    made = courses(choice, _names(PHOTOGRAPHED), "fashion shoppers")
    bought = ((user, item, moment) for user, one in made.items() for item, moment in one.history[:-1])
    shop.write_purchases(folder, bought)
    told = list(wishes.values())
    return _written(
        folder, items, ((user, [told[k] for k in one.tastes], one.changes, one.history) for user, one in made.items())
    )


def _wishes(items: Mapping[str, Mapping[str, str]]) -> dict[frozenset[str], Wish]:
    """Tastes for two or three attributes at once, each of which tells something, by the items that are to them."""
    having: dict[tuple[tuple[str, str], ...], set[str]] = defaultdict(set)
    for item, values in items.items():
        for count in (1, 2, 3):
            for some in combinations(values.items(), count):
                having[some].add(item)
    found: dict[frozenset[str], Wish] = {}
    for some, fitting in having.items():
        wider = [len(having[some[:k] + some[k + 1 :]]) for k in range(len(some))] if len(some) > 1 else [0]
        if _FEWEST <= len(fitting) <= _MOST and min(wider) >= _NARROWS * len(fitting):
            found.setdefault(frozenset(fitting), {name: [value] for name, value in some})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="+", choices=NAMES)
    arguments = parser.parse_args()
    for name in arguments.names:
        write(name, arguments.folder / name, arguments.data)


if __name__ == "__main__":
    main()
