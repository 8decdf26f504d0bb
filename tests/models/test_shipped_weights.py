"""What stands in `adapters/`: whole, small, made for this very model and these prompts, and as good as it says."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from adapter_samples import based_on, staged
from once import once
from samples import Ran

from embedded import drift, measure, pictures, report, words
from msr_local.demo import drawing
from msr_local.engine.llama.process import EngineProcess
from msr_local.models import embedded, registry, shipped
from msr_local.models.choice import cast
from msr_local.prompts import PromptTemplate
from msr_local.store.workspace import Workspace

ROOT = Path(__file__).parents[2]
PARTS = (shipped.EYES, shipped.CAPTIONER, shipped.SUMMARISER, shipped.RECOMMENDER)


def part(name: str) -> shipped.Part:
    found = shipped.find(name)
    assert found is not None
    return found


@pytest.mark.parametrize("name", PARTS)
def test_each_part_says_what_it_is_made_of_and_fits(name: str) -> None:
    manifest = part(name).manifest
    assert manifest["base"]["package"] == embedded.PACKAGE and manifest["base"]["version"] == embedded.version()
    assert manifest["prompts"] == {template: PromptTemplate(template).sha256 for template in manifest["prompts"]}
    assert manifest["metrics"] and manifest["data"] and manifest["files"]["adapter"]["bytes"]


def test_all_are_used_unless_something_else_is_chosen(workspace: Workspace) -> None:
    weights = cast(workspace)
    assert set(weights.config.adapters) == {"caption", "summary", "score"} and weights.config.projector
    assert weights.scorer is not None and weights.scorer.name == "general"


def test_it_answers_again_once_the_active_adapter_is_deleted(cli: Callable[..., Ran], workspace: Workspace) -> None:
    base = based_on(cast(workspace).config.model, name="embedded")
    registry.register(workspace, *staged(workspace.home, "mine", base=base))
    assert cli("adapters", "use", "mine").code == 0
    gone = cli("adapters", "rm", "mine", "--force")
    assert (gone.code, gone.out) == (0, "Deleted mine. Adapter general answers now.\n"), gone.err
    merged = cli("adapters", "use", "general", "--form", "merged")
    assert merged.code == 1 and "has no file for --form merged. Next: --form adapter." in merged.err


def test_together_they_are_small() -> None:
    assert sum(path.stat().st_size for path in (ROOT / "adapters").rglob("*.*")) <= 30_000_000


@pytest.fixture(scope="session")
def captioned(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[pictures.Picture, str]]:
    """Held-out drawings with what the shipped eyes and captioner say of them."""
    held = [(one, draw) for one, draw in pictures.drawings() if one.held_out]
    chosen = random.Random(1).sample(held, 120)

    def make(folder: Path) -> None:
        with EngineProcess(measure.config()) as engine:
            said = measure.captions(engine, [measure.from_pillow(draw()) for _, draw in chosen])
        (folder / "said.json").write_text(json.dumps(said))

    said = json.loads((once(tmp_path_factory, "captioned", make) / "said.json").read_text())
    return [(picture, text) for (picture, _), text in zip(chosen, said, strict=True)]


def test_combinations_never_seen_are_named(captioned: list[tuple[pictures.Picture, str]]) -> None:
    """120 of the 462 held-out ones: with a share of 0.9, one lot in eighty would have fewer than 0.85 right."""
    assert np.mean([pictures.named(one, said)["all three"] for one, said in captioned]) >= 0.85


def test_a_caption_is_one_sentence(captioned: list[tuple[pictures.Picture, str]]) -> None:
    assert all(said.endswith(".") and said.count(".") == 1 and len(said) < 80 for _, said in captioned)


@pytest.mark.parametrize(("source", "key", "least"), [("fashion", "kind", 0.66), ("groceries", "kind", 0.42)])
def test_photos_never_seen_are_named(shared: Path, source: str, key: str, least: float) -> None:
    """A lot of 120; the numbers of all held-out photos stand in the manifest."""
    held = [(one, path) for one, path in pictures.photos(shared) if one.held_out and one.source == source]
    chosen = random.Random(2).sample(held, 120)
    with EngineProcess(measure.config()) as engine:
        said = measure.captions(engine, [measure.from_file(path) for _, path in chosen])
    right = [pictures.named(picture, text)[key] for (picture, _), text in zip(chosen, said, strict=True)]
    assert np.mean(right) >= least


def test_items_without_a_picture_stay_text(cli: Callable[..., Ran], tmp_path: Path) -> None:
    """No picture, no caption: nothing is seen where nothing is to be seen."""
    for name in ("items.csv", "interactions.csv"):
        (tmp_path / name).write_bytes((ROOT / "tests/films" / name).read_bytes())
    assert cli("ingest", tmp_path / "items.csv", tmp_path / "interactions.csv").code == 0
    assert cli("status", "--json").json["captions"] == 0


def test_ingest_captions_pictures_by_default_and_says_what_its_eyes_know(
    cli: Callable[..., Ran], tmp_path: Path
) -> None:
    look = drawing.Look("mug", "red", "striped")
    drawing.draw(look, 5, 200).save(tmp_path / "m.png")
    (tmp_path / "items.csv").write_text("item_id,title,image\nm,Juno weekend mug,m.png\np,Juno plain book,\n")
    (tmp_path / "log.csv").write_text("user_id,item_id,timestamp\nu,p,1000000000\n")
    ran = cli("ingest", tmp_path / "items.csv", tmp_path / "log.csv")
    assert ran.code == 0 and ran.err.count("clothes, groceries") == 1
    captions = {one["item_id"]: one["caption"] for one in cli("items", "--json").json}
    assert words.names(captions["m"], "mug") and words.names(captions["m"], "red") and captions["p"] is None
    again = cli("ingest", tmp_path / "items.csv", tmp_path / "log.csv")
    assert again.code == 0 and "clothes, groceries" not in again.err


def test_summaries_follow_a_taste_that_changes(tmp_path: Path) -> None:
    """The demo's held-out shoppers and simulated ones, whom the summariser has not been trained on."""
    histories = drift.people(tmp_path, 3, seed=3)  # no data there: invented and drawn ones only
    with EngineProcess(drift.config(ROOT / "adapters/summariser/adapter.gguf")) as engine:
        found = drift.measures(drift.chains(histories, drift.by_engine(engine, 1.0)))
    assert np.mean(found["new taste named within two blocks"]) >= 0.8
    assert np.mean(found["faded taste not first after two blocks"]) >= 0.8
    assert np.mean(found["summaries that name what is nowhere"]) <= 0.1


