"""What `models use` looks at, and which projector a local model is paired with."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_models
from gguf import GGML_QUANT_SIZES
from samples import Ran

from msr_local import Asking, Workspace, cast
from msr_local.engine.llama import gguf
from msr_local.errors import ModelError
from msr_local.models.choice import choose, chosen_model
from msr_local.models.find import Files, find

Cli = Callable[..., Ran]
CHATS = {"tokenizer__chat_template": tiny_models.PLAIN_CHAT, "llama__embedding_length": 8}
SEES = {"clip__has_vision_encoder": True, "clip__projector_type": "idefics3", "clip__vision__projection_dim": 8}


def split(folder: Path, *, count: int = 3) -> list[Path]:
    """A model of `count` parts, by their heads."""
    found = []
    for number in range(count):
        facts = CHATS if number == 0 else {}
        path = folder / f"m-{number + 1:05}-of-{count:05}.gguf"
        found.append(tiny_models.stub(path, split__no=number, split__count=count, **facts))
    return found


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def made(folder: Path, what: str) -> Path:
    """A file that is no model, of that kind."""
    path = folder / "m.gguf"
    folder.mkdir(exist_ok=True)
    if what == "projector":
        return tiny_models.stub(path, "clip", **SEES)
    if what == "lora":
        return tiny_models.stub(path, general__type="adapter", adapter__type="lora")
    if what == "imatrix":
        return tiny_models.stub(path, general__type="imatrix")
    if what == "vocabulary":
        return tiny_models.stub(path, size=0, **CHATS)
    if what == "no template":
        return tiny_models.stub(path, llama__embedding_length=8)
    if what == "broken template":
        return tiny_models.stub(path, tokenizer__chat_template="{% for m in messages %}{{ m.content ")
    if what == "template that shows no question":
        return tiny_models.stub(path, tokenizer__chat_template="Hello!")
    if what == "encoder":
        return tiny_models.stub(path, "bert", bert__attention__causal=False, **CHATS)
    if what == "encoder and decoder":
        return tiny_models.stub(path, "t5", **CHATS)
    if what == "big-endian":
        data = bytearray(tiny_models.stub(path, **CHATS).read_bytes())
        data[4:8] = data[7:3:-1]
        path.write_bytes(data)
        return path
    if what == "cut":
        cut(tiny_models.stub(path, **CHATS))
        return path
    if what == "second part":
        return split(folder)[1]
    if what == "part missing":
        split(folder)[2].unlink()
        return folder / "m-00001-of-00003.gguf"
    if what == "part cut":
        cut(split(folder)[2])
        return folder / "m-00001-of-00003.gguf"
    if what == "renamed":
        return split(folder)[0].rename(path)
    if what == "joined":
        path.write_bytes(b"".join(part.read_bytes() for part in split(folder)))
        return path
    path.write_bytes(
        {
            "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4661211808\n",
            "page": b"<!doctype html><html>Sign in</html>",
            "pickle": b"PK\x03\x04rest",
            "empty": b"",
        }[what]
    )
    return path


REFUSED = {
    "projector": r"a projector \(mmproj\), not a model.*--mmproj",
    "lora": r"an adapter \(LoRA\), not a model",
    "imatrix": "only an importance matrix",
    "vocabulary": "only a vocabulary",
    "no template": "no chat template",
    "broken template": "accepts no user message .unexpected end of template",
    "template that shows no question": "it does not show each text once",
    "encoder": r"does not write from left to right \(bert\)",
    "encoder and decoder": r"does not write from left to right \(t5\)",
    "big-endian": "for big-endian machines",
    "cut": r"cut off: [\d,]+ of [\d,]+ bytes",
    "second part": "part 2 of a split model.*the first, m-00001-of-00003",
    "part missing": "m-00003-of-00003.gguf: this part of the model is missing",
    "part cut": "m-00003-of-00003.gguf: a broken GGUF.*cut off",
    "renamed": "the first of 3 parts of a split model.*by their names",
    "joined": "the parts of a split model, joined",
    "lfs": "a Git LFS pointer.*git lfs pull",
    "page": "a web page",
    "pickle": "weights of PyTorch",
    "empty": "it is empty",
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_model_is_refused_with_the_reason_and_the_old_choice_stays(
    cli: Cli, workspace: Workspace, models: Path, tmp_path: Path, what: str
) -> None:
    choose(workspace, models / "text.gguf")
    before = chosen_model(workspace)
    with pytest.raises(ModelError, match=REFUSED[what]) as caught:
        choose(workspace, made(tmp_path / "m", what))
    assert "Next:" in str(caught.value)
    ran = cli("models", "use", made(tmp_path / "m", what))
    assert (ran.code, ran.out) == (1, "") and str(caught.value) in ran.err
    assert chosen_model(workspace) == before


@pytest.mark.parametrize("what", ["projector", "lora", "cut", "second part", "part missing", "joined", "lfs"])
def test_verify_says_the_same(cli: Cli, tmp_path: Path, what: str) -> None:
    ran = cli("models", "verify", "--model", made(tmp_path / "m", what))
    expected = REFUSED[what] if what != "part missing" else "m-00003-of-00003.gguf"
    assert ran.code == 1 and re.search(expected, ran.err), ran.err


def test_a_model_without_chat_template_is_refused_by_verify(cli: Cli, tmp_path: Path) -> None:
    model = tiny_models.text_model(tmp_path / "m.gguf", chat_template="")
    ran = cli("models", "verify", "--model", model)
    assert ran.code == 1 and "no chat template" in ran.err and "Next:" in ran.err


def test_a_text_model_is_no_projector(cli: Cli, workspace: Workspace, models: Path, tmp_path: Path) -> None:
    text = models / "text.gguf"
    for eyes, said in (
        (text, "a model, not a projector"),
        (models / "adapter.gguf", "an adapter, not"),
        (tiny_models.projector(tmp_path / "wide.gguf", width=32), "does not fit.* 32 values.* 64"),
        (tiny_models.stub(tmp_path / "ears.gguf", "clip", clip__has_vision_encoder=False), "no vision part"),
        (tmp_path / "gone.gguf", "cannot read this model file"),
    ):
        with pytest.raises(ModelError, match=said):
            choose(workspace, text, eyes)
    assert chosen_model(workspace) is None
    ran = cli("models", "verify", "--model", text, "--mmproj", text)
    assert ran.code == 1 and "a model, not a projector" in ran.err


def test_a_file_with_model_and_projector_in_one_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    import numpy as np
    from gguf import GGUFWriter

    writer = GGUFWriter(tmp_path / "fused", "gemma3")
    writer.add_tensor("v.blk.0.attn_q.weight", np.zeros(4, np.float32))
    tiny_models._write(writer, tmp_path / "fused")
    with pytest.raises(ModelError, match="in one file, as Ollama"):
        choose(workspace, tmp_path / "fused")


def test_sizes_of_tensor_types_are_the_librarys() -> None:
    assert {kind.value: sizes for kind, sizes in GGML_QUANT_SIZES.items()} == gguf._BLOCKS


def test_the_hash_of_a_split_model_covers_all_its_parts(workspace: Workspace, tmp_path: Path) -> None:
    first, *_, last = split(tmp_path)
    before = cast(workspace, Asking(model=first))
    data = bytearray(last.read_bytes())
    data[-1] ^= 1
    last.write_bytes(data)
    after = cast(workspace, Asking(model=first))
    assert before.sha256 != after.sha256 and before.judge.identity != after.judge.identity
    last.unlink()
    with pytest.raises(ModelError, match="m-00003-of-00003"):
        cast(workspace, Asking(model=first))


# ---- pairing


def test_a_local_model_is_paired_with_the_only_projector_beside_it(
    cli: Cli, workspace: Workspace, models: Path, tmp_path: Path
) -> None:
    model = Path(shutil.copy(models / "text.gguf", tmp_path / "m.gguf"))
    assert find(model) == Files(model, None)
    eyes = Path(shutil.copy(models / "eyes.gguf", tmp_path / "mmproj-m.gguf"))
    tiny_models.projector(tmp_path / "mmproj-of-another.gguf", width=32)
    said: list[str] = []
    assert find(model, None, said.append) == Files(model, eyes)
    assert "mmproj-m.gguf, found beside it" in said[0]
    ran = cli("models", "use", model)
    assert ran.code == 0 and "sees pictures with mmproj-m.gguf" in ran.err
    assert chosen_model(workspace) == {"model": str(model), "mmproj": str(eyes)}
    ran = cli("models", "use", model, "--mmproj", "none")
    assert "sees pictures" not in ran.err and chosen_model(workspace) == {"model": str(model), "mmproj": None}
    assert cast(workspace, Asking(model=str(model))).config.projector == eyes
    assert cast(workspace, Asking(model=model, projector="none")).config.projector is None


def test_a_projector_in_the_home_of_nobody_is_not_there(cli: Cli, models: Path) -> None:
    ran = cli("models", "use", models / "text.gguf", "--mmproj", "~nobody-of-that-name/eyes.gguf")
    assert ran.code == 1 and "cannot read this model file" in ran.err and "Next:" in ran.err


def test_two_projectors_that_fit_are_a_question(cli: Cli, workspace: Workspace, tmp_path: Path) -> None:
    model = tiny_models.stub(tmp_path / "m.gguf", **CHATS)
    for name in ("mmproj-a.gguf", "mmproj-b.gguf"):
        tiny_models.stub(tmp_path / name, "clip", **SEES)
    ran = cli("models", "use", model)
    assert ran.code == 1 and "mmproj-a.gguf, mmproj-b.gguf" in ran.err and "--mmproj none" in ran.err
    assert cli("models", "use", model, "--mmproj", tmp_path / "mmproj-b.gguf").code == 0
    assert (chosen_model(workspace) or {})["mmproj"] == str(tmp_path / "mmproj-b.gguf")
    (tmp_path / "mmproj-b.gguf").write_bytes(b"")
    assert find(model) == Files(model, tmp_path / "mmproj-a.gguf")


def test_a_projector_beside_that_does_not_fit_is_said(tmp_path: Path) -> None:
    model = tiny_models.stub(tmp_path / "m.gguf", **CHATS)
    tiny_models.stub(tmp_path / "mmproj-x.gguf", "clip", **SEES | {"clip__vision__projection_dim": 9})
    said: list[str] = []
    assert find(model, None, said.append) == Files(model, None)
    assert "mmproj-x.gguf: this projector does not fit" in said[0]
    cut(tmp_path / "mmproj-x.gguf")
    assert find(model, None, said.append) == Files(model, None)
    assert "mmproj-x.gguf: a broken GGUF file (it is cut off" in said[1] and "Next:" in said[1]


def test_the_embedded_model_by_name_and_a_server(cli: Cli, workspace: Workspace, models: Path) -> None:
    choose(workspace, models / "text.gguf")
    assert cast(workspace, Asking(model="embedded")).origin == "embedded"
    assert cli("models", "use", "embedded").code == 0 and chosen_model(workspace) is None
    ran = cli("models", "use", "http://127.0.0.1:9/v1#x")
    assert ran.code == 1 and "behind a server has no files here" in ran.err and "Next:" in ran.err
    assert "projector of its own" in cli("models", "use", "embedded", "--mmproj", "x.gguf").err
    ran = cli("recommend", "u", "--model", "org/repo:Q8_0")
    assert ran.code == 1 and "Next: msr-local models pull org/repo:Q8_0" in ran.err
