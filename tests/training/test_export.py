"""From a trained LoRA to the files that the engine loads."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

from msr_local.training.backends import Backend, load_trainable
from msr_local.training.bases import Base
from msr_local.training.batches import Answers, Collator
from msr_local.training.export import MERGED, merge, save_lora, to_gguf
from msr_local.training.rows import Row
from msr_local.training.settings import Settings


def test_code_beside_a_base_is_not_run_with_the_merged_model(llama_base: Base, tools: Path, tmp_path: Path) -> None:
    """The converter reads tokenizers with `trust_remote_code`."""
    folder = shutil.copytree(llama_base.folder, tmp_path / "base")
    for name in ("modeling_x.py", "tokenization_x.py"):
        (folder / name).write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    said = folder / "tokenizer_config.json"
    said.write_text(
        json.dumps(json.loads(said.read_text()) | {"auto_map": {"AutoTokenizer": [None, "tokenization_x.XTokenizer"]}})
    )
    base = replace(llama_base, folder=folder)
    run = tmp_path / "run"
    run.mkdir()
    save_lora(load_trainable(Backend("peft", ""), base.folder, Settings(rank=4, alpha=8), cuda=False), run)
    gate = [Row("ada", 3, "i1", "Yes", (("text", "p"),), (), (5, 6, 7), 0.5)]
    merge(run, base, gate, Collator(Answers(10, 11, (10,), (11,)), None, None))
    assert not list((run / MERGED).glob("*.py")) and (run / MERGED / "tokenizer.json").exists()
    assert to_gguf(run, base, lambda: tools, "f16", lambda _: None).exists()
    assert not (tmp_path / "ran").exists()
