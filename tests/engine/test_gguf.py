"""What we read in a GGUF file, and tokens that get another name and keep their ids."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import tiny_models
from gguf_tensors import libraries_tensors, tensors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from msr_local.engine.llama.gguf import Head, metadata, peek, rename_tokens
from msr_local.engine.llama.kinds import require_model
from msr_local.engine.llama.process import EngineProcess
from msr_local.engine.types import EngineConfig, Text
from msr_local.errors import ModelError
from msr_local.models import embedded


def test_tokens_are_renamed_in_place(models: Path, tmp_path: Path) -> None:
    source, target = models / "text.gguf", tmp_path / "renamed.gguf"
    rename_tokens(source, target, {"<reponame>": "<a much longer name than before>", "<file_sep>": "<f>"})
    before, after = metadata(source), metadata(target)
    ours, theirs = (facts.pop("tokenizer.ggml.tokens") for facts in (before, after))
    assert before == after
    changed = {n: new for n, (old, new) in enumerate(zip(ours, theirs, strict=True)) if old != new}
    assert changed == {4: "<a much longer name than before>", 5: "<f>"}
    assert source.read_bytes()[Head.read(source).data :] == target.read_bytes()[Head.read(target).data :]
    with EngineProcess(EngineConfig(target, threads=1, context=256)) as engine:
        assert engine.token_ids([Text("<f>", special=True)]) == [5]


def test_a_token_that_is_not_there_is_refused(models: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no token <nobody>"):
        rename_tokens(models / "text.gguf", tmp_path / "x.gguf", {"<nobody>": "<x>"})
    assert not (tmp_path / "x.gguf").exists()


def test_the_embedded_model_knows_the_tokens_around_a_picture() -> None:
    with EngineProcess(EngineConfig(embedded.prepare(), context=256)) as engine:
        for old, new in embedded.PICTURE_TOKENS.items():
            assert len(engine.token_ids([Text(new, special=True)])) == 1
            assert len(engine.token_ids([Text(old, special=True)])) > 1
        assert len(engine.token_ids([Text("<image>")])) > 1  # in a title it is text like any other


def test_our_view_of_a_gguf_file_is_the_librarys(models: Path) -> None:
    from gguf import GGUFReader

    for path in models.iterdir():
        fields = {
            key: field.contents() for key, field in GGUFReader(path).fields.items() if not key.startswith("GGUF.")
        }
        assert metadata(path) == fields
    assert tensors(models / "eyes.gguf") == libraries_tensors(models / "eyes.gguf")


def test_a_file_that_is_not_gguf_or_is_cut_off_is_refused(models: Path, tmp_path: Path) -> None:
    data = (models / "text.gguf").read_bytes()
    for size in (0, 4, 12, 30, 1000, 1_000_000):
        (tmp_path / "x.gguf").write_bytes(data[:size])
        with pytest.raises(ModelError, match=r"not a GGUF model file|a broken GGUF file"):
            metadata(tmp_path / "x.gguf")


def test_a_quick_look_shows_what_stands_before_the_vocabulary(models: Path) -> None:
    seen, whole = peek(models / "text.gguf"), metadata(models / "text.gguf")
    assert seen == {key: value for key, value in whole.items() if not key.startswith("tokenizer.")}


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(8, 400), byte=st.integers(0, 255), more=st.binary(max_size=8))
def test_any_head_is_read_or_refused(tmp_path: Path, at: int, byte: int, more: bytes) -> None:
    source = tmp_path / "source.gguf"
    if not source.exists():
        tiny_models.stub(source, general__alignment=32, llama__embedding_length=8, tokenizer__chat_template="x")
    data = bytearray(source.read_bytes())
    data[at : at + 1 + len(more)] = bytes([byte]) + more
    (tmp_path / "x.gguf").write_bytes(data)
    for look in (Head.read, peek, require_model):
        with contextlib.suppress(ModelError):
            look(tmp_path / "x.gguf")
