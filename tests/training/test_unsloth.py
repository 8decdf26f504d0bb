"""Unsloth: its CPU back end for real, and its GPU code as far as it can be run or read without a GPU.

Importing Unsloth patches transformers for good, so it is only ever imported in processes of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from difflib import SequenceMatcher
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from samples import Ran, picture
from smolvlm import CHAT_TEMPLATE

from msr_local.engine.llama.chat import rendered
from msr_local.engine.llama.process import EngineProcess
from msr_local.engine.types import IMAGE_CELL, EngineConfig
from msr_local.errors import ModelError
from msr_local.prompts import PromptTemplate
from msr_local.training import backends
from msr_local.training.backends import choose_backend
from msr_local.training.bases import Base

pytest.importorskip("torch")
pytest.importorskip("transformers")
needs_unsloth = pytest.mark.skipif(find_spec("unsloth") is None, reason="unsloth is not installed")
needs_peft = pytest.mark.skipif(find_spec("peft") is None, reason="peft is not installed")

LAYERS = 2
MODULES = {"self_attn": ("q_proj", "k_proj", "v_proj", "o_proj"), "mlp": ("gate_proj", "up_proj", "down_proj")}


# ---- which back end


@pytest.mark.parametrize(
    ("asked", "sees", "cuda", "there", "name", "why"),
    [
        ("auto", False, True, True, "unsloth", "a GPU is available"),
        ("auto", True, True, True, "unsloth", "a GPU is available"),
        ("auto", False, False, True, "peft", "no GPU is available"),
        ("auto", True, False, True, "peft", "vision-language models on a GPU only"),
        ("auto", False, True, False, "peft", "not installed"),
        ("auto", True, False, False, "peft", "not installed"),
        ("peft", True, True, True, "peft", "asked for"),
        ("peft", False, False, False, "peft", "asked for"),
        ("unsloth", False, False, True, "unsloth", "asked for"),
        ("unsloth", False, True, True, "unsloth", "asked for"),
        ("unsloth", True, True, True, "unsloth", "asked for"),
        ("unsloth", True, False, True, None, "on a GPU only. Next: --backend peft"),
        ("unsloth", False, True, False, None, "not installed. Next: pip install unsloth"),
    ],
)
def test_the_back_end_is_chosen_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str, sees: bool, cuda: bool, there: bool, name: str | None,
    why: str,
) -> None:  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps({"vision_config": {}} if sees else {}))
    monkeypatch.setattr(backends.importlib.util, "find_spec", lambda _: object() if there else None)
    if name is None:
        with pytest.raises(ModelError, match=why):
            choose_backend(asked, tmp_path, cuda=cuda)
        return
    chosen = choose_backend(asked, tmp_path, cuda=cuda)
    assert chosen.name == name and why in chosen.why


# ---- the CPU back end


@needs_unsloth
@needs_peft
def test_from_histories_to_a_recommender_through_unsloth(
    cli: Callable[..., Ran], gallery: tuple[Path, Path], louder: Callable[[Path], Path], tiny_llama: Path, tools: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    from safetensors import safe_open

    assert cli("ingest", *gallery).code == 0
    base, here = louder(tiny_llama), tmp_path / "here"
    here.mkdir()
    options = (
        "finetune --name sloth --backend unsloth --recipe history --rows 48 --validation-rows 24 --epochs 1 --lr 0.01 "
        "--rank 4 --alpha 8 --batch 8 --accumulation 1 --threads 1 --quantise f16"
    )
    ran = subprocess.run(
        [sys.executable, "-m", "msr_local", *options.split(), "--base", str(base), "--llama-cpp", str(tools), "--json"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(tmp_path / "cache")},
        cwd=here, capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    made = json.loads(ran.stdout)  # one document, and nothing of what Unsloth prints
    assert "Unsloth" not in ran.stderr and "Loading weights" not in ran.stderr
    assert "Unsloth" in next((tmp_path / "home" / "training" / "runs").glob("*/log.txt")).read_text()
    assert list(here.iterdir()) == []
    assert (made["backend"], made["run"]["training"]["backend"]) == ("unsloth", "unsloth")
    assert made["run"]["training"]["why"] == "asked for" and "unsloth" in made["versions"]
    assert made["parity"]["adapter"]["median_dz"] <= 0.05 and made["parity"]["merged"]["rank_correlation"] >= 0.99

    # The same artefacts as the other back end's.
    folder = tmp_path / "home" / "adapters" / "sloth"
    assert {path.name for path in folder.iterdir()} >= {"adapter.gguf", "merged.f16.gguf", "manifest.json", "peft"}
    said = json.loads((folder / "peft" / "adapter_config.json").read_text())
    with safe_open(folder / "peft" / "adapter_model.safetensors", "pt") as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    other, other_shapes = from_peft(base, tmp_path / "peft")
    assert shapes == other_shapes and len(shapes) == 2 * LAYERS * 7
    # Only the spelling differs: the full names of the same layers.
    assert {name.rsplit(".", 1)[-1] for name in other.pop("target_modules")} == set(said.pop("target_modules"))
    assert said == other
    assert (said["r"], said["lora_alpha"], said["lora_dropout"]) == (4, 8, 0.1)

    answer = cli("adapters", "use", "sloth")
    assert answer.code == 0
    answer = cli("recommend", "u0", "--threads", 1, "-k", 4, "--candidates", 4, "--json")
    assert answer.code == 0, answer.err
    assert answer.json["model"]["adapter"] == "sloth" and len(answer.json["items"]) == 4


@needs_peft
def test_after_unsloth_the_merge_is_made_where_transformers_is_itself(
    llama_base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unsloth rewrites transformers' models: on a GPU, a plain model on the CPU fails in the same process."""
    from msr_local.training.backends import Backend, load_trainable
    from msr_local.training.batches import Answers, Collator
    from msr_local.training.export import LORA, MERGED, REFERENCE, merge_unpatched, save_lora
    from msr_local.training.rows import Row
    from msr_local.training.settings import Settings

    ids = [(5, 6, 7, 8), (5, 6, 9)]
    gate = [Row("ada", 3, f"i{n}", "Yes", (("text", "p"),), (), some, 0.5) for n, some in enumerate(ids)]
    collator = Collator(Answers(10, 11, (10,), (11,)), None, None)
    lora = load_trainable(Backend("peft", ""), llama_base.folder, Settings(rank=4, alpha=8), cuda=False)
    runs = [tmp_path / name for name in ("here", "apart")]
    for run in runs:
        run.mkdir()
        save_lora(lora, run)
    merge_unpatched(runs[0], llama_base, gate, collator)
    monkeypatch.setitem(sys.modules, "unsloth", object())  # type: ignore[arg-type]
    monkeypatch.setattr("msr_local.training.export.merge", None)  # not in this process
    merge_unpatched(runs[1], llama_base, gate, collator)
    here, apart = (json.loads((run / REFERENCE).read_text()) for run in runs)
    assert len(here) == 2 and here == pytest.approx(apart, abs=1e-5)
    weights = [(run / MERGED / "model.safetensors").read_bytes() for run in runs]
    assert weights[0] == weights[1]

    shutil.rmtree(runs[1] / LORA)
    with pytest.raises(ModelError, match=r"cannot be merged into .*adapter_config.json.*Next: --resume"):
        merge_unpatched(runs[1], llama_base, gate, collator)


