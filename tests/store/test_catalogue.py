import os
from collections import Counter
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msr_local.store import histories, results
from msr_local.store.catalogue import Added, ImageFact, add_images, add_interactions, add_items, known_images
from msr_local.store.rows import Interaction, InteractionRow, Item, ItemRow, Rejected
from msr_local.store.workspace import Workspace

ITEMS, STEPS = Path("/data/items.csv"), Path("/data/interactions.csv")
T1, T2, T3 = (f"200{n}-09-09T01:46:40+00:00" for n in (1, 2, 3))


def pictured(workspace, item_id):
    """The item with a picture in the workspace."""
    path = Path(f"/{item_id}.png")
    workspace.execute("UPDATE items SET image = ? WHERE item_id = ?", [str(path), item_id])
    add_images(workspace, [ImageFact(path, 1, 1, f"sha of {item_id}", None)])
    return Item(item_id, item_id, {}, path, f"sha of {item_id}")


def catalogue(*rows: tuple) -> list[ItemRow]:
    """(item id, title, attributes, image) or less of it, on lines 2, 3, ..."""
    return [
        ItemRow(line, row[0], row[1] if len(row) > 1 else row[0].upper(), dict(*row[2:3]), row[3] if row[3:] else None)
        for line, row in enumerate(rows, 2)
    ]


def steps(*rows: tuple) -> list[InteractionRow]:
    """(user, item, time, rating) or less of it, on lines 2, 3, ..."""
    return [InteractionRow(line, *row, *[None] * (4 - len(row))) for line, row in enumerate(rows, 2)]


def kept(workspace: Workspace) -> list[tuple]:
    return workspace.execute(
        "SELECT user_id, item_id, timestamp, rating, occurrence FROM interactions ORDER BY id"
    ).fetchall()


def low(workspace: Workspace) -> dict[tuple, float]:
    return {row[:3]: row[3] for row in workspace.execute("SELECT user_id, item_id, timestamp, rating FROM low_ratings")}


def rejected_lines(workspace: Workspace, file: Path) -> list[int]:
    return [reject["line"] for reject in histories.rejects(workspace) if reject["file"] == str(file)]


def everything(workspace: Workspace) -> dict[str, list[tuple]]:
    """All rows of the catalogue, in their order where the order means something."""
    ordered = {"items": "rowid", "interactions": "id", "low_ratings": "1, 2, 3", "rejects": "1, 2, 3", "images": "1"}
    return {
        table: workspace.execute(f"SELECT * FROM {table} ORDER BY {by}").fetchall() for table, by in ordered.items()
    }


def titles_found(workspace: Workspace, words: str | None, limit: int | None = None) -> list[str]:
    return [item["title"] for item in histories.search_items(workspace, words, limit)]


def check_search_index(workspace: Workspace) -> None:
    """FTS5 compares its index with the tables, and raises when they differ."""
    with workspace.write():
        for table in ("items_fts", "captions_fts"):
            workspace.execute(f"INSERT INTO {table} ({table}, rank) VALUES ('integrity-check', 1)")


@pytest.fixture
def stocked(workspace: Workspace) -> Workspace:
    """Items a, b and c."""
    add_items(workspace, ITEMS, catalogue(("a",), ("b",), ("c",)))
    return workspace


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory):
    """Two workspaces that `empty` makes new again for each example."""
    with Workspace(tmp_path_factory.mktemp("one")) as one, Workspace(tmp_path_factory.mktemp("other")) as other:
        yield one, other


def empty(workspace: Workspace, *items: str) -> None:
    with workspace.write():
        for table in ("interactions", "low_ratings", "rejects", "items"):
            workspace.execute(f"DELETE FROM {table}")
    add_items(workspace, ITEMS, catalogue(*((item,) for item in items)))


# Items


def test_every_row_of_an_items_file_is_in_exactly_one_count(workspace):
    add_items(workspace, ITEMS, catalogue(("same",), ("other", "old title")))
    rows = [
        *catalogue(("same",), ("other", "new title"), ("new",), ("new",), ("new", "contradiction")),
        Rejected(7, "no item id", ",x"),
    ]
    assert add_items(workspace, ITEMS, rows) == Added(new=1, changed=1, unchanged=1, duplicate=1, rejected=2)
    assert rejected_lines(workspace, ITEMS) == [6, 7]
    assert [item.title for item in histories.items(workspace, ["same", "other", "new"])] == ["SAME", "new title", "NEW"]


