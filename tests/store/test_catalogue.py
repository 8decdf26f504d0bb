from collections import Counter
from dataclasses import astuple
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stock import ITEMS, STEPS, T1, T2, T3, catalogue, check_search_index, everything, kept, low, rejected_lines, steps

from msr_local.store import histories
from msr_local.store.catalogue import Added, add_interactions, add_items
from msr_local.store.rows import InteractionRow, ItemRow, Rejected
from msr_local.store.workspace import Workspace


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
    assert histories.log(workspace).item_ids == ["x", "y"]
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


@settings(max_examples=40)
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


@settings(max_examples=100)
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


@settings(max_examples=40)
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


@settings(max_examples=40)
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


pairs = st.lists(st.tuples(st.sampled_from("uv"), st.sampled_from("abc")), max_size=6)


@settings(max_examples=40)
@given(files=st.lists(st.tuples(st.sampled_from(["jan", "feb", "all"]), pairs), min_size=1, max_size=4))
def test_without_times_nothing_is_doubled_and_what_counts_once_is_told(shelf, files):
    workspace, _ = shelf
    empty(workspace)
    workspace.execute("DELETE FROM settings")
    add_items(workspace, ITEMS, catalogue(("a",), ("b",), ("c",)))
    most, read = Counter(), set()
    for name, rows in files:
        there = Counter(rows)
        added = add_interactions(workspace, Path(f"/data/{name}.csv"), steps(*rows))
        assert added.new + added.unchanged == len(rows)
        assert added.unchanged == (most & there).total()
        assert added.repeated == (0 if name in read else added.unchanged)
        most |= there
        read |= {name} if rows else set()
        assert Counter((user, item) for user, item, *_ in kept(workspace)) == most


def test_with_times_a_repeat_in_a_second_file_counts(stocked):
    add_interactions(stocked, Path("/data/jan.csv"), steps(("u", "a", T1)))
    assert add_interactions(stocked, Path("/data/feb.csv"), steps(("u", "a", T2), ("u", "a", T1))) == Added(
        new=1, unchanged=1
    )
