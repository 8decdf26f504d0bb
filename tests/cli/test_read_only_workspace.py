"""A read-only workspace through the command line: browsed as ever, answered from what is stored, told what is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from read_only import read_only
from samples import Ran

Cli = Callable[..., Ran]
FEW = ("-k", "2", "--candidates", "3", "--json")


@pytest.fixture
def home(cli: Cli, shop: tuple[Path, Path], models: Path, tmp_path: Path) -> Path:
    assert cli("models", "use", "--model", models / "text.gguf", "--mmproj", models / "eyes.gguf").code == 0
    assert cli("ingest", *shop, "--max-captions", "3").code == 0
    return tmp_path / "home"


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_all_that_only_reads_works_and_all_that_changes_says_why_not(cli: Cli, home: Path, shop: tuple[Path, Path]):
    reading = [("users",), ("items", "film"), ("status",), ("status", "--rejects"), ("adapters", "list"),
               ("models", "list"), ("similar", "i1")]  # fmt: skip
    list_of, because = cli("recommend", "u5", *FEW).json, cli("explain", "u5", "i10", *FEW).json
    before = {command: cli(*command, "--json") for command in reading}
    assert all(ran.code == 0 for ran in before.values())
    files = content(home)
    with read_only(home):
        for command, ran in before.items():
            again = cli(*command, "--json")
            assert again.code == 0, again.err
            assert again.json == ran.json
        stored = cli("recommend", "u5", *FEW)
        assert stored.code == 0 and stored.json["items"] == list_of["items"], stored.err
        assert stored.json["summary"] == list_of["summary"] and "is read-only" in stored.err
        told = cli("explain", "u5", "i10", *FEW)
        assert told.code == 0 and told.json["evidence"] == because["evidence"]
        new = cli("recommend", "u1", *FEW)  # nothing is stored of this user
        assert new.code == 0 and len(new.json["items"]) == 2 and "not kept" in new.err
        assert cli("recommend", "--history", "i1,i2", *FEW).code == 0
        for command in (
            ("ingest", *shop), ("adapters", "use", "none"), ("models", "use", "embedded"),
            ("recommend", "--all", "--out", home.parent / "all.csv"),
        ):  # fmt: skip
            ran = cli(*command)
            assert ran.code == 1 and "read-only" in ran.err and "Next:" in ran.err, (command, ran.err)
    assert content(home) == files
