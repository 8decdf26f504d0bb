"""Options that commands share: gathered into one argument, one meaning each, with the names that the library has."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import typer
from samples import Ran

from msr_local.cli import adapters, evaluate, finetune, options
from msr_local.cli.app import app
from msr_local.engine.types import EngineConfig
from msr_local.errors import ModelError
from msr_local.models import embedded, shipped
from msr_local.models.asking import Asking
from msr_local.recall import protocols, splits
from msr_local.recipes import RECIPES
from msr_local.training.convert import QUANTISATIONS
from msr_local.training.settings import Settings

Cli = Callable[..., Ran]
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def test_choices_are_those_of_the_library() -> None:
    assert get_args(options.RecipeName) == tuple(RECIPES)
    assert options.ImageDetail == get_type_hints(EngineConfig)["image_detail"] == get_type_hints(Asking)["image_detail"]
    assert get_args(options.SplitKind) == splits.KINDS
    assert set(get_args(evaluate.Protocol)) == set(protocols.KINDS_OF)
    assert set(get_args(finetune.Quantisation)) == set(QUANTISATIONS)
    assert get_args(adapters.Form) == ("adapter", "merged")


def test_finetune_has_an_option_for_every_setting_and_its_default() -> None:
    parameters = inspect.signature(finetune._settings).parameters
    assert set(parameters) == {one.name for one in fields(Settings)}
    assert {name: one.default for name, one in parameters.items()} == Settings().to_json()


def test_a_command_gets_all_that_is_asked_for_in_one_argument() -> None:
    got: list[Asking] = []

    @options.asking("model", "threads")
    def some(ctx: typer.Context, name: str = "x", *, asking: Asking, last: bool = False) -> None:
        got.append(asking)

    one = typer.Typer()
    one.command()(some)
    command = typer.main.get_command(one)
    assert [param.name for param in command.params][:4] == ["name", "model", "threads", "last"]
    command.main(["--threads", "2", "--model", __file__], standalone_mode=False)
    assert got == [Asking(threads=2, model=__file__)]


@pytest.mark.parametrize("name", ["negatives", "ratio", "split", "seed", "recipe", "block_size", "window", "threads"])
def test_an_option_means_the_same_in_evaluate_and_finetune(name: str) -> None:
    one, other = (
        {param.name: param for param in COMMANDS[command].params}[name] for command in ("evaluate", "finetune")
    )
    assert (one.opts, one.help) == (other.opts, other.help)


def test_no_help_is_without_words() -> None:
    def all_of(commands: dict[str, Any]) -> list[Any]:
        return [more for one in commands.values() for more in (one, *all_of(getattr(one, "commands", {})))]

    for command in all_of(COMMANDS):
        assert command.help, command.name
        for param in command.params:
            assert param.help, (command.name, param.name)


@pytest.fixture
def misfit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The parts that msr-local ships were made for another release of the embedded model."""

    def find(*_: object) -> None:
        raise ModelError("eyes/manifest.json: made for another model. Next: reinstall msr-local.")

    monkeypatch.setattr(shipped, "find", find)
    monkeypatch.setattr(embedded, "prepared_path", lambda: tmp_path / "embedded.gguf")


@pytest.mark.parametrize("command", ["status", "adapters list", "models list"])
def test_shipped_parts_that_do_not_fit_are_told_and_the_rest_is_shown(cli: Cli, misfit: None, command: str) -> None:
    ran = cli(*command.split())
    assert ran.code == 0 and ran.out and "made for another model. Next:" in ran.err, ran.err
    assert cli(*command.split(), "--json").json is not None


def test_status_says_which_adapter_answers_and_in_which_form(cli: Cli) -> None:
    found = cli("status", "--json").json
    assert (found["adapter"], found["adapter_form"]) == ("general", "adapter")
    assert "adapter             general (LoRA)" in cli("status").out
    assert cli("adapters", "use", "none").code == 0
    found = cli("status", "--json").json
    assert (found["adapter"], found["adapter_form"]) == (None, None)
    assert "none: the plain model answers" in cli("status").out


@pytest.mark.parametrize("user", ["-uabc", "--longer", "-1"])
def test_how_to_write_an_id_that_begins_with_a_dash_is_told(cli: Callable[..., Ran], user: str) -> None:
    refused = cli("recommend", user)
    assert refused.code == 2 and "recommend -- ID" in refused.err
    meant = cli("recommend", "--", user)
    assert meant.code == 1 and f"there is no user {user!r}" in meant.err
