"""`clean`: what something can still use stays to the last row, all else goes, and a dry run changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from samples import Ran

from msr_local.catalogue.ingest import ingest
from msr_local.engine.fake import FakeEngine
from msr_local.models import choice
from msr_local.prompts import PromptTemplate
from msr_local.recipe.everybody import recommend_to
from msr_local.recipe.recommender import Recommender
from msr_local.store.workspace import Workspace

Cli = Callable[..., Ran]
TABLES = ("captions", "preferences", "past_summaries", "scores", "answers", "lists", "vectors")


@pytest.fixture
def home(shop: tuple[Path, Path], models: Path, tmp_path: Path) -> Path:
    with Workspace(tmp_path / "home") as workspace:
        choice.use_model(workspace, models / "text.gguf", models / "eyes.gguf")
        ingest(workspace, *shop)
        with opened(workspace) as recommender:
            recommender.captions.make(limit=3)
            recommender.recommend("u5", 2, 3)
            recommender.recommend(recommender.stranger(["i1", "i2"]), 2, 3)
            recommend_to(recommender, ["u5"], tmp_path / "lists.csv", 2, 3)
            recommender.vectors.of(recommender.recall.texts())
    (tmp_path / "home" / "prefixes" / ("0" * 16)).mkdir(parents=True)
    (tmp_path / "home" / "prefixes" / ("0" * 16) / f"{'1' * 32}.state").write_bytes(b"of a model before")
    return tmp_path / "home"


def opened(workspace: Workspace) -> Recommender:
    return Recommender(workspace, open_engine=lambda _: FakeEngine())


def rows(home: Path) -> dict[str, list[tuple]]:
    with Workspace(home) as workspace:
        return {table: workspace.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3").fetchall() for table in TABLES}


def states(home: Path) -> set[str]:
    return {path.name for path in (home / "prefixes").rglob("*.state")}


def unused(cli: Cli, *options: str) -> dict[str, int]:
    ran = cli("clean", *options, "--json")
    assert ran.code == 0, ran.err
    return {one["table"]: one["unused"] for one in ran.json["results"] if one["unused"]}


def test_what_is_in_use_stays(cli: Cli, home: Path) -> None:
    before = rows(home)
    assert all(before.values())
    assert unused(cli, "--dry-run") == {"states of prompts": 1} and len(states(home)) == 1
    assert unused(cli) == {"states of prompts": 1} and unused(cli) == {}
    assert rows(home) == before and not states(home)


def test_what_another_prompt_made_goes_and_nothing_else(cli: Cli, home: Path, tmp_path: Path) -> None:
    before = rows(home)
    with Workspace(home) as workspace:
        token = workspace.one("SELECT token FROM revision")
        workspace.execute("UPDATE answers SET settings = NULL")  # an earlier release's
    (home / "prompts").mkdir()
    for name in ("item_caption", "score"):
        text = Path(PromptTemplate(name).path).read_text()
        (home / "prompts" / f"{name}.j2").write_text(text + "\n")
    expected = {"captions": 3, "scores": len(before["scores"]), "lists": 1}
    told = cli("clean", "--dry-run")
    assert told.code == 0 and "Nothing was removed" in told.err and "3" in told.out
    assert f"{len(before['answers'])} results of an earlier release" in told.err
    found = unused(cli, "--dry-run")
    assert {table: found.get(table) for table in expected} == expected and rows(home)["captions"] == before["captions"]
    assert unused(cli) == found
    after = rows(home)
    assert after == {**before, "captions": [], "scores": [], "lists": [], "answers": after["answers"],
                     **{t: after[t] for t in ("preferences", "past_summaries", "vectors")}}  # fmt: skip
    assert len(after["answers"]) == len(before["answers"])
    with Workspace(home) as workspace:
        assert workspace.one("SELECT token FROM revision") == token and workspace.check() == "ok"
    assert unused(cli) == {}
    with Workspace(home) as workspace, opened(workspace) as recommender:  # all of it is made again
        assert recommender.recommend("u5", 2, 3).items
    assert rows(home)["scores"]


def test_another_model_uses_nothing_of_the_one_before(cli: Cli, home: Path, models: Path) -> None:
    with Workspace(home) as workspace:
        choice.use_model(workspace, models / "text.gguf")
    found = unused(cli)
    assert found["captions"] == 3 and not rows(home)["captions"]
    assert len(rows(home)["vectors"]) == 12 - 3  # the texts without captions are as they were


def test_without_its_model_nothing_is_removed(cli: Cli, home: Path, models: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone.gguf"
    gone.write_bytes((models / "text.gguf").read_bytes())
    with Workspace(home) as workspace:
        choice.use_model(workspace, gone)
    gone.unlink()
    before = rows(home)
    ran = cli("clean")
    assert ran.code == 1 and "gone.gguf" in ran.err and "Next:" in ran.err
    assert rows(home) == before


def test_on_a_disk_of_pictures_that_is_not_there_now_captions_stay(
    cli: Cli, home: Path, shop: tuple[Path, Path], tmp_path: Path
) -> None:
    (shop[0].parent / "img").rename(tmp_path / "elsewhere")
    before = rows(home)
    assert "captions" not in unused(cli)
    assert rows(home)["captions"] == before["captions"]
