import json
import sqlite3
from pathlib import Path

import pytest

from msr_local.store import histories, results
from msr_local.store.catalogue import ImageFact, add_images, add_interactions, add_items
from msr_local.store.rows import InteractionRow, Item, ItemRow, Preference, Score
from msr_local.store.workspace import Workspace

T1, T2 = "2001-09-09T01:46:40+00:00", "2002-09-09T01:46:40+00:00"


def pictured(workspace, item_id):
    """The item with a picture in the workspace."""
    path = Path(f"/{item_id}.png")
    workspace.execute("UPDATE items SET image = ? WHERE item_id = ?", [str(path), item_id])
    add_images(workspace, [ImageFact(path, 1, 1, f"sha of {item_id}", None)])
    return Item(item_id, item_id, {}, path, f"sha of {item_id}")


@pytest.fixture
def stocked(workspace: Workspace) -> Workspace:
    """Items a to e; the user u knows a, and rated b low."""
    items = [ItemRow(line, one, f"Title {one}", {"n": line}, None) for line, one in enumerate("abcde")]
    add_items(workspace, Path("items"), items)
    rows = [InteractionRow(1, "u", "a", T1, 5.0), InteractionRow(2, "u", "b", T1, 1.0)]
    add_interactions(workspace, Path("interactions"), rows, min_rating=3)
    return workspace


def preference(block: int, summary: str = "likes it", **more) -> Preference:
    values = {"start": T1, "end": T2, "items": ("a", "b"), "key": f"key{block}"} | more
    return Preference(block, summary, **values)


def score(item_id: str, log_odds: float = 0.5, key: str = "k") -> Score:
    return Score(item_id, log_odds, 0.75, 0.9, key)


def table(workspace: Workspace, sql: str) -> list[dict]:
    cursor = workspace.execute(sql)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


# Captions


def test_a_caption_is_found_for_exactly_its_settings_and_key(stocked):
    results.save_caption(stocked, pictured(stocked, "a"), "s1", "k1", "a red car 🎬\nby night", "model")
    assert results.caption(stocked, "a", "s1", "k1") == "a red car 🎬\nby night"
    assert results.caption(stocked, "a", "s1", "k2") is None
    assert results.caption(stocked, "a", "s2", "k1") is None
    assert results.caption(stocked, "b", "s1", "k1") is None


def test_a_new_caption_replaces_the_old_one_of_the_same_settings_only(stocked):
    results.save_caption(stocked, pictured(stocked, "a"), "s1", "k1", "old", "model")
    results.save_caption(stocked, pictured(stocked, "a"), "s2", "k1", "other settings", "model")
    results.save_caption(stocked, pictured(stocked, "b"), "s1", "k1", "other item", "model")
    results.save_caption(stocked, pictured(stocked, "a"), "s1", "k2", "new", "model")
    assert results.captions(stocked, "s1") == {"a": ("k2", "new"), "b": ("k1", "other item")}
    assert results.captions(stocked, "s2") == {"a": ("k1", "other settings")}
    assert results.captions(stocked, "s3") == {}


@pytest.mark.parametrize("save", ["caption", "score"])
def test_nothing_is_kept_of_an_unknown_item(stocked, save):
    with pytest.raises(sqlite3.IntegrityError):
        if save == "caption":
            results.save_caption(stocked, pictured(stocked, "nothing"), "s", "k", "text", "model")
        else:
            results.save_score(stocked, "u", "s", score("nothing"), "model")
    assert not stocked.db.conn.in_transaction
    assert histories.counts(stocked)["captions"] == histories.counts(stocked)["scores"] == 0


def test_each_result_is_there_for_another_connection_at_once(stocked):
    with Workspace(stocked.home) as other:
        results.save_caption(stocked, pictured(stocked, "a"), "s", "k", "text", "model")
        results.save_preference(stocked, "u", "s", preference(0), "model")
        results.save_score(stocked, "u", "s", score("c"), "model")
        assert results.captions(other, "s") == {"a": ("k", "text")}
        assert results.preferences(other, "u", "s") == {0: preference(0)}
        assert results.scores(other, "u", "s") == {"c": score("c")}


# Preferences


def test_a_preference_comes_back_as_it_was(stocked):
    kept = preference(3, "likes 'quotes' & Zoë 🎬", start=None, end=None, items=("b", "a", 'x"', "é"))
    results.save_preference(stocked, "u", "s", kept, "model")
    assert results.preferences(stocked, "u", "s") == {3: kept}
    assert results.preferences(stocked, "v", "s") == results.preferences(stocked, "u", "other") == {}


