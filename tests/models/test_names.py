"""How a model is named, and which files of a repository that means."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msr_local.errors import ModelError
from msr_local.models import picking
from msr_local.models.aliases import ALIASES
from msr_local.models.names import Repository, Server, parse

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("spec", "meant"),
    [
        ("embedded", "embedded"),
        ("model.gguf", Path("model.gguf")),
        ("./a/b", Path("a/b")),
        ("~nobody-of-that-name/x", Path("~nobody-of-that-name/x")),
        ("a/b/c.gguf", Path("a/b/c.gguf")),
        (Path("x"), Path("x")),
        ("org/repo", Repository("org/repo")),
        ("org/Re.po-GGUF:Q8_0", Repository("org/Re.po-GGUF", "Q8_0")),
        ("hf.co/org/repo:q4_k_m", Repository("org/repo", "q4_k_m")),
        ("https://huggingface.co/org/repo", Repository("org/repo")),
        ("https://huggingface.co/org/repo/tree/main", Repository("org/repo")),
        ("https://hf.co/org/repo/resolve/v1/d/m.gguf?download=true", Repository("org/repo", None, "v1", "d/m.gguf")),
        ("https://huggingface.co/org/repo/blob/main/m.gguf", Repository("org/repo", None, "main", "m.gguf")),
        (f"hf://org/repo@{COMMIT}:Q8_0", Repository("org/repo", "Q8_0", COMMIT)),
        (f"hf://org/repo@{COMMIT}/d/m-Q8_0.gguf", Repository("org/repo", None, COMMIT, "d/m-Q8_0.gguf")),
        ("hf://org/repo@refs/pr/1", Repository("org/repo", None, "refs/pr/1")),
        ("SmolVLM2-500M", Repository("ggml-org/SmolVLM2-500M-Video-Instruct-GGUF")),
        ("gemma-3-1b:Q8_0", Repository("ggml-org/gemma-3-1b-it-GGUF", "Q8_0")),
        ("http://127.0.0.1:8080/v1#qwen", Server("http://127.0.0.1:8080/v1", "qwen")),
        ("https://api.example.org/v1", Server("https://api.example.org/v1", "")),
        ("http://localhost:11434", Server("http://localhost:11434/v1", "")),
        ("http://localhost:11434/#org/model:7b", Server("http://localhost:11434/v1", "org/model:7b")),
        ("http://[::1]:8080/openai/v1/", Server("http://[::1]:8080/openai/v1", "")),
    ],
)
def test_a_spec_is_read(spec, meant):
    assert parse(spec) == meant


def test_a_file_that_is_there_wins_over_a_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("org").mkdir()
    Path("org/repo").write_bytes(b"GGUF")
    assert parse("org/repo") == Path("org/repo")
    assert parse("hf://org/repo") == Repository("org/repo")
    with pytest.raises(ModelError, match="a folder, not a model"):
        parse("org")


@pytest.mark.parametrize(
    "spec", ["", "nonsense", "a b/c", "org/../x", "org/re..po", "hf://org/repo/../../x.gguf", "a/b/c", "  ", "x" * 5000]
)
def test_what_is_no_spec_is_refused(spec):
    with pytest.raises(ModelError, match="Next:"):
        parse(spec)


@pytest.mark.parametrize(
    "spec",
    [
        "http://user:SECRET@host/v1", "http://SECRET@host/v1#m", "https://host/v1?key=SECRET", "http:///v1", "http://",
        "http://[SECRET/v1", "http://host:port/v1", "http://host:99999/v1",
    ],
)  # fmt: skip
def test_the_address_of_a_server_holds_no_key(spec):
    with pytest.raises(ModelError, match=r"Next: put its key into .* MSR_LOCAL_API_KEY") as caught:
        parse(spec)
    assert "SECRET" not in str(caught.value)


def test_a_near_alias_is_suggested():
    with pytest.raises(ModelError, match=r"Did you mean qwen3-vl-2b"):
        parse("qwen3vl-2b")


@settings(max_examples=30)
@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text):
    try:
        parse(text)
    except ModelError as error:
        assert "Next:" in str(error)


@given(
    st.from_regex(r"[a-z]\w{0,5}/[a-z][\w-]{0,9}", fullmatch=True),
    st.none() | st.from_regex(r"I?Q\d_[A-Z0-9_]{1,4}", fullmatch=True),
    st.none() | st.sampled_from(["main", "v1.0", COMMIT, "refs/pr/7"]),
    st.none() | st.from_regex(r"([a-z]{1,3}/)?[A-Za-z0-9_-]{1,9}\.gguf", fullmatch=True),
)
def test_a_repository_is_named_so_that_it_is_read_again(id, quant, revision, file):
    named = Repository(id, None if file else quant, revision, file)
    assert parse("hf://" + str(named).removeprefix("hf://")) == named


def test_every_alias_says_what_is_known_of_it():
    for name, alias in ALIASES.items():
        assert parse(name) == Repository(alias.repository)
        assert (alias.licence and "not tried" in alias.tried) or alias.tried.startswith("nothing")
        assert 1e8 < alias.bytes < 1e10


# ---- which files

LISTED = [
    "README.md", "m-BF16.gguf", "m-Q2_K.gguf", "m-Q4_K_M.gguf", "m-Q8_0.gguf", "imatrix.gguf", "mtp-m-Q8_0.gguf",
    "big/m-Q5_K_M-00001-of-00002.gguf", "big/m-Q5_K_M-00002-of-00002.gguf", "mmproj-m-BF16.gguf", "mmproj-m-F16.gguf",
    "mmproj-m-Q8_0.gguf",
]  # fmt: skip


@pytest.mark.parametrize(
    ("quant", "file"),
    [
        (None, "m-Q4_K_M.gguf"),
        ("q8_0", "m-Q8_0.gguf"),
        ("Q5_K_M", "big/m-Q5_K_M-00001-of-00002.gguf"),
        ("BF16", "m-BF16.gguf"),
        ("Q4_K", None),
        ("Q3_K_M", None),
    ],
)
def test_the_file_of_a_quantisation(quant, file):
    assert picking.model(LISTED, quant) == file


def test_a_quantisation_is_a_word_of_its_own_where_there_is_one():
    """llama.cpp takes BF16 for F16."""
    files = ["BF16/m-BF16-00001-of-00002.gguf", "m-BF16.gguf", "m-F16.gguf", "m-IQ4_NL.gguf"]
    assert picking.model(files, "f16") == "m-F16.gguf"
    assert picking.model(files, "bf16") == files[0]
    assert picking.model(files[:2], "F16") == files[0] and picking.model(files, "Q4_NL") == files[3]


def test_without_a_quantisation_q8_comes_next_and_then_the_first():
    assert picking.model(["m-Q8_0.gguf", "m-F16.gguf"], None) == "m-Q8_0.gguf"
    assert picking.model(["m-Q6_K.gguf", "m-F16.gguf"], None) == "m-F16.gguf"
    assert picking.model(["mmproj-F16.gguf", "README.md"], None) is None


@pytest.mark.parametrize(
    ("paths", "model", "best"),
    [
        (LISTED, "m-Q8_0.gguf", "mmproj-m-Q8_0.gguf"),
        (LISTED, "m-BF16.gguf", "mmproj-m-F16.gguf"),
        (LISTED, "big/m-Q5_K_M-00001-of-00002.gguf", "mmproj-m-Q8_0.gguf"),
        (["mmproj-F16.gguf", "a/mmproj-F32.gguf"], "a/m-F16.gguf", "a/mmproj-F32.gguf"),
        (["b/mmproj-F16.gguf"], "a/m-F16.gguf", None),
        (["a/b/mmproj-F16.gguf"], "a/m-F16.gguf", None),
    ],
)
def test_the_projector_of_a_model(paths, model, best):
    assert next(iter(picking.projectors(paths, model)), None) == best


@pytest.mark.parametrize(
    ("name", "quant"),
    [
        ("SmolVLM2-500M-Video-Instruct-Q8_0.gguf", "Q8_0"),
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "Q4_1"),
        ("d/m-UD-Q4_K_XL-00001-of-00003.gguf", "UD-Q4_K_XL"),
        ("mmproj-F16.gguf", "F16"),
        ("text.gguf", None),
    ],
)
def test_the_quantisation_in_a_name(name, quant):
    assert picking.quantisation(name) == quant
