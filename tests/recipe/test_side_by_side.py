"""Chains of many people side by side, and recommendations that look at a few pictures only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from recipe.recipe_shop import Shop, Watched

from msr_local.engine.types import Question, Writing
from msr_local.models.spec import Fused, Scorer
from msr_local.recipes import Recipe
from msr_local.store import results

FILMS = [f"f{n:02}" for n in range(30)]
PLAIN = Recipe(caption=False)


@pytest.fixture
def shop(recipe_shop: Shop) -> Shop:
    """Thirty films; five people took 1, 4, 7, 10 and 0 of them, each from another one on."""
    recipe_shop.stock(*FILMS)
    for n in range(4):
        recipe_shop.take(f"u{n}", *FILMS[2 * n : 2 * n + 1 + 3 * n])
    return recipe_shop


def test_the_chains_are_those_that_are_written_one_by_one(shop: Shop) -> None:
    users = ["u0", "u1", "u2", "u3", "nobody"]
    with shop.recommender(PLAIN) as recommender:
        histories = [recommender.history(user) if user != "nobody" else [] for user in users]
        made = dict(recommender.preferences.chains(zip(users, histories, strict=True)))
        asked = shop.record.take()
        assert len(asked) == sum(map(len, made.values())) and made[4] == []
        again = [recommender.preferences.chain(*one) for one in zip(users, histories, strict=True)]
        assert again == [made[place] for place in range(5)] and shop.record.take() == []
    with shop.workspace.write():
        shop.workspace.execute("DELETE FROM preferences")
    with shop.recommender(PLAIN) as recommender:
        assert [recommender.preferences.chain(*one) for one in zip(users, histories, strict=True)] == again


def test_blocks_in_common_are_written_once(shop: Shop) -> None:
    with shop.recommender(PLAIN) as recommender:
        history = recommender.history("u3")
        people = [("u3", history[:at]) for at in (3, 4, 6, 9, 10)]
        made = dict(recommender.preferences.chains(people, past=True))
    asked = shop.record.take()
    assert len(asked) == len(set(asked)) == len({one.key for chain in made.values() for one in chain}) == 5
    assert results.preferences(shop.workspace, "u3", recommender.preferences.settings) == {}


def test_what_was_written_before_an_interruption_is_not_written_again(shop: Shop) -> None:
    users = ["u1", "u2", "u3"]
    shop.record.patience = 4
    with shop.recommender(PLAIN) as recommender, pytest.raises(KeyboardInterrupt):
        list(recommender.preferences.chains((user, recommender.history(user)) for user in users))
    done = shop.record.take()
    shop.record.patience = float("inf")
    with shop.recommender(PLAIN) as recommender:
        made = dict(recommender.preferences.chains((user, recommender.history(user)) for user in users))
    rest = shop.record.take()
    assert len(done) == 4 and not set(done) & set(rest)
    assert len(done) + len(rest) == sum(map(len, made.values()))


def test_blocks_that_do_not_depend_on_each_other_are_written_in_one_go(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first block of everybody, then the second of all that have one, and so on."""
    together: list[int] = []
    write = Watched.write

    def counted(self: Watched, questions: Sequence[Question], how: Writing = Writing()) -> object:
        together.append(len(questions))
        return write(self, questions, how)

    monkeypatch.setattr(Watched, "write", counted)
    with shop.recommender(PLAIN) as recommender:
        list(recommender.preferences.chains((f"u{n}", recommender.history(f"u{n}")) for n in range(4)))
    assert together == [4, 3, 2, 1]


