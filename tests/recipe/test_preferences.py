"""Chains of preference summaries on a real, tiny model: what is written, and what is never written twice."""

from __future__ import annotations

import pytest
from recipe.recipe_shop import Shop

from msr_local.recipes import Recipe
from msr_local.store import results
from msr_local.store.rows import Preference

FILMS = [f"f{n:02}" for n in range(40)]
PLAIN = Recipe(caption=False)


def chain(shop: Shop, recipe: Recipe = PLAIN, user: str = "u", **options: object) -> tuple[list[Preference], list[str]]:
    """The chain as a new process would ask for it: (summaries, questions asked for them)."""
    with shop.recommender(recipe, **options) as recommender:  # type: ignore[arg-type]
        found = recommender.preferences.chain(user, recommender.history(user))
    return found, shop.record.take()


@pytest.fixture
def shop(recipe_shop: Shop) -> Shop:
    """Forty films; the user u took the first seven."""
    recipe_shop.stock(*FILMS)
    recipe_shop.take("u", *FILMS[:7])
    return recipe_shop


def test_each_summary_is_written_from_the_one_before_and_its_own_block(shop: Shop) -> None:
    found, asked = chain(shop)
    assert [one.items for one in found] == [tuple(FILMS[:3]), tuple(FILMS[3:6]), tuple(FILMS[6:7])]
    assert [one.block for one in found] == [0, 1, 2]
    assert len(asked) == 3
    for n, question in enumerate(asked):
        assert [film for film in FILMS if f"Film {film}" in question] == [*found[n].items]
        assert ("Until now: " in question) == (n > 0)
        if n:
            assert f"Until now: {found[n - 1].summary}\n" in question


def test_a_summary_is_one_line_and_knows_the_times_of_its_block(shop: Shop) -> None:
    found, _ = chain(shop)
    with shop.recommender() as recommender:
        times = [step.timestamp for step in recommender.history("u")]
    assert [(one.start, one.end) for one in found] == [(times[0], times[2]), (times[3], times[5]), (times[6], times[6])]
    assert all(one.summary and len(one.summary.splitlines()) == 1 for one in found)


def test_a_chain_that_is_there_opens_no_engine(shop: Shop) -> None:
    first, _ = chain(shop)
    again, asked = chain(shop)
    assert (again, asked, shop.record.opened) == (first, [], 1)


def test_no_history_has_no_chain_and_opens_no_engine(shop: Shop) -> None:
    with shop.recommender(PLAIN) as recommender:
        assert recommender.preferences.chain("nobody", []) == []
    assert shop.record.opened == 0


@pytest.mark.parametrize(("more", "blocks"), [(1, [2]), (2, [2]), (3, [2, 3]), (6, [2, 3, 4])])
def test_new_interactions_leave_all_complete_blocks(shop: Shop, more: int, blocks: list[int]) -> None:
    before, _ = chain(shop)
    shop.take("u", *FILMS[7 : 7 + more])
    after, asked = chain(shop)
    assert after[:2] == before[:2]
    assert [one.block for one in after[2:]] == blocks
    assert len(asked) == len(blocks)


def test_an_interaction_that_came_late_writes_all_from_its_block_on(shop: Shop) -> None:
    chain(shop)
    with shop.workspace.write():
        shop.workspace.execute(
            "INSERT INTO interactions (user_id, item_id, timestamp) VALUES ('u', 'f20', '2020-01-01T00:00:00.000003')"
        )
    found, asked = chain(shop)
    assert len(asked) == 2
    assert "f20" in found[1].items


@pytest.mark.parametrize(("film", "written"), [("f00", 3), ("f04", 2), ("f06", 1), ("f20", 0)])
def test_a_new_title_writes_all_from_its_block_on(shop: Shop, film: str, written: int) -> None:
    chain(shop)
    shop.rename(film, "Another title")
    _, asked = chain(shop)
    assert len(asked) == written
    assert sum("Another title" in question for question in asked) == min(written, 1)


def test_only_the_caption_of_the_recipe_is_told(recipe_shop: Shop) -> None:
    recipe_shop.stock(*FILMS[:3], pictures=True)
    recipe_shop.take("u", *FILMS[:3])
    seeing = Recipe()
    assert "Picture: " not in chain(recipe_shop, seeing)[1][0]
    with recipe_shop.recommender(seeing) as recommender:
        recommender.captions.make()
    recipe_shop.record.take()
    _, asked = chain(recipe_shop, seeing)
    assert asked[0].count("Picture: ") == 3
    recipe_shop.paint("f01", 200)
    _, asked = chain(recipe_shop, seeing)
    assert asked[0].count("Picture: ") == 2
    assert "Picture: " not in chain(recipe_shop, PLAIN)[1][0]