def test_a_second_definition_of_an_item_is_kept_as_a_reject_with_its_line(workspace):
    add_items(workspace, ITEMS, catalogue(("i", "One", {"genres": ["Drama"]}), ("i", "Two", {}, "/p.png")))
    assert histories.rejects(workspace) == [
        {
            "file": str(ITEMS),
            "line": 3,
            "reason": "item 'i' is already defined on line 2 with other values",
            "raw": '["i","Two","{}","/p.png"]',
        }
    ]


@pytest.mark.parametrize("change", [{"title": "New"}, {"attributes": {"year": "2001"}}, {"image": "/new.png"}])
def test_an_item_with_another_value_in_the_file_is_updated_in_place(workspace, change):
    old = {"title": "Old", "attributes": {"year": "1999"}, "image": "/old.png"}
    add_items(workspace, ITEMS, [ItemRow(2, "x", **old), ItemRow(3, "y", "Y", {}, None)])
    add_interactions(workspace, STEPS, steps(("u", "x", T1)))
    assert add_items(workspace, ITEMS, [ItemRow(2, "x", **old | change)]) == Added(changed=1)
    first, second = histories.search_items(workspace, None)
    assert {name: first[name] for name in old} == old | change
    assert second["title"] == "Y"
    assert histories.interaction_arrays(workspace)[0] == ["x", "y"]
    assert len(histories.history(workspace, "u")) == 1


def test_items_that_leave_the_file_stay_in_the_catalogue(workspace):
    add_items(workspace, ITEMS, catalogue(("a",), ("b",)))
    assert add_items(workspace, ITEMS, catalogue(("b",))) == Added(unchanged=1)
    assert histories.counts(workspace)["items"] == 2


item_rows = st.lists(
    st.one_of(
        st.tuples(st.sampled_from("ab"), st.sampled_from(["One", "Two", "Zoë 🎬"]), st.sampled_from([None, "/p.png"])),
        st.just(None),
    ),
    max_size=8,
)


@settings(max_examples=40, deadline=None)
@given(files=st.lists(item_rows, min_size=1, max_size=3))
def test_any_items_files_follow_the_documented_rules(shelf, files):
    workspace, _ = shelf
    empty(workspace)
    model: dict[str, tuple] = {}
    for rows in files:
        expected, first, bad, given_rows = Counter(), {}, [], []
        for line, row in enumerate(rows, 2):
            given_rows.append(ItemRow(line, row[0], row[1], {}, row[2]) if row else Rejected(line, "bad", ""))
            if row is None or first.setdefault(row[0], row) != row:
                expected["rejected"] += 1
                bad.append(line)
            elif first[row[0]] is not row:
                expected["duplicate"] += 1
            else:
                if row[0] in model and row[2] is None:
                    row = (row[0], row[1], model[row[0]][2])  # a file without the picture leaves it as it was
                state = "new" if row[0] not in model else "unchanged" if model[row[0]] == row else "changed"
                expected[state] += 1
                model[row[0]] = row
        added = add_items(workspace, ITEMS, given_rows)
        assert added == Added(**expected)
        assert sum(astuple(added)) == len(rows)
        assert rejected_lines(workspace, ITEMS) == bad
        assert workspace.execute("SELECT item_id, title, image FROM items ORDER BY rowid").fetchall() == [
            *model.values()
        ]
        state = everything(workspace)
        again = add_items(workspace, ITEMS, given_rows)
        assert (again.new, again.changed) == (0, 0)
        assert everything(workspace) == state
    check_search_index(workspace)


# Interactions


def test_every_row_of_an_interactions_file_is_in_exactly_one_count(stocked):
    add_interactions(stocked, STEPS, steps(("u", "a", T1, 4.0), ("u", "b", T1, 4.0)))
    rows = [
        *steps(
            ("u", "a", T1, 4.0),  # unchanged
            ("u", "b", T1, 5.0),  # changed
            ("u", "c", T1, 5.0),  # new
            ("u", "c", T1, 5.0),  # duplicate
            ("u", "c", T1, 4.0),  # contradicts
            ("u", "a", T2, 1.0),  # low
            ("u", "nothing", T1, 5.0),  # unknown
        ),
        Rejected(9, "no user", ",a"),
    ]
    added = add_interactions(stocked, STEPS, rows, min_rating=3)
    assert added == Added(new=1, changed=1, unchanged=1, duplicate=1, low_rated=1, rejected=3)
    assert kept(stocked) == [("u", "a", T1, 4.0, 1), ("u", "b", T1, 5.0, 1), ("u", "c", T1, 5.0, 1)]
    assert low(stocked) == {("u", "a", T2): 1.0}
    assert [(r["line"], r["reason"], r["raw"]) for r in histories.rejects(stocked)] == [
        (6, "another rating for the same user, item and time as on line 4", f'["u","c","{T1}",4.0]'),
        (8, "unknown item 'nothing'", f'["u","nothing","{T1}",5.0]'),
        (9, "no user", ",a"),
    ]


