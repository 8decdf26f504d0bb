"""Rows that hold their steps as objects (sessions with events, orders with products), through `ingest`."""

import io
import json

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kinds import GOODS
from pyarrow import parquet

from msr_local.catalogue.fields import INTERACTION_FIELDS
from msr_local.catalogue.tables import Source, open_table
from msr_local.errors import InputError

SESSIONS = [  # as OTTO has them
    {
        "session": 11,
        "events": [{"aid": 1, "ts": 1661724000278, "type": "clicks"}, {"aid": 2, "ts": 1661724058352, "type": "carts"}],
    },
    {"session": 12, "events": [{"aid": 3, "ts": 1661724000378, "type": "clicks"}]},
]
ORDERS = [
    {
        "order_id": "o1", "customer_id": "ann", "created_at": "2024-01-02T10:00:00Z",
        "line_items": [{"product_id": 1, "title": "Red hat", "quantity": 1}, {"product_id": 4, "title": "Shoe"}],
    },
    {
        "order_id": "o2", "customer_id": "ann", "created_at": "2024-02-02T10:00:00Z",
        "line_items": [{"product_id": 2, "title": "Blue hat", "quantity": 1}],
    },
]  # fmt: skip
HISTORIES = [  # the later step first: the times count
    {"user_id": "u1", "history": [{"item_id": 2, "timestamp": 1661724058}, {"item_id": 1, "timestamp": 1661724000}]},
    {"user_id": "u2", "history": [{"item_id": 3, "timestamp": 1661724058}]},
]
REVIEWS = [
    {"product_id": n, "title": f"Good {n}", "reviews": [{"user": f"u{n}", "rating": 5, "date": "2024-01-02"}]}
    for n in (1, 2, 3)
]
TAKEN = "SELECT user_id, item_id, timestamp FROM interactions ORDER BY user_id, timestamp, item_id"


def lines(values):
    return "\n".join(map(json.dumps, values))


def table(values):
    file = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(values), file)
    return file.getvalue()


def large(values):
    """As Polars writes it: with lists of its own kind."""
    plain = pa.Table.from_pylist(values)
    kinds = [pa.large_list(one.type.value_type) if pa.types.is_list(one.type) else one.type for one in plain.schema]
    file = io.BytesIO()
    parquet.write_table(plain.cast(pa.schema(list(zip(plain.schema.names, kinds, strict=True)))), file)
    return file.getvalue()


WAYS = {"jsonl": lines, "json": json.dumps, "parquet": table, "large.parquet": large}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("values", "steps"),
    [
        (SESSIONS, ["11 1", "11 2", "12 3"]),
        (ORDERS, ["ann 1", "ann 4", "ann 2"]),
        (HISTORIES, ["u1 1", "u1 2", "u2 3"]),
        (REVIEWS, ["u1 1", "u2 2", "u3 3"]),
    ],
    ids=["sessions", "orders", "histories", "reviews"],
)
def test_each_step_counts_with_its_time(put, rows, way, values, steps):
    said = put(GOODS, WAYS[way](values), names=("items.csv", f"steps.{way}"))
    found = rows(TAKEN)
    assert [f"{user} {item}" for user, item, _ in found] == steps and all(time for *_, time in found)
    assert "the rows are the objects under" in said and "no column of times" not in said


def test_one_session_alone(put, rows):
    put(GOODS, json.dumps(SESSIONS[0]), names=("items.csv", "steps.json"))
    assert [user for user, *_ in rows(TAKEN)] == ["11", "11"]


def test_one_file_of_orders_has_the_titles_of_its_products(put, rows):
    put(lines(ORDERS), lines(ORDERS), names=("orders.jsonl", "orders.jsonl"))
    assert {title for (title,) in rows("SELECT title FROM items")} == {"Red hat", "Blue hat", "Shoe"}