@pytest.mark.parametrize(
    "other",
    [Recipe(caption=False, block_size=2), Recipe(caption=False, window=6), Recipe(caption=False, direct=True)],
)
def test_other_settings_have_a_chain_of_their_own(shop: Shop, other: Recipe) -> None:
    first, _ = chain(shop)
    own, asked = chain(shop, other)
    assert len(asked) == len(own)
    assert chain(shop) == (first, [])
    assert chain(shop, other) == (own, [])


def test_another_model_writes_a_chain_of_its_own(shop: Shop) -> None:
    _, first = chain(shop)
    _, asked = chain(shop, sha256="c" * 64)
    assert asked == first


def test_block_size_one_and_a_block_larger_than_the_history(shop: Shop) -> None:
    small, _ = chain(shop, Recipe(caption=False, block_size=1))
    large, _ = chain(shop, Recipe(caption=False, block_size=20))
    assert [one.items for one in small] == [(film,) for film in FILMS[:7]]
    assert [one.items for one in large] == [tuple(FILMS[:7])]


def test_a_direct_summary_reads_the_whole_window_at_once(shop: Shop) -> None:
    direct = Recipe(caption=False, direct=True)
    (only,), (question,) = chain(shop, direct)
    assert only.items == tuple(FILMS[:7])
    assert all(f"- Film {film}." in question for film in FILMS[:7])
    shop.take("u", *FILMS[7:9])
    (only,), (question,) = chain(shop, direct)
    assert only.items == tuple(FILMS[:9])
    assert "Until now" not in question


def test_a_long_history_starts_late_and_forgets_the_blocks_before(shop: Shop) -> None:
    """Four blocks at most: the start moves by two at a time, and only then is the chain written anew."""
    short = Recipe(caption=False, window=12)
    written, starts = [], []
    for film in FILMS[7:28]:
        shop.take("u", film)
        found, asked = chain(shop, short)
        written.append(len(asked))
        starts.append(found[0].block)
        assert found[-1].items[-1] == film
        with shop.recommender(short) as recommender:
            kept = results.preferences(shop.workspace, "u", recommender.preferences.settings)
        assert [*kept.values()] == found
    assert starts == [0] * 5 + [2] * 6 + [4] * 6 + [6] * 4
    anew = [n for n in range(1, len(starts)) if starts[n] != starts[n - 1]]
    assert [written[n] for n in anew] == [3, 3, 3]
    assert all(count == 1 for n, count in enumerate(written) if n and n not in anew)


@pytest.mark.parametrize("patience", [0, 1, 2])
def test_an_interrupt_keeps_the_blocks_that_were_written(shop: Shop, patience: int) -> None:
    shop.record.patience = patience
    with pytest.raises(KeyboardInterrupt):
        chain(shop)
    first = shop.record.take()
    shop.record.patience = float("inf")
    found, rest = chain(shop)
    assert (len(first), len(rest), len(found)) == (patience, 3 - patience, 3)
    assert not set(first) & set(rest)
    with shop.workspace.write():
        shop.workspace.execute("DELETE FROM preferences")
    assert [one.summary for one in chain(shop)[0]] == [one.summary for one in found]


def test_users_do_not_touch_each_others_chains(shop: Shop) -> None:
    first, _ = chain(shop)
    shop.take("v", *FILMS[:7])
    other, asked = chain(shop, user="v")
    assert len(asked) == 3
    assert [one.summary for one in other] == [one.summary for one in first]
    shop.take("v", "f30")
    chain(shop, user="v")
    assert chain(shop) == (first, [])


def test_who_took_the_same_has_the_same_summary_and_times_of_their_own(shop: Shop) -> None:
    """Also where the same is another block: w took ten others before."""
    shop.take("v", *FILMS[:7])
    shop.take("w", *FILMS[20:30], *FILMS[:7])
    users = ["u", "v", "w"]
    with shop.recommender(Recipe(caption=False, block_size=2, window=6)) as recommender:
        for _ in range(2):  # written, then kept
            found = dict(recommender.preferences.chains([(user, recommender.history(user)) for user in users]))
            for place, user in enumerate(users):
                history = recommender.history(user)
                for one in found[place]:
                    steps = history[2 * one.block : 2 * one.block + 2]
                    assert one.items == tuple(step.item.item_id for step in steps)
                    assert (one.start, one.end) == (steps[0].timestamp, steps[-1].timestamp)
            for other in (1, 2):
                assert [one.summary for one in found[0]] == [one.summary for one in found[other]]
    assert len(shop.record.take()) == len({one.key for made in found.values() for one in made})


