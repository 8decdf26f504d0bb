"""Reading the catalogue back: histories, users, search, pictures, counts."""

import os

import numpy as np
import pytest
from stock import (
    ITEMS,
    STEPS,
    T1,
    T2,
    T3,
    catalogue,
    check_search_index,
    pictured,
    steps,
    titles_found,
)

from msr_local.store import histories, results
from msr_local.store.catalogue import ImageFact, add_images, add_interactions, add_items, known_images
from msr_local.store.rows import Interaction, InteractionRow, Item


def test_a_history_is_in_time_order_and_equal_times_in_order_of_arrival(stocked):
    rows = steps(("u", "c", T2), ("u", "a", T2), ("v", "a", T1), ("u", "b", T1, 4.5), ("u", "b", T2))
    add_interactions(stocked, STEPS, rows)
    add_interactions(stocked, STEPS, [*rows, InteractionRow(7, "u", "a", T1, None)])
    assert histories.history(stocked, "u") == [
        Interaction(Item("b", "B"), T1, 4.5),
        Interaction(Item("a", "A"), T1),
        Interaction(Item("c", "C"), T2),
        Interaction(Item("a", "A"), T2),
        Interaction(Item("b", "B"), T2),
    ]
    assert histories.history(stocked, "nobody") == []


def test_fractions_of_a_second_keep_the_order_of_time(stocked):
    late, early = "2001-09-09T01:46:40.500000+00:00", "2001-09-09T01:46:40+00:00"
    add_interactions(stocked, STEPS, steps(("u", "a", late), ("u", "b", early)))
    assert [step.timestamp for step in histories.history(stocked, "u")] == [early, late]


def test_users_are_listed_most_active_first_with_their_first_and_last_time(stocked):
    rows = [("z", "a", T2), ("b", "a", T1), ("b", "b", T3), ("a", "a", T1), ("late", "a", T1, 1.0), ("none", "a")]
    add_interactions(stocked, STEPS, steps(*rows), min_rating=3)
    assert histories.users(stocked) == [
        {"user": "b", "interactions": 2, "first": T1, "last": T3},
        {"user": "a", "interactions": 1, "first": T1, "last": T1},
        {"user": "none", "interactions": 1, "first": None, "last": None},
        {"user": "z", "interactions": 1, "first": T2, "last": T2},
    ]
    assert [user["user"] for user in histories.users(stocked, limit=2)] == ["b", "a"]


def test_a_user_of_low_ratings_only_exists_but_is_not_listed(stocked):
    add_interactions(stocked, STEPS, steps(("u", "a", T1, 1.0)), min_rating=3)
    assert histories.user_exists(stocked, "u")
    assert not histories.user_exists(stocked, "v")
    assert histories.users(stocked) == []


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("ann", ["anna", "annb"]),
        ("annxyz", ["anna", "annb"]),
        ("ANN", ["anna", "annb"]),
        ("%", ["%1"]),
        ("___", []),
        ("a_1", ["a_1"]),
        ("\\", ["\\x"]),
        ("%%%", []),
        ("zzz", []),
        ("'", []),
    ],
)
def test_similar_users_begin_alike_and_wildcards_mean_themselves(stocked, asked, expected):
    rows = [(user, item) for user in ("anna", "annb", "a_1", "ab1", "%1", "\\x", "_") for item in "ab"]
    add_interactions(stocked, STEPS, steps(*rows))
    assert histories.similar_users(stocked, asked) == expected
    assert histories.similar_users(stocked, asked, limit=1) == expected[:1]


def test_search_follows_every_change_of_an_item(workspace):
    add_items(workspace, ITEMS, catalogue(("x", "The Red Door", {"genres": ["Horror"]}), ("y", "A Blue Door")))
    assert titles_found(workspace, "door") == ["The Red Door", "A Blue Door"]
    assert titles_found(workspace, "HORROR door") == ["The Red Door"]
    add_items(workspace, ITEMS, catalogue(("x", "The Green Gate", {"genres": ["Comedy"]})))
    assert titles_found(workspace, "red") == titles_found(workspace, "horror") == []
    assert titles_found(workspace, "green comedy") == ["The Green Gate"]
    check_search_index(workspace)


def test_search_follows_every_change_of_a_caption(stocked):
    results.save_caption(stocked, pictured(stocked, "a"), "s", "k1", "a red car", "m")
    assert titles_found(stocked, "red") == ["A"]
    results.save_caption(stocked, pictured(stocked, "a"), "s", "k2", "a blue bicycle", "m")
    assert titles_found(stocked, "red") == []
    assert titles_found(stocked, "blue bicycle") == ["A"]
    check_search_index(stocked)


@pytest.mark.parametrize("words", ['"', "a*b(", "door OR gate", "NOT", "title:", "NEAR(x y)", "-", "^x", "'; --", "🎬"])
def test_search_takes_the_syntax_of_fts_as_plain_words(workspace, words):
    add_items(workspace, ITEMS, catalogue(("x", "Door"), ("y", "Gate")))
    assert titles_found(workspace, words) == []


