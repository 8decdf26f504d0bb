"""Which base is trained: the embedded one with the engine's own tokens and weights, folders, and a hub."""

from __future__ import annotations

import json
import shutil

import numpy as np
import platformdirs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msr_local.engine.llama.process import EngineProcess
from msr_local.engine.types import EngineConfig, Text
from msr_local.errors import ModelError
from msr_local.files import sha256
from msr_local.text import printable
from msr_local.training import bases, convert
from msr_local.training.bases import resolve

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

NASTY = [
    "",
    " ",
    "\n",
    "\0",
    " Yes",
    "Hello world 12345 films (1999). Genres: Sci-Fi|Drama",
    "The user\n- don't  like   ü ñ 日本 🙂 2001: A Space Odyssey",
    "I'll we've they're IT'S 'tis ''s",
    "1,234.50 ½ ² Ⅷ ٣٤ x_y-z --- ...!?",
    "tabs\t\tand   3 spaces   \r\n\r\n end ",
    "e\u0301 \u200b\u200d\ufeff \u00a0nbsp\u3000wide \u0085next",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0010ffff \ue000 \ufffd",
    "<|im_start|>user\n<|im_end|> <|endoftext|><repo_name><|im_end",
    "Hello , world ! It 's n't clean .",
    "Ġ Ċ Āā",
]
MARKUP = [
    "<|im_start|>user\nWhich film? <|im_end|>\n<|im_start|>assistant\n",
    "<|im_end|><|im_end|> <|im_end|>  \n<|im_start|>",
    "a<|im_start|>b <|endoftext|> 12<repo_name>34",
    "<|im_start|",
]


@pytest.fixture(scope="module")
def engine(embedded_base):
    with EngineProcess(EngineConfig(embedded_base.model, context=512, threads=1)) as opened:
        yield opened


@pytest.fixture(scope="module")
def tokenizer(embedded_base):
    return transformers.AutoTokenizer.from_pretrained(embedded_base.folder)


# A converter that takes no time.
WRITES = """
import struct, sys
head = struct.pack("<4sIQQQ1sIQIQ", b"GGUF", 3, 1, 0, 1, b"x", 1, 1, 0, 0)  # one tensor of one number
open(sys.argv[2], "wb").write(head + bytes(-len(head) % 32) + bytes(32))
"""


def plain(tokenizer, text):
    return tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of the test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda _: str(folder))
    return folder


def never():
    raise AssertionError("nothing needs to be converted")


# ---- the embedded base


def test_the_embedded_base_is_what_the_engine_loads(embedded_base):
    from msr_local.models.embedded import prepare

    assert embedded_base.name == "embedded"
    assert embedded_base.model == prepare()
    assert embedded_base.sha256 == sha256(prepare())
    assert (embedded_base.projector, embedded_base.licence) == (None, "apache-2.0")
    assert resolve("embedded", never) == embedded_base


@pytest.mark.parametrize("text", NASTY)
def test_plain_text_has_the_engines_ids(engine, tokenizer, text):
    assert plain(tokenizer, text) == engine.token_ids([Text(text)])


# What can stand in a prompt. llama.cpp also splits at control characters, which `printable` takes out of all data,
# and at code points that Unicode has not assigned, where transformers does not; rows have the engine's ids anyhow.
IN_A_PROMPT = st.text(st.characters(exclude_categories=["Cs", "Cn"])).map(printable)


@settings(max_examples=300)
@given(text=IN_A_PROMPT)
def test_any_plain_text_has_the_engines_ids(engine, tokenizer, text):
    assert plain(tokenizer, text) == engine.token_ids([Text(text)])


def test_every_character_has_the_engines_ids(engine, tokenizer):
    characters = [chr(c) for c in range(0x20000) if not 0xD800 <= c <= 0xDFFF]
    for start in range(0, len(characters), 8192):
        text = "\n".join(f"a {c}1{c}b" for c in characters[start : start + 8192])
        assert plain(tokenizer, text) == engine.token_ids([Text(text)])


@pytest.mark.parametrize("text", MARKUP)
def test_markup_has_the_engines_ids(engine, tokenizer, text):
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == engine.token_ids([Text(text, special=True)])


@settings(max_examples=100)
@given(
    parts=st.lists(st.sampled_from(["<|im_start|>", "<|im_end|>", "<|endoftext|>", " ", "\n", "a", "1"]) | IN_A_PROMPT)
)
def test_any_markup_has_the_engines_ids(engine, tokenizer, parts):
    text = "".join(parts)
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == engine.token_ids([Text(text, special=True)])