def test_times_that_were_corrected_are_told_with_the_summaries_that_are_there(shop: Shop) -> None:
    before, _ = chain(shop)
    with shop.workspace.write():
        shop.workspace.execute("UPDATE interactions SET timestamp = replace(timestamp, '2020', '2021')")
    after, asked = chain(shop)
    assert [one.summary for one in after] == [one.summary for one in before] and asked == []
    assert all(one.start and one.start.startswith("2021") for one in after)


def test_titles_of_four_thousand_characters_are_cut_to_the_context(shop: Shop) -> None:
    for n, film in enumerate(FILMS[:7]):
        shop.rename(film, chr(0x4E00 + n) * 4000)
    found, asked = chain(shop)
    assert len(found) == 3
    assert all("…" in question and len(question) < 1500 for question in asked)


# ---- chains of the past


def past_chain(shop: Shop, length: int, recipe: Recipe = PLAIN) -> tuple[list[Preference], list[str]]:
    """The chain as it was when the user had taken `length` films."""
    with shop.recommender(recipe) as recommender:
        found = recommender.preferences.chain("u", recommender.history("u")[:length], past=True)
    return found, shop.record.take()


def kept(shop: Shop) -> list[tuple[object, ...]]:
    """The users' present chains as they stand in the workspace."""
    return shop.workspace.execute("SELECT * FROM preferences ORDER BY user_id, settings, block").fetchall()


def test_a_chain_of_the_past_leaves_the_present_one_as_it_is(shop: Shop) -> None:
    present, _ = chain(shop)
    before = kept(shop)
    assert len(before) == 3
    for length in (0, 1, 2, 4, 5, 7):
        past_chain(shop, length)
    past_chain(shop, 5, Recipe(caption=False, direct=True))
    past_chain(shop, 7, Recipe(caption=False, window=3))
    assert kept(shop) == before
    assert chain(shop) == (present, [])


def test_a_chain_of_the_past_is_the_one_that_was_written_then(shop: Shop) -> None:
    for length in (2, 3, 4, 6):
        past, _ = past_chain(shop, length)
        with shop.workspace.write():
            shop.workspace.execute("DELETE FROM past_summaries")
        with shop.recommender(PLAIN) as recommender:
            then = recommender.preferences.chain("u", recommender.history("u")[:length])
        shop.record.take()
        assert past == then


def test_the_past_takes_the_whole_blocks_of_the_present(shop: Shop) -> None:
    present, _ = chain(shop)
    assert past_chain(shop, 6) == (present[:2], [])
    past, asked = past_chain(shop, 5)
    assert past[0] == present[0]
    assert len(asked) == 1


def test_the_present_takes_what_was_written_for_the_past(shop: Shop) -> None:
    past, asked = past_chain(shop, 6)
    assert (len(asked), kept(shop)) == (2, [])
    present, asked = chain(shop)
    assert len(asked) == 1
    assert present[:2] == past
    assert len(kept(shop)) == 3
    assert chain(shop) == (present, [])


def test_a_chain_of_the_past_is_written_once(shop: Shop) -> None:
    first, asked = past_chain(shop, 5)
    opened = shop.record.opened
    assert len(asked) == 2
    assert past_chain(shop, 5) == (first, [])
    assert past_chain(shop, 3) == (first[:1], [])
    assert shop.record.opened == opened


@pytest.mark.parametrize(("film", "written"), [("f00", 2), ("f04", 1), ("f05", 0)])
def test_a_new_title_writes_the_past_anew_from_its_block_on(shop: Shop, film: str, written: int) -> None:
    past_chain(shop, 5)
    shop.rename(film, "Another title")
    _, asked = past_chain(shop, 5)
    assert len(asked) == written


def test_an_interrupt_keeps_the_past_that_was_written(shop: Shop) -> None:
    shop.record.patience = 1
    with pytest.raises(KeyboardInterrupt):
        past_chain(shop, 7)
    first = shop.record.take()
    shop.record.patience = float("inf")
    _, rest = past_chain(shop, 7)
    assert (len(first), len(rest)) == (1, 2)
    assert not {*first} & {*rest}


def test_a_past_of_nothing_is_empty_and_keeps_the_present(shop: Shop) -> None:
    chain(shop)
    before = kept(shop)
    assert past_chain(shop, 0) == ([], [])
    assert kept(shop) == before