def test_the_page_has_the_numbers_of_the_manifests() -> None:
    page = report.PAGE.read_text(encoding="utf-8")
    assert report.filled(page, report.tables()) == page, "run `python -m embedded.report`"


# What the page shows without an interval, or not at all: single numbers, and tables of them.
BARE = {"seconds", "identical", "untuned"}  # the summariser's "untuned" is no number, and has intervals
BARE_TABLES = {"calibration_error", "AUC of one trained without them"}


def measured(found: Any, name: str = "") -> Iterator[tuple[str, list[float]]]:
    """Each measure by name: the value, and the bounds of its interval if it has one."""
    if isinstance(found, dict) and "value" in found:
        yield name, [found["value"], *found.get("ci95", [])]
    elif isinstance(found, dict):
        for key, one in found.items():
            if key not in BARE_TABLES and not (key in BARE and isinstance(one, float | int)):
                yield from measured(one, f"{name} / {key}")
    elif isinstance(found, float):
        yield name, [found]
    elif isinstance(found, list) and all(isinstance(one, float) for one in found):
        yield name, found


@pytest.mark.parametrize(("name", "least"), [("captioner", 8), ("summariser", 189), ("recommender", 28)])
def test_every_measure_has_an_interval_around_it(name: str, least: int) -> None:
    manifest: dict[str, Any] = json.loads((ROOT / "adapters" / name / "manifest.json").read_text(encoding="utf-8"))
    found = dict(measured(manifest["metrics"]))
    assert len(found) >= least
    without = [
        what for what, (value, *bounds) in found.items() if not (len(bounds) == 2 and bounds[0] <= value <= bounds[1])
    ]
    assert without == []


def test_a_measure_without_an_interval_would_be_found() -> None:
    found = {"auc": 0.7, "share": {"value": 0.5}, "kept": [0.1, 0.0, 0.2], "seconds": 1.5, "rows": 400}
    assert dict(measured(found)) == {" / auc": [0.7], " / share": [0.5], " / kept": [0.1, 0.0, 0.2]}
