"""The worlds of `benchmarks.worlds`: who likes what in them is known, and what is held back is not given away."""

from __future__ import annotations

import csv
import json
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks import worlds
from msr_local.demo import users
from msr_local.demo.catalogue import products
from msr_local.demo.drawing import COLOURS, PATTERNS
from msr_local.demo.themes import THEMES, matches


@pytest.fixture(scope="module", params=worlds.NAMES)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, worlds.World]:
    data = request.getfixturevalue("shared") if request.param == "fashion" else Path()
    folder = tmp_path_factory.mktemp(request.param)
    return folder, worlds.write(request.param, folder, data, image_size=16)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def histories(folder: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in rows(folder / "interactions.csv"):
        found.setdefault(row["user_id"], []).append(row["item_id"])
    return found


def test_the_last_purchase_is_held_back_and_to_the_last_taste(made: tuple[Path, worlds.World]) -> None:
    folder, world = made
    bought = histories(folder)
    assert bought.keys() == world.people.keys() and len(bought) >= 240
    for user, one in world.people.items():
        assert one.last not in bought[user] and world.fits(one.last, one.tastes[-1])
        assert len(one.changes) == len(one.tastes) - 1 and all(change <= len(bought[user]) for change in one.changes)


def test_purchases_are_to_the_taste_of_the_time(made: tuple[Path, worlds.World]) -> None:
    folder, world = made
    fit = [
        world.fits(item, wish)
        for user, items in histories(folder).items()
        for wish, (start, end) in zip(
            world.people[user].tastes, pairwise([0, *world.people[user].changes, len(items)]), strict=True
        )
        for item in items[start:end]
    ]
    assert users.FAITHFUL - 0.02 < sum(fit) / len(fit) < users.FAITHFUL + 0.04
    for one in world.people.values():
        for before, after in pairwise(one.tastes):
            assert not any(world.fits(item, before) and world.fits(item, after) for item in world.items)


def test_the_truth_is_written_as_it_is(made: tuple[Path, worlds.World]) -> None:
    folder, world = made
    told = json.loads((folder / worlds.TRUTH).read_text(encoding="utf-8"))
    assert told["items"] == world.items and told["items"].keys() == {
        row["item_id"] for row in rows(folder / "items.csv")
    }
    assert {user: one["last"] for user, one in told["people"].items()} == {
        user: one.last for user, one in world.people.items()
    }
    assert all((folder / row["image"]).is_file() for row in rows(folder / "items.csv"))


def test_titles_of_photos_tell_nothing(shared: Path, tmp_path: Path) -> None:
    world = worlds.write("fashion", tmp_path, shared)
    assert len(world.items) == 800 and len(world.people) == 240
    for row in rows(tmp_path / "items.csv"):
        assert row.keys() == {"item_id", "title", "image"} and row["title"] == f"Product {int(row['item_id'][1:])}"
    again = worlds.write("fashion", tmp_path, shared)
    assert again == world


def test_fresh_shoppers_are_as_many_as_one_likes_and_none_of_the_demo() -> None:
    some, others = worlds.fresh(40), worlds.fresh(40, "other")
    assert some == worlds.fresh(40) and some != others
    assert [one.user_id for one in some[:2]] == ["fresh-001", "fresh-002"]
    histories = {one.history for one in (*some, *others, *users.shoppers())}
    assert len(histories) == 140
    looks = {product.item_id: product.look for product in products()}
    for one in some:
        assert 14 <= len(one.history) <= 28 and set(one.tastes) <= set(THEMES)
        assert matches(one.tastes[-1], looks[one.history[-1][0]])


def test_the_second_shop_has_nothing_of_the_first() -> None:
    second = worlds.second()
    assert len(second) == len({one.title for one in second}) == 300
    assert not {one.look for one in second} & {one.look for one in products()}
    assert not set(worlds.SECOND) & {one.category for one in products()}
    assert not {frozenset(one.colours) for one in worlds.SECOND_THEMES} & {frozenset(one.colours) for one in THEMES}
    words = [{word for one in goods for word in one.title.removesuffix(one.look.object).split()}
             for goods in (second, products())]  # fmt: skip
    assert not words[0] & words[1]
    assert not {word.lower() for word in words[0]} & {*COLOURS, *PATTERNS}
    for theme in worlds.SECOND_THEMES:
        assert 10 <= sum(matches(theme, one.look) for one in second) <= 12
    assert all(one.look.object in worlds.SECOND[one.category] for one in second)


def test_a_text_names_a_taste_or_does_not() -> None:
    drawn = worlds.World({"a": {"department": "clothing", "object": "T-shirt", "colour": "navy"}}, {})
    wish = {"department": ["clothing"], "colour": ["navy", "grey"]}
    assert drawn.names("This person likes navy T-shirts.", wish) and drawn.names("Grey clothing.", wish)
    assert not drawn.names("This person likes red T-shirts.", wish)
    assert drawn.fits("a", wish) and not drawn.fits("a", {"colour": ["red"]})
    item = {"articleType": "Tshirts", "subCategory": "Topwear", "baseColour": "Navy Blue", "gender": "Men"}
    photos = worlds.World({"b": item}, {})
    assert photos.names("T-shirts and navy blue things.", {"subCategory": ["Topwear"], "baseColour": ["Navy Blue"]})
    assert not photos.names("Women's T-shirts.", {"articleType": ["Tshirts"], "gender": ["Men"]})