def test_what_has_no_steps_is_kept_and_told(put, rows):
    odd = [*SESSIONS, {"session": 13, "events": []}, {"session": 14}, {"session": 15, "events": [{"ts": 1}]}]
    put(GOODS, lines(odd), names=("items.csv", "steps.jsonl"))
    assert put.done.rejected == 3 and len(rows(TAKEN)) == 3
    assert all("item_id is empty" in reason for (reason,) in rows("SELECT reason FROM rejects"))


def test_orders_of_shopify_have_an_id_of_their_own(put, rows):
    orders = [{"id": 450, "email": "ann@x.org", **ORDERS[0]}, {"id": 451, "email": "bob@x.org", **ORDERS[1]}]
    put(lines(orders), lines(orders), names=("orders.jsonl", "orders.jsonl"))
    assert {title for (title,) in rows("SELECT title FROM items")} == {"Red hat", "Blue hat", "Shoe"}


def test_genres_are_no_items(put):
    films = [{"id": n, "original_name": f"Film {n}", "genres": [{"id": 16, "name": "Animation"}]} for n in range(6)]
    with pytest.raises(InputError, match="found no column for title"):
        put(lines(films), names=("films.jsonl", "steps.csv"))


@pytest.mark.parametrize(
    "items",
    [
        [{"id": n, "title": f"Item {n}", "related": [{"id": 9, "title": "Another"}]} for n in (1, 2, 3)],
        [{"id": n, "title": f"Item {n}", "variants": [{"sku": "x", "title": "Small"}]} for n in (1, 2, 3)],
    ],
    ids=["related", "variants"],
)
def test_what_is_a_row_itself_stays_one(put, rows, items):
    put(lines(items), names=("items.jsonl", "steps.csv"))
    assert [title for (title,) in rows("SELECT title FROM items ORDER BY title")] == ["Item 1", "Item 2", "Item 3"]


@pytest.mark.parametrize("times", [1, 2])
def test_other_names_are_mapped_beside_the_steps_and_in_them(put, rows, times):
    odd = [{"who": "ann", "did": [{"thing": 1, "when": 1661724000}, {"thing": 2, "when": 1661724058}]}]
    names = {"who": "user_id", "thing": "item_id", "when": "timestamp"}
    put(GOODS, lines(odd * times), names=("items.csv", "steps.jsonl"), mapping=names)
    assert [item for _, item, _ in rows(TAKEN)] == ["1", "2"]


def test_a_row_by_mapped_names_stays_one(put, rows):
    items = [{"pid": n, "label": f"Item {n}", "variants": [{"id": f"v{n}", "title": "Small"}]} for n in range(6)]
    put(lines(items), names=("items.jsonl", "steps.csv"), mapping={"pid": "item_id", "label": "title"})
    assert rows("SELECT title FROM items WHERE item_id = '3'") == [("Item 3",)] and len(rows(TAKEN)) == 24


def test_mapped_steps_are_read_as_a_list_of_ids(put, rows):
    said = put(GOODS, lines(HISTORIES), names=("items.csv", "steps.jsonl"), mapping={"history": "item_id"})
    assert len(rows(TAKEN)) == 3 and "objects under" not in said


IDS = st.text("abc12", min_size=1, max_size=3)
STEPS = st.lists(st.tuples(IDS, st.integers(1, 2**31)), min_size=1, max_size=4)


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(IDS, STEPS), min_size=1, max_size=4))
def test_nothing_is_lost_and_nothing_added(tmp_path, sessions):
    path = tmp_path / "steps.jsonl"
    path.write_text(
        lines(
            {"session": user, "events": [{"aid": item, "ts": time} for item, time in steps]} for user, steps in sessions
        )
    )
    with open_table(path, INTERACTION_FIELDS, Source()) as found:
        cells = [dict(zip(columns, cells, strict=True)) for _, columns, cells, _ in found.records]
    assert [(one["session"], one["aid"], one["ts"]) for one in cells] == [
        (user, item, time) for user, steps in sessions for item, time in steps
    ]
