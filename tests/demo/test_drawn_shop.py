"""The drawn shop: its products, its shoppers against the process that made them, and the files."""

import csv
import random
import re
from collections import Counter
from datetime import datetime
from hashlib import sha256
from itertools import chain, pairwise
from pathlib import Path

import pytest
from PIL import Image
from scipy.stats import binom

from msr_local.demo.catalogue import _LINES, _MAKERS, products
from msr_local.demo.drawing import COLOURS, OBJECTS, PATTERNS, held_out, looks
from msr_local.demo.shop import write
from msr_local.demo.themes import DEPARTMENTS, THEMES, matches
from msr_local.demo.users import FAITHFUL, Shopper, shop, shoppers

LOOKS = {product.item_id: product.look for product in products()}
SIZE = 24


def stretches(one: Shopper) -> list[list[str]]:
    """The items of a history, taste by taste."""
    items = [item for item, _ in one.history]
    ends = [0, *one.changes, len(items)]
    return [items[start:end] for start, end in pairwise(ends)]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_demo_stays_as_it_is(tmp_path: Path) -> None:
    """Its pictures depend on the version of Pillow; all else is the same everywhere."""
    write(tmp_path, image_size=SIZE)
    made = {
        "looks": "".join(f"{one.look.name} {one.seed}," for one in products()).encode(),
        "tastes": "".join(f"{one.tastes} {one.changes} {one.training}," for one in shoppers()).encode(),
        **{name: (tmp_path / name).read_bytes() for name in ("items.csv", "interactions.csv")},
    }
    assert {name: sha256(data).hexdigest() for name, data in made.items()} == {
        "looks": "f667d8e2816d86256bdb52f17516439bae94128d91bbfc1654bde1d44df768f7",
        "tastes": "45520cce3662327530022ba6f87f07668dd55d59a08507ba59de7575e8279094",
        "items.csv": "5bfe538cc83a77f2c296e9f73c7656a2b9052ee5815c12684423927fd92d387a",
        "interactions.csv": "38eb43e871d5e344c8c92ea8aa7b34eac794e45762aaa0c975b00e0beedb8190",
    }


def test_there_are_300_products_of_all_kinds() -> None:
    assert [product.item_id for product in products()] == [f"p{number:03}" for number in range(1, 301)]
    assert {look.object for look in LOOKS.values()} == set(OBJECTS)
    assert {look.colour for look in LOOKS.values()} == set(COLOURS)
    assert {look.pattern for look in LOOKS.values()} == set(PATTERNS)
    assert set(LOOKS.values()) <= set(looks())
    assert 30 <= sum(map(held_out, LOOKS.values())) <= 90


def test_departments_share_out_the_objects() -> None:
    assert sorted(name for objects in DEPARTMENTS.values() for name in objects) == sorted(OBJECTS)
    assert all(product.look.object in DEPARTMENTS[product.category] for product in products())
    assert all(re.fullmatch(r"\d+\.\d\d", product.price) for product in products())


def test_titles_name_the_kind_and_give_nothing_else_away() -> None:
    titles = [product.title for product in products()]
    assert len(set(titles)) == len(titles)
    told = {*COLOURS, *PATTERNS, "polka", "dotted", "stripe", "check", "flower", "dark", "light", "bright", "gray"}
    for product in products():
        assert product.title.endswith(product.look.object)
        words = product.title.removesuffix(product.look.object).lower().split()
        assert len(words) == 2 and not told & set(words), product.title
    assert not told & {word.lower() for word in [*_MAKERS, *chain(*_LINES.values())]}


def test_titles_are_drawn_without_a_look_at_the_picture() -> None:
    """Makers say no more about colours than makers dealt at random."""

    def told(makers: list[str]) -> float:
        pairs = Counter(zip(makers, (look.colour for look in LOOKS.values()), strict=True))
        return sum(count * count for count in pairs.values())

    makers = [product.title.split()[0] for product in products()]
    rng = random.Random(0)
    dealt = [told(rng.sample(makers, len(makers))) for _ in range(200)]
    assert told(makers) <= sorted(dealt)[197]


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: f"{theme.objects[0]}-{theme.colours[0]}-{theme.pattern}")
def test_each_taste_finds_enough(theme) -> None:
    fitting = [look for look in LOOKS.values() if matches(theme, look)]
    assert 5 <= len(fitting) <= 12


def test_there_are_60_shoppers_of_whom_20_are_held_out() -> None:
    everybody = shoppers()
    assert len(everybody) == len({one.user_id for one in everybody}) == 60
    assert sum(one.training for one in everybody) == 40
    assert all(re.fullmatch(r"[a-z]{2,8}", one.user_id) for one in everybody)
    (ada,) = (one for one in everybody if one.user_id == "ada")
    assert not ada.training and len(ada.changes) == 1
    assert not set(ada.tastes[0].colours) & set(ada.tastes[1].colours)


