"""The registry of adapters on real folders and real SQLite, with kills at every move."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from adapter_samples import manifest, staged
from hypothesis import given
from hypothesis import strategies as st

from msr_local.errors import InputError, ModelError, NotFoundError
from msr_local.models import registry
from msr_local.store import runs
from msr_local.store.workspace import Workspace

OTHER = {"adapter": b"GGUF another lora"}


def put(workspace: Workspace, name: str = "first", **more: Any) -> Path:
    return registry.register(workspace, *staged(workspace.home, name, **more))


def listed(workspace: Workspace) -> dict[str, str | None]:
    return {one.name: problem for one, problem in registry.list_adapters(workspace)}


def rewrite(place: Path, **more: Any) -> None:
    file = place / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | more))


# Registering and finding


def test_an_adapter_is_moved_to_its_place_and_found(workspace):
    place, made = staged(workspace.home)
    target = registry.register(workspace, place, made)
    assert target == registry.folder(workspace, "first") == workspace.home / "adapters" / "first"
    assert not place.exists()
    assert sorted(file.name for file in target.iterdir()) == ["adapter.gguf", "manifest.json", "merged.gguf"]
    assert registry.find(workspace, "first") == made
    assert registry.list_adapters(workspace) == [(made, None)]
    registry.check(workspace, made, {})
    row = runs.adapter(workspace, "first")
    assert (row.run_id, row.base, row.base_sha256, row.manifest) == ("r1", "embedded", "ab", made.to_json())


def test_the_row_is_there_at_once_and_the_lock_is_free(workspace):
    put(workspace)
    with Workspace(workspace.home) as other:
        assert [row.name for row in runs.adapters(other)] == ["first"]
        other.set_setting("x", 1)


def test_a_new_adapter_takes_the_place_of_the_old_one(workspace):
    put(workspace)
    registry.activate(workspace, "first")
    put(workspace, content=OTHER, run_id="r2")
    assert sorted(file.name for file in registry.folder(workspace, "first").iterdir()) == [
        "adapter.gguf", "manifest.json",
    ]  # fmt: skip
    assert registry.find(workspace, "first").run_id == runs.adapter(workspace, "first").run_id == "r2"
    assert registry.active(workspace) == ("first", "adapter")
    assert listed(workspace) == {"first": None}
    assert [place.name for place in (workspace.home / "adapters").iterdir()] == ["first"]


def test_registering_again_after_a_kill_behind_the_move_is_harmless(workspace):
    place, made = staged(workspace.home)
    registry.register(workspace, place, made)
    runs.delete_adapter(workspace, "first")
    assert registry.register(workspace, place, made) == registry.folder(workspace, "first")
    assert runs.adapter(workspace, "first") is not None


@pytest.mark.parametrize("harm", ["missing", "short", "nothing"])
def test_what_is_not_complete_is_not_registered(workspace, harm):
    put(workspace, run_id="old")
    place, made = staged(workspace.home)
    if harm == "missing":
        (place / "merged.gguf").unlink()
    elif harm == "short":
        (place / "merged.gguf").write_bytes(b"GG")
    else:
        shutil.rmtree(place)
    with pytest.raises(ModelError, match=r"\.gguf.*Next:"):
        registry.register(workspace, place, made)
    assert registry.find(workspace, "first").run_id == "old"
    assert listed(workspace) == {"first": None}


def test_numbers_that_are_none_do_not_spoil_a_manifest(workspace):
    put(workspace, metrics={"after": {"auc": {"value": float("nan"), "ci95": (0.1, float("inf"))}}})
    text = (registry.folder(workspace, "first") / "manifest.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail)["metrics"] == {
        "after": {"auc": {"value": None, "ci95": [0.1, None]}}
    }


def test_an_unknown_adapter_is_not_found_and_near_names_are_shown(workspace):
    put(workspace, "movies-r16")
    put(workspace, "unlike")
    with pytest.raises(NotFoundError, match=r"'movies-r8'. Did you mean movies-r16\? Next: msr-local adapters list"):
        registry.find(workspace, "movies-r8")
    with pytest.raises(NotFoundError):
        registry.remove(workspace, "movies-r8")
    with pytest.raises(NotFoundError):
        registry.activate(workspace, "movies-r8")


# Names and manifests from elsewhere


@given(st.text() | st.from_regex(r"[\w./\\~:-]+") | st.sampled_from(["..", ".", "a/b", "/etc", "None", "a\n", "C:x"]))
def test_no_name_leads_out_of_the_folder(name):
    root = Path("/home/adapters")
    try:
        good = registry.valid_name(name)
    except InputError as error:
        assert "Next:" in str(error)
        return
    assert good == name
    assert (root / name).parent == root and Path(os.path.normpath(root / name)) == root / name
    assert name[0] not in ".-" and len(name) <= 64 and name.isascii() and name.lower() != "none"


@pytest.mark.parametrize("name", ["first", "movies_2026-10.v1", "A", "9", "x" * 64, "_", "nones"])
def test_usual_names_are_good(name):
    assert registry.valid_name(name) == name


@pytest.mark.parametrize("name", ["../first", "..", ".first.old", "none", "", "a b", "a/../first", "é"])
def test_no_function_takes_a_bad_name(workspace, name):
    put(workspace)
    for act in (registry.find, registry.remove, registry.activate, registry.require, registry.folder):
        if (act, name) == (registry.activate, registry.NONE):
            continue  # the plain model
        with pytest.raises(InputError):
            act(workspace, name)
    with pytest.raises(InputError):
        registry.register(workspace, *staged(workspace.home, name))
    assert listed(workspace) == {"first": None}


@pytest.mark.parametrize("file", ["../a", "/etc/passwd", "a/b", "..", ".", "", "a\\b", "C:b", "a\0", "manifest.json"])
def test_files_outside_the_folder_are_refused(workspace, file):
    place = put(workspace)
    files = json.loads((place / "manifest.json").read_text())["files"]
    files["adapter"]["file"] = file
    rewrite(place, files=files)
    with pytest.raises(ModelError, match="no plain file name"):
        registry.find(workspace, "first")
    with pytest.raises(ModelError, match="no plain file name"):
        registry.register(workspace, *staged(workspace.home, "second", files=files))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 5000,
        b'{"format": 1}',
        b'{"format": 2}',
        b"1" * 9000,
        b'{"format": NaN}',
    ],
)
def test_a_broken_manifest_is_listed_with_its_problem_and_can_be_removed(workspace, text):
    put(workspace)
    place = put(workspace, "second")
    (place / "manifest.json").write_bytes(text)
    assert str(place / "manifest.json") in listed(workspace)["second"]
    assert listed(workspace)["first"] is None
    assert [row.name for row in runs.adapters(workspace)] == ["first"]
    with pytest.raises(ModelError, match=r"manifest\.json.*Next:"):
        registry.find(workspace, "second")
    registry.remove(workspace, "second")
    assert listed(workspace) == {"first": None} and not place.exists()


def test_a_folder_without_a_manifest_is_no_adapter(workspace):
    root = workspace.home / "adapters"
    for name in ("half", ".hidden", "none", "a b", "..old", ".x.gone.part"):
        (root / name).mkdir(parents=True)
    (root / "file").write_text("x")
    (root / ".file.old").write_text("x")
    assert listed(workspace) == {}
    with pytest.raises(NotFoundError):
        registry.find(workspace, "half")
    with pytest.raises(NotFoundError):
        registry.find(workspace, "file")
    assert len(list(root.iterdir())) == 8  # and nobody else's files are touched


def test_a_copied_folder_is_not_another_adapter(workspace):
    shutil.copytree(put(workspace), workspace.home / "adapters" / "copy")
    with pytest.raises(ModelError, match="it belongs to adapter 'first'"):
        registry.find(workspace, "copy")


# Checks


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda file: file.unlink(), "it is missing"),
        (lambda file: file.write_bytes(b"GGUF"), "4 bytes instead of 17"),
        (lambda file: file.write_bytes(file.read_bytes()[:-1] + b"X"), "the content differs"),
    ],
    ids=["missing", "size", "content"],
)
def test_files_that_are_not_the_manifests_are_refused(workspace, harm, reason):
    file = put(workspace) / "merged.gguf"
    made = registry.find(workspace, "first")
    registry.check(workspace, made, {})
    harm(file)
    with pytest.raises(ModelError, match=rf"{file}: .*\({reason}\)\. Next:"):
        registry.check(workspace, made, {})
    assert reason in listed(workspace)["first"]


def test_other_prompts_are_refused(workspace):
    put(workspace, prompts={"score": "aa", "extra": "bb"})
    made = registry.find(workspace, "first")
    registry.check(workspace, made, {"score": "aa", "extra": "bb", "more": "cc"})
    for active in ({"score": "changed", "extra": "bb"}, {"extra": "bb"}):
        with pytest.raises(ModelError, match=r"adapter first .*version of the prompt 'score'.*prompts/score\.j2"):
            registry.check(workspace, made, active)


def test_another_base_is_refused():
    blind = manifest()
    registry.check_base(blind, "ab", None)
    registry.check_base(blind, "ab", "any")
    with pytest.raises(ModelError, match=r"adapter first .*another model.*Next:"):
        registry.check_base(blind, "cd", None)
    seeing = manifest(base=blind.base | {"mmproj": "/e.gguf", "mmproj_sha256": "ef"})
    registry.check_base(seeing, "ab", "ef")
    for eyes in ("other", None):
        with pytest.raises(ModelError, match="another projector"):
            registry.check_base(seeing, "ab", eyes)


# The active one


def test_an_adapter_is_activated_in_one_of_its_forms(workspace):
    assert registry.active(workspace) is None
    put(workspace)
    registry.activate(workspace, "first", "merged")
    assert registry.active(workspace) == ("first", "merged")
    with pytest.raises(ModelError, match=r"no file for --form mmproj.*--form adapter or merged"):
        registry.activate(workspace, "first", "mmproj")
    assert registry.active(workspace) == ("first", "merged")
    registry.activate(workspace, None)
    assert registry.active(workspace) is None


def test_removing_takes_files_row_and_choice(workspace):
    put(workspace)
    put(workspace, "second")
    registry.activate(workspace, "second")
    registry.remove(workspace, "first")
    assert registry.active(workspace) == ("second", "adapter")
    registry.remove(workspace, "second")
    assert registry.active(workspace) is None
    assert list((workspace.home / "adapters").iterdir()) == runs.adapters(workspace) == []


# Kills


class Killed(BaseException):
    pass


@pytest.fixture
def dies(monkeypatch):
    """From its n-th move or deletion on, the process can do no more: as after a SIGKILL there."""

    def arm(patch: pytest.MonkeyPatch, n: int) -> list[str]:
        calls: list[str] = []

        def deadly(name: str, real: Any) -> Any:
            def call(*arguments: Any, **named: Any) -> Any:
                calls.append(name)
                if len(calls) >= n:
                    raise Killed
                return real(*arguments, **named)

            return call

        for module, name in ((os, "rename"), (os, "replace"), (shutil, "rmtree")):
            patch.setattr(module, name, deadly(name, getattr(module, name)))
        patch.setattr(runs, "save_adapter", deadly("save", runs.save_adapter))
        patch.setattr(runs, "delete_adapter", deadly("delete", runs.delete_adapter))
        return calls

    return arm


@pytest.mark.parametrize("before", [False, True], ids=["new", "replacing"])
@pytest.mark.parametrize("n", range(1, 8))
@pytest.mark.parametrize("look", ["list", "find", "register"])
def test_a_kill_while_registering_leaves_a_whole_adapter_or_none(workspace, dies, before, n, look):
    if before:
        put(workspace, run_id="old")
    place, made = staged(workspace.home, content=OTHER, run_id="new")
    with pytest.MonkeyPatch.context() as patch:
        calls = dies(patch, n)
        try:
            registry.register(workspace, place, made)
            assert len(calls) < n
        except Killed:
            pass
    with Workspace(workspace.home) as later:
        found = listed(later) if look == "list" else {}
        if look == "find":
            try:
                found = {"first": None} if registry.find(later, "first") else {}
            except NotFoundError:
                found = {}
        if look == "register":
            registry.register(later, place, made)
            assert registry.find(later, "first").run_id == "new"
            found = listed(later)
        assert found == ({"first": None} if before or not place.exists() else {})
        assert listed(later) == found
        assert [row.name for row in runs.adapters(later)] == list(found)
        for name in found:
            whole = registry.find(later, name)
            assert whole.run_id == ("old" if place.exists() else "new")
            registry.check(later, whole, {})
            assert runs.adapter(later, name).manifest == whole.to_json()
        assert {one.name for one in (later.home / "adapters").iterdir()} == set(found)
        registry.register(later, place, made)
        assert registry.find(later, "first").run_id == "new"


@pytest.mark.parametrize("n", range(1, 5))
def test_a_kill_while_removing_leaves_it_whole_or_gone(workspace, dies, n):
    put(workspace)
    registry.activate(workspace, "first")
    with pytest.MonkeyPatch.context() as patch:
        calls = dies(patch, n)
        try:
            registry.remove(workspace, "first")
            assert len(calls) < n
        except Killed:
            pass
    with Workspace(workspace.home) as later:
        assert registry.active(later) is None
        found = listed(later)
        assert found in ({}, {"first": None}) and bool(found) == (n == 1)
        assert [row.name for row in runs.adapters(later)] == list(found)
        assert {one.name for one in (later.home / "adapters").iterdir()} == set(found)


@pytest.mark.parametrize("n", range(1, 6))
def test_a_real_sigkill_at_a_move(tmp_path, n):
    home = tmp_path / "home"
    script = (
        "import os, shutil, signal, sys\nfrom pathlib import Path\nfrom adapter_samples import staged\n"
        "from msr_local.store.workspace import Workspace\nfrom msr_local.models import registry\n"
        "home, n, calls = Path(sys.argv[1]), int(sys.argv[2]), []\n"
        "workspace = Workspace(home)\nregistry.register(workspace, *staged(home, run_id='old'))\n"
        "def deadly(real):\n"
        "    def call(*a, **k):\n"
        "        calls.append(real)\n"
        "        if len(calls) == n: os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return real(*a, **k)\n"
        "    return call\n"
        "place, made = staged(home, run_id='new')\n"
        "os.rename, os.replace, shutil.rmtree = map(deadly, (os.rename, os.replace, shutil.rmtree))\n"
        "registry.register(workspace, place, made)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    ran = subprocess.run([sys.executable, "-c", script, home, str(n)], env=environment, capture_output=True, text=True)
    assert ran.returncode == (-9 if n <= 4 else 0), ran.stderr
    with Workspace(home) as later:
        assert listed(later) == {"first": None}
        registry.check(later, registry.find(later, "first"), {})
        assert registry.find(later, "first").run_id == ("old" if n <= 3 else "new")
        assert [place.name for place in (home / "adapters").iterdir()] == ["first"]


def test_a_move_that_fails_leaves_the_old_adapter(workspace, monkeypatch):
    put(workspace, run_id="old")
    place, made = staged(workspace.home, run_id="new")
    real = os.rename

    def crossing(source, target):
        if Path(source) == place:
            raise OSError(18, "Invalid cross-device link", str(source))
        real(source, target)

    monkeypatch.setattr(os, "rename", crossing)
    with pytest.raises(OSError, match="cross-device"):
        registry.register(workspace, place, made)
    assert (registry.folder(workspace, "first") / "manifest.json").exists()
    assert registry.find(workspace, "first").run_id == "old"
    assert not workspace.db.conn.in_transaction


def test_folders_brought_or_taken_by_hand_are_indexed_or_forgotten(workspace, tmp_path):
    put(workspace)
    away = tmp_path / "away"
    registry.folder(workspace, "first").rename(away)
    assert listed(workspace) == {} and runs.adapters(workspace) == []
    away.rename(registry.folder(workspace, "first"))
    rewrite(registry.folder(workspace, "first"), run_id="\ud800\0elsewhere")
    assert listed(workspace) == {"first": None}
    assert runs.adapter(workspace, "first").run_id == "\ufffd\ufffdelsewhere"


def test_looking_takes_no_lock(workspace):
    put(workspace)
    assert listed(workspace) == {"first": None}
    with Workspace(workspace.home) as other, other.write():
        assert listed(workspace) == {"first": None}
        assert registry.find(workspace, "first")


def test_one_process_reads_while_another_replaces(workspace):
    """A reader never meets the gap between the two moves."""
    script = (
        "import sys\nfrom pathlib import Path\nfrom adapter_samples import staged\n"
        "from msr_local.store.workspace import Workspace\nfrom msr_local.models import registry\n"
        "home = Path(sys.argv[1])\n"
        "with Workspace(home) as workspace:\n"
        "    for turn in range(40):\n"
        "        registry.register(workspace, *staged(home, run_id=str(turn)))\n"
    )
    put(workspace)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen([sys.executable, "-c", script, workspace.home], env=environment) as writer:
        try:
            while writer.poll() is None:
                assert registry.find(workspace, "first").name == "first"
        finally:
            writer.terminate()
    assert writer.returncode == 0
    assert listed(workspace) == {"first": None}


def test_nothing_heavy_is_imported():
    script = "import sys, msr_local.models.registry; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "peft", "llama_cpp", "jinja2"} & set(ran.stdout.split())
