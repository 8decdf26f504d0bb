"""The products of the invented shop and the files they are shipped in.

A title names a maker, a line and the kind of object, never its colour or pattern: those are in the picture only.
To each of the shared tastes there are 10 to 12 products, so that somebody who has bought some can want the rest.
"""

from __future__ import annotations

import csv
import io
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import PIL
from PIL import Image, PngImagePlugin

from .drawing import Look, draw, looks
from .themes import DEPARTMENTS, THEMES, matches

COUNT = 300

_FEWEST, _MOST = 10, 12
_DRAWN_BY = ("canvas", "drawing", "food", "patterns", "things", "wear")
_MAKERS = (
    "Halden Brisa Tovik Marnel Oskari Quillon Verano Lindqvist Pavane Corvo Sorrel Amparo Fennick Juno Tessaly Ravello "
    "Kestrin Ostermann Dalby Mirova Norrby Calder Ilmen Sabine Wexcombe Arlo Petrel Zanetti Holm Brackley"
).split()
_LINES = {
    "clothing": "everyday weekend relaxed studio heritage holiday travel city classic essential".split(),
    "shoes": "city promenade weekend club avenue comfort classic harbour".split(),
    "bags": "commuter market day travel city compact classic everyday".split(),
    "accessories": "classic travel weekend city essential holiday club".split(),
    "fresh food": "orchard farm market hillside valley organic select".split(),
    "groceries": "family breakfast dairy organic daily village select".split(),
    "home": "kitchen cottage studio lounge guest classic everyday".split(),
}
_PRICES = {
    "clothing": (15, 90),
    "shoes": (30, 140),
    "bags": (25, 150),
    "accessories": (9, 80),
    "fresh food": (1, 5),
    "groceries": (1, 7),
    "home": (8, 60),
}


@dataclass(frozen=True, slots=True)
class Product:
    """A product, and what its picture shows."""

    item_id: str
    title: str
    category: str
    price: str
    look: Look
    seed: int


@lru_cache(maxsize=1)
def products() -> tuple[Product, ...]:
    """All products, the same at every call."""
    rng = random.Random("products")
    chosen = _assortment(rng)
    rng.shuffle(chosen)
    titles: set[str] = set()
    made = []
    for number, look in enumerate(chosen, 1):
        category = next(name for name, objects in DEPARTMENTS.items() if look.object in objects)
        title = _title(look.object, category, rng)
        while title in titles:
            title = _title(look.object, category, rng)
        titles.add(title)
        price = f"{rng.randint(*_PRICES[category])}.{rng.choice(('00', '50', '90', '95'))}"
        made.append(Product(f"p{number:03}", title, category, price, look, rng.randrange(1_000_000)))
    return tuple(made)


def _title(name: str, category: str, rng: random.Random) -> str:
    return f"{rng.choice(_MAKERS)} {rng.choice(_LINES[category])} {name}"


def _assortment(rng: random.Random) -> list[Look]:
    """Looks for each theme first, then some that are nobody's theme; fresh food comes again under other names."""
    chosen: list[Look] = []
    counts = [0] * len(THEMES)

    def take(look: Look) -> bool:
        hit = [k for k, theme in enumerate(THEMES) if matches(theme, look)]
        if any(counts[k] >= _MOST for k in hit):
            return False
        for k in hit:
            counts[k] += 1
        chosen.append(look)
        return True

    for k, theme in enumerate(THEMES):
        fitting = [look for look in looks() if matches(theme, look)]
        while counts[k] < _FEWEST:
            new = [look for look in fitting if look not in chosen] or fitting
            had = Counter(look.object for look in chosen)
            rng.shuffle(new)
            if not any(take(look) for look in sorted(new, key=lambda look: had[look.object])):
                break
    while len(chosen) < COUNT:
        had = Counter(look.object for look in chosen)
        free = [look for look in looks() if look not in chosen and not any(matches(theme, look) for theme in THEMES)]
        rng.shuffle(free)
        chosen.append(min(free, key=lambda look: had[look.object]))
    return chosen


def write(folder: Path, *, image_size: int = 256) -> None:
    """Write items.csv, interactions.csv and images/ into a folder, which is made; what is there already stays.

    Raises OSError where the folder cannot be written.
    """
    from .users import shoppers

    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    items = []
    for product in products():
        image = images / f"{product.item_id}.png"
        _write_image(image, product, image_size)
        items.append((product.item_id, product.title, product.category, product.price, f"images/{image.name}"))
    bought = sorted((moment, one.user_id, item) for one in shoppers() for item, moment in one.history)
    _write_csv(folder / "items.csv", ("item_id", "title", "category", "price", "image"), items)
    _write_csv(
        folder / "interactions.csv",
        ("user_id", "item_id", "timestamp"),
        ((user, item, moment) for moment, user, item in bought),
    )


def _write_image(path: Path, product: Product, size: int) -> None:
    key = sha256(f"{_program()} {product.look} {product.seed} {size}".encode()).hexdigest()
    if path.exists() and _key(path) == key:
        return
    info = PngImagePlugin.PngInfo()
    info.add_text("drawn", key)
    data = io.BytesIO()
    draw(product.look, product.seed, size).save(data, "PNG", pnginfo=info, compress_level=4)
    _replace(path, data.getvalue())


def _key(path: Path) -> str | None:
    """What `path` was drawn from, None where it is no picture of ours."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            return str(image.info.get("drawn"))
    except (OSError, SyntaxError):
        return None


@lru_cache(maxsize=1)
def _program() -> str:
    """What else than the product decides how a picture looks: the modules that draw, and the version of Pillow."""
    sources = (Path(__file__).with_name(f"{name}.py").read_bytes() for name in _DRAWN_BY)
    return sha256(b"".join([PIL.__version__.encode(), *sources])).hexdigest()


def _write_csv(path: Path, header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    data = text.getvalue().encode("utf-8")
    if not path.exists() or path.read_bytes() != data:
        _replace(path, data)


def _replace(path: Path, data: bytes) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(data)
    part.replace(path)
