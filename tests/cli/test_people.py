"""Recommending to somebody without a file, under a condition, and to everybody: through the command line."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from samples import Ran

Cli = Callable[..., Ran]


@pytest.fixture
def films(cli: Cli, shop: tuple[Path, Path], models: Path) -> Path:
    """The shop, read and with a model that answers; the folder of its files."""
    assert cli("models", "use", "--model", models / "text.gguf").code == 0
    assert cli("ingest", *shop, "--no-captions").code == 0
    return shop[0].parent


def dump(home: Path, *without: str) -> list[str]:
    with sqlite3.connect(home / "msr.db") as connection:
        return [line for line in connection.iterdump() if not any(f'INTO "{name}"' in line for name in without)]


def test_somebody_who_is_in_no_file(cli: Cli, films: Path, tmp_path: Path) -> None:
    cli("users", "--json")
    before = dump(tmp_path / "home", "answers", "past_summaries", "settings")
    ran = cli("recommend", "--history", "i1,i2, i3", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["user"] is None and ran.json["summary"]
    ids = [one["item_id"] for one in ran.json["items"]]
    assert len(ids) == 9 and not {"i1", "i2", "i3"} & {*ids}
    assert dump(tmp_path / "home", "answers", "past_summaries", "settings") == before  # no table of users has changed
    again = cli("recommend", "--history", "i1", "--history", "i2,i3", "--json")
    assert again.json["items"] == ran.json["items"]
    assert "Somebody who is in no file" in cli("recommend", "--history", "i1,i2,i3").out
    nothing = cli("recommend", "--history", "", "--json")
    assert nothing.code == 0 and len(nothing.json["items"]) == 10 and nothing.json["summary"] == ""


def test_a_stranger_is_told_the_same_as_a_user_of_the_same_history(cli: Cli, films: Path) -> None:
    user = cli("recommend", "u2", "--json").json
    stranger = cli("recommend", "--history", ",".join(f"i{n}" for n in range(2, 8)), "--json").json
    assert stranger["items"] == user["items"] and stranger["summary"] == user["summary"]


def test_an_id_may_hold_a_comma(cli: Cli, tmp_path: Path, models: Path) -> None:
    (tmp_path / "items.csv").write_text('item_id,title\n"a,b",One\na,Two\nc,Three\n"d,e",Four\n')
    (tmp_path / "log.csv").write_text('user_id,item_id,timestamp\nu,"a,b",1000000000\nu,c,1000000001\n')
    assert cli("ingest", tmp_path / "items.csv", tmp_path / "log.csv", "--no-captions").code == 0
    ran = cli("recommend", "--history", "a,b", "--history", "c", "--model", models / "text.gguf", "--json")
    assert {one["item_id"] for one in ran.json["items"]} == {"a", "d,e"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--history", "i1,i99"), "there is no item 'i99'. Did you mean i9 (Film 9, the best)?"),
        (("--history", "Film 7"), "Did you mean i7 (Film 7, the best)"),
        (("nobody",), "msr-local recommend --history ITEM,ITEM"),
        (("u1", "--where", "genre=Comedy"), "There are: title, genres. Next:"),
        (("u1", "--where", "genres=Comdy"), "no item has genres 'Comdy'. There are: Comedy, "),
    ],
)
def test_what_is_not_there_is_said_with_what_is(cli: Cli, films: Path, arguments: tuple[str, ...], said: str) -> None:
    ran = cli("recommend", *arguments)
    assert (ran.code, ran.out) == (1, "") and said in ran.err


def test_one_of_the_ways_to_name_people_is_needed(cli: Cli, films: Path) -> None:
    for arguments in ((), ("u1", "--history", "i1")):
        ran = cli("recommend", *arguments)
        assert ran.code == 2 and "USER" in ran.err and "Next: msr-local recommend --help" in ran.err


def test_a_condition_acts_before_recall(cli: Cli, films: Path) -> None:
    """The list is full, though the best candidates of all are others."""

    def ids(*arguments: object) -> list[str]:
        ran = cli("recommend", "u0", "-k", "3", "--candidates", "3", *arguments, "--json")
        assert ran.code == 0, ran.err
        return [one["item_id"] for one in ran.json["items"]]

    horror = ids("--where", "genres=horror")
    assert len(horror) == 3 and all(int(one[1:]) % 2 == 0 for one in horror)
    (films / "out.txt").write_text("\n".join(ids()))
    assert not {*ids("--exclude", films / "out.txt")} & {*(films / "out.txt").read_text().split()}
    (films / "in.csv").write_text("item_id\ni9\ni10\ni0\nunknown\n")
    ran = cli("recommend", "u0", "--only", films / "in.csv", "--json")
    assert {one["item_id"] for one in ran.json["items"]} == {"i9", "i10"}  # i0 is known to u0
    assert "1 of 4 ids are no items of the workspace, 'unknown' first" in ran.err
    (films / "none.txt").write_text("i9\n")
    ran = cli("recommend", "u0", "--only", films / "none.txt", "--exclude", films / "none.txt")
    assert ran.code == 0 and "Nothing to recommend" in ran.out and "No item is left" in ran.err


def test_a_list_under_a_condition_does_not_replace_the_users_list(cli: Cli, films: Path, tmp_path: Path) -> None:
    def ranked() -> list[str]:
        with sqlite3.connect(tmp_path / "home" / "msr.db") as db:
            return db.execute("SELECT item_id, rank FROM recommendations WHERE user_id = 'u1' ORDER BY rank").fetchall()

    cli("recommend", "u1")
    before = ranked()
    assert len(before) == 7
    cli("recommend", "u1", "--where", "genres=Horror")
    assert ranked() == before


def test_items_under_a_condition(cli: Cli, films: Path) -> None:
    found = cli("items", "--where", "genres=Drama", "--limit", "4", "--json").json
    assert len(found) == 4 and all("Drama" in one["attributes"]["genres"] for one in found)
    assert [one["item_id"] for one in cli("items", "10", "--where", "genres=Horror", "--json").json] == ["i10"]
    assert cli("items", "--where", "genres<3").code == 1


def test_items_like_an_item(cli: Cli, films: Path) -> None:
    ran = cli("similar", "i3", "--json")
    assert ran.code == 0, ran.err
    assert (ran.json["title"], ran.json["users"]) == ("Film 3, the best", 4) and len(ran.json["items"]) == 10
    assert all(sum(one["shares"].values()) == pytest.approx(1) for one in ran.json["items"])
    some = cli("similar", "i3", "-k", "2", "--where", "genres=Horror", "--json").json["items"]
    assert len(some) == 2 and all(int(one["item_id"][1:]) % 2 == 0 for one in some)
    shown = cli("similar", "i3").out
    assert "4 users took it." in shown and "by text" in shown and "Film 5, the best" in shown
    assert "Did you mean i9 (Film 9, the best)?" in cli("similar", "i99").err


def test_lists_of_many_users_in_a_file(cli: Cli, films: Path) -> None:
    out = films / "recs.jsonl"
    (films / "users.txt").write_text("u1\nnobody \x1b[2J\nu4\n")
    ran = cli("recommend", "--users", films / "users.txt", "--out", out, "-k", "2", "--json")
    assert ran.code == 3, ran.err
    told = ran.json
    assert (told["rows"], told["users"], told["made"], told["up_to_date"]) == (4, 3, 2, 0)
    assert told["failed"][0]["user"].startswith("nobody") and "No list for 1 users" in ran.err
    assert not {"\x1b"} & set(ran.out + ran.err)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(one["user"], one["rank"]) for one in rows] == [("u1", 1), ("u1", 2), ("u4", 1), ("u4", 2)]
    assert set(rows[0]) == {"user", "rank", "item_id", "title", "probability", "score", "p_yes"}
    alone = cli("recommend", "u4", "-k", "2", "--json").json["items"]
    assert [one["item_id"] for one in rows[2:]] == [one["item_id"] for one in alone]
    everybody = cli("recommend", "--all", "--out", films / "recs.csv", "-k", "2")
    assert everybody.code == 0 and "up to date" in everybody.out
    assert len((films / "recs.csv").read_text().splitlines()) == 13


def test_a_file_goes_with_many_users_and_they_with_it(cli: Cli, films: Path) -> None:
    for arguments in (("--all",), ("u1", "--out", films / "recs.csv"), ("u1", "--all", "--out", films / "recs.csv")):
        assert cli("recommend", *arguments).code == 2
    ran = cli("recommend", "--all", "--out", films / "recs.xlsx")
    assert ran.code == 1 and ".parquet, .csv or .jsonl" in ran.err
