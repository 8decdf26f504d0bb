"""The recommender on a real, tiny model: what it asks, what it keeps, what it never asks twice."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
import scipy.stats
from PIL import Image as Pillow
from recipe.recipe_shop import plain

from msr_local.catalogue.ingest import ingest
from msr_local.engine.fake import FakeEngine
from msr_local.engine.llama.process import EngineProcess
from msr_local.engine.types import EngineConfig, Generation, LogOdds, Question, Writing
from msr_local.errors import NotFoundError
from msr_local.models.choice import Asking, cast
from msr_local.recipe import captions, preferences
from msr_local.recipe.contrast import contexts
from msr_local.recipe.explanations import explain
from msr_local.recipe.judge import Asked
from msr_local.recipe.recommender import Recommender
from msr_local.recipe.scoring import Part
from msr_local.recipes import RECIPES
from msr_local.store.workspace import Workspace

ASKED = "Answer Yes or No."  # what stands before the candidate

CONTEXT = 1024


@dataclass
class Log:
    """What was asked of the engine; after `patience` answers, whoever waits presses Ctrl-C."""

    opened: int = 0
    questions: list[str] = field(default_factory=list)  # yes or no?
    writings: list[str] = field(default_factory=list)
    patience: float = math.inf

    @property
    def all(self) -> list[str]:
        return [*self.writings, *self.questions]

    def note(self, kind: list[str], question: Question) -> None:
        if len(self.all) >= self.patience:
            raise KeyboardInterrupt
        kind.append(plain(question))


class Recorded(FakeEngine):
    """A real engine behind a log; closing it leaves the real one open for the next test."""

    def __init__(self, engine: EngineProcess, log: Log) -> None:
        super().__init__(engine, watch=lambda question: log.note(self.kind, question))
        self.log, self.kind = log, log.questions
        log.opened += 1

    def answers(self, questions: Sequence[Question]) -> Iterator[LogOdds]:
        self.kind = self.log.questions
        return super().answers(questions)

    def write(self, questions: Sequence[Question], how: Writing = Writing()) -> Iterator[tuple[int, Generation]]:
        self.kind = self.log.writings
        return super().write(questions, how)


@pytest.fixture
def few_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short texts for short tests: nothing here reads what the tiny model writes."""
    for module in (captions, preferences):
        monkeypatch.setattr(module, "MAX_TOKENS", 8)


@pytest.fixture(scope="module")
def engine(tiny: EngineConfig) -> Iterator[EngineProcess]:
    """One engine for all tests of this file; they only read from it."""
    with EngineProcess(tiny) as opened:
        yield opened


Open = Callable[..., Recommender]


@pytest.fixture
def opened(workspace: Workspace, shop: tuple[Path, Path], models: Path, engine: EngineProcess, few_words: None) -> Open:
    """Open a recommender over the shop: opened(log, recipe="full")."""
    ingest(workspace, *shop)
    weights = cast(
        workspace, Asking(model=models / "text.gguf", projector=models / "eyes.gguf", context=CONTEXT, threads=1)
    )

    def recommender(log: Log, recipe: str = "full") -> Recommender:
        chosen = replace(weights, recipe=RECIPES[recipe])
        return Recommender(workspace, chosen, open_engine=lambda _: Recorded(engine, log))

    return recommender


def run(opened: Open, user: str = "u2", **options: Any) -> tuple[Any, Log]:
    """Recommend once, as a new process would: (the answer, what was asked)."""
    log = Log()
    with opened(log, options.pop("recipe", "full")) as recommender:
        return recommender.recommend(user, **options), log


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))


# ---- what is asked
# u2 took i2 to i7: two blocks, and six candidates are left.


def test_each_block_and_each_candidate_is_asked_about_once(opened: Open) -> None:
    answer, log = run(opened)
    assert (log.opened, len(log.writings), len(log.questions)) == (1, 2, 6)
    assert len(set(log.all)) == 8
    assert {one.item_id for one in answer.items} == {"i0", "i1", "i8", "i9", "i10", "i11"}


