"""A SmolVLM from its history to an active recommender: LoRA, both GGUF forms, one projector, pictures in questions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from samples import Ran

from msr_local.engine.answers import spellings
from msr_local.engine.llama.gguf import Head, metadata
from msr_local.engine.types import IMAGE_CELL, EngineConfig
from msr_local.training import bases
from msr_local.training.convert import convert_model
from msr_local.training.rows import Row, read

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")
pytest.importorskip("accelerate")

from safetensors.torch import load_file  # noqa: E402

from msr_local.training.backends import config_of, load_plain  # noqa: E402
from msr_local.training.batches import Answers, Collator, log_odds  # noqa: E402
from msr_local.training.finetune import Finetuning  # noqa: E402
from msr_local.training.gate import agreement, engine_log_odds  # noqa: E402
from msr_local.training.pictures import pixels_of  # noqa: E402

LAYERS, MODULES = 2, 7
CELLS = 4  # of a picture
CLOSE = 0.02  # how far the engine's log-odds may be from those of transformers


def repainted(row: Row, folder: Path, seed: int) -> Row:
    """The same question about another picture."""
    path = folder / f"other{seed}.png"
    Pillow.fromarray(np.random.default_rng(seed).integers(0, 256, (37 + seed, 91, 3), dtype=np.uint8)).save(path)
    suffix = tuple(("image", str(path)) if kind == "image" else (kind, text) for kind, text in row.suffix)
    return replace(row, suffix=suffix, image_sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def log_odds_of(merged: Path, rows: list[Row], answers: Answers) -> Any:
    """z of each row as transformers sees it."""
    collator = Collator(answers, pixels_of(merged), config_of(merged)["image_token_id"])
    return log_odds(load_plain(merged), rows, collator)


def test_from_pictures_to_an_active_recommender(
    cli: Callable[..., Ran],
    louder: Callable[[Path], Path],
    tiny_vlm: Path,
    gallery: tuple[Path, Path],
    tools: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loud = louder(tiny_vlm)
    converted: list[bool] = []

    def convert(*arguments: Any, projector: bool = False) -> None:
        converted.append(projector)
        convert_model(*arguments, projector=projector)

    monkeypatch.setattr(bases, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(bases, "convert_model", convert)
    monkeypatch.setattr(Finetuning, "_drop", lambda *_: None)  # it is looked at below
    assert cli("ingest", *gallery).code == 0
    options = [
        "--base", loud, "--backend", "peft", "--recipe", "history", "--rows", 48, "--validation-rows", 24,
        "--epochs", 1, "--lr", 0.01, "--rank", 4, "--alpha", 8, "--batch", 8, "--accumulation", 1, "--threads", 1,
        "--min-correlation", 0.9, "--llama-cpp", tools, "--json",
    ]  # fmt: skip
    made = cli("finetune", "--name", "eyes", "--activate", *options)
    assert made.code == 0, made.err
    home = tmp_path / "home"
    (run,) = (home / "training" / "runs").iterdir()

    # Every question shows a picture, at its place.
    (folder,) = (home / "training" / "sets").iterdir()
    train, validation = (read(folder / f"{name}.jsonl") for name in ("train", "validation"))
    assert len(train) == 48 and len(validation) == 24
    for row in (*train, *validation):
        at = row.ids.index(IMAGE_CELL)
        assert row.ids[at - 2 : at + CELLS + 1] == (13, 14, *[IMAGE_CELL] * CELLS, 13)
        assert row.ids.count(IMAGE_CELL) == CELLS and row.image is not None

    # Parity: transformers, the run-time adapter, the merged model as F16 and quantised.
    z = json.loads((run / "reference.json").read_text())
    assert np.std(z) > 0.04
    parity = made.json["parity"]
    assert parity["adapter"]["rows"] == 24
    assert parity["adapter"]["median_dz"] <= 0.01 and parity["adapter"]["rank_correlation"] >= 0.99
    assert parity["merged"]["median_dz"] <= 0.1 and parity["merged"]["rank_correlation"] >= 0.9
    base = made.json["base"]
    plain = EngineConfig(Path(base["model"]), Path(base["mmproj"]), threads=1)
    forms = {
        "adapter": replace(plain, adapters={"score": run / "adapter.gguf"}),
        "merged": replace(plain, model=run / "merged.f16.gguf"),
    }
    whole = agreement(engine_log_odds(forms["merged"], validation)[0], np.array(z))
    assert whole["median_dz"] <= 0.01 and whole["rank_correlation"] >= 0.99
    before = engine_log_odds(plain, validation)[0]
    assert np.abs(before - z).max() > 3 * CLOSE  # training did something

    # The picture matters, and as much here as there.
    rows = [repainted(row, tmp_path, seed) for seed, row in enumerate(validation)]
    answers = Answers(0, 0, *(tuple(ids_of(loud, word)) for word in ("yes", "no")))
    theirs = log_odds_of(run / "merged", rows, answers)
    for config in forms.values():
        ours = engine_log_odds(config, rows)[0]
        assert np.abs(ours - theirs).max() < CLOSE
        assert np.abs(ours - z).max() > 3 * CLOSE

    # All that was trained is in the adapter's file, and the merged folder still says what is in it.
    trained = load_file(run / "lora" / "adapter_model.safetensors")
    assert len(trained) == Head.read(run / "adapter.gguf").tensors == 2 * MODULES * LAYERS
    assert all("text_model.layers" in name and weight.abs().max() > 0 for name, weight in trained.items())
    assert metadata(run / "adapter.gguf")["adapter.lora.alpha"] == 8
    assert (run / "merged" / "config.json").read_bytes() == (loud / "config.json").read_bytes()
    assert json.loads((loud / "config.json").read_text())["text_config"]["architectures"] == ["VLlama3ForCausalLM"]

    # The projector is the base's, made once.
    assert sorted(converted) == [False, True]
    assert cli("finetune", "--dry-run", *options).code == 0
    assert sorted(converted) == [False, True]
    assert {path.name for path in (home / "adapters" / "eyes").iterdir()} == {
        "adapter.gguf", "merged.q8_0.gguf", "manifest.json", "curve.png", "peft",
    }  # fmt: skip

    # It answers, in both forms, and looks at the pictures.
    found = {}
    for form in ("adapter", "merged"):
        assert cli("adapters", "use", "eyes", "--form", form).code == 0
        ran = cli("recommend", "u0", "--threads", 1, "-k", 8, "--candidates", 8, "--json")
        assert ran.code == 0, ran.err
        model = ran.json["model"]
        assert (model["adapter"], model["adapter_form"], model["mmproj"]) == ("eyes", form, base["mmproj"])
        assert model["recipe"]["name"] == "history"
        found[form] = {item["item_id"]: item["log_odds"] for item in ran.json["items"]}
    blind = cli("recommend", "u0", "--threads", 1, "-k", 8, "--candidates", 8, "--json", "--recipe", "no-image")
    found["blind"] = {item["item_id"]: item["log_odds"] for item in blind.json["items"]}
    assert len(found["adapter"]) == 8 and found["adapter"].keys() == found["merged"].keys()
    assert found["merged"] == pytest.approx(found["adapter"], abs=0.2) and found["merged"] != found["adapter"]
    assert max(abs(found["merged"][one] - z) for one, z in found["blind"].items()) > 0.05


def ids_of(folder: Path, word: str) -> list[int]:
    """All single tokens that spell `word`, as the engine counts them."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = [tokenizer(one, add_special_tokens=False).input_ids for one in spellings(word)]
    return sorted({one[0] for one in ids if len(one) == 1})
