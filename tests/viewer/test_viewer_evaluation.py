"""The tables of `evaluate`, drawn from the results that are kept in benchmarks/quality."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from viewer_samples import drawn

from msr_local.viewer.evaluation import ablation_view, evaluation_view

KEPT = sorted((Path(__file__).parents[2] / "benchmarks" / "quality").glob("*.json"))


def document(name: str) -> dict[str, Any]:
    return json.loads(next(path for path in KEPT if path.stem == name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", [path.stem for path in KEPT])
def test_every_kept_result_fits_a_terminal_of_80_columns(name: str) -> None:
    found = document(name)
    view = ablation_view if "variants" in found else evaluation_view
    lines = drawn(view(found), width=80).splitlines()
    assert lines and max(map(cell_len, lines)) <= 80
    for system in found.get("variants", found.get("baselines", ())):
        assert any(line.startswith(f"{system} ") for line in lines), system


@pytest.mark.parametrize("name", ["shop-ablation", "microlens-last"])
def test_an_ascii_terminal_is_told_the_intervals(name: str) -> None:
    found = document(name)
    view = ablation_view if "variants" in found else evaluation_view
    shown = drawn(view(found), width=80, encoding="ascii")
    assert "?" not in shown and " +- " in shown


def test_a_p_that_is_small_is_not_zero() -> None:
    shown = " ".join(drawn(ablation_view(document("shop-ablation")), width=80).split())
    assert "(p <0.001)" in shown and "p 0.000" not in shown


def test_the_ablation_tells_how_much_was_summarised() -> None:
    lines = drawn(ablation_view(document("shop-ablation")), width=80).splitlines()
    read = {line[:20].strip(): line.split()[-1] for line in lines if line}
    assert (read["full"], read["history"], read["at most the last 6"]) == ("17.6", "0.0", "5.0")
