"""Unsloth's GPU code, imported on a machine without a GPU (UNSLOTH_ALLOW_CPU=1), as far as it runs there.

A program for tests/training/test_unsloth.py: importing Unsloth patches transformers, so it has a process of its
own. Reads {"llama", "vlm": folders, "picture": file, "ids": the engine's tokens by chat template, "templates",
"messages"} from its first argument, and writes what it found to its second.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import json
import os
import sys
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ["UNSLOTH_ALLOW_CPU"] = "1"
os.environ["UNSLOTH_COMPILE_DISABLE"] = "1"  # the code as it is rewritten, but not through torch.compile

import numpy as np
import torch
import unsloth  # first: it patches what comes after
from PIL import Image as Pillow
from transformers import AutoTokenizer, Idefics3Processor
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from unsloth import FastLanguageModel, FastVisionModel
from unsloth.models.llama import CausalLM_fast_forward
from unsloth.models.vision import FastBaseModel
from unsloth.trainer import UnslothVisionDataCollator
from unsloth_zoo.compiler import unsloth_compile_transformers

from msr_local.engine.types import IMAGE_CELL, Image
from msr_local.training.backends import load_plain, unsloth_load, unsloth_lora
from msr_local.training.batches import Answers, Collator, answer_logits, grouped
from msr_local.training.pictures import pixels_of
from msr_local.training.rows import NO, YES, Row
from msr_local.training.settings import Settings

SETTINGS = Settings(rank=4, alpha=8, seed=3)
ANSWERS = Answers(100, 200, (100, 101), (200, 201))


def parameters(function: Any) -> dict[str, Any]:
    """What a function takes by name: {name: default as text}."""
    named = inspect.signature(function).parameters.values()
    return {one.name: repr(one.default) for one in named if one.kind is one.POSITIONAL_OR_KEYWORD}


def given(folder: Path, *, seeing: bool) -> dict[str, list[str]]:
    return {
        "load": sorted(unsloth_load(folder, SETTINGS, cuda=True)),
        "lora": sorted(unsloth_lora(SETTINGS, seeing=seeing, cuda=True)),
    }


def trainable(loader: Any, folder: Path, *, seeing: bool) -> tuple[Any, dict[str, Any]]:
    """The model with the LoRA that the GPU code gives it, and what that is."""
    model = load_plain(folder)
    model.max_seq_length = SETTINGS.max_length  # as its from_pretrained leaves it, which needs a GPU
    model._saved_temp_tokenizer = AutoTokenizer.from_pretrained(folder)
    lora = unsloth_lora(SETTINGS, seeing=seeing, cuda=True)
    if not seeing:
        lora["use_gradient_checkpointing"] = False  # "unsloth" takes pinned memory, which needs a GPU
    model = loader.get_peft_model(model, **lora)
    config = model.peft_config["default"]
    names = [name for name, weight in model.named_parameters() if weight.requires_grad]
    said = {key: getattr(config, key) for key in ("r", "lora_alpha", "lora_dropout", "bias", "use_rslora", "use_dora")}
    return model, {"trained": names, "modules_to_save": config.modules_to_save, **said}


def rows(ids: list[int], picture: Path) -> list[Row]:
    """Questions of several lengths, with and without the picture."""
    made = []
    for number, (start, seen) in enumerate([(0, True), (20, True), (0, False), (45, True)]):
        own = [one for one in ids[start:] if seen or one != IMAGE_CELL]
        suffix = (("image", str(picture)),) if seen else (("text", "x"),)
        known = sha256(picture.read_bytes()).hexdigest() if seen else ""
        made.append(
            Row(f"u{number}", 1, "i", (YES, NO)[number % 2], (("text", f"{number}"),), suffix, tuple(own), 0.5, known)
        )
    return made


def stepped(model: Any, batch: dict[str, Any]) -> tuple[Any, list[Any]]:
    """Logits of a training step without dropout, and the gradients of the LoRA."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.train()
    logits = answer_logits(model, batch)
    torch.nn.functional.cross_entropy(logits.float(), batch["answers"]).backward()
    found = {name: one.grad for name, one in model.named_parameters() if one.grad is not None}
    return logits.detach(), [found[name].clone() for name in sorted(found)]


def stir(model: Any) -> Any:
    """Every LoRA the same and of some effect."""
    torch.manual_seed(5)
    for _, weight in sorted((name, one) for name, one in model.named_parameters() if one.requires_grad):
        torch.nn.init.normal_(weight, std=0.1)
    return model


def trained(model: Any, some: list[Row], collator: Collator, folder: Path) -> dict[str, Any]:
    """Our training loop on the Trainer that Unsloth's GPU code has rewritten."""
    from transformers import Trainer

    from msr_local.training.loop import Reported, train

    seen: list[Reported] = []
    settings = Settings(rank=4, batch=4, accumulation=2, epochs=2, learning_rate=0.01, eval_every=2)
    done = train(model, some * 4, some, collator, settings, folder, seen.append)
    losses = [one.loss for one in seen if one.loss is not None]
    return {"trainer": Trainer._inner_training_loop.__name__, "steps": done["steps"], "losses": losses}


