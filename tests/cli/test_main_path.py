"""ingest -> recommend -> explain through the command line, on the tiny model with eyes."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from adapter_samples import based_on, staged
from PIL import Image as Pillow
from samples import Ran

from msr_local.models import registry
from msr_local.prompts import PromptTemplate
from msr_local.recipes import RECIPES
from msr_local.store.workspace import Workspace

Cli = Callable[..., Ran]


def table(home: Path, sql: str) -> list[tuple]:
    with sqlite3.connect(home / "msr.db") as connection:
        return connection.execute(sql).fetchall()


def dump(home: Path) -> list[str]:
    with sqlite3.connect(home / "msr.db") as connection:
        return list(connection.iterdump())


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def seeing(cli: Cli, models: Path) -> None:
    assert cli("models", "use", "--model", models / "text.gguf", "--mmproj", models / "eyes.gguf").code == 0


def test_ingest_captions_recommend_explain(
    cli: Cli, shop: tuple[Path, Path], home: Path, seeing: None, tmp_path: Path
) -> None:
    done = cli("ingest", *shop, "--json")
    assert done.code == 0, done.err
    assert done.json["items"]["new"] == 12 and done.json["images"] == {"usable": 12, "rejected": 0}
    assert done.json["captions"]["made"] == 12
    assert table(home, "SELECT count(*), min(length(caption)) > 0 FROM captions") == [(12, 1)]

    first = cli("recommend", "u5", "-k", "3", "--candidates", "5", "--json")
    assert first.code == 0, first.err
    answer = first.json
    assert set(answer) == {"user", "summary", "items", "model", "timing", "pictures"}
    assert answer["summary"]
    seen = {item for (item,) in table(home, "SELECT item_id FROM interactions WHERE user_id = 'u5'")}
    assert [item["rank"] for item in answer["items"]] == [1, 2, 3]
    for item in answer["items"]:
        assert item["item_id"] not in seen
        assert item["caption"]
        assert item["p_yes"] == pytest.approx(1 / (1 + math.exp(-item["log_odds"])))
        assert sum(item["shares"].values()) == pytest.approx(1)
    assert answer["items"] == sorted(answer["items"], key=lambda item: -item["score"])
    assert len(answer["model"]["sha256"]) == 64

    again = cli("recommend", "u5", "-k", "3", "--candidates", "5", "--json")
    assert again.json["items"] == answer["items"] and again.json["summary"] == answer["summary"]

    page = tmp_path / "report.html"
    explained = cli("explain", "u5", "--candidates", "5", "--json", "--html", page)
    assert explained.code == 0, explained.err
    evidence = explained.json["evidence"]
    assert {"caption", "image", "summary", "history"} <= {one["kind"] for one in evidence}
    assert any(abs(one["delta_log_odds"]) > 1e-4 for one in evidence)
    assert [block["block"] for block in explained.json["timeline"]] == [0, 1, 2]
    assert sum(len(block["items"]) for block in explained.json["timeline"]) == 9
    assert "<html" in page.read_text() and "data:image/png" in page.read_text()


def test_evidence_is_measured_against_the_others_that_are_listed(
    cli: Cli, shop: tuple[Path, Path], home: Path, seeing: None
) -> None:
    """What each number is, `tests/recipe/test_recommender.py` computes again."""
    cli("ingest", *shop)
    explained = cli("explain", "u4", "--candidates", "4", "--json").json
    stored = dict(table(home, "SELECT item_id, log_odds FROM scores WHERE user_id = 'u4' AND without = ''"))
    assert stored[explained["item_id"]] == pytest.approx(explained["log_odds"])
    assert {one["kind"] for one in explained["evidence"]} == {"caption", "image", "hint", "summary", "history"}
    assert {one["compared_with"] for one in explained["evidence"]} == {3}
    (asked,) = table(home, "SELECT count(*) FROM answers")[0]
    assert cli("explain", "u4", "--candidates", "4", "--json").json["evidence"] == explained["evidence"]
    assert asked == table(home, "SELECT count(*) FROM answers")[0][0] > 0


def test_a_second_ingest_changes_nothing_and_one_more_line_adds_one_row(
    cli: Cli, shop: tuple[Path, Path], home: Path, seeing: None
) -> None:
    cli("ingest", *shop)
    before = dump(home)
    again = cli("ingest", *shop, "--json").json
    assert dump(home) == before
    assert again["items"]["new"] == again["interactions"]["new"] == again["captions"]["made"] == 0
    with shop[1].open("a") as file:
        file.write("u0,i11,1100000000,4\n")
    third = cli("ingest", *shop, "--json").json
    assert third["interactions"]["new"] == 1
    assert len(dump(home)) == len(before) + 1


def test_only_blocks_after_a_new_interaction_are_written_again(
    cli: Cli, shop: tuple[Path, Path], home: Path, seeing: None
) -> None:
    cli("ingest", *shop)
    cli("recommend", "u5", "--candidates", "2")
    before = table(home, "SELECT block, key, created FROM preferences WHERE user_id = 'u5' ORDER BY block")
    assert [row[0] for row in before] == [0, 1, 2]
    with shop[1].open("a") as file:
        file.write("u5,i4,1100000000,4\n")
    cli("ingest", *shop)
    cli("recommend", "u5", "--candidates", "2")
    after = table(home, "SELECT block, key, created FROM preferences WHERE user_id = 'u5' ORDER BY block")
    assert after[:3] == before and [row[0] for row in after] == [0, 1, 2, 3]


def test_changed_pictures_are_captioned_again_and_changed_titles_are_not(
    cli: Cli, shop: tuple[Path, Path], home: Path, seeing: None
) -> None:
    from PIL import Image

    cli("ingest", *shop)
    Image.new("RGB", (64, 64), (1, 2, 3)).save(shop[0].parent / "img/3.png")
    shop[0].write_text(shop[0].read_text().replace("Film 5,", "Another film,"))
    again = cli("ingest", *shop, "--json").json
    assert again["items"]["changed"] == 1
    assert again["captions"] == {"made": 1, "present": 11, "failed": 0, "left": 0}


def test_another_prompt_makes_new_results(cli: Cli, shop: tuple[Path, Path], home: Path, seeing: None) -> None:
    cli("ingest", *shop, "--no-captions")
    before = cli("recommend", "u3", "--candidates", "3", "--json").json
    (home / "prompts").mkdir()
    (home / "prompts/score.j2").write_text(
        "{% block system %}Judge.{% endblock %}{% block shared %}{{ summary }}{% endblock %}"
        "{% block own %}Is {{ candidate }} good?{% endblock %}"
    )
    after = cli("recommend", "u3", "--candidates", "3", "--json").json
    assert after["model"]["prompt_version"] != before["model"]["prompt_version"]
    z = {item["item_id"]: item["log_odds"] for item in before["items"]}
    assert any(item["log_odds"] != pytest.approx(z[item["item_id"]], abs=1e-6) for item in after["items"])
    (home / "prompts/score.j2").write_text("{% block system %}{% endblock %}")
    broken = cli("recommend", "u3")
    assert broken.code == 1 and "score.j2" in broken.err and "shared" in broken.err


def test_recipes_and_direct_summaries(cli: Cli, shop: tuple[Path, Path], home: Path, seeing: None) -> None:
    cli("ingest", *shop)
    kinds = {}
    for recipe in ("full", "paper", "no-image", "history"):
        ran = cli("explain", "u5", "--candidates", "3", "--recipe", recipe, "--json")
        assert ran.code == 0, ran.err
        kinds[recipe] = {one["kind"] for one in ran.json["evidence"]}
    assert kinds["paper"] == {"summary", "caption", "image"}
    assert "summary" not in kinds["history"] and not {"image", "caption"} & kinds["no-image"]
    direct = cli("explain", "u5", "--candidates", "3", "--direct", "--json").json
    assert len(direct["timeline"]) == 1 and len(direct["timeline"][0]["items"]) == 9


def test_images_by_folder(cli: Cli, shop: tuple[Path, Path], home: Path, models: Path, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for i in range(3):
        (shop[0].parent / f"img/{i}.png").rename(pictures / f"i{i}.png")
    items = tmp_path / "items.csv"
    items.write_text("id,name\n" + "".join(f"i{i},Film {i}\n" for i in range(12)))
    done = cli("ingest", items, shop[1], "--images", pictures, "--model", models / "text.gguf", "--json")
    assert done.code == 0 and done.json["images"]["usable"] == 3
    assert "The model has no projector" in done.err  # said once, and the items are described without pictures
    assert done.err.count("The model has no projector") == 1


def test_the_image_column_is_looked_up_in_the_folder_of_images_and_then_beside_the_items(
    cli: Cli, shop: tuple[Path, Path], home: Path, tmp_path: Path
) -> None:
    named = {0: "front.png", 1: "sub/side.png", 2: "img/2.png", 3: "nowhere.png", 4: "../img/4.png"}
    pictures = shop[0].parent / "pictures"
    (pictures / "sub").mkdir(parents=True)
    for i in (0, 1):
        (shop[0].parent / f"img/{i}.png").rename(pictures / named[i])
    (shop[0].parent / "img/5.png").rename(pictures / "i5.png")  # what the row names goes before an id
    rows = (f"i{i},Film {i},{named.get(i, 'front.png' if i == 5 else '')}\n" for i in range(12))
    shop[0].write_text("id,name,image\n" + "".join(rows))
    done = cli("ingest", *shop, "--images", pictures, "--no-captions", "--json")
    assert done.code == 3 and done.json["images"] == {"usable": 3, "rejected": 2}
    found = dict(table(home, "SELECT item_id, image FROM items WHERE image IS NOT NULL"))
    assert found == {
        "i0": str(pictures / "front.png"), "i1": str(pictures / "sub/side.png"),
        "i2": str(shop[0].parent / "img/2.png"), "i5": str(pictures / "front.png"),
    }  # fmt: skip
    reasons = [reason for (reason,) in table(home, "SELECT reason FROM rejects ORDER BY line")]
    assert reasons == [
        f"image 'nowhere.png': no such file in {pictures}",
        f"image '../img/4.png' is outside {pictures}",
    ]


def test_low_ratings_are_kept_apart_and_never_recommended(
    cli: Cli, shop: tuple[Path, Path], home: Path, models: Path
) -> None:
    done = cli("ingest", *shop, "--min-rating", "4", "--no-captions", "--json").json
    low = table(home, "SELECT count(*) FROM low_ratings")[0][0]
    assert low == done["interactions"]["low_rated"] > 0
    assert table(home, "SELECT min(rating) FROM interactions") == [(4.0,)]
    known = {
        item for (item,) in table(home, "SELECT item_id FROM low_ratings WHERE user_id = 'u2' UNION "
                                        "SELECT item_id FROM interactions WHERE user_id = 'u2'")
    }  # fmt: skip
    answer = cli("recommend", "u2", "-k", "12", "--model", models / "text.gguf", "--json").json
    assert known.isdisjoint(item["item_id"] for item in answer["items"])
    assert len(answer["items"]) == 12 - len(known)
    before = dump(home)
    cli("ingest", *shop, "--min-rating", "4", "--no-captions")
    assert dump(home)[: len(before)] == before
    everything = cli("ingest", *shop, "--no-captions", "--json").json
    assert everything["interactions"]["new"] == low and table(home, "SELECT count(*) FROM low_ratings") == [(0,)]


def test_a_user_without_liked_items_gets_popular_ones(cli: Cli, shop: tuple[Path, Path], models: Path) -> None:
    with shop[1].open("a") as file:
        file.write("cold,i1,1100000000,1\n")
    cli("ingest", *shop, "--min-rating", "3", "--no-captions")
    answer = cli("recommend", "cold", "--model", models / "text.gguf", "--json")
    assert answer.code == 0, answer.err
    assert answer.json["summary"] == "" and answer.json["items"]
    assert all(item["shares"]["popularity"] == 1 for item in answer.json["items"])
    assert "i1" not in {item["item_id"] for item in answer.json["items"]}
    assert cli("explain", "cold", "--model", models / "text.gguf").code == 0


def test_summaries_ahead_of_time(cli: Cli, shop: tuple[Path, Path], home: Path, models: Path) -> None:
    done = cli("ingest", *shop, "--no-captions", "--summaries", "--model", models / "text.gguf", "--json")
    assert done.code == 0 and done.json["summaries"] == 6
    assert table(home, "SELECT count(DISTINCT user_id) FROM preferences") == [(6,)]


def test_rejects_are_kept_counted_and_said(cli: Cli, shop: tuple[Path, Path], home: Path) -> None:
    with shop[1].open("a") as file:
        file.write("u0,nothing,1100000000,4\n,i1,1100000000,4\nu0,i2,not a time,4\nu0,i2,,4\nu0,i0,1000000000,1\n")
    done = cli("ingest", *shop, "--no-captions", "--json")
    assert done.code == 3
    assert done.json["rejected"] == 4 and "4 rejected" in done.err and "rows without a time: 1;" in done.err
    rows = cli("status", "--rejects", "--json").json
    assert [row["line"] for row in rows] == sorted(row["line"] for row in rows) and len(rows) == 4
    reasons = " ".join(row["reason"] for row in rows)
    for word in ("unknown item", "user_id", "not a time", "another rating"):
        assert word in reasons
    assert table(home, "SELECT count(*) FROM interactions") == [(40,)]


def test_mapping_goes_to_the_file_that_has_the_column(cli: Cli, tmp_path: Path, home: Path) -> None:
    (tmp_path / "goods.csv").write_text("sku_no,label,colour\n1,Red hat,red\n2,Blue hat,blue\n")
    (tmp_path / "sales.csv").write_text("who,sku_no,when\nann,1,2024-01-01\nann,2,2024-01-02\n")
    maps = ["sku_no=item_id", "label=title", "who=user_id", "when=timestamp"]
    done = cli("ingest", tmp_path / "goods.csv", tmp_path / "sales.csv", *(x for m in maps for x in ("--map", m)))
    assert done.code == 0, done.err
    assert table(home, "SELECT user_id, item_id, timestamp FROM interactions") == [
        ("ann", "1", "2024-01-01T00:00:00+00:00"),
        ("ann", "2", "2024-01-02T00:00:00+00:00"),
    ]
    assert table(home, "SELECT attributes FROM items WHERE item_id = '1'") == [('{"colour":"red"}',)]
    bad = cli("ingest", tmp_path / "goods.csv", tmp_path / "sales.csv", "--map", "nope=title")
    assert bad.code == 1 and "nope" in bad.err
    assert cli("ingest", tmp_path / "goods.csv", tmp_path / "sales.csv", "--map", "title").code == 2


def test_options_that_are_for_one_of_the_files(cli: Cli, tmp_path: Path, home: Path) -> None:
    (tmp_path / "goods.csv").write_bytes("ID,SKU,title\n9,a,Шапка\n8,b,Шарф\n".encode("koi8-r"))
    (tmp_path / "sales.csv").write_text("ann,a,3/4/2024\nann,b,4/4/2024\n")
    files = (tmp_path / "goods.csv", tmp_path / "sales.csv")
    bare = cli("ingest", *files, "--no-captions")
    assert bare.code == 1 and "no header: line 1 is a row" in bare.err
    done = cli(
        "ingest", *files, "--no-captions", "--columns", "user,item,time", "--map", "items:SKU=item_id",
        "--encoding", "items:koi8-r", "--day-first",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert table(home, "SELECT title, timestamp FROM interactions JOIN items USING (item_id)") == [
        ("Шапка", "2024-04-03T00:00:00+00:00"),
        ("Шарф", "2024-04-04T00:00:00+00:00"),
    ]


def test_browse(cli: Cli, shop: tuple[Path, Path], home: Path) -> None:
    cli("ingest", *shop, "--no-captions")
    assert cli("users", "--json").json[0] == {
        "user": "u5", "interactions": 9, "first": "2001-09-09T01:46:40+00:00", "last": "2001-09-09T04:00:00+00:00",
    }  # fmt: skip
    assert {item["item_id"] for item in cli("items", "worst", "--json").json} == {f"i{i}" for i in range(0, 12, 2)}
    assert cli("items", '"unbalanced AND (', "--json").json == []
    status = cli("status", "--json").json
    assert (status["items"], status["users"], status["todo"]["captions"]) == (12, 6, 12)
    for command in ("users", "items", "status"):
        assert cli(command).code == 0
    assert json.loads(cli("models", "list", "--json").out)[0]["active"]


def test_what_is_to_do_is_to_do_for_the_present_prompt_picture_and_recipe(
    cli: Cli, shop: tuple[Path, Path], home: Path, seeing: None, models: Path
) -> None:
    assert cli("ingest", *shop, "--summaries").code == 0
    assert cli("status", "--json").json["todo"] == {"captions": 0, "summaries": 0}
    Pillow.new("RGB", (7, 7)).save(shop[0].parent / "img/3.png")
    assert cli("ingest", *shop, "--no-captions").code == 0
    assert cli("status", "--json").json["todo"] == {"captions": 1, "summaries": 0}
    (home / "prompts").mkdir()
    for name in ("item_caption", "preference_first"):
        ours = Path(PromptTemplate(name).path).read_text(encoding="utf-8")
        (home / f"prompts/{name}.j2").write_text(f"{ours}\n{{# mine #}}")
    assert cli("status", "--json").json["todo"] == {"captions": 12, "summaries": 6}


def test_summaries_ahead_are_those_that_the_adapter_will_read(
    cli: Cli, shop: tuple[Path, Path], home: Path, models: Path
) -> None:
    base, recipe = based_on(models / "text.gguf"), RECIPES["history"].to_json()
    with Workspace(home) as workspace:
        registry.register(workspace, *staged(home, "mine", base=base, recipe=recipe))
    assert cli("adapters", "use", "mine").code == 0
    done = cli("ingest", *shop, "--no-captions", "--summaries", "--json")
    assert done.code == 0 and done.json["summaries"] == 0
    assert "No summaries are written: the adapter's recipe, history, has none." in done.err
    assert cli("status", "--json").json["todo"]["summaries"] == 0
    assert cli("adapters", "use", "none").code == 0
    assert cli("ingest", *shop, "--no-captions", "--summaries", "--json").json["summaries"] == 6


def test_an_argument_longer_than_a_file_name_may_be_is_an_argument(cli: Cli, shop: tuple[Path, Path]) -> None:
    cli("ingest", *shop, "--no-captions")
    assert cli("items", "x" * 5000, "--json").json == []
    ran = cli("recommend", "y" * 300)
    assert ran.code == 1 and "no user" in ran.err and "Next:" in ran.err


def test_a_picture_that_goes_away_is_left_out_of_the_question(
    cli: Cli, shop: tuple[Path, Path], home: Path, seeing: None
) -> None:
    cli("ingest", *shop)
    item = cli("recommend", "u0", "--candidates", "3", "--json").json["items"][0]["item_id"]
    (shop[0].parent / f"img/{item[1:]}.png").unlink()
    ran = cli("explain", "u0", item, "--candidates", "3", "--json")
    assert ran.code == 0, ran.err
    assert not {"image", "caption"} & {one["kind"] for one in ran.json["evidence"]}
    again = cli("ingest", *shop, "--json")
    assert again.code == 3 and again.json["images"] == {"usable": 11, "rejected": 1}


def test_pictures_stay_when_a_later_run_names_none(
    cli: Cli, shop: tuple[Path, Path], home: Path, tmp_path: Path
) -> None:
    items = tmp_path / "items.csv"
    items.write_text("id,name\n" + "".join(f"i{i},Film {i}\n" for i in range(12)))
    (tmp_path / "pictures").mkdir()
    (shop[0].parent / "img/3.png").rename(tmp_path / "pictures/i3.png")
    cli("ingest", items, shop[1], "--images", tmp_path / "pictures")
    again = cli("ingest", items, shop[1], "--json").json
    assert again["items"]["unchanged"] == 12
    assert table(home, "SELECT count(*) FROM items WHERE image IS NOT NULL") == [(1,)]


def test_another_context_asks_anew(cli: Cli, shop: tuple[Path, Path], home: Path, models: Path) -> None:
    long = "word " * 60
    shop[0].write_text(shop[0].read_text().replace("Film", f"Film {long}"))
    cli("ingest", *shop, "--no-captions")
    model = ("--model", models / "text.gguf", "--candidates", "2", "--json")
    small = cli("recommend", "u1", *model, "--context", "256").json["items"]
    again = cli("recommend", "u1", *model, "--context", "256").json["items"]
    assert small == again
    kinds = "SELECT count(DISTINCT settings), count(DISTINCT key) FROM scores"
    ((settings, keys),) = table(home, kinds)
    assert settings == 1
    cli("recommend", "u1", *model)
    assert table(home, kinds) == [(2, 2 * keys)]