def test_a_rating_and_no_rating_for_one_moment_contradict_each_other(stocked):
    assert add_interactions(stocked, STEPS, steps(("u", "a", T1), ("u", "a", T1, 4.0))) == Added(new=1, rejected=1)
    assert kept(stocked) == [("u", "a", T1, None, 1)]


def test_repeats_without_time_are_steps_of_their_own(stocked):
    rows = steps(("u", "a"), ("u", "b"), ("u", "a"))
    assert add_interactions(stocked, STEPS, rows) == Added(new=3)
    assert add_interactions(stocked, STEPS, rows) == Added(unchanged=3)
    assert [step.item.item_id for step in histories.history(stocked, "u")] == ["a", "b", "a"]
    assert add_interactions(stocked, STEPS, [*rows, InteractionRow(5, "u", "a", None, None)]).new == 1


def test_a_rating_at_the_minimum_is_kept_and_no_rating_is_never_low(stocked):
    rows = steps(("u", "a", T1, 3.0), ("u", "b", T1, 2.999), ("u", "c", T1))
    assert add_interactions(stocked, STEPS, rows, min_rating=3) == Added(new=2, low_rated=1)
    assert [row[1] for row in kept(stocked)] == ["a", "c"]
    assert histories.low_rated(stocked, "u") == {"b"}


def test_ratings_move_between_the_tables_when_the_minimum_changes(stocked):
    rows = steps(("u", "a", T1, 1.0), ("u", "b", T2, 3.0), ("v", "a", T1, 5.0), ("v", "b", T3))

    def ingest(min_rating: float | None) -> tuple[Added, list[tuple], set[str]]:
        added = add_interactions(stocked, STEPS, rows, min_rating=min_rating)
        return added, sorted(row[:2] for row in kept(stocked)), histories.low_rated(stocked, "u")

    every = [("u", "a"), ("u", "b"), ("v", "a"), ("v", "b")]
    assert ingest(None) == (Added(new=4), every, set())
    assert ingest(2) == (Added(unchanged=3, low_rated=1), every[1:], {"a"})
    assert ingest(4) == (Added(unchanged=2, low_rated=2), every[2:], {"a", "b"})
    assert ingest(4) == (Added(unchanged=2, low_rated=2), every[2:], {"a", "b"})
    assert ingest(2) == (Added(unchanged=2, new=1, low_rated=1), every[1:], {"a"})
    assert ingest(None) == (Added(unchanged=3, new=1), every, set())
    assert [step.item.item_id for step in histories.history(stocked, "u")] == ["a", "b"]


def test_ratings_without_time_move_between_the_tables_too(stocked):
    rows = steps(("u", "a", None, 1.0), ("u", "b", None, 5.0))
    assert add_interactions(stocked, STEPS, rows) == Added(new=2)
    assert add_interactions(stocked, STEPS, rows, min_rating=3) == Added(unchanged=1, low_rated=1)
    assert (kept(stocked), low(stocked)) == ([("u", "b", None, 5.0, 1)], {("u", "a", ""): 1.0})
    assert add_interactions(stocked, STEPS, rows) == Added(unchanged=1, new=1)
    assert (len(kept(stocked)), low(stocked)) == (2, {})


def test_a_rating_that_was_corrected_in_the_file_moves_too(stocked):
    add_interactions(stocked, STEPS, steps(("u", "a", T1, 5.0), ("u", "b", T1, 1.0)), min_rating=3)
    added = add_interactions(stocked, STEPS, steps(("u", "a", T1, 1.0), ("u", "b", T1, 5.0)), min_rating=3)
    assert added == Added(new=1, low_rated=1)
    assert kept(stocked) == [("u", "b", T1, 5.0, 1)]
    assert low(stocked) == {("u", "a", T1): 1.0}


