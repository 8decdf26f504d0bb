"""Options as people type them, and what is said where nothing is found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
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
    for arguments in (("similar", "5"), ("recommend", "ann"), ("explain", "ann")):
        found = cli(*arguments)
        assert found.code == 1 and "the workspace is empty. Next: msr-local ingest" in found.err


@pytest.mark.parametrize("command", [("users",), ("items",), ("items", "shoe"), ("status",)])
def test_a_wrong_home_is_told(cli: Cli, shop: tuple[Path, Path], tmp_path: Path, command: tuple[str, ...]) -> None:
    found = cli("--home", tmp_path / "hoem", *command)
    assert found.code == 0 and "hoem is empty. Next: msr-local ingest" in found.err and "words" not in found.err
    assert cli("--home", tmp_path / "hoem", *command, "--json").json is not None
    cli("ingest", *shop, "--no-captions")
    assert "empty" not in cli(*command).err


def test_the_own_folder_where_no_shell_has_seen_its_sign(
    cli: Cli, shop: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "me"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MSR_LOCAL_HOME", "~/shop")
    assert cli("ingest", *shop, "--no-captions").code == 0
    assert (tmp_path / "me" / "shop" / "msr.db").is_file() and not (tmp_path / "~").exists()
    assert len(cli("--home=~/shop", "items", "--json").json) == len(cli("items", "--json").json) > 0
    assert str(tmp_path / "me" / "no") in cli("ingest", *shop, "--images=~/no").err
    assert "no item '~/x'" in cli("recommend", "--history", "~/x").err


def test_a_question_ends_with_one_sign(cli: Cli) -> None:
    found = cli("recomend", "ann")
    assert found.code == 2 and "Did you mean 'recommend'? Next: msr-local --help." in found.err
    assert "'--recipe': 'x' is not one of 'full'," in cli("recommend", "ann", "--recipe", "x").err
