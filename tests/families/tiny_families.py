"""Tiny random models of the vision-language families, in Hugging Face's layout, as their publishers lay them out.

Weights are drawn so that every part matters: linear layers keep the variance, and pictures change the answers. The
tokenizers are SmolLM2's with the family's markup added, and for Gemma and LLaVA a SentencePiece trained on the spot.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msr_local.engine.llama.gguf import metadata
from msr_local.models.embedded import shipped_model

# Contents may be a text or typed parts, as in the templates of vision models.
_CONTENT = (
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for p in m['content'] %}"
    "{% if p['type'] == 'text' %}{{ p['text'] }}{% else %}PICTURE{% endif %}{% endfor %}{% endif %}"
)
_CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}" + _CONTENT + "{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% for m in messages %}{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n' }}"
    + _CONTENT
    + "{{ '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
_VICUNA = (
    "{% for m in messages %}{% if m['role'] != 'system' %}{{ m['role'].upper() + ': ' }}{% endif %}"
    + _CONTENT
    + "{{ ' ' }}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
THINKING = _CHATML.replace("assistant\n'", "assistant\n<think>\n'")
_QWEN = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
_HALF, _CLIP = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}, {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}  # fmt: skip
_TOWER = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 2}
WIDTH = 256  # of the language part: what Q4_K needs
_TEXT = {
    "hidden_size": WIDTH, "intermediate_size": 256, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 4096,
}  # fmt: skip


def smolvlm2(folder: Path) -> None:
    from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration

    tokenizer = _smol(["<fake_token_around_image>", "<global-img>", "<image>"], _CHATML)
    config = SmolVLMConfig(
        text_config={"model_type": "llama", "architectures": ["VLlama3ForCausalLM"], **_TEXT, **_words(tokenizer)},
        vision_config={**_TOWER, "num_hidden_layers": 2, "image_size": 512, "patch_size": 16},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=4,
        tie_word_embeddings=False,
        pad_token_id=tokenizer.pad_token_id,
    )
    _save(
        folder, SmolVLMForConditionalGeneration(config), tokenizer,
        {"image_processor_type": "SmolVLMImageProcessor", "size": {"longest_edge": 2048},
         "max_image_size": {"longest_edge": 512}, "do_image_splitting": False, **_HALF},
    )  # fmt: skip


def qwen3vl(folder: Path, template: str = _CHATML) -> None:
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    tokenizer = _smol([*_QWEN, "<think>", "</think>"], template)
    rope = {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [12, 10, 10], "mrope_interleaved": True}
    config = Qwen3VLConfig(
        text_config={**_TEXT, **_words(tokenizer), "head_dim": 64, "rope_parameters": rope},
        vision_config={
            **_TOWER, "num_heads": 2, "depth": 3, "patch_size": 16, "out_hidden_size": WIDTH,
            "num_position_embeddings": 2304, "deepstack_visual_indexes": [0, 1],
        },
        tie_word_embeddings=False,
        **_qwen_ids(tokenizer),
    )  # fmt: skip
    _save(folder, Qwen3VLForConditionalGeneration(config), tokenizer, _qwen_pictures(16, **_HALF))


def qwen25vl(folder: Path) -> None:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    tokenizer = _smol(_QWEN, _CHATML)
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [8, 12, 12]}
    config = Qwen2_5_VLConfig(
        text_config={**_TEXT, **_words(tokenizer), "rope_parameters": rope, "rms_norm_eps": 1e-6},
        vision_config={
            **_TOWER, "num_heads": 2, "depth": 4, "patch_size": 14, "window_size": 112, "out_hidden_size": WIDTH,
            "fullatt_block_indexes": [1, 3], "in_chans": 3,
        },
        tie_word_embeddings=False,
        **_qwen_ids(tokenizer),
    )  # fmt: skip
    pictures = _qwen_pictures(14, **_CLIP) | {"min_pixels": 3136, "max_pixels": 12845056}
    del pictures["size"]
    _save(folder, Qwen2_5_VLForConditionalGeneration(config), tokenizer, pictures)


def qwen35(folder: Path) -> None:
    import torch
    from transformers import Qwen3_5Config, Qwen3_5ForConditionalGeneration

    tokenizer = _smol([*_QWEN, "<think>", "</think>"], _CHATML)
    rope = {
        "rope_type": "default", "rope_theta": 1e7, "partial_rotary_factor": 0.25, "mrope_section": [4, 2, 2],
        "mrope_interleaved": True,
    }  # fmt: skip
    config = Qwen3_5Config(
        text_config={
            **_TEXT, **_words(tokenizer), "num_hidden_layers": 4, "head_dim": 64, "rope_parameters": rope,
            "linear_conv_kernel_dim": 4, "linear_key_head_dim": 64, "linear_value_head_dim": 64,
            "linear_num_key_heads": 2, "linear_num_value_heads": 4,
            "layer_types": ["linear_attention"] * 3 + ["full_attention"],
        },
        vision_config={
            **_TOWER, "num_heads": 2, "depth": 2, "patch_size": 16, "out_hidden_size": WIDTH,
            "num_position_embeddings": 2304,
        },
        tie_word_embeddings=False,
        **_qwen_ids(tokenizer),
    )  # fmt: skip
    model = Qwen3_5ForConditionalGeneration(config)

    def gates(name: str, draw: Callable[[], Any]) -> Any:
        """Decay rates and norms (stored as w - 1) as trained models have them."""
        if "A_log" in name:
            return draw().abs().mul(0.7).add(0.1).log()
        if "dt_bias" in name:
            return draw() * 0.5
        text_norm = "norm" in name and "language_model" in name and "linear_attn" not in name
        return draw() * 0.1 if text_norm else None

    torch.manual_seed(0)
    _save(folder, model, tokenizer, _qwen_pictures(16, **_HALF), gates)


def lfm2vl(folder: Path) -> None:
    from transformers import Lfm2VlConfig, Lfm2VlForConditionalGeneration

    marks = ["<|startoftext|>", "<|pad|>", "<image>", "<|image_start|>", "<|image_end|>", "<|img_thumbnail|>"]
    tokenizer = _smol(marks, "{{ bos_token }}" + _CHATML, bos="<|startoftext|>")
    layers = ["conv", "conv", "full_attention", "conv"]
    config = Lfm2VlConfig(
        text_config={
            **_TEXT, **_words(tokenizer), "num_hidden_layers": len(layers), "layer_types": layers, "conv_L_cache": 3,
            "block_auto_adjust_ff_dim": False, "tie_word_embeddings": True,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}, "architectures": ["Lfm2ForCausalLM"],
        },
        vision_config={
            **_TOWER, "num_hidden_layers": 3, "patch_size": 16, "num_patches": 256, "vision_use_head": False,
            "model_type": "siglip2_vision_model",
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        projector_hidden_size=128,
        downsample_factor=2,
        tie_word_embeddings=True,
    )  # fmt: skip
    _save(
        folder, Lfm2VlForConditionalGeneration(config), tokenizer,
        {"image_processor_type": "Lfm2VlImageProcessor", "do_image_splitting": True, "tile_size": 512, "min_tiles": 2,
         "max_tiles": 10, "min_image_tokens": 64, "max_image_tokens": 256, "encoder_patch_size": 16,
         "downsample_factor": 2, "use_thumbnail": True, "max_pixels_tolerance": 2.0, **_HALF},
        renamed=("model.vision_tower.", "model.vision_tower.vision_model."), quieter=0.25,
    )  # fmt: skip
    _edit(folder / "config.json", vision_feature_layer=-1)


def gemma3(folder: Path) -> None:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    marks = ["<start_of_image>", "<end_of_image>", "<image_soft_token>", "<start_of_turn>", "<end_of_turn>"]
    tokenizer = _gemma_tokenizer(folder, marks)
    size = len(tokenizer)
    ids = {name: tokenizer.convert_tokens_to_ids(mark) for name, mark in zip("bei", marks, strict=False)}
    config = Gemma3Config(
        text_config={
            **_TEXT, "vocab_size": size, "num_key_value_heads": 1, "head_dim": 64, "query_pre_attn_scalar": 64,
            "sliding_window": 300, "num_hidden_layers": 6,
            "layer_types": ["sliding_attention"] * 5 + ["full_attention"],
            "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0,
        },
        vision_config={
            **_TOWER, "num_hidden_layers": 1, "image_size": 896, "patch_size": 14, "vision_use_head": False,
        },
        mm_tokens_per_image=256,
        boi_token_index=ids["b"],
        eoi_token_index=ids["e"],
        image_token_index=ids["i"],
    )  # fmt: skip

    def norms(name: str, draw: Callable[[], Any]) -> Any:
        stored_less_one = "norm" in name and ("language_model" in name or "soft_emb_norm" in name)
        return draw() * 0.1 if stored_less_one else None

    _save(
        folder, Gemma3ForConditionalGeneration(config), tokenizer,
        {"image_processor_type": "Gemma3ImageProcessor", "size": {"height": 896, "width": 896}, "resample": 2,
         "image_seq_length": 256, **_HALF},
        norms, renamed=("vision_tower.", "vision_tower.vision_model."), quieter=0.5 / math.sqrt(WIDTH),
    )  # fmt: skip


def internvl3(folder: Path) -> None:
    from transformers import InternVLConfig, InternVLForConditionalGeneration

    tokenizer = _smol(["<img>", "</img>", "<IMG_CONTEXT>"], _CHATML)
    config = InternVLConfig(
        text_config={
            "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], **_TEXT, **_words(tokenizer),
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
        },
        vision_config={
            **_TOWER, "num_hidden_layers": 4, "image_size": [448, 448], "patch_size": [14, 14], "attention_bias": True,
            "architectures": ["InternVisionModel"],
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=256,
        downsample_ratio=0.5,
        tie_word_embeddings=False,
    )  # fmt: skip
    _save(
        folder, InternVLForConditionalGeneration(config), tokenizer,
        {"image_processor_type": "GotOcr2ImageProcessor", "crop_to_patches": False,
         "size": {"height": 448, "width": 448}, "image_mean": [0.485, 0.456, 0.406],
         "image_std": [0.229, 0.224, 0.225]},
    )  # fmt: skip


def llava(folder: Path) -> None:
    """The text half of LLaVA-1.5: a Llama with Vicuna's format and a SentencePiece that begins with a blank."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = _llama_tokenizer(folder)
    config = LlamaConfig(**_TEXT, **_words(tokenizer))
    _save(folder, LlamaForCausalLM(config), tokenizer, None)