def test_rejects_are_those_of_the_last_reading_of_each_file(stocked):
    other = Path("/data/more.csv")
    add_interactions(stocked, STEPS, [*steps(("u", "x", T1)), Rejected(3, "no user", "")])
    add_interactions(stocked, other, steps(("u", "a", T1), ("u", "y", T1)))
    assert (rejected_lines(stocked, STEPS), rejected_lines(stocked, other)) == ([2, 3], [3])
    add_interactions(stocked, STEPS, steps(("u", "a", T1), ("v", "a", T1)))
    assert (rejected_lines(stocked, STEPS), rejected_lines(stocked, other)) == ([], [3])
    assert len(histories.rejects(stocked, limit=0)) == 0
    assert histories.counts(stocked)["rejects"] == 1


def test_rows_of_an_unknown_item_come_in_once_the_item_is_there(stocked):
    rows = steps(("u", "late", T1), ("u", "a", T2))
    assert add_interactions(stocked, STEPS, rows) == Added(new=1, rejected=1)
    add_items(stocked, ITEMS, catalogue(("late",)))
    assert add_interactions(stocked, STEPS, rows) == Added(new=1, unchanged=1)
    assert [step.item.item_id for step in histories.history(stocked, "u")] == ["late", "a"]
    assert histories.rejects(stocked) == []


@pytest.mark.parametrize("add", [add_items, add_interactions])
def test_a_file_that_breaks_off_is_not_in_at_all(stocked, add):
    add_interactions(stocked, STEPS, [*steps(("u", "a", T1, 5.0)), Rejected(3, "bad", "")])
    add_items(stocked, ITEMS, [*catalogue(("a",)), Rejected(3, "bad", "")])
    before = everything(stocked)

    def broken():
        yield ItemRow(2, "new", "New", {}, None) if add is add_items else InteractionRow(2, "u", "b", T1, None)
        yield Rejected(9, "bad", "")
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        add(stocked, ITEMS if add is add_items else STEPS, broken())
    assert everything(stocked) == before
    assert add_interactions(stocked, STEPS, steps(("u", "a", T1, 5.0), ("u", "b", T1))) == Added(new=1, unchanged=1)


def test_strange_ids_are_kept_as_they_are(workspace):
    ids = ["'; DROP TABLE items; --", '"', "a b", "%", "Zoë", "🎬", "001", "1.0", " "]
    add_items(workspace, ITEMS, catalogue(*((one,) for one in ids)))
    add_interactions(workspace, STEPS, steps(*((one, one, T1) for one in ids)))
    for one in ids:
        assert histories.item(workspace, one).item_id == one
        assert [step.item.item_id for step in histories.history(workspace, one)] == [one]
        assert histories.user_exists(workspace, one)


class Model:
    """The documented rules, in plain Python."""

    def __init__(self, *items: str) -> None:
        self.items = items
        self.kept: dict[tuple, float | None] = {}  # in order of arrival
        self.low: dict[tuple, float] = {}

    def add(self, rows: list[InteractionRow | Rejected], min_rating: float | None) -> tuple[Added, list[int]]:
        added, bad, first, repeats = Counter(), [], {}, Counter()
        for row in rows:
            if isinstance(row, Rejected) or row.item_id not in self.items:
                added["rejected"] += 1
                bad.append(row.line)
                continue
            moment = (row.user_id, row.item_id, row.timestamp)
            repeats[moment] += 1
            occurrence = 1
            if row.timestamp is None:
                occurrence = repeats[moment]
            elif first.setdefault(moment, row) is not row:
                same = first[moment].rating == row.rating
                added["duplicate" if same else "rejected"] += 1
                bad += [] if same else [row.line]
                continue
            key = (*moment, occurrence)
            if min_rating is not None and row.rating is not None and row.rating < min_rating:
                added["low_rated"] += 1
                self.low[(*moment[:2], row.timestamp or "")] = row.rating
                self.kept.pop(key, None)
                continue
            added["new" if key not in self.kept else "unchanged" if self.kept[key] == row.rating else "changed"] += 1
            self.kept[key] = row.rating
            self.low.pop((*moment[:2], row.timestamp or ""), None)
        return Added(**added), bad


