"""Tokens that get another name in a GGUF file keep their ids, and everything else stays as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from msr_local.engine import embedded
from msr_local.engine.gguf import Head, metadata, rename_tokens
from msr_local.engine.process import EngineProcess
from msr_local.engine.types import EngineConfig, Text
from msr_local.errors import ModelError


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
