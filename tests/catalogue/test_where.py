"""Conditions on items: what they mean, what is wrong with them, and that nothing in them is ever run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msr_local.catalogue.ids import read_ids
from msr_local.catalogue.where import Comparison, chosen, meeting, parse
from msr_local.errors import InputError, NotFoundError
from msr_local.store import catalogue
from msr_local.store.rows import ItemRow
from msr_local.store.workspace import Workspace

GOODS: dict[str, tuple[str, dict[str, Any]]] = {
    "a": ("Red shoe", {"category": "Shoes", "price": 99.5, "colours": ["red", "white"], "on sale": "yes"}),
    "b": ("Boot", {"category": "Shoes", "price": 120, "colours": "['black']", "made": "2021-05-01"}),
    "c": ("Bag", {"category": "Bags", "price": "100", "colours": "red|black", "made": "2020-01-31"}),
    "d": ("Hat, O'Neil's", {"price": "n/a", "maker": "O'Neil"}),
}


PRICES = ["$1,299.00", "1.299,50 €", "£ 999", "12,5", "0,125", "40%", "1,000,000", "free"]


@pytest.fixture
def prices(workspace: Workspace) -> Workspace:
    rows = [ItemRow(n, str(n), f"Cafe\u0301 {n}", {"price": one}, None) for n, one in enumerate(PRICES)]
    catalogue.add_items(workspace, Path("items.csv"), rows)
    return workspace


@pytest.mark.parametrize(
    ("condition", "ids"),
    [
        ("price>1000", "016"),
        ("price<1,000", "2345"),
        ("price>=1,299.5", "16"),
        ("price='$999'", "2"),
        ("price<0.5", "4"),
        ("price=12.5 or price=40", "35"),
        ("price=1000000", "6"),
        ("price=FREE", "7"),
        ("title='CAF\u00c9 3'", "3"),
    ],
)
def test_numbers_and_accents_as_people_write_them(prices: Workspace, condition: str, ids: str) -> None:
    assert meeting(prices, condition) == frozenset(ids)


def test_dates_that_cannot_be_compared_are_refused(workspace: Workspace) -> None:
    made = ["12/31/2019", "05/01/2018", "2021-05-01"]
    rows = [ItemRow(n, str(n), "Good", {"made": one}, None) for n, one in enumerate(made)]
    catalogue.add_items(workspace, Path("items.csv"), rows)
    with pytest.raises(InputError, match=r"made holds dates like '\d\d/\d\d/201\d'.*Next: write them as 2020-01-31"):
        meeting(workspace, "made<2020-01-01")
    assert meeting(workspace, "made=2021-05-01") == frozenset("2")
    assert meeting(workspace, "made=05/01/2018") == frozenset("1")


@pytest.fixture
def goods(workspace: Workspace) -> Workspace:
    rows = [ItemRow(n, one, title, told, None) for n, (one, (title, told)) in enumerate(GOODS.items(), start=2)]
    catalogue.add_items(workspace, Path("items.csv"), rows)
    return workspace


@pytest.mark.parametrize(
    ("condition", "ids"),
    [
        ("category=shoes", "ab"),
        ("category = 'SHOES'", "ab"),
        ("Category=shoes and price<100", "a"),
        ("price<=100", "ac"),
        ("price>=99.50 and price<1e2", "a"),
        ("price = 100.0", "c"),
        ("colours=red", "ac"),
        ("colours!=red", "bd"),  # the opposite, so also what has none
        ("colours=red and colours=black", "c"),
        ("category=bags or category=shoes and price>100", "bc"),
        ("(category=bags or category=shoes) and price>100", "b"),
        ('"on sale"=yes', "a"),
        ("made>=2021-01-01", "b"),
        ("made<2021-01-01", "c"),
        ("maker=O'Neil", "d"),
        ("maker='O''Neil'", "d"),
        ("title='hat, o''neil''s'", "d"),
        ("title==Boot OR title==Bag", "bc"),
    ],
)
def test_what_a_condition_means(goods: Workspace, condition: str, ids: str) -> None:
    assert meeting(goods, condition) == frozenset(ids)


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("colour=red", "a column 'colour'. There are: title, category, price, colours, on sale, made, maker."),
        ("category=shoos", "no item has category 'shoos'. There are: Shoes, Bags."),
        ("category!=shoos", "There are: Shoes, Bags."),
        ("category<100", "category holds no numbers to compare with 100. There are: Shoes, Bags."),
        ("price<cheap", "'cheap' is no number, and price holds numbers only"),
        ("category=Shoes Bags", "a value of several words goes in quotes"),
        ("category", "one of = != < <= > >= after 'category' is missing before its end"),
        ("(category=Shoes", "a ')' is missing"),
        ("category=Shoes)", "missing before ')'"),
        ("category='Shoes", "is missing before"),
        ("", "a column is missing"),
        ("(" * 2000 + "a=b", "too many brackets"),
        ("1=1; DROP TABLE items", "is missing before 'DROP'"),
        ("__import__('os')=1", "is missing before '('"),
    ],
)
def test_what_is_wrong_is_said(goods: Workspace, condition: str, said: str) -> None:
    with pytest.raises(InputError) as error:
        meeting(goods, condition)
    assert said in str(error.value) and "Next:" in str(error.value)
    assert goods.one("SELECT count(*) FROM items") == 4


@settings(max_examples=200)
@given(st.one_of(st.text(), st.text("ab'\"()=<>! andor", max_size=40)))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse(text)
    except InputError as error:
        assert "Next:" in str(error)


words = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), min_size=1, max_size=8)


@given(words, st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), words, st.sampled_from("'\""))
def test_whatever_is_quoted_comes_back_as_it_was(column: str, sign: str, value: str, quote: str) -> None:
    def quoted(text: str) -> str:
        return quote + text.replace(quote, 2 * quote) + quote

    assert parse(f"({quoted(column)}{sign} {quoted(value)})") == Comparison(column, sign, value)


def test_lists_of_ids(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("a\n\n b,c \na\n")
    assert read_ids(tmp_path / "plain", "item_id") == ["a", "b,c"]
    (tmp_path / "table.csv").write_text('user,product_id,asin\nu,"b,c",x\nu,a,y\nv,a,z\n')
    assert read_ids(tmp_path / "table.csv", "item_id") == ["b,c", "a"]  # the likeliest name
    assert read_ids(tmp_path / "table.csv", "user_id") == ["u", "v"]
    (tmp_path / "EXPORT.CSV").write_text("item_id,title\na,Lamp\n")
    assert read_ids(tmp_path / "EXPORT.CSV", "item_id") == ["a"]
    (tmp_path / "rows.jsonl").write_text('{"item_id": 7}\n{"item_id": "8"}\n')
    assert read_ids(tmp_path / "rows.jsonl", "item_id") == ["7", "8"]
    (tmp_path / "wrong.csv").write_text("shade,size\nred,1\n")
    with pytest.raises(
        InputError, match=r"wrong\.csv: line 2: found no column for item_id among 'shade', 'size'\. Next:"
    ):
        read_ids(tmp_path / "wrong.csv", "item_id")
    (tmp_path / "blank.csv").write_text("item_id,n\na,1\n,2\n")
    with pytest.raises(InputError, match=r"blank\.csv: line 3: item_id is empty"):
        read_ids(tmp_path / "blank.csv", "item_id")
    with pytest.raises(InputError, match="nowhere"):
        read_ids(tmp_path / "nowhere", "item_id")


def test_what_may_be_chosen_from(goods: Workspace, tmp_path: Path) -> None:
    (tmp_path / "some").write_text("a\nb\nzz\n")
    (tmp_path / "strange").write_text("Bo\n")
    told: list[str] = []
    assert chosen(goods) is None
    assert chosen(goods, "price>=100") == {"b", "c"}
    assert chosen(goods, only=tmp_path / "some", note=told.append) == {"a", "b"}
    assert "1 of 3 ids are no items of the workspace, 'zz' first" in told.pop()
    assert chosen(goods, "price>=100", exclude=tmp_path / "some") == {"c"}
    assert chosen(goods, "price>=100", tmp_path / "some", tmp_path / "some", told.append) == frozenset()
    assert "No item is left" in told[-1]
    with pytest.raises(NotFoundError, match="'Bo'"):
        chosen(goods, only=tmp_path / "strange")