def test_search_results_come_with_everything_and_most_interactions_first(stocked):
    add_interactions(stocked, STEPS, steps(("u", "c", T1), ("v", "c", T1), ("v", "b", T1)))
    results.save_caption(stocked, pictured(stocked, "b"), "s", "k", "a red car", "m")
    assert titles_found(stocked, None) == ["C", "B", "A"]
    assert titles_found(stocked, None, 2) == ["C", "B"]
    assert histories.search_items(stocked, "red") == [
        {"item_id": "b", "title": "B", "attributes": {}, "image": "/b.png", "caption": "a red car", "interactions": 1}
    ]


def test_the_log_is_by_user_and_in_time_order(stocked):
    rows = [("v", "a", T2), ("u", "c", T2), ("v", "b", T1), ("u", "a", T2), ("u", "a", T1), ("w", "b", T1, 1.0)]
    add_interactions(stocked, STEPS, steps(*rows), min_rating=3)
    log = histories.log(stocked)
    item_ids, users, items = log.item_ids, log.users, log.items
    assert item_ids == ["a", "b", "c"]
    assert users.tolist() == [0, 0, 0, 1, 1]
    assert [item_ids[i] for i in items] == ["a", "c", "a", "b", "a"]
    assert users.dtype == items.dtype == np.int32
    assert users.flags.c_contiguous and items.flags.c_contiguous


def test_the_log_of_an_empty_workspace_is_empty(workspace):
    log = histories.log(workspace)
    item_ids, users, items = log.item_ids, log.users, log.items
    assert (item_ids, users.shape, items.shape) == ([], (0,), (0,))


def test_texts_stand_in_the_order_of_the_arrays(workspace):
    rows = [("z", "Zoë", {"genres": ["Drama", "War"], "year": "1999"}), ("a", "Ada"), ("m", "Max", {"n": 7})]
    add_items(workspace, ITEMS, catalogue(*rows))
    assert histories.log(workspace).item_ids == ["z", "a", "m"]
    assert histories.texts(workspace) == ["Zoë Drama War 1999", "Ada", "Max 7"]


@pytest.mark.parametrize(
    ("odd", "read"),
    [
        ('{"Brand": "Foo", "Colour": "sky blue"}', "Foo sky blue"),
        ("{'Brand': 'Foo'}", "Foo"),
        (['{"name": "Shoes"}', '{"name": "Boots"}'], "Shoes Boots"),
        ("p {color: red} worn", "worn"),
        ("{half: open", "{half: open"),
        ("<b>bold</b> {x}", "bold {x}"),
    ],
)
def test_braces_in_one_value_take_nothing_from_the_others(workspace, odd, read):
    add_items(workspace, ITEMS, catalogue(("a", "Red lantern", {"by": "Ada", "odd": odd, "last": "x: y}"})))
    assert histories.texts(workspace, {"a": "A lamp."}) == [f"Red lantern Ada {read} x: y}} A lamp."]


def test_items_come_back_in_the_order_asked_without_the_unknown(stocked):
    assert [item.item_id for item in histories.items(stocked, ["c", "nothing", "a", "c"])] == ["c", "a", "c"]
    assert histories.item(stocked, "nothing") is None


def test_a_picture_belongs_to_its_item_only_while_it_is_the_one_that_was_checked(workspace, tmp_path):
    good, broken = tmp_path / "good.png", tmp_path / "broken.png"
    for path in (good, broken):
        path.write_bytes(b"picture")
    rows = catalogue(("g", "G", {}, str(good)), ("b", "B", {}, str(broken)), ("n", "N"))
    add_items(workspace, ITEMS, rows)
    assert histories.item(workspace, "g") == Item("g", "G")
    facts = [
        ImageFact(path, path.stat().st_size, path.stat().st_mtime_ns, sha256, error)
        for path, sha256, error in [(good, "abc", None), (broken, None, "truncated")]
    ]
    add_images(workspace, facts)
    assert known_images(workspace, [good, broken]) == {good: facts[0], broken: facts[1]}
    assert histories.item(workspace, "g") == Item("g", "G", {}, good, "abc")
    assert histories.item(workspace, "b") == Item("b", "B")
    assert [item.item_id for item in histories.items_with_image(workspace)] == ["g"]
    assert histories.counts(workspace)["images"] == 1
    os.utime(good, ns=(0, 0))
    assert known_images(workspace, [good, broken]) == {broken: facts[1]}
    assert histories.item(workspace, "g") == Item("g", "G")
    good.unlink()
    assert histories.item(workspace, "g") == Item("g", "G")
    assert list(histories.items_with_image(workspace)) == []


def test_counts_count_what_is_there(stocked):
    add_interactions(
        stocked, STEPS, steps(("u", "a", T1), ("v", "a", T1), ("v", "b", T1, 1.0), ("v", "x")), min_rating=2
    )
    for settings_ in ("s1", "s2"):
        results.save_caption(stocked, pictured(stocked, "a"), settings_, "k", "text", "m")
    assert histories.counts(stocked) == {
        "items": 3, "interactions": 2, "users": 2, "low_ratings": 1, "images": 1, "captions": 1,
        "users_with_summary": 0, "scores": 0, "rejects": 1,
    }  # fmt: skip
