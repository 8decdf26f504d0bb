"""States of prefixes are kept for the next process, used only if they are whole, and never missed."""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


def kept_at(kept: prefixes.Prefixes, key: str, when: float) -> Path:
    """A state of 200 bytes that was last used then."""
    kept.save(key, b"x" * 200)
    path = kept._path(key)
    os.utime(path, (when, when))
    return path


def test_the_longest_unused_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefixes, "_ROOM", 1000)
    one, other = (prefixes.Prefixes(tmp_path / "prefixes" / name) for name in ("one", "other"))
    for age, (kept, key) in enumerate([(one, "a"), (one, "b"), (other, "b"), (one, "c")]):
        kept_at(kept, key, 1000 + age)
    assert one.load("a") is not None  # used just now
    for key in ("d", "e"):
        one.save(key, b"y" * 200)
    assert one.load("b") is None and one.load("a") is not None and one.load("e") is not None
    assert other.load("b") is not None  # another model's states have room of their own
    one.save("too large", b"z" * 900)
    assert one.load("too large") is None and one.load("e") is not None


FOREIGN = ["model.gguf", "items.csv", "notes.state", ".state", "0123.state", f"{'A' * 32}.state", f"{'a' * 33}.state",
           f"{'a' * 32}.state.bak", f"x{'a' * 32}.state", f"{'a' * 32}.STATE", f"{'g' * 32}.state"]  # fmt: skip


def strangers(*folders: Path, names: Iterable[str] = FOREIGN) -> dict[Path, bytes]:
    """Files that others have put there, all of them old."""
    made: dict[Path, bytes] = {}
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            path = folder / name
            path.write_bytes(name.encode())
            os.utime(path, (1000, 1000))
            made[path] = name.encode()
    return made


def test_making_room_removes_what_was_written_here_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefixes, "_ROOM", 1000)
    home = tmp_path / "prefixes"
    folder, sibling = home / "model", home / "other"
    theirs = strangers(folder, sibling, folder / "below", home, tmp_path)
    (folder / f"{'b' * 32}.state").mkdir()
    beside = kept_at(prefixes.Prefixes(sibling), "old", 1000)
    below = kept_at(prefixes.Prefixes(folder / "below"), "old", 1000)
    kept = prefixes.Prefixes(folder)
    for n in range(30):
        kept.save(str(n), b"x" * 200)
        assert kept.load(str(n)) == b"x" * 200
    assert sum(path.stat().st_size for path in prefixes.states(folder)) <= 1000
    assert {path: path.read_bytes() for path in theirs} == theirs
    assert beside.exists() and below.exists() and (folder / f"{'b' * 32}.state").is_dir()


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=40) | st.from_regex(
    r"[0-9a-f]{30,34}\.?(state)?[^/\x00\ud800-\udfff]?", fullmatch=True
)


@settings(max_examples=50)
@given(names=st.sets(NAMES.filter(lambda name: name not in (".", "..") and len(name.encode()) < 200), max_size=8))
def test_whatever_the_names_of_other_files_are(names: set[str]) -> None:
    others = {name for name in names if not re.fullmatch(r"[0-9a-f]{32}\.state", name)}
    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        patch.setattr(prefixes, "_ROOM", 1000)
        folder = Path(place) / "model"
        theirs = strangers(folder, names=others)
        kept = prefixes.Prefixes(folder)
        for n in range(8):
            kept_at(kept, str(n), 1000)
        prefixes.forget(Path(place))
        assert {path: path.read_bytes() for path in folder.iterdir()} == theirs


def test_old_states_of_models_that_answer_no_more_are_forgotten(tmp_path: Path) -> None:
    home = tmp_path / "prefixes"
    theirs = strangers(home / "one", home / "two", home / "two" / "below", home, tmp_path)
    one, two = prefixes.Prefixes(home / "one"), prefixes.Prefixes(home / "two")
    now = time.time()
    month = 30 * 86_400
    old = [kept_at(one, "a", now - month - 60), kept_at(two, "a", 1000)]
    rest = [kept_at(one, "b", now - month + 60), kept_at(two, "b", now)]
    rest += [kept_at(prefixes.Prefixes(place), "c", 1000) for place in (home / "two" / "below", home, tmp_path)]
    prefixes.forget(home)
    assert not any(path.exists() for path in old) and all(path.exists() for path in rest)
    assert {path: path.read_bytes() for path in theirs} == theirs
    prefixes.forget(tmp_path / "nowhere")
    prefixes.forget(tmp_path / "items.csv")


def test_a_harmed_state_that_cannot_be_removed_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = prefixes.Prefixes(tmp_path)
    kept_at(kept, "a", 1000).write_bytes(b"harmed")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(Path, "unlink", refuse)
    assert kept.load("a") is None
