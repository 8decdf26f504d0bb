"""Ratings and ids as other programs spell them."""

import json

import pytest
from kinds import GOODS

from msr_local.errors import InputError


@pytest.mark.parametrize(
    ("high", "low"),
    [
        ("4.0 out of 5 stars", "2.0 out of 5 stars"),
        ("4 stars", "1 star"),
        ("4,5 Stars", "2-star"),
        ("★★★★☆", "★★☆☆☆"),
        ("★★★", "☆☆☆☆☆"),
    ],
)
def test_stars_are_ratings(put, rows, high, low):
    put(GOODS, f'user,item,rating\nu,0,"{high}"\nu,1,"{low}"\n', min_rating=3)
    assert rows("SELECT item_id FROM interactions") == [("0",)]
    assert rows("SELECT item_id FROM low_ratings") == [("1",)] and put.done.rejected == 0


@pytest.mark.parametrize("words", [(True, False), ("True", "FALSE"), ("true", "false")])
def test_yes_and_no_are_ratings(put, rows, words):
    steps = [{"user": "u", "item": str(n), "liked": word} for n, word in enumerate(words)]
    lines = "\n".join(map(json.dumps, steps))
    put(GOODS, lines, names=("a.csv", "b.jsonl"), mapping={"liked": "rating"}, min_rating=1)
    assert rows("SELECT item_id FROM interactions") == [("0",)]
    assert rows("SELECT item_id FROM low_ratings") == [("1",)]


@pytest.mark.parametrize("words", ["4/5", "8 out of 10", "A+", "80%", "five", "\U0001f44d", "stars", "1,000"])
def test_ratings_that_cannot_be_compared_stay_none(put, words):
    put(GOODS, f'user,item,rating\nu,0,"{words}"\nu,1,4\n', min_rating=3)
    assert put.done.rejected == 1 and put.done.interactions.new == 1


def test_users_and_items_that_are_objects_have_their_ids(put, rows):
    steps = [{"user": {"_id": n, "name": "N"}, "item": {"sku": str(n), "id2": 9}, "time": 10**9 + n} for n in range(6)]
    put(GOODS, "\n".join(map(json.dumps, steps)), names=("a.csv", "b.jsonl"))
    assert rows("SELECT user_id, item_id FROM interactions ORDER BY id") == [(str(n), str(n)) for n in range(6)]
    put(GOODS, '{"user": {"name": "N"}, "item": 1}\n{"user": {"id": [1]}, "item": 1}', names=("a.csv", "c.jsonl"))
    assert put.done.rejected == 2


def test_commas_before_brackets_in_lines_of_json(put, rows):
    goods = "\n".join(f'{{"item_id": {n}, "title": "Good, }} {n},]\\"", "tags": ["a", ], }},' for n in range(6))
    put(goods, '{"user": "u", "item": 0, "ok": true,}\n{"user": "u", "item": 1, "text": "\\"' + '\\"' * 100_000,
        names=("a.jsonl", "b.jsonl"))  # fmt: skip
    assert rows("SELECT title, attributes FROM items WHERE item_id = 3") == [('Good, } 3,]"', '{"tags":["a"]}')]
    assert rows("SELECT item_id FROM interactions") == [("0",)] and put.done.rejected == 1


def test_a_least_rating_needs_ratings(put, rows):
    with pytest.raises(
        InputError, match=r"--min-rating 3, but no column of ratings is known.*grade.*--map COLUMN=rating"
    ):
        put(GOODS, "user,item,grade\nu,0,1\n", min_rating=3)
    assert rows("SELECT count(*) FROM items") == [(0,)]
    put(GOODS, "user,item,grade\nu,0,1\n", min_rating=3, mapping={"grade": "rating"})
    assert put.done.interactions.low_rated == 1