FAMILIES: dict[str, Callable[[Path], None]] = {
    "smolvlm2": smolvlm2, "qwen3vl": qwen3vl, "qwen25vl": qwen25vl, "qwen35": qwen35, "lfm2vl": lfm2vl,
    "gemma3": gemma3, "internvl3": internvl3, "llava": llava,
}  # fmt: skip

# ---- parts


def _save(
    folder: Path, model: Any, tokenizer: Any, pictures: dict[str, Any] | None,
    special: Callable[[str, Callable[[], Any]], Any] = lambda *_: None,
    renamed: tuple[str, str] | None = None, quieter: float = 1.0,
) -> None:  # fmt: skip
    """Draw the weights and write the folder; `quieter` scales the embeddings, `renamed` a beginning of names."""
    import torch
    from safetensors.torch import load_file, save_file

    dice = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():

            def draw(shape: Any = weight.shape) -> Any:
                return torch.randn(shape, generator=dice)

            own = special(name, draw)
            if own is None:
                own = draw() * _scale(name, weight) + (weight.dim() < 2 and not name.endswith("bias"))
            weight.copy_(own)
        model.get_input_embeddings().weight.mul_(quieter)
    model.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _edit(folder / "tokenizer_config.json", added_tokens_decoder=_added(tokenizer))  # as published folders have it
    if pictures:
        (folder / "preprocessor_config.json").write_text(json.dumps(pictures))
    if renamed:
        file, (old, new) = folder / "model.safetensors", renamed
        named = {new + k[len(old) :] if k.startswith(old) else k: one for k, one in load_file(file).items()}
        save_file(named, file, metadata={"format": "pt"})