def from_peft(base: Path, folder: Path) -> tuple[dict[str, Any], dict[str, tuple[int, ...]]]:
    """The adapter's settings and its tensors' shapes as the back end peft writes them."""
    from safetensors.torch import load_file

    from msr_local.training.backends import Backend, load_trainable
    from msr_local.training.settings import Settings

    settings = Settings(rank=4, alpha=8)
    load_trainable(Backend("peft", ""), base, settings, cuda=False).save_pretrained(folder)
    said = json.loads((folder / "adapter_config.json").read_text())
    return said, {name: tuple(one.shape) for name, one in load_file(folder / "adapter_model.safetensors").items()}


# ---- the GPU path, without a GPU

VALUES = {"summary": "", "history": ["First film", "Second film"], "candidate": "Third film (1995)", "hint": ""}


@pytest.fixture(scope="module")
def gpu(tiny_llama: Path, vlm_base: Base, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What unsloth_gpu.py found, and the engine's view of the same conversation."""
    if find_spec("unsloth") is None or find_spec("peft") is None:
        pytest.skip("unsloth is not installed")
    from PIL import Image as Pillow
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("gpu")
    image = picture(1, 200, 91)
    Pillow.frombytes("RGB", (200, 91), image.pixels).save(folder / "picture.png")
    templates, ids = {"own": (vlm_base.folder / "chat_template.jinja").read_text(), "smolvlm": CHAT_TEMPLATE}, {}
    with EngineProcess(EngineConfig(vlm_base.model, vlm_base.projector, context=512, threads=1)) as engine:
        for name, template in templates.items():
            facts = replace(engine.facts, chat_template=template)
            asked = rendered(facts, PromptTemplate("score").question(VALUES, image))
            ids[name] = engine.token_ids([*asked.prefix, *asked.suffix])
        _, system, _, shared, _, after, _ = (*asked.prefix, *asked.suffix)
    content = [
        {"type": "text", "text": shared.text.removeprefix(" ")},
        {"type": "image"},
        {"type": "text", "text": after.text},
    ]
    messages = [
        {"role": "system", "content": [{"type": "text", "text": system.text.removeprefix(" ")}]},
        {"role": "user", "content": content},
        {"role": "assistant", "content": [{"type": "text", "text": "Yes"}]},
    ]
    asked = {
        "llama": str(tiny_llama), "vlm": str(vlm_base.folder), "picture": str(folder / "picture.png"), "ids": ids,
        "templates": templates, "messages": messages,
    }  # fmt: skip
    (folder / "asked.json").write_text(json.dumps(asked))
    ran = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("unsloth_gpu.py")), "asked.json", "found.json"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        cwd=folder, capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-3000:]
    tokenizer = AutoTokenizer.from_pretrained(vlm_base.folder)
    ours = {
        name: tokenizer.convert_ids_to_tokens([15 if one == IMAGE_CELL else one for one in some])
        for name, some in ids.items()
    }
    return {**json.loads((folder / "found.json").read_text()), "ours": ours}


