"""Options as people type them, and what is said where nothing is found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from samples import Ran

Cli = Callable[..., Ran]


def test_blanks_around_the_words_of_a_map(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "goods.csv").write_text("sku,title\n1,Red shoe\n2,Blue shoe\n")
    (tmp_path / "steps.csv").write_text("who,sku\nu,1\nu,2\n")
    files = (tmp_path / "goods.csv", tmp_path / "steps.csv")
    assert cli("ingest", *files, "--map", "sku = item_id", "--map", "interactions: who =user_id").code == 0


def test_a_search_that_finds_nothing_says_why(cli: Cli, shop: tuple[Path, Path]) -> None:
    cli("ingest", *shop, "--no-captions")
    found = cli("items", "best", "nowhere")
    assert found.code == 0 and "No item has all of these words." in found.err and "Next:" in found.err
    assert cli("items", "nowhere", "--json").json == []
    assert "No item" not in cli("items").err


def test_an_empty_workspace_is_named_as_the_cause(cli: Cli) -> None:
    found = cli("similar", "5")
    assert found.code == 1 and "the workspace is empty. Next: msr-local ingest" in found.err