def _added(tokenizer: Any) -> dict[str, Any]:
    return {
        str(number): {
            "content": one.content, "lstrip": one.lstrip, "normalized": one.normalized, "rstrip": one.rstrip,
            "single_word": one.single_word, "special": one.special,
        }
        for number, one in tokenizer.added_tokens_decoder.items()
    }  # fmt: skip


def _scale(name: str, weight: Any) -> float:
    if weight.dim() < 2:
        return 0.1
    if "embed_tokens" in name:
        return 1.0
    if "pos" in name and "embed" in name:
        return 0.3
    return (3.0 if "lm_head" in name else 1.0) / math.sqrt(weight[0].numel())


def _edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def _words(tokenizer: Any) -> dict[str, int]:
    ids = {f"{kind}_token_id": getattr(tokenizer, f"{kind}_token_id") for kind in ("bos", "eos", "pad")}
    return {"vocab_size": len(tokenizer) + -len(tokenizer) % 64, **ids}


def _qwen_ids(tokenizer: Any) -> dict[str, int]:
    names = ("vision_start_token_id", "vision_end_token_id", "image_token_id", "video_token_id")
    return {name: tokenizer.convert_tokens_to_ids(mark) for name, mark in zip(names, _QWEN, strict=True)}


def _qwen_pictures(patch: int, **statistics: Any) -> dict[str, Any]:
    return {
        "image_processor_type": "Qwen2VLImageProcessor", "patch_size": patch, "temporal_patch_size": 2,
        "merge_size": 2, "size": {"shortest_edge": 65536, "longest_edge": 16777216}, **statistics,
    }  # fmt: skip


