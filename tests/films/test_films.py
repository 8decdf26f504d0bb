from __future__ import annotations

import csv
from collections import Counter, defaultdict
from datetime import datetime
from pathlib import Path

import pytest

FILMS = Path(__file__).parent
Row = dict[str, str]


def rows(name: str) -> list[Row]:
    return list(csv.DictReader((FILMS / name).read_text("utf-8").splitlines()))


@pytest.fixture(scope="module")
def items() -> dict[str, Row]:
    return {row["item_id"]: row for row in rows("items.csv")}


@pytest.fixture(scope="module")
def histories() -> dict[str, list[Row]]:
    by_user: dict[str, list[Row]] = defaultdict(list)
    for row in rows("interactions.csv"):
        by_user[row["user_id"]].append(row)
    return by_user


def test_items_are_complete_and_unique(items: dict[str, Row]) -> None:
    assert len(items) == len(rows("items.csv")) == 72
    assert len({row["title"] for row in items.values()}) == 72
    for row in items.values():
        assert list(row) == ["item_id", "title", "year", "genres", "plot"]
        assert 1990 <= int(row["year"]) <= 2024
        assert all(genre and genre == genre.strip() for genre in row["genres"].split("|"))
        assert row["plot"].endswith(".") and 40 < len(row["plot"]) < 160


def test_every_interaction_names_an_item_and_a_moment_once(
    items: dict[str, Row], histories: dict[str, list[Row]]
) -> None:
    for user, history in histories.items():
        taken = [row["item_id"] for row in history]
        assert set(taken) <= items.keys()
        assert len(set(taken)) == len(taken), user
        moments = [datetime.strptime(row["timestamp"], "%Y-%m-%dT%H:%M:%SZ") for row in history]
        assert moments == sorted(set(moments)), user


def test_histories_have_the_promised_lengths(histories: dict[str, list[Row]]) -> None:
    assert len(histories) == 24
    assert all(6 <= len(history) <= 20 for history in histories.values())


def test_every_film_is_taken_by_at_least_two_users(items: dict[str, Row], histories: dict[str, list[Row]]) -> None:
    takers = Counter(row["item_id"] for history in histories.values() for row in history)
    assert takers.keys() == items.keys()
    assert min(takers.values()) >= 2


@pytest.mark.parametrize(
    ("user", "before", "after"),
    [
        ("ada", "science fiction", "drama"),
        ("bram", "mystery", "horror"),
        ("emil", "animation", "coming of age"),
        ("leo", "heist", "food"),
        ("klara", "history", "mystery"),
        ("dario", "horror", "science fiction"),
        ("kofi", "coming of age", "heist"),
    ],
)
def test_taste_drifts(
    user: str, before: str, after: str, items: dict[str, Row], histories: dict[str, list[Row]]
) -> None:
    genres = [items[row["item_id"]]["genres"].split("|") for row in histories[user]]
    third = len(genres) // 3
    first, last = genres[:third], genres[-third:]
    assert sum(before in names for names in first) > sum(after in names for names in first)
    assert sum(after in names for names in last) > sum(before in names for names in last)


def test_shared_taste_is_shared_films(histories: dict[str, list[Row]]) -> None:
    taken = {user: {row["item_id"] for row in history} for user, history in histories.items()}
    for one, other in (
        ("ada", "ines"),
        ("bram", "hedda"),
        ("leo", "mira"),
        ("klara", "omar"),
        ("kofi", "lena"),
    ):
        assert len(taken[one] & taken[other]) >= 6
    assert len(taken["ada"] & taken["bram"]) <= 1


def test_the_readme_counts_right(histories: dict[str, list[Row]]) -> None:
    readme = FILMS.joinpath("README.md").read_text("utf-8")
    for user, history in histories.items():
        assert f"| {user} | {len(history)} |" in readme
    assert f"| {len(rows('interactions.csv'))}, from January to November 2024 |" in readme
