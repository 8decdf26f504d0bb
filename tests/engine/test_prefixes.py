"""States of prefixes are kept for the next process, used only if they are whole, and never missed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from msr_local.engine.llama import context, prefixes
from msr_local.engine.llama.engine import LlamaEngine
from msr_local.engine.types import EngineConfig, Prompt, Text

LONG: Prompt = [Text("This person likes quiet films and the sea. " * 20)]
ASKED: list[Prompt] = [[Text(f"Film {n}, yes or no?")] for n in range(5)]


def ask(config: EngineConfig, prefix: Prompt = LONG, adapter: str | None = None) -> list[float]:
    """Answers of a new engine, as a new process would give them."""
    engine = LlamaEngine(config)
    try:
        return [answer.z for answer in engine.log_odds(prefix, ASKED, adapter=adapter)]
    finally:
        engine.close()


@pytest.fixture
def config(tiny: EngineConfig, tmp_path: Path) -> EngineConfig:
    return replace(tiny, states=tmp_path / "prefixes" / "model")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of tokens that were decoded into a prefix."""
    decode, counts = context.Context._decode, []

    def watched(self: context.Context, runs: Sequence[context.Run], widths: Sequence[int], reads: int) -> list[int]:
        counts.extend(len(ids) for sequence, _, ids in runs if sequence == 0)
        return decode(self, runs, widths, reads)

    monkeypatch.setattr(context.Context, "_decode", watched)
    return counts


def test_the_next_process_does_not_read_the_prefix_and_answers_the_same(
    config: EngineConfig, read: list[int], tiny: EngineConfig
) -> None:
    first = ask(config)
    assert sum(read) > prefixes.WORTH
    read.clear()
    assert ask(config) == first == ask(config)
    assert read == []
    assert ask(tiny) == first and read  # without a folder nothing is kept


def test_another_prefix_and_another_adapter_have_states_of_their_own(config: EngineConfig, read: list[int]) -> None:
    plain, tuned = ask(config), ask(config, adapter="caption")
    other = ask(config, [*LONG, Text("And loud ones.")])
    assert plain != tuned and plain != other
    read.clear()
    again = ask(config), ask(config, adapter="caption"), ask(config, [*LONG, Text("And loud ones.")])
    assert again == (plain, tuned, other) and read == []


def test_a_short_prefix_is_not_worth_a_file(config: EngineConfig) -> None:
    ask(config, [Text("Short.")])
    assert config.states is not None and not config.states.exists()


@pytest.mark.parametrize("harm", ["cut", "flipped", "empty", "other model"])
def test_a_harmed_state_is_read_anew(config: EngineConfig, read: list[int], harm: str) -> None:
    first = ask(config)
    assert config.states is not None
    (path,) = config.states.glob("*.state")
    whole = path.read_bytes()
    if harm == "other model":  # whole, but of something else
        prefixes.Prefixes(config.states).save("x", b"no state of this model")
        (other,) = set(config.states.glob("*.state")) - {path}
        other.replace(path)
    else:
        half = len(whole) // 2
        path.write_bytes(
            {"cut": whole[:half], "flipped": whole[:half] + bytes([whole[half] ^ 1]) + whole[half + 1 :], "empty": b""}[
                harm
            ]
        )
    read.clear()
    assert ask(config) == first and read
    assert path.read_bytes() == whole


def test_a_folder_that_cannot_be_written_is_no_error(config: EngineConfig, tmp_path: Path, tiny: EngineConfig) -> None:
    (tmp_path / "prefixes").write_text("a file")
    assert ask(config) == ask(tiny)


def test_the_longest_unused_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefixes, "_ROOM", 1000)
    one, other = (prefixes.Prefixes(tmp_path / "prefixes" / name) for name in ("one", "other"))
    for age, (kept, key) in enumerate([(one, "a"), (other, "b"), (one, "c")]):
        kept.save(key, b"x" * 200)
        path = kept._path(key)
        os.utime(path, (1000 + age, 1000 + age))
    assert one.load("a") is not None  # used just now
    for key in ("d", "e"):
        other.save(key, b"y" * 200)
    assert other.load("b") is None and one.load("a") is not None and other.load("e") is not None
    other.save("too large", b"z" * 900)
    assert other.load("too large") is None and other.load("e") is not None