def test_a_second_run_asks_nothing_opens_no_engine_and_answers_the_same(opened: Open) -> None:
    first, _ = run(opened)
    second, log = run(opened)
    assert (log.opened, log.all) == (0, [])
    assert (second.items, second.summary) == (first.items, first.summary)


def test_a_shorter_list_is_the_head_of_a_longer_one_and_asks_nothing_new(opened: Open) -> None:
    whole, _ = run(opened)
    short, log = run(opened, k=2)
    assert short.items == whole.items[:2]
    assert log.opened == 0


def test_fewer_candidates_ask_fewer_questions(opened: Open) -> None:
    few, log = run(opened, k=2, candidates=3)
    assert len(log.questions) == 3
    assert len(few.items) == 2


def test_another_recipe_asks_its_own_questions(opened: Open) -> None:
    _, full = run(opened)
    _, history = run(opened, recipe="history")
    assert (len(history.writings), len(history.questions)) == (0, 6)
    assert not set(full.questions) & set(history.questions)


# ---- what a change makes stale


def test_a_new_title_of_a_candidate_asks_about_that_candidate_alone(
    opened: Open, workspace: Workspace, shop: tuple[Path, Path]
) -> None:
    run(opened)
    edit(shop[0], "Film 9, the best", "Movie Nine")
    ingest(workspace, *shop)
    answer, log = run(opened)
    assert (len(log.writings), len(log.questions)) == (0, 1)
    assert "Movie Nine" in log.questions[0].partition(ASKED)[2]
    assert "Movie Nine" in {one.title for one in answer.items}


@pytest.mark.parametrize(("film", "writings"), [("Film 3, the best", 2), ("Film 6, the worst", 1)])
def test_a_new_title_in_the_history_writes_its_block_and_those_after_it_again(
    opened: Open, workspace: Workspace, shop: tuple[Path, Path], film: str, writings: int
) -> None:
    run(opened)
    edit(shop[0], film, "Another name")
    ingest(workspace, *shop)
    _, log = run(opened)
    assert (len(log.writings), len(log.questions)) == (writings, 6)


def test_one_more_interaction_writes_one_block_and_asks_no_question_again(
    opened: Open, workspace: Workspace, shop: tuple[Path, Path]
) -> None:
    _, before = run(opened)
    with shop[1].open("a") as file:
        file.write("u2,i8,1000009000,5\n")
    ingest(workspace, *shop)
    answer, after = run(opened)
    assert (len(after.writings), len(after.questions)) == (1, 5)
    assert not set(before.all) & set(after.all)
    assert "i8" not in {one.item_id for one in answer.items}


def test_another_users_interaction_asks_only_the_questions_whose_words_it_changed(
    opened: Open, workspace: Workspace, shop: tuple[Path, Path]
) -> None:
    _, before = run(opened, "u0")
    with shop[1].open("a") as file:
        file.write("u2,i8,1000009000,5\nu2,i0,1000009001,5\n")
    ingest(workspace, *shop)
    answer, after = run(opened, "u0")
    assert after.writings == []
    assert not set(before.all) & set(after.all)
    assert len(after.questions) < len(answer.items)


def repaint(shop: tuple[Path, Path], number: int) -> None:
    Pillow.new("RGB", (50, 50), (1, 2, 3)).save(shop[0].parent / "img" / f"{number}.png")


def test_a_new_picture_of_a_candidate_asks_about_that_candidate_alone(
    opened: Open, workspace: Workspace, shop: tuple[Path, Path]
) -> None:
    run(opened)
    repaint(shop, 9)
    ingest(workspace, *shop)
    _, log = run(opened)
    assert (len(log.writings), len(log.questions)) == (0, 1)
    assert "Film 9" in log.questions[0]


def test_a_new_picture_in_the_history_asks_nothing_while_there_are_no_captions(
    opened: Open, workspace: Workspace, shop: tuple[Path, Path]
) -> None:
    run(opened)
    repaint(shop, 3)
    ingest(workspace, *shop)
    _, log = run(opened)
    assert log.all == []