def test_saving_a_block_drops_it_and_all_later_blocks_of_that_user_and_those_settings_only(stocked):
    for block in range(4):
        for user, settings in [("u", "s"), ("u", "other"), ("v", "s")]:
            results.save_preference(stocked, user, settings, preference(block), "model")
    results.save_preference(stocked, "u", "s", preference(1, "changed"), "model")
    assert results.preferences(stocked, "u", "s") == {0: preference(0), 1: preference(1, "changed")}
    assert results.preferences(stocked, "u", "other") == {block: preference(block) for block in range(4)}
    assert results.preferences(stocked, "v", "s") == {block: preference(block) for block in range(4)}


def test_saving_the_first_block_again_starts_the_chain_over(stocked):
    for block in (0, 1, 2):
        results.save_preference(stocked, "u", "s", preference(block), "model")
    results.save_preference(stocked, "u", "s", preference(0, "new"), "model")
    assert results.preferences(stocked, "u", "s") == {0: preference(0, "new")}


def test_a_preference_that_cannot_be_saved_drops_nothing(stocked):
    for block in (0, 1, 2):
        results.save_preference(stocked, "u", "s", preference(block), "model")
    with pytest.raises(sqlite3.IntegrityError):
        results.save_preference(stocked, "u", "s", preference(1, summary=None), "model")
    assert sorted(results.preferences(stocked, "u", "s")) == [0, 1, 2]


def test_only_the_blocks_of_the_chain_are_kept(stocked):
    for block in range(6):
        results.save_preference(stocked, "u", "s", preference(block), "model")
        results.save_preference(stocked, "v", "s", preference(block), "model")
    results.keep_preferences(stocked, "u", "s", 2, 4)
    assert sorted(results.preferences(stocked, "u", "s")) == [2, 3, 4]
    results.keep_preferences(stocked, "u", "s", 0, 9)
    assert sorted(results.preferences(stocked, "u", "s")) == [2, 3, 4]
    results.keep_preferences(stocked, "u", "s", 0, -1)
    assert results.preferences(stocked, "u", "s") == {}
    assert len(results.preferences(stocked, "v", "s")) == 6


# Scores


def test_scores_are_kept_by_user_settings_and_evidence_left_out(stocked):
    results.save_score(stocked, "u", "s", score("c", 1.5), "model")
    results.save_score(stocked, "u", "s", score("c", -2.0), "model", "summary")
    results.save_score(stocked, "u", "other", score("c", 3.0), "model")
    results.save_score(stocked, "v", "s", score("d", 4.0), "model")
    assert results.scores(stocked, "u", "s") == {"c": score("c", 1.5)}
    assert results.scores(stocked, "u", "s", "summary") == {"c": score("c", -2.0)}
    assert results.scores(stocked, "u", "other") == {"c": score("c", 3.0)}
    assert results.scores(stocked, "v", "s") == {"d": score("d", 4.0)}
    assert results.scores(stocked, "v", "s", "summary") == {}


def test_a_score_comes_back_to_the_last_bit(stocked):
    exact = Score("c", 0.1 + 0.2, 1e-300, 2**-60, "k")
    results.save_score(stocked, "u", "s", exact, "model")
    assert results.scores(stocked, "u", "s") == {"c": exact}


def test_a_new_score_replaces_the_old_one(stocked):
    results.save_score(stocked, "u", "s", score("c", 1.0, "old"), "model")
    results.save_score(stocked, "u", "s", score("c", 2.0, "new"), "model")
    assert results.scores(stocked, "u", "s") == {"c": score("c", 2.0, "new")}
    assert histories.counts(stocked)["scores"] == 1


# Views


def test_recommendations_are_in_rank_order_without_what_the_user_knows(stocked):
    for one, log_odds in zip("abcde", (9.0, 8.0, 1.0, 2.0, 3.0), strict=True):
        results.save_score(stocked, "u", "s", score(one, log_odds), "model")
    ranking = [("a", 0.9, 0.99), ("b", 0.8, 0.98), ("d", 0.1, 0.3), ("c", 0.2, 0.7), ("e", 0.3, 0.5)]
    results.save_ranking(stocked, "u", "s", ranking)
    rows = table(stocked, "SELECT * FROM recommendations WHERE user_id = 'u' ORDER BY rank")
    created = [row.pop("created") for row in rows]
    assert all(time.endswith("+00:00") for time in created)
    common = {"user_id": "u", "p_yes": 0.75, "model": "model"}
    assert rows == [
        {"rank": 1, "item_id": "c", "title": "Title c", "log_odds": 1.0, "score": 0.7, "recall": 0.2} | common,
        {"rank": 2, "item_id": "e", "title": "Title e", "log_odds": 3.0, "score": 0.5, "recall": 0.3} | common,
        {"rank": 3, "item_id": "d", "title": "Title d", "log_odds": 2.0, "score": 0.3, "recall": 0.1} | common,
    ]