def test_a_recommendation_waits_for_no_block_that_it_does_not_read(shop: Shop) -> None:
    """Neither for those before the window, nor, without a summary in the question, for any."""
    window = Recipe(caption=False, window=6)
    with shop.recommender(window) as recommender:
        recommender.recommend("u3", 3)
    written = [one for one in shop.record.take() if "Answer Yes or No." not in one]
    assert len(written) == 2 and not any("Film f06\n" in one or "Film f06." in one for one in written)
    shop.take("u3", "f28")  # in the last block: the one before it is not written again
    with shop.recommender(window) as recommender:
        recommender.recommend("u3", 3)
    assert len([one for one in shop.record.take() if "Answer Yes or No." not in one]) == 1
    with shop.recommender(Recipe(summary=False, caption=False)) as recommender:
        recommender.recommend("u3", 3)
    assert all("Answer Yes or No." in one for one in shop.record.take())


@pytest.fixture
def pictured(recipe_shop: Shop) -> Shop:
    """Twelve films with pictures and two without; somebody took the first two, others all of them."""
    recipe_shop.stock(*FILMS[:12], pictures=True)
    recipe_shop.stock(*FILMS[12:14])
    recipe_shop.take("u", *FILMS[:2])
    for n in range(3):
        recipe_shop.take(f"v{n}", *FILMS[n:14])
    return recipe_shop


def looked(asked: list[str]) -> int:
    """How many questions hold a picture."""
    return sum("[" in question.split("Answer Yes or No.")[1] for question in asked)


def test_only_the_best_are_looked_at(pictured: Shop) -> None:
    recipe = Recipe(summary=False, caption=False)
    with pictured.recommender(recipe) as recommender:
        whole = recommender.recommend("u", k=2, candidates=12, look=12)
        assert whole.pictures == {"looked_at": 10, "skipped": 0} and looked(pictured.record.take()) == 10
    with pictured.workspace.write():
        pictured.workspace.execute("DELETE FROM scores")
    with pictured.recommender(recipe) as recommender:
        found = recommender.recommend("u", k=2, candidates=12, look=4)
        asked = pictured.record.take()
        seen = looked(asked)
        assert 0 < seen <= 4 and found.pictures == {"looked_at": seen, "skipped": 10 - seen}
        assert len(asked) == 12 + seen
        answers = {one.item_id: one.log_odds for one in whole.items}
        assert all(
            answers.get(one.item_id, one.log_odds) == pytest.approx(one.log_odds, abs=0.02) for one in found.items
        )
        ranked = pictured.workspace.execute("SELECT count(*) FROM recommendations WHERE user_id = 'u'")
        assert next(iter(ranked)) == (4,)
        # Nothing is asked twice; another look at more asks about those pictures only.
        assert recommender.recommend("u", k=2, candidates=12, look=4).items == found.items
        assert pictured.record.take() == []
        more = recommender.recommend("u", k=2, candidates=12, look=6)
        assert len(pictured.record.take()) == more.pictures["looked_at"] - seen
        assert recommender.recommend("u", k=5, candidates=12, look=0).pictures["looked_at"] <= 5


def test_without_pictures_in_the_question_all_are_ranked(pictured: Shop) -> None:
    with pictured.recommender(Recipe(summary=False, caption=False), blind=True) as recommender:
        found = recommender.recommend("u", k=2, candidates=12, look=3)
    assert found.pictures == {"looked_at": 0, "skipped": 0} and len(pictured.record.take()) == 12


def test_the_states_of_prompts_belong_to_models_and_adapters(pictured: Shop) -> None:
    plain = pictured.cast
    lora = Scorer("mine", True, "adapter", Path("mine.gguf"), "c" * 64, 150, Fused(1.0), Recipe(), "r1", {})
    merged = replace(plain, scorer=replace(lora, form="merged"))
    casts = [plain, replace(plain, tuned={"caption": "c" * 64}), replace(plain, sha256="d" * 64)]
    casts += [replace(plain, scorer=lora), replace(plain, scorer=replace(lora, sha256="e" * 64))]
    ids = [cast.weights_id(cast.summariser) for cast in casts]
    assert len({*ids, merged.weights_id(merged.judge)}) == 6
    assert merged.weights_id(merged.summariser) == ids[0] and casts[3].weights_id(casts[3].judge) == ids[3]