def fast_forward() -> dict[str, Any]:
    """What the text models' GPU forward hands to the layers, and which logits it returns for a tensor to keep."""
    passed: dict[str, Any] = {}
    states = torch.arange(2 * 5 * 4, dtype=torch.float32).view(2, 5, 4)

    class Out(tuple):
        past_key_values = hidden_states = attentions = None

    class Backbone:
        def __call__(self, **inputs: Any) -> Any:
            passed.update(inputs)
            return Out([states])

    head = torch.nn.Linear(4, 6, bias=False)
    config = SimpleNamespace(
        output_attentions=False, output_hidden_states=False, use_return_dict=True, return_dict=True,
        torch_dtype=torch.float32, dtype=torch.float32, model_type="llama",
    )  # fmt: skip
    me = SimpleNamespace(model=Backbone(), lm_head=head, config=config)
    forward = CausalLM_fast_forward(None)
    mask, positions = torch.tensor([[1, 1, 1, 0, 0], [1] * 5]), torch.tensor([[0, 1, 2, 0, 0], [0, 1, 2, 3, 4]])
    batch = {
        "input_ids": torch.ones(2, 5, dtype=torch.long), "attention_mask": mask, "position_ids": positions,
        "where": torch.tensor([[0, 2], [1, 4]]), "answers": torch.tensor([0, 1]),
    }  # fmt: skip
    logits = answer_logits(lambda **inputs: forward(me, **inputs), batch)
    wanted = head(states)[[0, 1], [2, 4]]
    return {
        "same": torch.allclose(logits, wanted),
        "mask": passed["attention_mask"].tolist() == mask.tolist(),
        "positions": passed["position_ids"].tolist() == positions.tolist(),
    }


def collated(asked: dict[str, Any], folder: Path, template: str, form: str) -> dict[str, Any]:
    """What Unsloth's collator makes of the conversation."""
    said = json.loads((folder / "preprocessor_config.json").read_text())
    said.pop("image_processor_type")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = template
    processor = Idefics3Processor(
        Idefics3ImageProcessorPil(**said), tokenizer, image_seq_len=4, chat_template=tokenizer.chat_template
    )
    model = load_plain(folder)
    model.max_seq_length = SETTINGS.max_length
    messages = copy.deepcopy(asked["messages"])
    picture = Pillow.open(asked["picture"]).convert("RGB")
    example = {"prompt": messages[:-1], "completion": messages[-1:], "images": [picture]}
    if form == "messages":
        example = {"messages": messages, "images": [picture]}
    batch = UnslothVisionDataCollator(model, processor)([example])
    pixels = pixels_of(folder)
    assert pixels is not None
    ours = pixels(Image(picture.width, picture.height, picture.tobytes(), "x"))
    theirs = batch["pixel_values"][0, 0].numpy()
    return {
        "tokens": tokenizer.convert_ids_to_tokens(batch["input_ids"][0].tolist()),
        "labels": batch["labels"][0].tolist(),
        "keys": sorted(batch.keys()),
        "pixel_steps": float(np.abs(ours[0] - theirs).max() * 127.5) if ours[0].shape == theirs.shape else None,
    }


def main() -> None:
    asked, target = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    torch.set_num_threads(1)
    llama, vlm, picture = Path(asked["llama"]), Path(asked["vlm"]), Path(asked["picture"])
    some = rows(asked["ids"]["own"], picture)
    collator = Collator(ANSWERS, pixels_of(vlm), 15, share=False)
    batch = collator(grouped(some))
    found: dict[str, Any] = {
        "given": {"text": given(llama, seeing=False), "vision": given(vlm, seeing=True)},
        "takes": {
            "text": {
                "load": parameters(FastLanguageModel.from_pretrained),
                "lora": parameters(FastLanguageModel.get_peft_model),
            },
            "vision": {
                "load": parameters(FastVisionModel.from_pretrained),
                "lora": parameters(FastBaseModel.get_peft_model),
            },
        },
        "version": unsloth.__version__,
        "collator": {
            name: {form: collated(asked, vlm, template, form) for form in ("completion", "messages")}
            for name, template in asked["templates"].items()
        },
        "fast_forward": fast_forward(),
    }
    import peft

    plain = stir(peft.get_peft_model(load_plain(vlm), peft.LoraConfig(
        r=4, lora_alpha=8, target_modules=r".*text_model\.layers\..*_proj", task_type="CAUSAL_LM",
    )))  # fmt: skip
    logits, gradients = stepped(plain, batch)
    unsloth_compile_transformers("idefics3", supports_sdpa=[True])  # as its from_pretrained does
    model, found["vision"] = trainable(FastVisionModel, vlm, seeing=True)
    again, others = stepped(stir(model), batch)
    found["compiled"] = {
        "logits": float((again - logits).abs().max()),
        "gradients": max(float((a - b).abs().max() / a.abs().max()) for a, b in zip(gradients, others, strict=True)),
    }
    found["training"] = trained(model, some, collator, target.parent / "checkpoints")
    found["text"] = trainable(FastLanguageModel, llama, seeing=False)[1]
    target.write_text(json.dumps(found, default=str))


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):
        main()