def test_a_picture_that_went_away_leaves_a_question_without_it(opened: Open, shop: tuple[Path, Path]) -> None:
    run(opened)
    (shop[0].parent / "img" / "9.png").unlink()
    _, log = run(opened)
    assert len(log.questions) == 1
    assert "[" not in log.questions[0].partition(ASKED)[2]


def test_captions_reach_the_summaries_and_the_questions(opened: Open, workspace: Workspace) -> None:
    run(opened)
    with opened(Log()) as recommender:
        made = recommender.captions.make()
    assert (made.made, made.failed) == (12, [])
    answer, log = run(opened)
    assert (len(log.writings), len(log.questions)) == (2, 6)
    for one in answer.items:
        assert one.caption
        (question,) = (q for q in log.questions if one.title in q.partition(ASKED)[2])
        assert "Picture: " in question
    _, again = run(opened)
    assert again.opened == 0


def test_an_edited_prompt_asks_anew(opened: Open, workspace: Workspace) -> None:
    run(opened)
    folder = workspace.home / "prompts"
    folder.mkdir()
    (folder / "score.j2").write_text(
        "{% block system %}{% endblock %}{% block shared %}{{ summary }}{% endblock %}"
        "{% block own %}{{ candidate }}?{% endblock %}"
    )
    _, log = run(opened)
    assert (len(log.writings), len(log.questions)) == (0, 6)


def test_another_size_of_context_asks_anew_for_it_decides_how_much_of_a_text_is_shown(
    opened: Open, workspace: Workspace, models: Path, engine: EngineProcess
) -> None:
    run(opened)
    log = Log()
    weights = cast(
        workspace, Asking(model=models / "text.gguf", projector=models / "eyes.gguf", context=2 * CONTEXT, threads=1)
    )
    with Recommender(workspace, weights, open_engine=lambda _: Recorded(engine, log)) as recommender:
        recommender.recommend("u2")
    assert (len(log.writings), len(log.questions)) == (2, 6)


# ---- the ranking


def test_the_ranking_is_by_the_fused_score(opened: Open) -> None:
    log = Log()
    with opened(log) as recommender:
        answer = recommender.recommend("u2")
        seen = [step.item.item_id for step in recommender.history("u2")]
        recall = {one.item_id: recommender.recall.now().candidate(seen, one.item_id).recall for one in answer.items}
    assert [one.rank for one in answer.items] == [1, 2, 3, 4, 5, 6]
    assert [one.item_id for one in answer.items] == [
        one.item_id for one in sorted(answer.items, key=lambda one: (-one.score, one.item_id))
    ]
    for one in answer.items:
        assert one.score == one.log_odds + 16.0 * recall[one.item_id]
        assert one.probability is None  # nothing was fitted for this model
        assert one.p_yes == pytest.approx(1 / (1 + math.exp(-one.log_odds)))
        assert sum(one.shares.values()) == pytest.approx(1)
    assert len({one.log_odds for one in answer.items}) == 6


def test_what_a_user_rated_low_is_not_recommended(opened: Open, workspace: Workspace, shop: tuple[Path, Path]) -> None:
    ingest(workspace, *shop, min_rating=4)
    with opened(Log()) as recommender:
        liked = {step.item.item_id for step in recommender.history("u2")}
        answer = recommender.recommend("u2", k=12)
    assert liked == {"i3", "i4", "i6", "i7"}
    assert {one.item_id for one in answer.items} == {"i0", "i1", "i8", "i9", "i10", "i11"}


def test_an_unknown_user_is_refused_before_any_engine_starts(opened: Open) -> None:
    log = Log()
    with opened(log) as recommender, pytest.raises(NotFoundError, match="u2"):
        recommender.recommend("u22")
    assert log.opened == 0


def test_a_user_who_has_seen_all_gets_an_empty_list(
    opened: Open, workspace: Workspace, shop: tuple[Path, Path]
) -> None:
    with shop[1].open("a") as file:
        file.writelines(f"all,i{n},{1_000_000_000 + n},5\n" for n in range(12))
    ingest(workspace, *shop)
    answer, log = run(opened, "all")
    assert list(answer.items) == []
    assert (len(log.writings), len(log.questions)) == (4, 0)


