"""The engine's vectors of texts against transformers' hidden states."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from msr_local.engine.llama.process import EngineProcess
from msr_local.engine.types import LONGEST, EngineConfig

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

TEXTS = ["Item: a red shoe", "x", "Item: " + "very long " * 300, "Item: Ünïcode <|im_end|>", "Item: a red shoe, size 9"]


def test_vectors_are_means_of_the_middle_layer_of_transformers(tiny_llama: Path, converted: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    model = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32).eval()
    with EngineProcess(EngineConfig(converted, threads=1)) as engine:
        found = dict(engine.vectors(TEXTS))
        (alone,) = dict(engine.vectors([TEXTS[0]])).values()
    assert found.keys() == set(range(len(TEXTS)))
    for place, text in enumerate(TEXTS):
        # Markup in a text is text: no special tokens.
        ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids[:LONGEST]
        with torch.no_grad():
            layers = model(torch.tensor([ids]), output_hidden_states=True).hidden_states
        states = layers[model.config.num_hidden_layers // 2][0].numpy()
        states /= np.sqrt((states**2).mean(axis=1, keepdims=True) + 1e-6)
        assert found[place] == pytest.approx(states[1 if len(ids) > 1 else 0 :].mean(axis=0), abs=2e-2)
    assert alone == pytest.approx(found[0], abs=5e-3)  # whatever is read beside it


def test_a_context_for_vectors_leaves_the_questions_alone(converted: Path) -> None:
    from msr_local.engine.types import Text

    prompt = [Text("Is it? ")]
    with EngineProcess(EngineConfig(converted, threads=1)) as engine:
        before = next(engine.log_odds(prompt, [[Text("Yes or no")]])).z
        dict(engine.vectors(TEXTS))
        assert next(engine.log_odds(prompt, [[Text("Yes or no")]])).z == before
