"""The tokenizer of a base, whole, in a file that the converter wrote."""

from __future__ import annotations

import shutil
from contextlib import closing

import numpy as np
import pytest
import tiny_models
from gguf_tensors import libraries_tensors, tensors

from msr_local.engine.llama import gguf
from msr_local.engine.llama.engine import LlamaEngine
from msr_local.engine.llama.gguf import Head, metadata
from msr_local.engine.types import EngineConfig, Text, Writing
from msr_local.errors import ModelError
from msr_local.training.convert import (
    convert_model,
    graft_tokenizer,
    quantise,
    tokenizer_differences,
)

PIECES = ("convert_hf_to_gguf.py", "convert_lora_to_gguf.py", "conversion/__init__.py", "gguf-py/gguf/__init__.py")


@pytest.mark.parametrize("kind", ["f16", "q4_0"])
def test_a_graft_brings_the_whole_tokenizer_back_and_leaves_the_tensors(
    converted, models, tmp_path, tmp_path_factory, kind
):
    """The base has another name for a token, and another set of keys."""
    base = tmp_path_factory.mktemp("base") / "base.gguf"
    gguf.rename_tokens(models / "text.gguf", base, {"<gh_stars>": "<something else>"})
    target = tmp_path / "x.gguf"
    quantise(converted, target, kind)
    before, facts = tensors(target), metadata(target)
    wrong = tokenizer_differences(base, target)
    assert "tokenizer.ggml.tokens" in wrong
    assert wrong == sorted(wrong)
    source = converted.read_bytes()
    graft_tokenizer(base, target)
    assert tokenizer_differences(base, target) == []
    assert tensors(target) == before
    after = metadata(target)
    for key in facts.keys() | after.keys():
        if not key.startswith("tokenizer."):
            assert after[key] == facts[key]
    assert converted.read_bytes() == source  # it may have been a link
    with closing(LlamaEngine(EngineConfig(target, context=256, threads=1))) as engine:
        assert engine.token_ids([Text("<something else>", special=True)]) == [7]
    assert [path.name for path in tmp_path.iterdir()] == ["x.gguf"]


def test_a_graft_that_changes_nothing_writes_nothing(converted, tmp_path):
    target = shutil.copy(converted, tmp_path / "x.gguf")
    before = target.stat()
    graft_tokenizer(converted, target)
    assert (target.stat().st_ino, target.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_graft_keeps_an_alignment_of_its_own(tmp_path):
    from gguf import GGUFWriter

    for name, alignment, model in (("x", 64, "short"), ("base", 32, "longer than it was")):
        writer = GGUFWriter(tmp_path / name, "llama")
        writer.add_custom_alignment(alignment)
        writer.add_string("tokenizer.ggml.model", model)
        writer.add_tensor("a", np.arange(5, dtype=np.float32))
        writer.add_tensor("b", np.arange(7, dtype=np.float16))
        write(writer)
    target = tmp_path / "x"
    before = libraries_tensors(target)
    graft_tokenizer(tmp_path / "base", target)
    assert libraries_tensors(target) == before == tensors(target)
    assert metadata(target)["tokenizer.ggml.model"] == "longer than it was"
    assert Head.read(target).data % 64 == 0


def write(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_graft_from_the_wrong_base_is_refused(converted, models, tmp_path):
    with pytest.raises(ModelError, match="has no tokenizer"):
        graft_tokenizer(models / "adapter.gguf", converted)
    from gguf import GGUFWriter

    writer = GGUFWriter(tmp_path / "x.gguf", "llama")
    writer.add_token_list(["a", "b"])
    write(writer)
    with pytest.raises(ModelError, match=r"has 49,152 tokens and .*x.gguf has 2: it was not made from this base"):
        graft_tokenizer(tmp_path / "x.gguf", converted)


def test_differences_name_what_is_changed_or_missing_on_either_side(tmp_path):
    one = tiny_models.text_model(tmp_path / "one.gguf")
    other = tiny_models.text_model(tmp_path / "other.gguf", chat_template="other")
    bare = tiny_models.text_model(tmp_path / "bare.gguf", vocab=False)
    assert tokenizer_differences(one, one) == []
    assert tokenizer_differences(one, other) == ["tokenizer.chat_template"]
    every = sorted(key for key in metadata(one) if key.startswith("tokenizer."))
    assert tokenizer_differences(one, bare) == tokenizer_differences(bare, one) == every


def test_the_embedded_base_survives_its_conversion(tools, embedded_base, tmp_path):
    """The trap: what transformers recovers from a GGUF file was no base to convert from."""
    target = tmp_path / "x.gguf"
    convert_model(tools, embedded_base.folder, target)
    assert tokenizer_differences(embedded_base.model, target) == ["tokenizer.ggml.add_space_prefix"]  # the mended rest
    graft_tokenizer(embedded_base.model, target)
    assert tokenizer_differences(embedded_base.model, target) == []
    ours, base = tensors(target), tensors(embedded_base.model)
    assert ours == base
    said = []
    for path in (embedded_base.model, target):
        with closing(LlamaEngine(EngineConfig(path, context=256, threads=1))) as engine:
            prompt = Text("<|im_start|>user\nName a film.<|im_end|>\n<|im_start|>assistant\n", special=True)
            ((_, made),) = engine.continued([prompt], [[Text("I")]], Writing(max_tokens=24))
            said.append((made, engine.facts.eos, engine.facts.yes))
    assert said[0] == said[1]