# ---- explanations


@pytest.mark.parametrize("item_id", ["i9", "i3"])  # a candidate, and one from the history
def test_evidence_is_what_a_part_does_for_this_item_less_what_it_does_for_the_others(
    opened: Open, engine: EngineProcess, item_id: str
) -> None:
    def z(recommender: Recommender, asked: Asked) -> float:
        (answer,) = engine.answers([recommender.judge.question(asked)])
        return answer.z

    def lost(recommender: Recommender, asked: Asked, parts: list[Part]) -> dict[str, float]:
        def less(gone: frozenset[Part]) -> float:
            return z(recommender, replace(asked, evidence=asked.evidence.less(gone)))

        return {part.name: fmean(less(gone) - less(gone | {part}) for gone in contexts(part, parts)) for part in parts}

    with opened(Log()) as recommender:
        why = explain(recommender, "u2", item_id)
        history = recommender.history("u2")
        seen = [step.item.item_id for step in history]

        def of(one: str, parts: list[Part]) -> dict[str, float]:
            candidate = recommender.recall.now().candidate([item for item in seen if item != one], one)
            asked = recommender.judge.ask(candidate, why.timeline[-1].summary, history)
            return lost(recommender, asked, parts or asked.evidence.parts)

        own = of(item_id, [])
        parts = [Part(kind, int(number or 0)) for kind, _, number in (name.partition(":") for name in own)]
        others = [of(one.item_id, parts) for one in why.recommendations if one.item_id != item_id]
    assert len(others) == (5 if item_id == "i9" else 6)
    kinds = [one.kind for one in why.evidence]
    assert kinds == [name.partition(":")[0] for name in own] and {*kinds} >= {"image", "summary", "history"}
    for one, (name, delta) in zip(why.evidence, own.items(), strict=True):
        common = [other.get(name, 0.0) for other in others]  # what is not there makes no difference
        assert one.compared_with == len(others)
        assert one.common == pytest.approx(np.mean(common), abs=0.02)
        assert one.delta_log_odds == pytest.approx(delta - np.mean(common), abs=0.03)
        assert one.ci95 == pytest.approx(
            scipy.stats.t.interval(0.95, len(common) - 1, one.delta_log_odds, scipy.stats.sem(common)), abs=0.03
        )
    assert [one.label for one in why.evidence if one.kind == "history"] == [step.item.title for step in history]
    assert any(one.delta_log_odds for one in why.evidence)


def test_a_part_left_out_is_gone_from_the_questions_about_all_and_nothing_else_is(opened: Open) -> None:
    log = Log()
    with opened(log) as recommender:
        recommender.recommend("u2")
        before = len(log.questions)
        why = explain(recommender, "u2", "i9")

    def lines(question: str) -> list[str]:
        return [line for line in question.splitlines() if line]

    def about(question: str) -> str:
        (film,) = re.findall(r"Film \d+", question.partition(ASKED)[2])[:1]
        return film

    whole = {about(question): lines(question) for question in log.questions[:before]}
    without = log.questions[before:]
    assert len(whole) == 6 and len(set(without)) == len(without)  # nothing is asked twice
    single = 0
    for question in without:
        kept, left = whole[about(question)], lines(question)
        changed = [line for line in kept if line not in left]
        single += len(changed) == 1
        assert changed
        told = [line for line in left if line not in kept]  # without its picture, say, an item's own line is shorter
        assert all(about(question) in line or "Nothing is known" in line for line in told)
    assert single >= 6 * sum(one.kind in ("summary", "history") for one in why.evidence)


def test_what_all_questions_begin_with_is_read_once_for_all_of_them(opened: Open) -> None:
    log = Log()
    with opened(log) as recommender:
        recommender.recommend("u2")
        before = len(log.questions)
        why = explain(recommender, "u2", "i9")
    heads = [question.partition(ASKED)[0] for question in log.questions[before:]]
    of_the_user = sum(one.kind in ("summary", "history") for one in why.evidence)
    assert len([head for head, _ in groupby(heads)]) <= 2 + 2 * of_the_user