@pytest.mark.parametrize("kind", ["text", "vision"])
def test_all_that_we_pass_is_known_to_the_gpu_code(gpu: dict[str, Any], kind: str) -> None:
    for step in ("load", "lora"):
        passed, known = gpu["given"][kind][step], gpu["takes"][kind][step]
        assert set(passed) <= known.keys()
    load, lora = gpu["takes"][kind]["load"], gpu["takes"][kind]["lora"]
    # What we do not pass, or would have to pass if it had another default.
    assert load["full_finetuning"] == load["fast_inference"] == load["load_in_8bit"] == "False"
    assert load["load_in_4bit"] == "True" and load["dtype"] == "None"  # so both are passed
    assert load["use_gradient_checkpointing"] == lora["use_gradient_checkpointing"] == "'unsloth'"
    assert lora["bias"] == "'none'" and lora["use_rslora"] == "False" and lora["modules_to_save"] == "None"
    assert lora["init_lora_weights"] == "True" and lora["target_parameters"] == "None"
    if kind == "vision":
        assert lora["finetune_vision_layers"] == "True"  # so it has to be switched off
        assert lora["finetune_audio_layers"] == "False" and lora["target_modules"] == "None"


def test_the_gpu_code_trains_the_language_layers_and_nothing_else(gpu: dict[str, Any]) -> None:
    for kind, prefix in (("vision", "model.text_model"), ("text", "model")):
        found = gpu[kind]
        wanted = {
            f"base_model.model.{prefix}.layers.{layer}.{part}.{one}.lora_{side}.default.weight"
            for layer in range(LAYERS)
            for part, names in MODULES.items()
            for one in names
            for side in "AB"
        }
        assert set(found["trained"]) == wanted
        assert (found["r"], found["lora_alpha"], found["lora_dropout"], found["bias"]) == (4, 8, 0.1, "none")
        assert found["use_rslora"] is found["use_dora"] is False and found["modules_to_save"] is None


def test_our_batches_through_the_gpu_code_of_vision_models(gpu: dict[str, Any]) -> None:
    """Its rewritten Idefics3 gives transformers' logits and gradients for rows of several lengths and pictures."""
    assert gpu["compiled"]["logits"] < 1e-5 and gpu["compiled"]["gradients"] < 1e-4
    training = gpu["training"]
    assert training["trainer"] == "_fast_inner_training_loop"  # its Trainer, not transformers'
    assert training["steps"] == len(training["losses"]) == 8
    assert training["losses"][-1] < training["losses"][0] - 0.1


def test_our_batches_through_the_gpu_code_of_text_models(gpu: dict[str, Any]) -> None:
    """Its kernels need a GPU, but what stands around them does not.

    A tensor as logits_to_keep is ignored there, so that the logits of all positions come back; the mask and the
    positions are handed on as they are.
    """
    assert gpu["fast_forward"] == {"same": True, "mask": True, "positions": True}


def changes(ours: list[str], theirs: list[str]) -> list[tuple[list[str], list[str]]]:
    return [
        (ours[a:b], theirs[c:d])
        for kind, a, b, c, d in SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes()
        if kind != "equal"
    ]


def test_why_we_do_not_use_unsloths_collator(gpu: dict[str, Any]) -> None:
    """It renders messages anew, so that ids differ from those the engine decodes; and its pictures differ."""
    found = gpu["collator"]
    for name, answer in (("own", "Yes"), ("smolvlm", "ĠYes")):
        for form in ("completion", "messages"):
            one = found[name][form]
            # One overview a picture, at its place: that much is the same.
            assert one["tokens"].count("<image>") == gpu["ours"][name].count("<image>") == 4
            assert one["tokens"][-3:] == [answer, "<|im_end|>", "Ċ"]
            assert one["keys"] == ["attention_mask", "input_ids", "labels", "pixel_attention_mask", "pixel_values"]
            assert one["pixel_steps"] > 2  # of 255: it scales pictures itself, before transformers does
            learned = [token for token, label in zip(one["tokens"], one["labels"], strict=True) if label >= 0]
            if form == "completion":
                assert learned == [answer, "Ċ"]  # the line end behind the turn as well
            else:
                assert learned[-2:] == [answer, "Ċ"] and len(learned) > 40  # nearly all of the question
        assert found[name]["completion"]["tokens"] == found[name]["messages"]["tokens"]
    # A template for plain text gets line ends around the picture.
    assert changes(gpu["ours"]["own"], found["own"]["completion"]["tokens"][:-3]) == [
        (["ĊĊ"], ["ĊĊĊ"]),
        ([], ["Ċ"]),
    ]
    # In SmolVLM's own template, whose markup ends in blanks, nothing else is different.
    assert gpu["ours"]["smolvlm"] == found["smolvlm"]["completion"]["tokens"][:-3]