def test_the_tokenizer_ends_adds_and_cleans_as_the_engine_does(engine, tokenizer):
    assert (
        (tokenizer.eos_token, tokenizer.bos_token)
        == (engine.facts.eos, engine.facts.bos)
        == ("<|im_end|>", "<|im_start|>")
    )
    assert (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id) == (2, 1, 2)
    assert tokenizer("films")["input_ids"] == engine.token_ids([Text("films")])  # no BOS, as add_bos says
    assert not engine.facts.add_bos
    assert tokenizer.chat_template == engine.facts.chat_template
    for text in NASTY:
        assert tokenizer.decode(plain(tokenizer, text)) == text


def test_the_weights_are_exactly_the_engines(embedded_base):
    import torch
    from gguf import GGUFReader
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(embedded_base.folder, dtype=torch.float32)
    weights = model.state_dict()
    tensors = {tensor.name: tensor.data for tensor in GGUFReader(embedded_base.model).tensors}
    names = {"token_embd": "embed_tokens", "output_norm": "norm"}
    parts = {
        "attn_norm": "input_layernorm",
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "ffn_norm": "post_attention_layernorm",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
    }
    for name, data in tensors.items():
        stem = name.removesuffix(".weight")
        if stem in names:
            ours = weights[f"model.{names[stem]}.weight"]
        else:
            _, layer, part = stem.split(".")
            ours = weights[f"model.layers.{layer}.{parts[part]}.weight"]
            if part in ("attn_q", "attn_k"):  # GGUF keeps the two halves of each head's rotation interleaved
                heads = len(ours) // 64
                ours = ours.reshape(heads, 2, 32, -1).swapaxes(1, 2).reshape(ours.shape)
        np.testing.assert_array_equal(ours.numpy(), data.astype(np.float32), err_msg=name)
    assert len(tensors) == len(weights) - 1  # lm_head is tied
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    assert (model.config.eos_token_id, model.generation_config.eos_token_id) == (2, 2)


def test_matrices_are_kept_in_half_and_norms_in_full_precision(embedded_base):
    from safetensors import safe_open

    with safe_open(embedded_base.folder / "model.safetensors", "pt") as file:
        kinds = {(len(file.get_slice(key).get_shape()), file.get_slice(key).get_dtype()) for key in file.keys()}  # noqa: SIM118
    assert kinds == {(2, "F16"), (1, "F32")}


def test_a_kill_while_the_embedded_folder_is_made_leaves_nothing_behind_that_counts(cache, monkeypatch, embedded_base):
    def killed(_model, folder):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{")
        raise KeyboardInterrupt

    monkeypatch.setattr(bases.embedded, "prepare", lambda: embedded_base.model)
    with monkeypatch.context() as patch:
        patch.setattr(bases, "_unquantised", killed)
        with pytest.raises(KeyboardInterrupt):
            resolve(None, never)
    assert list((cache / "bases").iterdir()) == []
    monkeypatch.setattr(bases, "_unquantised", lambda _model, folder: shutil.copytree(embedded_base.folder, folder))
    assert (resolve(None, never).folder / "config.json").read_bytes() == (
        embedded_base.folder / "config.json"
    ).read_bytes()


# ---- folders


def test_a_folder_is_converted_once(cache, tiny_llama, tools):
    asked, notes = [], []

    def get():
        asked.append(1)
        return tools

    base = resolve(str(tiny_llama), get, note=notes.append)
    assert base.name == str(tiny_llama)
    assert base.folder == tiny_llama
    assert (base.projector, base.licence) == (None, "mit")
    assert base.sha256 == sha256(base.model)
    assert [path.name for path in base.model.parent.iterdir()] == ["model.f16.gguf"]
    assert resolve(str(tiny_llama), get, note=notes.append) == base
    assert (len(asked), len(notes)) == (1, 1)
    with EngineProcess(EngineConfig(base.model, context=256, threads=1)) as engine:
        assert engine.facts.eos == "<|im_end|>"
        assert engine.token_ids([Text("<|im_start|>user\n", special=True)])[0] == 1


def test_a_changed_folder_is_another_base(cache, tiny_llama, stand_in, tmp_path):
    copy = shutil.copytree(tiny_llama, tmp_path / "copy")
    before = resolve(str(copy), lambda: stand_in(WRITES))
    (copy / "optimizer.bin").write_text("not part of the model")
    (copy / "checkpoint-1").mkdir()
    (copy / "checkpoint-1" / "config.json").write_text("{}")
    assert resolve(str(copy), never) == before
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 1e-3}))
    assert resolve(str(copy), lambda: stand_in(WRITES)).model != before.model