def test_an_item_leaves_the_recommendations_once_the_user_has_seen_it(stocked):
    for one in "cd":
        results.save_score(stocked, "u", "s", score(one), "model")
    results.save_ranking(stocked, "u", "s", [("c", 0.5, 0.9), ("d", 0.5, 0.8)])
    add_interactions(
        stocked, Path("more"), [InteractionRow(1, "u", "c", T2, None), InteractionRow(2, "v", "d", T2, None)]
    )
    assert table(stocked, "SELECT item_id, rank FROM recommendations") == [{"item_id": "d", "rank": 1}]


def test_a_new_ranking_takes_the_rank_of_items_that_are_no_candidates_any_more(stocked):
    for user, settings in [("u", "s"), ("u", "other"), ("v", "s")]:
        for one in "cde":
            results.save_score(stocked, user, settings, score(one), "model")
        results.save_ranking(stocked, user, settings, [("c", 0.5, 0.9), ("d", 0.5, 0.8)])
    results.save_ranking(stocked, "u", "s", [("e", 0.5, 0.6), ("d", 0.5, 0.7)])
    ranks = "SELECT s.user_id || s.settings || s.item_id AS name, s.score FROM scores AS s WHERE s.score IS NOT NULL"
    assert {row["name"]: row["score"] for row in table(stocked, ranks)} == {
        "usd": 0.7, "use": 0.6, "vsc": 0.9, "vsd": 0.8,
    }  # fmt: skip
    assert results.scores(stocked, "u", "s") == {one: score(one) for one in "cde"}


def test_only_the_latest_ranking_of_a_user_has_ranks(stocked):
    for settings, one in [("s", "c"), ("s", "d"), ("other", "e")]:
        results.save_score(stocked, "u", settings, score(one), settings)
    results.save_ranking(stocked, "u", "s", [("c", 0.5, 0.9), ("d", 0.5, 0.8)])
    results.save_ranking(stocked, "u", "other", [("e", 0.5, 0.1)])
    rows = table(stocked, "SELECT model, item_id, rank FROM recommendations")
    assert sorted(map(tuple, (row.values() for row in rows))) == [("other", "e", 1)]


def test_questions_with_evidence_left_out_are_never_recommendations(stocked):
    results.save_score(stocked, "u", "s", score("c"), "model", "summary")
    results.save_ranking(stocked, "u", "s", [("c", 0.5, 0.9)])
    assert table(stocked, "SELECT * FROM recommendations") == []
    assert histories.counts(stocked)["scores"] == 0


def test_a_ranking_that_breaks_off_leaves_the_last_one(stocked):
    results.save_score(stocked, "u", "s", score("c"), "model")
    results.save_ranking(stocked, "u", "s", [("c", 0.5, 0.9)])

    def broken():
        yield ("c", 0.1, 0.1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        results.save_ranking(stocked, "u", "s", broken())
    assert table(stocked, "SELECT score FROM recommendations") == [{"score": 0.9}]


def test_item_descriptions_show_each_item_once_with_its_latest_caption(stocked):
    results.save_caption(stocked, pictured(stocked, "a"), "s1", "k", "first", "model")
    results.save_caption(stocked, pictured(stocked, "a"), "s2", "k", "second", "model")
    results.save_caption(stocked, pictured(stocked, "b"), "s2", "k", "of b", "model")
    results.save_caption(stocked, pictured(stocked, "a"), "s1", "k2", "third", "model")
    rows = table(stocked, "SELECT * FROM item_descriptions ORDER BY item_id")
    assert [row["item_id"] for row in rows] == [*"abcde"]
    assert [row["caption"] for row in rows] == ["third", "of b", None, None, None]
    assert rows[1] == {
        "item_id": "b",
        "title": "Title b",
        "attributes": '{"n":1}',
        "image": "/b.png",
        "caption": "of b",
    }


def test_the_user_timeline_shows_the_blocks_in_order(stocked):
    for settings in ("s2", "s1"):
        for block in (0, 1):
            results.save_preference(stocked, "v", settings, preference(block, f"{settings} {block}"), "model")
    results.save_preference(stocked, "u", "s1", preference(7, items=("c",)), "model")
    rows = table(stocked, "SELECT * FROM user_timeline")
    assert [(row["user_id"], row["settings"], row["block"]) for row in rows] == [
        ("u", "s1", 7), ("v", "s1", 0), ("v", "s1", 1), ("v", "s2", 0), ("v", "s2", 1),
    ]  # fmt: skip
    assert (rows[0]["first_timestamp"], rows[0]["last_timestamp"], json.loads(rows[0]["items"])) == (T1, T2, ["c"])
    assert rows[-1]["summary"] == "s2 1"
