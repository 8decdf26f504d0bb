"""The two ways to a model with a LoRA on its language layers: Unsloth, and transformers + PEFT.

Both give the same thing: the base in its Hugging Face form with one fresh adapter, alpha/rank scaling, nothing
else trainable. Settings that llama.cpp cannot follow (rsLoRA, DoRA, trained embeddings) are not offered.
"""

from __future__ import annotations

import importlib.util
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ModelError
from ..files import cache_folder
from .settings import Settings

_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_BIG = 2_000_000_000  # bytes of weights from which they are kept in their own type instead of float32


@dataclass(frozen=True, slots=True)
class Backend:
    """Which library trains, and why it was chosen."""

    name: str
    why: str


def choose_backend(asked: str, folder: Path, *, cuda: bool) -> Backend:
    """`asked` ("auto", "unsloth" or "peft") for the model in `folder`. Raises `ModelError` where it cannot be."""
    there = importlib.util.find_spec("unsloth") is not None
    seeing = "vision_config" in config_of(folder)
    if asked == "peft":
        return Backend("peft", "asked for")
    if not there:
        if asked == "unsloth":
            raise ModelError("unsloth is not installed. Next: pip install unsloth, or --backend peft.")
        return Backend("peft", "unsloth is not installed")
    if not cuda and seeing:
        if asked == "unsloth":
            raise ModelError("Unsloth trains vision-language models on a GPU only. Next: --backend peft.")
        return Backend("peft", "no GPU, and Unsloth trains vision-language models on a GPU only")
    if asked == "unsloth":
        return Backend("unsloth", "asked for")
    # Unsloth's CPU back end is transformers + PEFT as well: there is nothing to gain.
    return Backend("unsloth", "a GPU is available") if cuda else Backend("peft", "no GPU is available")


def config_of(folder: Path) -> dict[str, Any]:
    """The model's config.json. Raises `ModelError` if it is missing or broken."""
    try:
        document: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder}/config.json: cannot read it ({error}). Next: a whole model folder.") from error
    return document


def require_4bit(*, cuda: bool) -> None:
    """Raise `ModelError` unless a model can be loaded in 4 bits here."""
    if not cuda:
        raise ModelError("--load-in-4bit needs a CUDA GPU. Next: leave it out.")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError("--load-in-4bit needs bitsandbytes. Next: pip install bitsandbytes, or leave it out.")


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that no memory is left; of a CPU's, torch says so in words alone."""
    import torch

    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)


def load_trainable(backend: Backend, folder: Path, settings: Settings, *, cuda: bool) -> Any:
    """The model of `folder` with a fresh LoRA, ready to train. Raises `ModelError` where it cannot be loaded."""
    if settings.load_in_4bit:
        require_4bit(cuda=cuda)
    if backend.name == "unsloth":
        return _unsloth(folder, settings, cuda=cuda)
    return _peft(folder, settings, cuda=cuda)


def _unsloth(folder: Path, settings: Settings, *, cuda: bool) -> Any:
    seeing = "vision_config" in config_of(folder)
    # Else it writes what it compiles into a folder of the current one.
    os.environ.setdefault("UNSLOTH_COMPILE_LOCATION", str(cache_folder() / "unsloth"))
    from unsloth import FastLanguageModel, FastVisionModel

    _hush()
    loader = FastVisionModel if seeing else FastLanguageModel
    model, _ = loader.from_pretrained(**unsloth_load(folder, settings, cuda=cuda))
    return loader.get_peft_model(model, **unsloth_lora(settings, seeing=seeing, cuda=cuda))


def unsloth_load(folder: Path, settings: Settings, *, cuda: bool) -> dict[str, Any]:
    """What Unsloth's `from_pretrained` is called with."""
    import torch

    return {
        "model_name": str(folder),
        "max_seq_length": settings.max_length,
        "dtype": None if cuda else torch.float32,
        "load_in_4bit": settings.load_in_4bit,
        "use_gradient_checkpointing": "unsloth" if cuda else False,
        "trust_remote_code": False,
    }


def unsloth_lora(settings: Settings, *, seeing: bool, cuda: bool) -> dict[str, Any]:
    """What Unsloth's `get_peft_model` is called with: the language layers only."""
    which: dict[str, Any] = {"target_modules": list(_LAYERS)}
    if seeing:
        which = {
            "finetune_vision_layers": False,
            "finetune_language_layers": True,
            "finetune_attention_modules": True,
            "finetune_mlp_modules": True,
        }
    return {
        "r": settings.rank,
        "lora_alpha": settings.alpha,
        "lora_dropout": settings.dropout,
        "bias": "none",
        "random_state": settings.seed,
        "use_rslora": False,
        "use_gradient_checkpointing": "unsloth" if cuda else False,
        **which,
    }


def _peft(folder: Path, settings: Settings, *, cuda: bool) -> Any:
    import torch
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    torch.manual_seed(settings.seed)
    model = load_plain(folder, cuda=cuda, four_bit=settings.load_in_4bit)
    if settings.load_in_4bit:
        model = prepare_model_for_kbit_training(model)
    lora = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=_language_layers(model),
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, lora)


def load_plain(folder: Path, *, cuda: bool = False, four_bit: bool = False) -> Any:
    """The model of `folder` as it is: float32 where that fits, on the GPU if `cuda`."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    _hush()
    loader = AutoModelForImageTextToText if "vision_config" in config_of(folder) else AutoModelForCausalLM
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    options: dict[str, Any] = {"dtype": "auto" if size > _BIG else torch.float32}
    if four_bit:
        from transformers import BitsAndBytesConfig

        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16
        )
    try:
        model = loader.from_pretrained(folder, trust_remote_code=False, **options)
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"{folder}: transformers cannot load this model ({error}).") from error
    return model.to("cuda") if cuda and not four_bit else model


def shares(folder: Path) -> bool:
    """Whether questions may share their common part in training: where attention alone mixes tokens, and all of them.

    A state that is handed from token to token, as in convolutions, and a sliding window follow no mask of ours.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    text = config.get_text_config()
    alike = set(getattr(text, "layer_types", None) or ["full_attention"]) == {"full_attention"}
    own = "vision_config" not in config_of(folder) or config.model_type in ("idefics3", "smolvlm")
    return own and alike and getattr(text, "sliding_window", None) is None


def _hush() -> None:
    """No bars and warnings of transformers: they go to stderr, between our own."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()


def _language_layers(model: Any) -> list[str]:
    """Full names of all linear layers of the language part: never the tower, the connector or the head."""
    import torch

    decoder = model.get_decoder()
    (start,) = [name for name, module in model.named_modules() if module is decoder]
    return [f"{start}.{name}" for name, module in decoder.named_modules() if isinstance(module, torch.nn.Linear)]