def test_a_model_with_eyes_gets_its_projector(cache, tiny_vlm, tools):
    base = resolve(str(tiny_vlm), lambda: tools)
    assert base.projector is not None
    assert convert.metadata(base.projector)["general.architecture"] == "clip"
    assert convert.metadata(base.model)["general.architecture"] == "llama"
    assert sorted(path.name for path in base.model.parent.iterdir()) == ["mmproj.f16.gguf", "model.f16.gguf"]
    with EngineProcess(EngineConfig(base.model, base.projector, context=256, threads=1)) as engine:
        assert engine.facts.vision
    assert resolve(str(tiny_vlm), never) == base


def test_code_beside_a_model_is_never_run(cache, tiny_llama, tools, tmp_path):
    copy = shutil.copytree(tiny_llama, tmp_path / "copy")
    for name in ("modeling_x.py", "tokenization_x.py"):
        (copy / name).write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    config = json.loads((copy / "tokenizer_config.json").read_text())
    config["auto_map"] = {"AutoTokenizer": [None, "tokenization_x.XTokenizer"]}
    (copy / "tokenizer_config.json").write_text(json.dumps(config))
    base = resolve(str(copy), lambda: tools)
    assert not (tmp_path / "ran").exists()
    assert convert.metadata(base.model)["general.name"] == "Copy"


def test_what_is_no_model_folder_is_refused(cache, tiny_llama, tmp_path):
    def refused(*gone, add=()):
        folder = shutil.copytree(tiny_llama, tmp_path / "x", dirs_exist_ok=True)
        for name in gone:
            (folder / name).unlink()
        for name, text in add:
            (folder / name).write_text(text)
        with pytest.raises(ModelError, match="Next: ") as caught:
            resolve(str(folder), never)
        shutil.rmtree(folder)
        return str(caught.value)

    assert "no config.json" in refused("config.json")
    assert "adapter, not a base" in refused("config.json", add=[("adapter_config.json", "{}")])
    assert "cannot be read" in refused(add=[("config.json", "{")])
    assert "no settings" in refused(add=[("config.json", "[]")])
    assert "no weights" in refused("model.safetensors")
    assert "pickles" in refused("model.safetensors", add=[("pytorch_model.bin", "")])
    assert "no tokenizer" in refused("tokenizer.json", "tokenizer_config.json")
    llava = json.dumps({"model_type": "llava", "vision_config": {}})
    assert "training is not supported for llava models" in refused(add=[("config.json", llava)])
    states = '{"model_type": "mamba2"}'
    assert "PEFT puts no LoRA on their state space layers" in refused(add=[("config.json", states)])
    index = json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors"}})
    assert "model-00001-of-00002.safetensors is missing" in refused(add=[("model.safetensors.index.json", index)])
    assert "cannot be read" in refused(add=[("model.safetensors.index.json", "[]")])


def test_a_conversion_that_fails_leaves_nothing(cache, tiny_vlm, stand_in):
    """The eyes fail after the rest of the model was written."""
    fails = WRITES + "\nif '--mmproj' in sys.argv: sys.exit('ERROR:x:No eyes')"
    with pytest.raises(ModelError, match="could not convert it: No eyes"):
        resolve(str(tiny_vlm), lambda: stand_in(fails))
    assert list((cache / "bases").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("model.gguf", "a GGUF file is for the engine only"),
        ("README.md", "needs the model's Hugging Face folder"),
        ("no/such/folder", "no such folder, and no hub id either"),
        ("/nowhere", "no such folder, and no hub id either"),
        ("~nobody-of-that-name/x", "no such folder, and no hub id either"),
    ],
)
def test_what_cannot_be_a_base_is_refused(tmp_path, monkeypatch, name, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    (tmp_path / "README.md").write_text("")
    with pytest.raises(ModelError, match=said) as caught:
        resolve(name, never)
    assert "Next: " in str(caught.value)


@pytest.mark.parametrize(
    ("readme", "licence"),
    [
        ("---\nlicense: apache-2.0\n---\nText", "apache-2.0"),
        ("---\r\nlicense: 'mit' # ours\r\n---\r\n", "mit"),
        ("---\nlicense:\n- mit\n---\n", None),
        ("---\ntags: []\n---\nlicense: mit\n---\n", None),
        ("license: mit\n---\nlicense: mit\n---\n", None),
        ("", None),
    ],
)
def test_the_licence_is_in_the_front_matter(tmp_path, readme, licence):
    (tmp_path / "README.md").write_bytes(readme.encode())
    assert bases._licence(tmp_path) == licence


def test_a_folder_without_a_readme_has_no_known_licence(tmp_path):
    assert bases._licence(tmp_path) is None
