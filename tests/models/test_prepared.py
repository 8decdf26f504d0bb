"""F16 copies of small quantised models."""

from __future__ import annotations

from pathlib import Path

import platformdirs
import pytest
import tiny_models

from msr_local import Asking, Workspace, cast
from msr_local.engine.llama.process import EngineProcess, quantise_in_child
from msr_local.engine.types import EngineConfig, Text
from msr_local.errors import FileError, ModelError
from msr_local.models import prepared
from msr_local.models.spec import open_engine

PROMPT = [Text("What is it?")]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda *_: str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def quantised(models: Path, tmp_path: Path) -> Path:
    quantise_in_child(models / "text.gguf", tmp_path / "q8.gguf", ftype=7)
    return tmp_path / "q8.gguf"


def z(model: Path) -> float:
    with EngineProcess(EngineConfig(model, threads=1)) as engine:
        (answer,) = engine.log_odds(PROMPT, [PROMPT])
        return answer.z


def test_a_quantised_model_answers_from_its_f16_copy(cache: Path, quantised: Path, models: Path) -> None:
    copy = prepared.to_compute_with(quantised, "abc", quantised=True)
    assert copy == cache / "f16" / "abc.gguf"
    assert copy.stat().st_size > 1.5 * quantised.stat().st_size
    assert abs(z(copy) - z(models / "text.gguf")) < 0.2


def test_the_copy_is_made_once(cache: Path, quantised: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared.to_compute_with(quantised, "abc", quantised=True)
    monkeypatch.setattr(prepared, "quantise_in_child", lambda *_, **__: pytest.fail("made again"))
    prepared.to_compute_with(quantised, "abc", quantised=True)
    assert [path.name for path in (cache / "f16").iterdir()] == ["abc.gguf"]


def test_what_is_not_quantised_or_large_answers_itself(
    cache: Path, quantised: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert prepared.to_compute_with(quantised, "abc", quantised=False) == quantised
    monkeypatch.setattr(prepared, "_SMALL", 10)
    assert prepared.to_compute_with(quantised, "abc", quantised=True) == quantised
    assert not cache.exists()


def test_a_cache_that_cannot_be_written(cache: Path, quantised: Path) -> None:
    cache.parent.mkdir(exist_ok=True)
    cache.write_text("a file in the way")
    with pytest.raises(FileError, match="cannot be written"):
        prepared.to_compute_with(quantised, "abc", quantised=True)


def test_a_failed_copy_leaves_nothing(cache: Path, quantised: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ModelError("out of luck")

    monkeypatch.setattr(prepared, "quantise_in_child", fail)
    with pytest.raises(ModelError, match="out of luck"):
        prepared.to_compute_with(quantised, "abc", quantised=True)
    assert list((cache / "f16").iterdir()) == []


def test_a_quantised_model_of_the_users_answers_from_its_copy_unless_declined(
    cache: Path, quantised: Path, workspace: Workspace, tmp_path: Path
) -> None:
    said: list[str] = []
    chosen = cast(workspace, Asking(model=quantised, threads=1), said.append)
    declined = cast(workspace, Asking(model=quantised, threads=1, as_is=True))
    assert chosen.judge.identity != declined.judge.identity
    assert chosen.name == declined.name == quantised.name
    assert [line for line in said if "F16 copy" in line and "--as-is" in line]
    assert not cache.joinpath("f16").exists()  # only what loads it makes it
    z = []
    for one in (chosen, declined):
        engine = open_engine(one.loaded(one.judge, tmp_path / "kept"))
        z.append(next(engine.log_odds(PROMPT, [PROMPT])).z)  # type: ignore[attr-defined]
        engine.close()
    assert len(list((cache / "f16").glob("*.gguf"))) == 1
    assert 0 < abs(z[0] - z[1]) < 0.3
    cast(workspace, Asking(model=quantised), said.append)
    assert len(said) == 1  # it is there now


def test_no_copy_where_it_is_not_quantised_or_there_is_no_room(
    cache: Path, quantised: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert prepared.copy_of(models / "text.gguf", "abc") is None
    assert prepared.copy_of(quantised, "abc") == cache / "f16" / "abc.gguf"
    monkeypatch.setattr(prepared, "usable_memory", lambda: 1_000_000_000)
    assert prepared.copy_of(quantised, "abc") is None
    monkeypatch.undo()
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda *_: str(cache))
    monkeypatch.setattr(prepared, "_SPARE", 1 << 60)
    assert prepared.copy_of(quantised, "abc") is None


def test_a_split_model_is_as_large_as_all_its_parts(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of which the first may be small."""
    paths = [tmp_path / f"m-{number:05}-of-00002.gguf" for number in (1, 2)]
    for number, path in enumerate(paths):
        tiny_models.stub(path, size=(64, 5000)[number], split__no=number, split__count=2, general__file_type=7)
    assert prepared.copy_of(paths[0], "abc") == cache / "f16" / "abc.gguf"
    monkeypatch.setattr(prepared, "usable_memory", lambda: prepared._SPARE + 1000)
    assert prepared.copy_of(paths[0], "abc") is None
    monkeypatch.setattr(prepared, "usable_memory", lambda: None)
    monkeypatch.setattr(prepared, "_SMALL", 10_000)
    assert prepared.copy_of(paths[0], "abc") is None
