"""Recall that is learned: better where there is something to learn, unused where not, and never with the answers."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import Ran

from msr_local.catalogue.ingest import ingest
from msr_local.engine.fake import FakeEngine
from msr_local.models.choice import Asking, cast
from msr_local.recall import learning
from msr_local.recall.candidates import LATE, Recall
from msr_local.recall.splits import TRAIN, split
from msr_local.recipe.recommender import Recommender
from msr_local.recipe.similar import similar
from msr_local.recipes import RECIPES
from msr_local.store import histories, results
from msr_local.store.rows import Log
from msr_local.store.workspace import Workspace
from msr_local.training import questions
from msr_local.training.settings import Settings

FILMS, PEOPLE, STEPS = 60, 260, 6
TEXTS = [f"Film {n} of {'ships' if n % 2 else 'cats'}" for n in range(FILMS)]
VECTORS = np.random.default_rng(0).normal(size=(FILMS, 16)).astype(np.float32)


def fashion(people: int = PEOPLE, seed: int = 0) -> list[tuple[str, str, int]]:
    """Everybody takes what is new: film n has its day on day n."""
    lot, steps = random.Random(seed), []
    for user in range(people):
        first = lot.randrange(FILMS - STEPS)
        days = sorted(lot.sample(range(first, min(FILMS, first + 2 * STEPS)), STEPS))
        steps += [(f"u{user:03}", f"i{day}", 1_000_000 + 86_400 * day + lot.randrange(86_400)) for day in days]
    return steps


def files(folder: Path, steps: list[tuple[str, str, int]]) -> tuple[Path, Path]:
    items, log = folder / "items.csv", folder / "log.csv"
    items.write_text("item_id,title\n" + "".join(f"i{n},{text}\n" for n, text in enumerate(TEXTS)))
    log.write_text("user_id,item_id,timestamp\n" + "".join(f"{u},{i},{t}\n" for u, i, t in steps))
    return items, log


def log_of(steps: list[tuple[str, str, int]], *, times: bool = True) -> Log:
    ids, people = [f"i{n}" for n in range(FILMS)], sorted({user for user, _, _ in steps})
    ordered = sorted(steps, key=lambda step: (step[0], step[2]))
    return Log(
        ids, people, np.array([people.index(user) for user, _, _ in ordered], np.int32),
        np.array([int(item[1:]) for _, item, _ in ordered], np.int32),
        np.array([time if times else np.nan for _, _, time in ordered], float),
    )  # fmt: skip


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory, models: Path) -> tuple[Path, Path, dict[str, Any]]:
    """A workspace before and after it learned, and the facts of that."""
    folder = tmp_path_factory.mktemp("school")
    with Workspace(folder / "before") as workspace:
        ingest(workspace, *files(folder, fashion()))
    shutil.copytree(folder / "before", folder / "after")
    with (
        Workspace(folder / "after") as workspace,
        Recommender(workspace, cast(workspace, Asking(model=models / "text.gguf"))) as made,
    ):
        facts = made.learn()
    return folder / "before", folder / "after", facts


@pytest.fixture
def taught(school: tuple[Path, Path, dict[str, Any]], tmp_path: Path) -> Iterator[Workspace]:
    """A workspace that has learned."""
    shutil.copytree(school[1], tmp_path / "taught")
    with Workspace(tmp_path / "taught") as workspace:
        yield workspace


def test_what_is_learned_ranks_better_and_is_used(school: tuple[Path, Path, dict[str, Any]], models: Path) -> None:
    *homes, facts = school
    found = []
    for home in homes:
        with (
            Workspace(home) as workspace,
            Recommender(workspace, cast(workspace, Asking(model=models / "text.gguf"))) as made,
        ):
            found.append(made.recall.now().candidates(["i50", "i52", "i55"], 10))
    before, after = found
    assert facts["used"] and facts["interactions"] == PEOPLE * STEPS
    assert facts["ndcg@10"]["learned"] > 1.2 * facts["ndcg@10"]["hand_set"] > 0
    assert [one.item_id for one in after] != [one.item_id for one in before]
    assert "towers" in after[0].shares and after[0].recall == 1.0
    # What comes now is what people go on to: later films than most.
    days = [int(one.item_id[1:]) for one in after[:5]]
    assert min(days) > FILMS / 2


def test_the_same_is_learned_once(taught: Workspace, school: tuple[Path, Path, dict[str, Any]], models: Path) -> None:
    stages: list[str] = []
    weights = cast(taught, Asking(model=models / "text.gguf"))
    with Recommender(taught, weights, progress=lambda stage, *_, **__: stages.append(stage)) as made:
        assert made.learn() == school[2]
    assert not stages


def test_new_interactions_and_items_are_ranked_by_what_was_learned_before(
    taught: Workspace, models: Path, tmp_path: Path
) -> None:
    weights = cast(taught, Asking(model=models / "text.gguf"))
    items, log = files(tmp_path, [*fashion(), ("new", "i3", 2_000_000_000)])
    with items.open("a") as file:
        file.write("late,A late film of cats\n")
    ingest(taught, items, log)
    engine = FakeEngine()
    with Recommender(taught, weights, open_engine=lambda _: engine) as made:
        assert similar(made, "late").items and not engine.read  # no model is asked
    with Recommender(taught, weights) as made:
        found = {one.item_id: one for one in made.recall.now().candidates(["i3"], 99)}
        assert "late" in found and set(found) == {f"i{n}" for n in range(FILMS) if n != 3} | {"late"}
        assert results.learned_recall_key(taught) is not None
        again = made.learn()
        assert again["interactions"] == PEOPLE * STEPS + 1


def test_few_users_teach_nothing(workspace: Workspace, tmp_path: Path, models: Path) -> None:
    ingest(workspace, *files(tmp_path, fashion(people=learning.LEAST - 1)))
    with Recommender(workspace, cast(workspace, Asking(model=models / "text.gguf"))) as made:
        facts = made.learn()
        assert facts == results.learned_recall_facts(workspace)
        assert not facts["used"] and facts["users"] < learning.LEAST and made.recall.now().learned is None
    assert not learning.worth_learning(workspace)


def test_what_is_no_better_is_not_used(workspace: Workspace, tmp_path: Path, models: Path) -> None:
    """Here nobody can do better than the hand-set weights: each film is followed by the next one, always."""
    lot, steps = random.Random(1), []
    for user in range(PEOPLE):
        first = lot.randrange(FILMS)
        steps += [(f"u{user:03}", f"i{(first + n) % FILMS}", 1_000_000 + n) for n in range(STEPS)]
    ingest(workspace, *files(tmp_path, steps))
    with Recommender(workspace, cast(workspace, Asking(model=models / "text.gguf"))) as made:
        before = made.recall.now().candidates(["i9", "i10"], 20)
        facts = made.learn()
        assert facts["ndcg@10"]["hand_set"] == 1.0 and not facts["used"]
        assert made.recall.now().candidates(["i9", "i10"], 20) == before


@pytest.mark.parametrize("times", [True, False])
def test_the_answers_are_not_known_to_what_ranks_them(times: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two worlds that differ in the answers alone: before the weights, everything is the same."""
    monkeypatch.setattr(learning, "LEAST", 10)  # few are asked after a moment
    log = log_of(fashion(), times=times)
    cases, known, kind = learning.held_back(log)
    assert kind == ("time" if times else "order") and len(cases) >= 10
    rows = [case.row for case in cases]
    assert not known[rows].any()
    changed = log.items.copy()
    changed[rows] = (changed[rows] + 7) % FILMS
    other = Log(log.item_ids, log.user_ids, log.users, changed, log.times)
    made = [Recall.of_log(one, TEXTS, known) for one in (log, other)]
    for case in cases[:20]:
        first, second = (one.features(case.history, np.arange(FILMS, dtype=np.int32)) for one in made)
        assert first.keys() == second.keys()
        assert all((first[name] == second[name]).all() for name in first)
    assert ("latest popularity" in first) is times


