"""Ids that people take for the same and programs do not."""

import pytest
from kinds import GOODS


@pytest.mark.parametrize(
    ("there", "here", "by"),
    [
        ("caf\u00e9-{}", "cafe\u0301-{}", "signs that look the same"),
        ("A {}", "A  {}", "blanks"),
        ("A {}", "A\u00a0{}", "blanks"),
        ("{}", "{}\u200b", "signs that look the same"),
        ("\u2060{}", "{}", "signs that look the same"),
        ("\uff11{}", "1{}", "signs that look the same"),
        ("ab-{}", "AB-{}", "upper and lower case"),
    ],
)
def test_item_ids_that_only_look_the_same_are_told(put, there, here, by):
    goods = "item_id,title\n" + "".join(f"{there.format(n)},Good {n}\n" for n in range(6)) + "plain,Plain\n"
    said = put(goods, "user,item\n" + "".join(f"u,{here.format(n)}\n" for n in range(6)) + "u,plain\n")
    assert "6 ids are others only by" in said and by in said and "write them alike" in said
    left, right = said.split(", as '")[1].split(". Next")[0].rstrip("'").split("' is not '")
    assert left != right and (left + right).isascii()


@pytest.mark.parametrize(
    ("one", "other"), [("Bob@x.org", "bob@x.org"), ("Jose\u0301", "Jos\u00e9"), ("a b", "a\u00a0b")]
)
def test_users_that_only_look_the_same_are_told(put, rows, one, other):
    said = put(GOODS, f"user,item\n{one},0\n{other},1\n{one},2\nsomebody,3\n")
    assert "users that are others only by" in said and ": 1. Each has a history of their own" in said
    assert rows("SELECT count(DISTINCT user_id) FROM interactions") == [(3,)]


def test_users_that_are_floats_in_one_half_of_a_joined_file_are_the_same(put, rows):
    said = put(GOODS, "user,item\n128,0\n7,1\nguest,2\n128.0,3\n7.0,4\n")
    assert rows("SELECT DISTINCT user_id FROM interactions ORDER BY 1") == [("128",), ("7",), ("guest",)]
    assert "users like '128.0' are whole numbers" in said


@pytest.mark.parametrize("users", [("1.0", "1.5", "2"), ("1.0", "007", "7"), ("1.0", "1e3", "4")])
def test_users_that_are_no_whole_numbers_stay(put, rows, users):
    put(GOODS, "user,item\n" + "".join(f"{user},{n}\n" for n, user in enumerate(users)))
    assert rows("SELECT user_id FROM interactions ORDER BY id") == [(user,) for user in users]


def test_a_user_that_stands_for_nobody_is_told(put, rows):
    said = put(GOODS, "user,item\n-1,0\n-1,1\nGuest,2\nu,3\n")
    assert "whose user is '-1': 2. They count as one person. Next" in said and "'Guest': 1." in said
    assert rows("SELECT count(*) FROM interactions") == [(4,)]
