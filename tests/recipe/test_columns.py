"""What the columns of a catalogue are, which of them tell, and what reaches a prompt."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recipe.wines import drinkers, wines

from msr_local.recipe.columns import HIDDEN, Columns, learned
from msr_local.recipe.descriptions import describe, tokens
from msr_local.store.rows import Item, Log
from msr_local.values import values

NOBODY = np.zeros(0, np.int32)


def without_people(items: list[Item]) -> Columns:
    return learned(items, Log([one.item_id for one in items], [], NOBODY, NOBODY, np.zeros(0)))


@pytest.fixture(scope="module")
def cellar() -> tuple[list[Item], Columns]:
    items = wines()
    return items, learned(items, drinkers(items))


def test_each_column_of_a_real_catalogue_is_known_for_what_it_is(cellar: tuple[list[Item], Columns]) -> None:
    kinds = cellar[1].kinds
    assert {name for name, kind in kinds.items() if kind == "identifier"} == {"RegionID", "WineryID"}
    assert kinds["Website"] == "link"
    assert kinds["Code"] == "copy"
    assert kinds["Country"] == kinds["Type"] == "category"
    assert kinds["Grapes"] == kinds["Vintages"] == "list"
    assert kinds["ABV"] == "number"


def test_the_columns_that_people_go_by_come_first(cellar: tuple[list[Item], Columns]) -> None:
    order = cellar[1].order
    assert {*order[:3]} >= {"Type", "Country"}
    assert not {"Vintages", "ABV", "Acidity", "Website", "RegionID"} & {*order}


def test_a_wine_takes_few_tokens_and_says_what_tells_it_apart(cellar: tuple[list[Item], Columns]) -> None:
    items, columns = cellar
    for item in items[:50]:
        told = describe(item, order=columns.order)
        assert tokens(told) <= 64
        assert f"Type: {item.attributes['Type']}" in told
        assert f"Country: {item.attributes['Country']}" in told
        assert "[" not in told
        assert "http" not in told
        assert "202" not in told


def test_without_people_what_some_items_share_counts() -> None:
    columns = without_people(wines())
    assert {"Type", "Country", "Grapes"} <= {*columns.order}
    assert not {"Website", "Code", "RegionID", "WineryID"} & {*columns.order}


def test_a_column_that_never_changes_or_is_empty_is_left_out() -> None:
    items = [
        Item(str(n), f"T{n}", {"shop": "ours", "note": "\\N", "vector": [0.1] * 16, "kind": "ab"[n % 2]})
        for n in range(30)
    ]
    columns = without_people(items)
    assert columns.order == ("kind",)
    assert columns.kinds == {"shop": "constant", "note": "empty", "vector": "empty", "kind": "category"}


@pytest.mark.parametrize("place", [0, 7000, 19_999])
def test_numbers_of_many_items_may_have_a_word_among_them(place: int) -> None:
    """Of so many not all are looked at."""
    items = [Item(str(n), f"T{n}", {"year": "unknown" if n == place else 1950 + n % 60}) for n in range(20_000)]
    assert "year" in without_people(items).order


def test_columns_are_read_again_as_they_were_kept(cellar: tuple[list[Item], Columns]) -> None:
    columns = replace(cellar[1], seen=(3, 4))
    assert Columns.from_json(columns.to_json()) == columns


WILD = st.recursive(
    st.one_of(st.text(max_size=30), st.integers(), st.floats(), st.booleans(), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=8,
)


@given(
    st.lists(st.dictionaries(st.sampled_from(["a", "b", "id", "some_url", "x" * 70]), WILD, max_size=5), max_size=25)
)
def test_any_catalogue_can_be_learned_and_described(rows: list[dict[str, Any]]) -> None:
    items = [Item(str(n), f"T{n}", row) for n, row in enumerate(rows)]
    columns = without_people(items)
    assert {*columns.order} | {name for name, kind in columns.kinds.items() if kind in HIDDEN} == {*columns.kinds}
    for item in items:
        assert tokens(describe(item, order=columns.order)) <= 64 + 8


# ---- values


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a|b | c", ["a", "b", "c"]),
        (["a|b", "c"], ["a|b", "c"]),
        ("['Cabernet', 'Merlot']", ["Cabernet", "Merlot"]),
        ('["a", "b"]', ["a", "b"]),
        ("('a', 'b')", ["a", "b"]),
        ("{'a': True, 'b': False, 'c': 'd'}", ["a", "d"]),
        ("[{'id': 18, 'name': 'Drama'}, {'id': 35, 'name': 'Comedy'}]", ["Drama", "Comedy"]),
        (['{"id": 18, "name": "Drama"}', "{'id': 35, 'name': 'Comedy'}"], ["Drama", "Comedy"]),  # of JSON lines
        (['{"Brand": "Acme"}', "{x"], ["Acme", "{x"]),
        ("{'cast_id': 14, 'character': 'Woody', 'name': 'Tom Hanks', 'order': 0}", ["Tom Hanks"]),
        ("[broken", ["[broken"]),
        ("[a note]", ["[a note]"]),
        (7, ["7"]),
        (7.0, ["7"]),
        (True, ["True"]),
        (["x\ny", "", " \t"], ["x y"]),
        ("\x1b[31mred", ["[31mred"]),
        ("", []),
        (None, []),
        (float("nan"), []),
        ("\\N", []),
        ("N/A", []),
        ("(no genres listed)", []),
        ("[0.1, -0.25, 3e-2, 1.0, 0.5, 0.5, 0.5, 0.5]", []),
        ("[ 0.1 -0.25  3e-2  1.0 0.5 0.5 0.5 0.5 ]", []),
        ([0.5] * 300, []),
        ([2020, 2019], ["2020", "2019"]),
        ("<p>Soft &amp; <b>warm</b></p><style>.a{color:red}</style>", ["Soft & warm"]),
        ("Fish &amp; chips", ["Fish & chips"]),
        (".a { color: red; margin: 0 } A shirt", ["A shirt"]),
        ("Soft p.note, h2 > b {color:red} and warm", ["Soft and warm"]),
        ("@media (max-width: 600px) { .a { color: red } #b{top:0} } A hat", ["A hat"]),
        ("Cable {USB: 2.0}", ["Cable {USB: 2.0}"]),
        ("Shirt {color: red}", ["Shirt {color: red}"]),
        ("{'Drama', 'Comedy', 'Horror', 'War', 'Music'}", ["Comedy", "Drama", "Horror", "Music", "War"]),
        ("I <3 you", ["I <3 you"]),
        ("1 < 2 and 3 > 2", ["1 < 2 and 3 > 2"]),
    ],
)
def test_the_values_of_an_attribute(value: Any, shown: list[str]) -> None:
    assert values(value) == shown


@given(WILD)
def test_values_are_single_lines_of_text(value: Any) -> None:
    for one in values(value):
        assert one == " ".join(one.split())
        assert not re.search("[\x00-\x1f\x7f]", one)


@given(st.text("<>/abp &;{}:.", max_size=80))
def test_values_of_broken_markup_never_fail(text: str) -> None:
    assert all("<b>" not in one for one in values(text))
