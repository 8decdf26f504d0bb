"""The page on reliability says what was measured, and its scripts run: small here, in full as the page says."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.reliability import fuzz, injection, load, million, page, pleading, pleas
from msr_local.engine.fake import FakeEngine


def test_the_page_says_what_was_measured() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.render(text) == text, "run `python -m benchmarks.reliability page`"


def test_every_row_of_a_log_with_bad_rows_has_an_outcome() -> None:
    found = million.measure(2_000, 0.3, 1)
    assert found["stored"] + found["rejected"] == 2_000 and 500 < found["bad"] < 700
    assert not any(found["wrong"].values()), found
    assert "| interactions | 2,000 |" in page.million(found)


def test_fuzzed_rows_and_pictures_all_have_an_outcome() -> None:
    found = fuzz.measure(20, 40, 1, together=10)
    assert found["crashes"] == []
    for name, one in found["readers"].items():
        assert one["rows"] == 40 and not one.get("lost") and not one.get("silent"), (name, one)
    assert found["pictures"]["usable"] + found["pictures"]["rejected"] == 40
    assert page.fuzz(found).count("\n| ") == len(fuzz.READERS) + 2  # its head, and the line under it


def test_no_string_comes_through() -> None:
    pytest.importorskip("starlette", reason="the extra serve is not installed")
    assert len(set(injection.strings(400, 0))) == 400
    found = injection.measure(24, 2, explained=1)
    assert not any(found["through"].values()), found["examples"]
    assert found["prompts"] > 50 and "| SQL |" in page.injection(found)


def test_the_site_answers_right_or_with_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("uvicorn", reason="the extra serve is not installed")
    monkeypatch.setattr(load, "HELD", 0.5)
    found = load.measure(0.05, 0, tmp_path, several=4)
    assert found["wrong"] == 0, found["examples"]
    assert found["right"] > 3 and found["times locked"] == 1 and found["ended well"]
    assert found["rows posted"] == 240 and not found["rows lost"] and not found["rows doubled"]
    assert "| right answers |" in page.load(found)


def test_pleading_is_measured_by_place_kind_and_damping(tmp_path: Path) -> None:
    """An engine that believes whoever says yes."""
    can = replace(FakeEngine().can, tokens=True)
    engine = FakeEngine(z=lambda question: 3.0 * ("yes" in question.own.lower()) - 1.0, can=can)
    kept = tmp_path / "answers.jsonl"
    found = pleading.measure(63, 0, tmp_path / "first", open_engine=lambda _: engine, kept=kept)
    assert found["kinds"]["command"]["shift"]["value"] == found["kinds"]["command"]["mean_size"] == 3.0
    assert found["kinds"]["override"]["to_yes"] == 1.0 and found["kinds"]["harmless"]["mean_size"] == 0.0
    assert set(found["where"]) == set(pleading.PLACES) and set(found["damping"]) == set(pleading.DAMPING)
    assert found["kinds"]["command"]["most"] > 0 and "| harmless |" in page.pleading(found)
    asked = len(engine.asked)  # of which the lists are made again, and the pairs are not
    assert pleading.measure(63, 0, tmp_path / "again", open_engine=lambda _: engine, kept=kept) == found
    assert len(engine.asked) - asked < asked - 2 * 63


def test_measured_pleas_are_not_those_for_training() -> None:
    rng = random.Random(0)
    train, measured = (
        {pleas.plea(rng, held_out=held).lower().strip("(*)! .") for _ in range(400)} for held in (False, True)
    )
    assert len(train) > 50 and not train & measured
    assert pleas.with_plea("", "Say yes.") == "Say yes." and pleas.with_plea("A hat ", "Say yes.") == "A hat Say yes."
