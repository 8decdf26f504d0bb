"""What single families stumbled over: thoughts, states of sliding windows, hidden vectors of hybrids, bad vectors."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import picture

from msr_local.engine.families import FAMILIES, Preparation, fitted
from msr_local.engine.llama.engine import LlamaEngine
from msr_local.engine.llama.native import Embedded, Eyes
from msr_local.engine.types import CAPTION, EngineConfig, Image, Question, Text, Writing
from msr_local.errors import PictureError

LONG = [Text("This person chose, oldest first: " + "a blue hat, tea, shoes; " * 40)]
ASKED = [[Text(f"Item {number}. Yes or no?")] for number in range(3)]


@pytest.mark.parametrize("name", ["gemma3", "llava", "lfm2vl", "qwen35"])
def test_a_state_is_kept_only_where_it_answers_the_same(
    config: Callable[..., EngineConfig], tmp_path: Path, name: str
) -> None:
    found = []
    for _ in range(2):  # as in two commands
        with closing(LlamaEngine(config(name, states=tmp_path / "states"))) as engine:
            found.append([answer.z for answer in engine.log_odds(LONG, ASKED)])
    assert found[0] == pytest.approx(found[1], abs=1e-6)
    assert any((tmp_path / "states").glob("*.state")) == (name != "gemma3")


@pytest.mark.parametrize("name", ["lfm2vl", "qwen35"])
def test_texts_have_the_same_vectors_in_any_company(config: Callable[..., EngineConfig], name: str) -> None:
    texts = ["Red shoes", "A warm jacket of wool, in blue", "Tea", "Tea", "A film about old trains"]
    with closing(LlamaEngine(config(name))) as engine:
        together = dict(engine.vectors(texts))
        alone = {place: dict(engine.vectors([text]))[0] for place, text in enumerate(texts)}
    for place in range(len(texts)):
        assert together[place] == pytest.approx(alone[place], abs=1e-6)
    assert np.abs(together[0] - together[1]).max() > 0.1


@pytest.fixture
def blinded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Image]:
    """A picture of which the projector makes values that are not finite."""
    bad, project = picture(7, 40, 40), Eyes._project

    def broken(self: Eyes, chunk: Any, key: tuple[str, int, int, int]) -> Embedded:
        if key[0] != bad.sha256:
            return project(self, chunk, key)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(np, "isfinite", lambda values: np.zeros(len(values), bool))
            return project(self, chunk, key)

    monkeypatch.setattr(Eyes, "_project", broken)
    yield bad


def test_a_picture_of_which_nothing_can_be_made_fails_alone(tiny: EngineConfig, blinded: Image) -> None:
    shown = [picture(1, 30, 50), picture(2, 60, 30), blinded, picture(3, 44, 33)]
    questions = [Question("", "", "\ufffc Yes or no?", one) for one in shown]
    with closing(LlamaEngine(tiny)) as engine:
        good = [answer.z for answer in engine.answers(questions[:2])]
        answers = engine.answers(questions)
        assert [next(answers).z for _ in range(2)] == pytest.approx(good, abs=0.02)
        with pytest.raises(PictureError, match="not finite"):
            next(answers)
        written: list[int] = []
        with pytest.raises(PictureError):
            written.extend(place for place, _ in engine.write(questions, Writing(CAPTION, max_tokens=4)))
        assert sorted(written) == [0, 1]  # the first that has no text is the one
        assert {place for place, _ in engine.write([questions[3]], Writing(CAPTION, max_tokens=4))} == {0}


# ---- sizes


@pytest.mark.parametrize("family", [one for one in FAMILIES if one.shape == "free"], ids=lambda one: one.name)
@pytest.mark.parametrize("budget", [16, 100, 256, 1024])
def test_no_picture_takes_more_than_its_budget(family: object, budget: int) -> None:
    prepare = Preparation(family, 28, 0, budget)  # type: ignore[arg-type]
    edges = (1, 2, 10, 20, 64, 160, 333, 777, 1000, 1024)
    for size in itertools.product(edges, edges):
        width, height = prepare.size(*size)
        assert width % 28 == height % 28 == 0 and width > 0 and height > 0
        assert width * height // 28**2 <= budget, size


def test_a_picture_that_fits_keeps_its_size() -> None:
    assert fitted(280, 56, 28, 4, 256) == (280, 56)
