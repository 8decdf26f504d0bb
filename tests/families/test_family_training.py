"""Each family trains: on the engine's ids, on the pictures that the engine sees, in all linear layers of its words."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_families
from PIL import Image as Pillow

from msr_local.catalogue.images import load_rgb
from msr_local.engine.llama.engine import LlamaEngine
from msr_local.engine.types import EngineConfig, Image
from msr_local.prompts import PromptTemplate
from msr_local.training.bases import Base
from msr_local.training.convert import convert_adapter, converter
from msr_local.training.rows import NO, YES, Row, parts_of

torch = pytest.importorskip("torch")
pytest.importorskip("peft")

from msr_local.training.backends import Backend, config_of, load_trainable, shares  # noqa: E402
from msr_local.training.batches import Collator, answer_logits, grouped, log_odds  # noqa: E402
from msr_local.training.export import LORA, save_lora  # noqa: E402
from msr_local.training.finetune import answers_of  # noqa: E402
from msr_local.training.gate import engine_log_odds  # noqa: E402
from msr_local.training.pictures import pixels_of  # noqa: E402
from msr_local.training.settings import Settings  # noqa: E402

SIZES = [(160, 160), (64, 200), (300, 290), (160, 160)]
CLOSE = 0.02  # how far the engine's log-odds may be from those of transformers


def rows_for(engine: LlamaEngine, folder: Path, *, seeing: bool) -> list[Row]:
    """Questions about two moments, with pictures of several sizes."""
    made = []
    for number, size in enumerate(SIZES):
        shown, path = None, folder / f"{number}.png"
        if seeing:
            dice = np.random.default_rng(number)
            small = dice.integers(0, 256, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
            Pillow.fromarray(small).resize(size, Pillow.Resampling.BICUBIC).save(path)
            shown = load_rgb(path, 1024, hashlib.sha256(path.read_bytes()).hexdigest())
        values = {"summary": "", "history": [f"Hat {number // 2}", "Tea"], "candidate": f"Shoe {number}", "hint": ""}
        asked = engine.rendered(PromptTemplate("score").question(values, shown))
        prefix, suffix = parts_of(asked, path)
        ids = tuple(engine.token_ids([*asked.prefix, *asked.suffix]))
        answer, picture = (YES, NO)[number % 2], shown.sha256 if isinstance(shown, Image) else ""
        made.append(Row(f"u{number // 2}", 2, f"i{number}", answer, prefix, suffix, ids, 0.5, picture))
    return made


@pytest.mark.parametrize("name", tiny_families.FAMILIES)
def test_a_family_trains_and_answers_as_it_was_trained(
    made: Callable[[str], Base], config: Callable[..., EngineConfig], tmp_path: Path, name: str
) -> None:
    base, plain = made(name), config(name)
    engine = LlamaEngine(plain)
    rows = rows_for(engine, tmp_path, seeing=name != "llava")
    answers = answers_of(engine, base, rows[0])
    engine.close()
    said = config_of(base.folder)
    mark = said.get("image_token_id", said.get("image_token_index"))
    collator = Collator(answers, pixels_of(base.folder, base.projector), mark, share=shares(base.folder))
    model = load_trainable(Backend("peft", ""), base.folder, Settings(rank=2, alpha=4, dropout=0.0), cuda=False)

    # Before any training: the same ids and pictures give the same answers.
    before = engine_log_odds(plain, rows)[0]
    assert before == pytest.approx(log_odds(model, rows, collator), abs=CLOSE)
    assert np.std(before) > CLOSE

    optimiser = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=0.02)
    losses = []
    model.train()
    for _ in range(6):
        batch = collator(grouped(rows))
        loss = torch.nn.functional.cross_entropy(answer_logits(model, batch), batch["answers"])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]

    # Every linear layer of the language part was trained, and nothing else.
    decoder = model.get_base_model().get_decoder()
    linear = {one for one, layer in decoder.named_modules() if hasattr(layer, "lora_A")}
    assert linear == {one.rpartition(".lora_A")[0] for one, _ in decoder.named_parameters() if ".lora_A" in one}
    trained = {one: weight for one, weight in model.named_parameters() if "lora_B" in one}
    assert all(weight.abs().max() > 0 for weight in trained.values())
    assert len(trained) == len(linear) == count(decoder)

    save_lora(model, tmp_path)
    convert_adapter(converter(), tmp_path / LORA, base.folder, tmp_path / "adapter.gguf")
    wanted = log_odds(model, rows, collator)
    tuned = engine_log_odds(replace(plain, adapters={"score": tmp_path / "adapter.gguf"}), rows)[0]
    assert tuned == pytest.approx(wanted, abs=CLOSE)
    assert np.abs(tuned - before).max() > 3 * CLOSE


def count(decoder: Any) -> int:
    """How many linear layers there are: LoRA keeps each as the base layer of its own."""
    return sum(isinstance(layer, torch.nn.Linear) and "lora" not in one for one, layer in decoder.named_modules())