@st.composite
def readings(draw, most: int = 10):
    """(rows, min_rating) of one reading of a file; rows without time are not rated low."""
    min_rating = draw(st.sampled_from([None, 3.0]))
    rows: list[InteractionRow | Rejected] = []
    for line in range(2, 2 + draw(st.integers(0, most))):
        if draw(st.integers(0, 9)) == 0:
            rows.append(Rejected(line, "bad", "raw"))
            continue
        time = draw(st.sampled_from([None, T1, T2]))
        ratings = [None, 1.0, 5.0] if min_rating is None or time else [None, 5.0]
        user, item = draw(st.sampled_from("uv")), draw(st.sampled_from("aabb?"))
        rows.append(InteractionRow(line, user, item, time, draw(st.sampled_from(ratings))))
    return rows, min_rating


@settings(max_examples=100, deadline=None)
@given(files=st.lists(st.tuples(st.sampled_from([STEPS, Path("/data/more.csv")]), readings()), max_size=3))
def test_any_interactions_files_follow_the_documented_rules(shelf, files):
    workspace, _ = shelf
    empty(workspace, "a", "b")
    model = Model("a", "b")
    bad: dict[Path, list[int]] = {}
    for file, (rows, min_rating) in files:
        expected, bad[file] = model.add(rows, min_rating)
        added = add_interactions(workspace, file, rows, min_rating=min_rating)
        assert added == expected
        assert sum(astuple(added)) == len(rows)
        assert kept(workspace) == [(*key[:3], rating, key[3]) for key, rating in model.kept.items()]
        assert low(workspace) == model.low
        for each, lines in bad.items():
            assert rejected_lines(workspace, each) == lines


@settings(max_examples=40, deadline=None)
@given(reading=readings())
def test_reading_any_file_twice_changes_nothing(shelf, reading):
    workspace, _ = shelf
    empty(workspace, "a", "b")
    rows, min_rating = reading
    first = add_interactions(workspace, STEPS, rows, min_rating=min_rating)
    state = everything(workspace)
    again = add_interactions(workspace, STEPS, rows, min_rating=min_rating)
    assert (again.new, again.changed, again.unchanged) == (0, 0, first.new)
    assert astuple(again)[3:] == astuple(first)[3:]
    assert everything(workspace) == state


@settings(max_examples=40, deadline=None)
@given(reading=readings(), cut=st.integers(0, 10))
def test_a_file_that_grew_is_the_same_as_one_reading_of_the_whole(shelf, reading, cut):
    grown, whole = shelf
    rows, min_rating = reading
    for workspace in shelf:
        empty(workspace, "a", "b")
    part = add_interactions(grown, STEPS, rows[:cut], min_rating=min_rating)
    rest = add_interactions(grown, STEPS, rows, min_rating=min_rating)
    once = add_interactions(whole, STEPS, rows, min_rating=min_rating)
    assert everything(grown) == everything(whole)
    assert (part.new + rest.new, rest.changed, rest.low_rated) == (once.new, 0, once.low_rated)


# Reading back


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


def test_interaction_arrays_are_by_user_and_in_time_order(stocked):
    rows = [("v", "a", T2), ("u", "c", T2), ("v", "b", T1), ("u", "a", T2), ("u", "a", T1), ("w", "b", T1, 1.0)]
    add_interactions(stocked, STEPS, steps(*rows), min_rating=3)
    item_ids, users, items = histories.interaction_arrays(stocked)
    assert item_ids == ["a", "b", "c"]
    assert users.tolist() == [0, 0, 0, 1, 1]
    assert [item_ids[i] for i in items] == ["a", "c", "a", "b", "a"]
    assert users.dtype == items.dtype == np.int32
    assert users.flags.c_contiguous and items.flags.c_contiguous


def test_interaction_arrays_of_an_empty_workspace_are_empty(workspace):
    item_ids, users, items = histories.interaction_arrays(workspace)
    assert (item_ids, users.shape, items.shape) == ([], (0,), (0,))


def test_texts_stand_in_the_order_of_the_arrays(workspace):
    rows = [("z", "Zoë", {"genres": ["Drama", "War"], "year": "1999"}), ("a", "Ada"), ("m", "Max", {"n": 7})]
    add_items(workspace, ITEMS, catalogue(*rows))
    assert histories.interaction_arrays(workspace)[0] == ["z", "a", "m"]
    assert histories.texts(workspace) == ["Zoë Drama War 1999", "Ada", "Max 7"]


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
