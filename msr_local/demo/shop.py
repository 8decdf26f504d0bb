"""The files of the invented shop: its products with their pictures, and who bought what."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import PIL
from PIL import Image, PngImagePlugin

from .catalogue import Product, products
from .drawing import draw
from .users import shoppers

_DRAWN_BY = ("canvas", "drawing", "food", "patterns", "things", "wear")


def write(folder: Path, *, image_size: int = 256) -> None:
    """Write items.csv, interactions.csv and images/ into a folder, which is made; what is there already stays.

    Raises OSError where the folder cannot be written.
    """
    bought = ((one.user_id, item, moment) for one in shoppers() for item, moment in one.history)
    write_files(folder, products(), bought, image_size=image_size)


def write_files(
    folder: Path, goods: Iterable[Product], purchases: Iterable[tuple[str, str, str]], *, image_size: int = 256
) -> None:
    """As `write`, for any drawn products and purchases (user, item, timestamp) of them."""
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    items = []
    for product in goods:
        image = images / f"{product.item_id}.png"
        _write_image(image, product, image_size)
        items.append((product.item_id, product.title, product.category, product.price, f"images/{image.name}"))
    write_csv(folder / "items.csv", ("item_id", "title", "category", "price", "image"), items)
    write_purchases(folder, purchases)


def write_purchases(folder: Path, purchases: Iterable[tuple[str, str, str]]) -> None:
    """Write interactions.csv: each (user, item, timestamp), in time order."""
    rows = sorted(purchases, key=lambda one: (one[2], one[0], one[1]))
    write_csv(folder / "interactions.csv", ("user_id", "item_id", "timestamp"), rows)


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


def write_csv(path: Path, header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    """Write a table, unless it stands there already."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_whole(path, text.getvalue().encode("utf-8"))


def write_whole(path: Path, data: bytes) -> None:
    """Write a file, unless it stands there already."""
    if not path.exists() or path.read_bytes() != data:
        _replace(path, data)


def _replace(path: Path, data: bytes) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(data)
    part.replace(path)