def _smol(marks: list[str], template: str, bos: str = "<|im_start|>") -> Any:
    """SmolLM2's tokenizer with more control tokens."""
    from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    model = shipped_model()
    assert model is not None
    facts = metadata(model)
    tokens = facts["tokenizer.ggml.tokens"]
    merges = [tuple(one.split(" ")) for one in facts["tokenizer.ggml.merges"]]
    made: Any = Tokenizer(BPE({token: number for number, token in enumerate(tokens)}, merges))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    made.decoder = decoders.ByteLevel()
    control = [token for token, kind in zip(tokens, facts["tokenizer.ggml.token_type"], strict=True) if kind == 3]
    made.add_special_tokens([AddedToken(one, special=True, normalized=False) for one in [*control, *marks]])
    wrapped: Any = PreTrainedTokenizerFast
    return wrapped(
        tokenizer_object=made, bos_token=bos, eos_token="<|im_end|>", pad_token="<|im_end|>",
        unk_token="<|endoftext|>", chat_template=template, clean_up_tokenization_spaces=False,
    )  # fmt: skip


def _trained(folder: Path, **options: Any) -> None:
    """Write tokenizer.model: a small SentencePiece of English and of what a prompt has."""
    import io

    import sentencepiece

    root = Path(__file__).parents[2]
    lines = [line for file in sorted(root.glob("prompts/*")) + sorted(root.glob("docs/*.md"))
             for line in file.read_text().splitlines() if line.strip()]  # fmt: skip
    lines += ["Yes No yes no YES NO", "USER: ASSISTANT: Answer Yes or No."] * 50
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, model_type="bpe", byte_fallback=True,
        character_coverage=1.0, remove_extra_whitespaces=False, normalization_rule_name="identity", minloglevel=2,
        **options,
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.model").write_bytes(model.getvalue())


def _gemma_tokenizer(folder: Path, marks: list[str]) -> Any:
    from transformers import AddedToken, AutoTokenizer

    lines = ["\n" * count for count in range(1, 6)]  # Gemma has tokens for runs of line ends
    _trained(
        folder, vocab_size=3000, add_dummy_prefix=False, pad_id=0, eos_id=1, bos_id=2, unk_id=3,
        pad_piece="<pad>", eos_piece="<eos>", bos_piece="<bos>", user_defined_symbols=[*marks, *lines],
    )  # fmt: skip
    tokenizer = AutoTokenizer.from_pretrained(folder, chat_template=_GEMMA)
    tokenizer.add_tokens([AddedToken(mark, special=True, normalized=False) for mark in marks])
    tokenizer.add_tokens([AddedToken(line, special=False, normalized=False) for line in lines])
    return tokenizer


def _llama_tokenizer(folder: Path) -> Any:
    from transformers import LlamaTokenizer

    _trained(folder, vocab_size=3000, add_dummy_prefix=True, unk_id=0, bos_id=1, eos_id=2, pad_id=-1)
    return LlamaTokenizer.from_pretrained(folder, chat_template=_VICUNA, legacy=False)
