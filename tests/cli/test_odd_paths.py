"""Names of files and folders that are not UTF-8: what is there is read, what is written has the name that was given."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow
from samples import Ran

from msr_local.files import written_whole
from msr_local.store import histories
from msr_local.store.workspace import Workspace
from msr_local.text import name_of, storable, storable_path

Cli = Callable[..., Ran]


@given(st.binary(min_size=1).filter(lambda name: b"\0" not in name))
def test_any_path_comes_back_as_it_was(name: bytes) -> None:
    path = os.fsdecode(name)
    assert os.fsdecode(storable_path(path)) == path
    assert name_of(path) == storable(name_of(path))


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    folder = tmp_path / os.fsdecode(b"gesch\xe4ft \xff")
    try:
        (folder / os.fsdecode(b"bild\xe9r")).mkdir(parents=True)
    except OSError:
        pytest.skip("this file system knows UTF-8 only")
    return folder


def test_files_pictures_and_workspaces_of_such_names(cli: Cli, odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items, steps, pictures = (
        odd / os.fsdecode(b"st\xfccke.csv"),
        odd / os.fsdecode(b"k\xe4ufe.csv"),
        next(odd.iterdir()),
    )
    lines = [f"i{n},Thing {n}," for n in range(4)]
    Pillow.new("RGB", (40, 30), (90, 5, 6)).save(pictures / "i0.png")
    (pictures / os.fsdecode(b"\xff.png")).write_bytes((pictures / "i0.png").read_bytes())
    (pictures / "i3.png").write_bytes(b"no picture")
    items.write_text("\n".join(["item_id,title,image", *lines, "i2,Other,"]) + "\n")
    steps.write_text("user_id,item_id,timestamp\n" + "".join(f"u{n % 2},i{n},100000000{n}\n" for n in range(4)))
    home = odd / os.fsdecode(b"\xfeneu")
    told = ("--home", home, "ingest", items, steps, "--images", pictures, "--no-captions", "--json")
    for _ in range(2):
        ran = cli(*told)
        assert ran.code == 3, ran.err
        assert ran.json["images"] == {"usable": 1, "rejected": 1} and ran.json["items"]["rejected"] == 1
    with Workspace(home) as workspace:
        (pictured,) = histories.items_with_image(workspace)
        assert pictured.image == pictures / "i0.png" and histories.pictures(workspace)[0][0] == str(pictured.image)
        rejected = histories.rejects(workspace, files=[items])
        assert [one["line"] for one in rejected] == [5, 6] and all("\\xfccke.csv" in one["file"] for one in rejected)
    for command in (("items", "--json"), ("items",), ("status",), ("status", "--rejects", "--json")):
        assert cli("--home", home, *command).code == 0
    with written_whole(home / os.fsdecode(b"\xe0lle.csv")) as part:
        part.touch()
    assert b"\xe0lle.csv" in {os.fsencode(one.name) for one in home.iterdir()}
    page = cli(f"--home={home}", "status", "--json")
    assert page.code == 0 and page.json["items"] == 4
    monkeypatch.chdir(odd)
    assert cli("--home", os.path.join(".", os.fsdecode(b"\xfdhere")), "users").code == 0  # noqa: PTH118
    assert {os.fsencode(one.name) for one in odd.iterdir()} == {
        b"st\xfccke.csv", b"k\xe4ufe.csv", b"bild\xe9r", b"\xfeneu", b"\xfdhere",
    }  # fmt: skip
    refused = cli("--home", home, "recommend", os.fsdecode(b"caf\xe9"))
    assert refused.code == 1 and "there is no user 'caf\ufffd'" in refused.err
