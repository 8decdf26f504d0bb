"""Models from a hub on loopback: pulled, kept, resumed, compared, listed, deleted; and what is refused."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import loopback_hub
import pytest
from loopback_hub import COMMIT, GATED, MODEL, PRIVATE, Hub
from read_only import read_only
from samples import Ran

from msr_local import Asking, Workspace, cast
from msr_local.errors import FileError, ModelError
from msr_local.models import hub, own_aliases
from msr_local.models.choice import chosen_model
from msr_local.models.find import find

Cli = Callable[..., Ran]
TOKEN = "hf_secretsecretsecret"
WEIGHTS = 500_000  # values in each stub


def fetched(served: Hub) -> list[str]:
    """The files that were asked for, with the range where one was."""
    asked = [line.split("/resolve/")[1] for line in served.asked if line.startswith("GET") and "/resolve/" in line]
    return [line.partition("/")[2] for line in asked]


def leftovers(home: Path) -> list[str]:
    return [path.name for path in home.rglob("*.incomplete")]


# ---- the way it goes


def test_a_model_is_pulled_used_and_asked_for_without_the_hub(
    cli: Cli, workspace: Workspace, served: Hub, home: Path, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dry = cli("models", "pull", f"{MODEL}:q8_0", "--dry-run", "--json")
    assert dry.json["to_download"] == dry.json["bytes"] > WEIGHTS and fetched(served) == [] and not home.exists()
    ran = cli("models", "pull", f"{MODEL}:q8_0", "--use", "--json")
    assert ran.code == 0, ran.err
    place = home / "models--tiny--llama" / "snapshots" / COMMIT
    assert (ran.json["commit"], ran.json["licence"], ran.json["used"]) == (COMMIT, "mit", True)
    assert ran.json["model"] == str(place / "tiny-Q8_0.gguf")
    assert chosen_model(workspace) == {name: ran.json[name] for name in ("model", "mmproj")}
    assert (place / "mmproj-tiny-F16.gguf").read_bytes() == (published / "mmproj-tiny-F16.gguf").read_bytes()
    assert (place / "tiny-Q8_0.gguf").readlink().parts[:3] == ("..", "..", "blobs")
    assert sorted(fetched(served)) == ["mmproj-tiny-F16.gguf", "tiny-Q8_0.gguf"]
    assert f"Bearer {TOKEN}" in served.tokens and TOKEN not in ran.out + ran.err
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    for spec in (
        MODEL,
        f"{MODEL}:Q8_0",
        f"hf.co/{MODEL}",
        f"hf://{MODEL}@{COMMIT}/tiny-Q8_0.gguf",
        f"hf://{MODEL}@main",
    ):
        config = cast(workspace, Asking(model=spec)).config
        assert (config.model, config.projector) == (place / "tiny-Q8_0.gguf", place / "mmproj-tiny-F16.gguf")
    assert cli("models", "pull", f"{MODEL}:Q8_0", "--offline", "--json").json["model"] == ran.json["model"]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert cli("models", "pull", f"{MODEL}:Q8_0", "--json").json["model"] == ran.json["model"]
    named = cli("models", "pull", f"{MODEL}:Q8_0", "--mmproj", "mmproj-tiny-F16.gguf", "--json")
    assert named.json["mmproj"] == ran.json["mmproj"]
    assert "not in the cache" in cli("models", "pull", f"{MODEL}:Q8_0", "--mmproj", "mmproj-x.gguf").err
    gone = cli("models", "pull", f"{MODEL}:Q4_K_M")
    assert gone.code == 1 and "tiny-Q8_0.gguf" in gone.err and "Next:" in gone.err


def test_a_name_of_ones_own_stands_for_a_pulled_model(
    cli: Cli, served: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_aliases, "data_folder", lambda: tmp_path / "data")
    for taken in ("embedded", "smolvlm2-500m", "../x", "A", "x.gguf"):
        assert "cannot be an alias" in cli("models", "pull", f"{MODEL}:Q8_0", "--alias", taken).err
    pulled = cli("models", "pull", f"{MODEL}:Q8_0", "--alias", "mine", "--json")
    assert pulled.code == 0, pulled.err
    assert cli("models", "show", "mine", "--json").json["model"] == pulled.json["model"]
    assert find("mine").model == Path(pulled.json["model"])  # type: ignore[union-attr]
    with pytest.raises(ModelError, match="Did you mean mine"):
        find("mien")


def test_what_is_here_is_not_fetched_again(cli: Cli, served: Hub) -> None:
    assert cli("models", "pull", MODEL).code == 0
    before = fetched(served)
    again = cli("models", "pull", MODEL, "--json")
    assert again.json["to_download"] == 0 and fetched(served) == before


def test_a_split_model_comes_whole(cli: Cli, served: Hub, home: Path) -> None:
    ran = cli("models", "pull", f"{MODEL}:F16", "--json")
    assert [Path(one["file"]).name for one in ran.json["files"]] == [
        "tiny-F16-00001-of-00002.gguf", "tiny-F16-00002-of-00002.gguf", "mmproj-tiny-F16.gguf",
    ]  # fmt: skip
    assert Path(ran.json["model"]).with_name("tiny-F16-00002-of-00002.gguf").exists()


def test_the_shared_cache_is_one_that_the_library_reads(cli: Cli, served: Hub, home: Path) -> None:
    from huggingface_hub import scan_cache_dir, try_to_load_from_cache

    assert cli("models", "pull", f"{MODEL}:Q8_0").code == 0
    (repository,) = scan_cache_dir(home).repos
    assert (repository.repo_id, [one.commit_hash for one in repository.revisions]) == (MODEL, [COMMIT])
    assert try_to_load_from_cache(MODEL, "tiny-Q8_0.gguf", cache_dir=home)


def test_a_pulled_model_with_its_projector_captions_and_recommends(
    cli: Cli, served: Hub, models: Path, shop: tuple[Path, Path], tmp_path: Path
) -> None:
    served.folder = tmp_path / "real"
    served.folder.mkdir()
    for name, source in (("tiny-F32.gguf", "text.gguf"), ("mmproj-tiny-F32.gguf", "eyes.gguf")):
        (served.folder / name).symlink_to(models / source)
    assert cli("models", "pull", MODEL, "--use").code == 0
    verified = cli("models", "verify", "--json").json
    assert verified["vision"] and verified["file"].endswith(f"snapshots/{COMMIT}/tiny-F32.gguf")
    assert cli("ingest", *shop, "--json").json["captions"]["made"] == 12
    assert len(cli("recommend", "u0", "-k", "3", "--json").json["items"]) == 3


# ---- what goes wrong


def test_a_cut_connection_is_taken_up_where_it_broke(cli: Cli, served: Hub, published: Path) -> None:
    served.cut.add("tiny-Q8_0.gguf")
    assert cli("models", "pull", f"{MODEL}:Q8_0", "--mmproj", "none").code == 0
    first, second = fetched(served)
    assert first == "tiny-Q8_0.gguf" and second.startswith("tiny-Q8_0.gguf bytes=")
    assert int(second.split("=")[1][:-1]) == (published / "tiny-Q8_0.gguf").stat().st_size // 2


def test_other_bytes_than_the_hub_describes_are_refused_and_deleted(cli: Cli, served: Hub, home: Path) -> None:
    served.wrong.add("tiny-Q8_0.gguf")
    ran = cli("models", "pull", f"{MODEL}:Q8_0", "--use")
    assert ran.code == 1 and "not what the hub describes" in ran.err and "Next:" in ran.err
    assert leftovers(home) == [] and not list(home.rglob("tiny-Q8_0.gguf"))
    served.wrong.clear()
    assert cli("models", "pull", f"{MODEL}:Q8_0").code == 0


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (GATED, "is gated: its terms have to be accepted"),
        (PRIVATE, "HF_TOKEN"),
        ("tiny/none", "no such repository on the hub, or it is private"),
        (f"hf://{MODEL}@v9", "has no revision v9"),
        (
            f"{MODEL}:Q2_K",
            "but big/tiny-F16-00001-of-00002.gguf, tiny-Q4_K_M.gguf, tiny-Q8_0.gguf",
        ),
        (f"hf://{MODEL}/other.gguf", "no such model there"),
        (f"hf://{MODEL}/mmproj-tiny-F16.gguf", "no such model there"),
        (f"hf://{MODEL}/big/tiny-F16-00002-of-00002.gguf", "no such model there"),
        ("model.gguf", "on this machine, not on a hub"),
    ],
)
def test_what_a_hub_refuses_is_said_with_the_next_step(cli: Cli, served: Hub, home: Path, spec: str, said: str) -> None:
    ran = cli("models", "pull", spec)
    assert ran.code == 1 and said in ran.err and "Next:" in ran.err
    assert TOKEN not in ran.out + ran.err and not list(home.rglob("*.gguf"))


def test_a_missing_projector_is_said(cli: Cli, served: Hub, published: Path, tmp_path: Path) -> None:
    ran = cli("models", "pull", MODEL, "--mmproj", "mmproj-other.gguf")
    assert ran.code == 1 and "no mmproj-other.gguf there, but mmproj-tiny-F16.gguf" in ran.err
    served.folder = tmp_path / "blind"
    served.folder.mkdir()
    shutil.copy(published / "tiny-Q8_0.gguf", served.folder)
    ran = cli("models", "pull", MODEL, "--json")
    assert ran.code == 0 and ran.json["mmproj"] is None and "it sees no pictures" in ran.err
    (served.folder / "tiny-Q8_0.gguf").rename(served.folder / "weights.bin")
    assert "has no GGUF file" in cli("models", "pull", MODEL).err


def test_a_disk_that_is_too_small_is_said_before_the_download(
    cli: Cli, served: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10**6}))
    ran = cli("models", "pull", MODEL)
    assert ran.code == 1 and "are to be downloaded, and 0.00 GB are free" in ran.err and "HF_HUB_CACHE" in ran.err
    assert fetched(served) == []


def test_a_hub_that_cannot_be_reached(cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"http://someone:{TOKEN}@127.0.0.1:9")
    ran = cli("models", "pull", MODEL)
    assert ran.code == 1 and "the hub cannot be reached" in ran.err and TOKEN not in ran.err
    ran = cli("models", "pull", MODEL, "--offline")
    assert ran.code == 1 and "not on this machine" in ran.err


@pytest.mark.parametrize("place", ["/api/", f"/{MODEL}/resolve/"])
@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_hub_is_asked_again(cli: Cli, served: Hub, place: str, status: int) -> None:
    served.busy = [(place, status)] * 2
    assert cli("models", "pull", f"{MODEL}:Q8_0").code == 0 and not served.busy
    served.busy = [("/api/", status)] * 9
    ran = cli("models", "pull", f"{MODEL}:Q4_K_M")
    assert ran.code == 1 and f"{status}" in ran.err and "run the same command again" in ran.err
    assert 0 < len(served.busy) < 9


@pytest.mark.parametrize("page", ["<html>Log in to the hotel</html>", "[]", "{}", '{"id": "a/b", "siblings": [1]}', ""])
def test_what_is_no_answer_of_a_hub_is_told(cli: Cli, served: Hub, page: str) -> None:
    served.page = page
    ran = cli("models", "pull", MODEL)
    assert ran.code == 1 and "no answer of a model hub" in ran.err and "Next: check HF_ENDPOINT" in ran.err


def test_a_token_that_no_hub_gives_is_told(cli: Cli, served: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_\xf6")
    ran = cli("models", "pull", MODEL)
    assert ran.code == 1 and "Next: check HF_ENDPOINT and HF_TOKEN" in ran.err


def test_more_bytes_than_the_hub_describes_are_not_waited_for(
    cli: Cli, served: Hub, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = loopback_hub.described
    monkeypatch.setattr(loopback_hub, "described", lambda *given: real(*given) | {"size": 10})
    served.slow = 20.0  # before the second half
    began = time.monotonic()
    ran = cli("models", "pull", f"{MODEL}:Q8_0")
    assert ran.code == 1 and "of 10 bytes" in ran.err and leftovers(home) == []
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("path", ["../../x.gguf", "/etc/x.gguf", "a/../../x.gguf", "a\\..\\x.gguf"])
def test_a_hub_cannot_lead_out_of_the_cache(
    served: Hub, home: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = loopback_hub.described
    monkeypatch.setattr(loopback_hub, "described", lambda *given: real(*given) | {"rfilename": path})
    with pytest.raises(ModelError, match="in a way that cannot be"):
        hub.plan(MODEL)


def test_two_pulls_at_once_fetch_once(served: Hub, home: Path) -> None:
    served.slow = 0.5
    said: list[str] = []
    found: list[object] = []

    def work() -> None:
        found.append(hub.pull(hub.plan(f"{MODEL}:Q8_0", "none"), note=said.append))

    both = [threading.Thread(target=work) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert len(found) == 2 and found[0] == found[1]
    assert fetched(served) == ["tiny-Q8_0.gguf"] and any("Another process" in line for line in said)


def test_ctrl_c_keeps_what_came_and_the_next_pull_goes_on(served: Hub, home: Path, tmp_path: Path) -> None:
    served.slow = 30.0
    command = [sys.executable, "-m", "msr_local", "models", "pull", f"{MODEL}:Q8_0", "--mmproj", "none"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as running:
        deadline = time.monotonic() + 60
        while not any(path.stat().st_size for path in home.rglob("*.incomplete")) and time.monotonic() < deadline:
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=30)
    assert running.returncode == 130 and "What was done is kept" in err
    kept = next(home.rglob("*.incomplete")).stat().st_size
    assert kept > 0
    served.slow = 0.0
    hub.pull(hub.plan(f"{MODEL}:Q8_0", "none"))
    assert fetched(served)[-1] == f"tiny-Q8_0.gguf bytes={kept}-"


def test_a_split_model_that_lacks_a_part_on_the_hub(cli: Cli, served: Hub, published: Path, tmp_path: Path) -> None:
    served.folder = tmp_path / "part"
    served.folder.mkdir()
    shutil.copy(published / "big" / "tiny-F16-00001-of-00002.gguf", served.folder)
    ran = cli("models", "pull", MODEL)
    assert ran.code == 1 and "tiny-F16-00002-of-00002.gguf, a part of the model, is not there" in ran.err


def test_a_blob_of_another_size_is_fetched_again(cli: Cli, served: Hub, home: Path) -> None:
    assert cli("models", "pull", f"{MODEL}:Q8_0").code == 0
    blob = next(home.rglob("tiny-Q8_0.gguf")).resolve()
    blob.write_bytes(blob.read_bytes()[:-1])
    assert cli("models", "pull", f"{MODEL}:Q8_0", "--json").json["to_download"] > 0
    assert cli("models", "pull", f"{MODEL}:Q8_0", "--json").json["to_download"] == 0


def test_a_full_disk_is_said(served: Hub, home: Path) -> None:
    home.write_text("a file where the cache should be")
    with pytest.raises(FileError, match="cannot be written"):
        hub.pull(hub.plan(MODEL))


def test_a_cache_that_cannot_be_written(cli: Cli, served: Hub, home: Path) -> None:
    home.mkdir()
    with read_only(home):
        ran = cli("models", "pull", f"{MODEL}:Q8_0")
        assert ran.code == 1 and "cannot be written" in ran.err and "set HF_HUB_CACHE" in ran.err
    assert cli("models", "pull", f"{MODEL}:Q8_0").code == 0
    with read_only(home):
        assert cli("models", "pull", f"{MODEL}:Q8_0", "--use").code == 0  # all of it is here
        ran = cli("models", "rm", f"{MODEL}:Q8_0", "--force")
        assert ran.code == 1 and "cannot be deleted" in ran.err
    assert find(f"{MODEL}:Q8_0") is not None