def test_an_answer_that_leaks_is_caught() -> None:
    """The test above would see it: a recall of everything does know the answers."""
    log = log_of(fashion(), times=False)
    cases, known, _ = learning.held_back(log)
    honest, leaky = Recall.of_log(log, TEXTS, known), Recall.of_log(log, TEXTS)
    ranks = []
    for one in (honest, leaky):
        everything = np.arange(FILMS, dtype=np.int32)
        ranks.append([(s := one.features(case.history, everything)["Markov"])[case.target] / s.sum() for case in cases])
    assert np.mean(ranks[1]) > np.mean(ranks[0])


def test_fitting_twice_gives_the_same() -> None:
    log = log_of(fashion(people=40), times=False)
    (first, facts), (second, again) = (learning.learned_from(log, TEXTS, VECTORS) for _ in "12")
    assert facts == again and first.fusion == second.fusion and first.untaken == second.untaken
    assert (first.towers.items == second.towers.items).all()


def test_validation_questions_know_what_was_learned_from_the_training_part_alone(
    workspace: Workspace, tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (learning, questions):
        monkeypatch.setattr(module, "LEAST", 10)
    ingest(workspace, *files(tmp_path, fashion(people=80)))
    asked = Settings(rows=16, validation_rows=16, split="order")
    weights = cast(workspace, Asking(model=models / "text.gguf"))
    with Recommender(workspace, replace(weights, recipe=RECIPES["history"])) as made:
        before = questions.questions(made, asked)
        facts = made.learn()
        after = questions.questions(made, asked)
        log, texts = histories.log(workspace), made.recall.texts()
        known = split(log, "order")[1] == TRAIN
        part = Log(log.item_ids, log.user_ids, log.users[known], log.items[known], log.times[known])
        alone = Recall.of_log(log, texts, known)
        alone.learned = learning.learned_from(part, texts, made.vectors.of(texts))[0]
    assert facts["used"] and before.folder != after.folder
    assert after.train == before.train
    assert [replace(row, learned=None) for row in after.validation] == before.validation
    told = [row.learned for row in after.validation]
    seen = {user: [log.item_ids[i] for i in log.items[log.users == n]] for n, user in enumerate(log.user_ids)}
    assert told == [alone.candidate(seen[row.user][: row.at], row.item_id).recall for row in after.validation]


def test_ingest_learns_on_demand(cli: Callable[..., Ran], tmp_path: Path, models: Path) -> None:
    paths = files(tmp_path, fashion())
    plain = cli("ingest", *paths, "--json")
    assert plain.code == 0 and "recall" not in json.loads(plain.out)
    assert "--learn" in plain.err
    assert json.loads(cli("status", "--json").out)["recall"] == "hand-set"
    done = cli("ingest", *paths, "--learn", "--model", models / "text.gguf", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["recall"]["used"] is True
    assert "NDCG@10 of recall alone" in done.err and "Learned recall is used" in done.err
    assert json.loads(cli("status", "--json").out)["recall"] == f"learned from {PEOPLE * STEPS:,} interactions"
    shown = cli("recommend", "u000", "--model", models / "text.gguf", "--candidates", "5", "--json")
    assert shown.code == 0 and "towers" in json.loads(shown.out)["items"][0]["shares"]
    third = cli("ingest", *paths, "--json")
    assert "--learn" not in third.err


def test_fewer_users_than_before_unlearn(taught: Workspace, models: Path) -> None:
    taught.execute("DELETE FROM interactions WHERE user_id > 'u150'")
    with Recommender(taught, cast(taught, Asking(model=models / "text.gguf"))) as made:
        assert made.recall.now().learned is not None
        assert not made.learn()["used"] and made.recall.now().learned is None


def test_popularity_of_late_is_no_part_of_what_is_learned_from_last_interactions() -> None:
    """For most of them it is popularity to come."""
    made = learning.fitted(log_of(fashion(people=40)), TEXTS, VECTORS)
    assert made.facts["held_back"] == "order" and not {*LATE} & {*made.whole.fusion.names}


def test_ingest_says_where_there_is_too_little(cli: Callable[..., Ran], tmp_path: Path, models: Path) -> None:
    paths = files(tmp_path, fashion(people=20))
    done = cli("ingest", *paths, "--learn", "--model", models / "text.gguf", "--json")
    assert done.code == 0 and not json.loads(done.out)["recall"]["used"]
    assert "are too few (needed: 200)" in done.err
    assert "--learn" not in cli("ingest", *paths).err