def test_a_second_explanation_asks_nothing(opened: Open) -> None:
    with opened(Log()) as recommender:
        first = explain(recommender, "u2")
    log = Log()
    with opened(log) as recommender:
        assert explain(recommender, "u2") == first
    assert log.opened == 0


def test_the_first_recommendation_is_explained_by_default(opened: Open) -> None:
    with opened(Log()) as recommender:
        why = explain(recommender, "u2")
    assert why.item_id == why.recommendations[0].item_id
    assert why.log_odds == why.recommendations[0].log_odds
    assert [[item["item_id"] for item in block.items] for block in why.timeline] == [
        ["i2", "i3", "i4"],
        ["i5", "i6", "i7"],
    ]


# ---- interrupted


@pytest.mark.parametrize("patience", [0, 1, 3, 7])
def test_what_was_answered_before_an_interrupt_is_not_asked_again(opened: Open, patience: int) -> None:
    first = Log(patience=patience)
    with opened(first) as recommender, pytest.raises(KeyboardInterrupt):
        recommender.recommend("u2")
    answer, second = run(opened)
    assert len(first.all) == patience
    assert len(second.all) == 8 - patience
    assert not set(first.all) & set(second.all)
    assert len(answer.items) == 6


def test_an_interrupted_run_ends_with_the_same_ranking(
    opened: Open, engine: EngineProcess, tmp_path: Path, shop: tuple[Path, Path]
) -> None:
    with opened(Log(patience=4)) as recommender, pytest.raises(KeyboardInterrupt):
        recommender.recommend("u2")
    resumed, _ = run(opened)
    with opened(Log()) as recommender, Workspace(tmp_path / "other") as other:
        ingest(other, *shop)
        with Recommender(other, recommender.cast, open_engine=lambda _: Recorded(engine, Log())) as fresh:
            whole = fresh.recommend("u2")
    assert [one.item_id for one in resumed.items] == [one.item_id for one in whole.items]
    assert [one.log_odds for one in resumed.items] == pytest.approx([one.log_odds for one in whole.items], abs=1e-4)
    assert resumed.summary == whole.summary


def test_an_interrupted_explanation_keeps_the_answers_it_has(opened: Open, workspace: Workspace) -> None:
    whole, first, second = Log(), Log(patience=8 + 9), Log()  # the recommendation, and nine answers
    with opened(first) as recommender, pytest.raises(KeyboardInterrupt):
        explain(recommender, "u2", "i9")
    with opened(second) as recommender:
        why = explain(recommender, "u2", "i9")
    with opened(whole) as recommender:
        assert explain(recommender, "u2", "i9") == why
    assert second.writings == [] and whole.all == []
    assert not set(first.questions) & set(second.questions)
    kept = workspace.one("SELECT (SELECT count(*) FROM scores) + (SELECT count(*) FROM answers)")
    assert len(first.questions) + len(second.questions) == kept > 6 + 9


# ---- long texts

CJK = "".join(chr(0x4E00 + 7919 * place % 20000) for place in range(5000))


@pytest.mark.parametrize(("text", "context"), [("some words of English " * 250, 512), (CJK, 1536)])
def test_titles_of_thousands_of_characters_fit_a_small_context(
    workspace: Workspace, models: Path, tmp_path: Path, text: str, context: int
) -> None:
    titles = [(f"i{n}", text[37 * n : 37 * n + 4000]) for n in range(17)]
    with (tmp_path / "items.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("item_id", "title"), *titles])
    with (tmp_path / "log.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("user_id", "item_id", "timestamp"), *(("u", f"i{n}", n + 1) for n in range(14))])
    ingest(workspace, tmp_path / "items.csv", tmp_path / "log.csv")
    weights = cast(workspace, Asking(model=models / "text.gguf", context=context, threads=1))
    with Recommender(workspace, weights) as recommender:
        why = explain(recommender, "u")
        assert recommender.tokens.facts.context == context
    assert (len(why.recommendations), len(why.timeline)) == (3, 5)
    assert all(math.isfinite(one.delta_log_odds) for one in why.evidence)