@pytest.mark.parametrize("one", shoppers(), ids=lambda one: one.user_id)
def test_a_history_has_the_form_that_is_stated(one: Shopper) -> None:
    items = [item for item, _ in one.history]
    assert 14 <= len(items) <= 28 and len(set(items)) == len(items) and set(items) <= set(LOOKS)
    assert len(one.tastes) in (2, 3) and len(one.changes) == len(one.tastes) - 1
    *earlier, last = map(len, stretches(one))
    assert all(6 <= length <= 10 for length in earlier) and 5 <= last <= 8
    assert matches(one.tastes[-1], LOOKS[items[-1]])
    for before, after in pairwise(one.tastes):
        assert not [look for look in LOOKS.values() if matches(before, look) and matches(after, look)]
    # Something is left to recommend.
    assert [item for item, look in LOOKS.items() if matches(one.tastes[-1], look) and item not in items]
    moments = [moment for _, moment in one.history]
    assert moments == sorted(set(moments))
    assert all(datetime.strptime(moment, "%Y-%m-%dT%H:%M:%SZ").year in (2024, 2025) for moment in moments)


def test_purchases_follow_the_current_taste_as_often_as_stated() -> None:
    """The last purchases are left out, as they are always to the taste; strays hit it now and then by chance."""
    hits = drawn = 0
    for one in shoppers():
        for taste, items in zip(one.tastes, stretches(one), strict=True):
            items = items[: len(items) - (taste is one.tastes[-1])]
            hits += sum(matches(taste, LOOKS[item]) for item in items)
            drawn += len(items)
    low, _ = binom.interval(0.99, drawn, FAITHFUL)
    _, high = binom.interval(0.99, drawn, FAITHFUL + (1 - FAITHFUL) * 12 / 300)
    assert low <= hits <= high


def test_a_change_of_taste_shows() -> None:
    """Of the purchases after a change hardly any are to the taste before it."""
    late = [
        matches(before, LOOKS[item])
        for one in shoppers()
        for before, items in zip(one.tastes, stretches(one)[1:], strict=False)
        for item in items
    ]
    assert sum(late) / len(late) < 0.05


def test_tastes_are_shared() -> None:
    had = Counter(taste for one in shoppers() if one.training for taste in one.tastes)
    assert set(had) == set(THEMES)
    assert min(had.values()) >= 3 and max(had.values()) <= 6


def test_popular_products_are_bought_more() -> None:
    weights = shop().weights
    assert weights.keys() == LOOKS.keys()
    bought = Counter(item for one in shoppers() for item, _ in one.history)
    ranked = sorted(weights, key=weights.__getitem__, reverse=True)
    head, tail = (sum(bought[item] for item in part) for part in (ranked[:75], ranked[-75:]))
    assert head > 1.5 * tail > 0


def test_shoppers_are_interleaved() -> None:
    bought = sorted((moment, one.user_id) for one in shoppers() for _, moment in one.history)
    users = [user for _, user in bought]
    assert sum(a != b for a, b in pairwise(users)) > 0.9 * len(users)
    assert len(set(users[: len(users) // 10])) > 30


def test_the_files_are_whole_and_the_same_each_time(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    write(one, image_size=SIZE)
    write(other, image_size=SIZE)
    assert contents(one) == contents(other) and len(contents(one)) == 302
    with (one / "items.csv").open(encoding="utf-8", newline="") as file:
        items = list(csv.DictReader(file))
    assert [tuple(item) for item in items[:1]] == [("item_id", "title", "category", "price", "image")]
    assert [item["item_id"] for item in items] == list(LOOKS)
    for item in items[::50]:
        with Image.open(one / item["image"]) as image:
            assert (image.mode, image.size) == ("RGB", (SIZE, SIZE))
    with (one / "interactions.csv").open(encoding="utf-8", newline="") as file:
        rows = [(row["user_id"], row["item_id"], row["timestamp"]) for row in csv.DictReader(file)]
    assert sorted(rows) == sorted((one.user_id, item, moment) for one in shoppers() for item, moment in one.history)
    assert [moment for *_, moment in rows] == sorted(moment for *_, moment in rows)


def test_what_is_there_already_stays_and_what_is_not_ours_is_drawn_again(tmp_path: Path) -> None:
    write(tmp_path, image_size=SIZE)
    before = contents(tmp_path)
    for path in tmp_path.rglob("*.*"):
        path.chmod(0o444)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")}
    (tmp_path / "images" / "p002.png").unlink()
    (tmp_path / "images" / "p003.png").chmod(0o644)
    (tmp_path / "images" / "p003.png").write_bytes(b"no picture")
    (tmp_path / "interactions.csv").unlink()
    write(tmp_path, image_size=SIZE)
    assert contents(tmp_path) == before
    changed = {path.name for path, at in times.items() if path.stat().st_mtime_ns != at}
    assert changed == {"p002.png", "p003.png", "interactions.csv"}
    write(tmp_path, image_size=16)
    with Image.open(tmp_path / "images" / "p300.png") as image:
        assert image.size == (16, 16)  # another size is drawn anew
