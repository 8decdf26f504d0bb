"""Rows of a training set: kept as lines, read back after a kill, shown to people, and handed to other trainers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from msr_local.catalogue.images import load_rgb
from msr_local.engine.types import Image, Rendered, Text
from msr_local.errors import InputError
from msr_local.training import rows
from msr_local.training.rows import Row

STORED = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)  # as SQLite keeps it
PARTS = st.lists(st.tuples(st.sampled_from(["text", "special"]), STORED), max_size=4).map(tuple)
ROWS = st.builds(
    Row, STORED, st.integers(0, 99), STORED, st.sampled_from(["Yes", "No"]), PARTS, PARTS,
    st.lists(st.integers(-1, 50_000), max_size=9).map(tuple), st.floats(0, 1), dropped=st.integers(0, 9),
    cut=st.booleans(),
)  # fmt: skip

ROW = Row(
    "u", 3, "i1", "Yes", (("special", "<s>"), ("text", "A")), (("text", "B"), ("special", "</s>")), (1, 2, 3), 0.5
)
WILD = "a\u2028b\u2029c\x85d\re\nf\x0bg\x1ch\x1di\x1ej\ufeffk\U0001f3acl"  # all that some program ends a line with


def lines(*made: Row) -> str:
    return "".join(json.dumps(row.to_json(), ensure_ascii=False) + "\n" for row in made)


@given(st.lists(ROWS, max_size=4))
def test_what_was_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, made: list[Row]) -> None:
    path = tmp_path_factory.mktemp("rows") / "train.jsonl"
    path.write_text(lines(*made), encoding="utf-8", newline="")
    assert rows.read(path) == made


def test_characters_that_end_a_line_elsewhere_do_not_end_one_here(tmp_path: Path) -> None:
    made = [replace(ROW, user=WILD, prefix=(("text", WILD),)), ROW]
    (tmp_path / "a").write_text(lines(*made), encoding="utf-8")
    assert rows.read(tmp_path / "a") == made


def test_a_line_that_a_kill_cut_off_anywhere_is_left_out(tmp_path: Path) -> None:
    """Also in the middle of a character."""
    made = [replace(ROW, item_id="Łódź 映画 \U0001f3ac"), replace(ROW, user="Zoë")]
    whole = lines(*made).encode()
    ends = [n + 1 for n, byte in enumerate(whole) if byte == ord("\n")]
    path = tmp_path / "train.part"
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        assert rows.read(path) == made[: sum(end <= size for end in ends)]


def test_the_parts_of_a_question_are_plain_data_and_come_back_as_they_were(tmp_path: Path) -> None:
    Pillow.new("RGB", (5, 4), (9, 8, 7)).save(tmp_path / "é.png")
    decoded = load_rgb(tmp_path / "é.png", longest_edge=64)
    picture = Image(decoded.width, decoded.height, decoded.pixels, decoded.sha256)
    prefix, suffix = (
        (Text("<s>", special=True), Text("A ")),
        (Text("see "), picture, Text("?"), Text("</s>", special=True)),
    )
    kept = rows.parts_of(Rendered(prefix, suffix), tmp_path / "é.png")
    row = replace(ROW, prefix=kept[0], suffix=kept[1], image_sha256=picture.sha256)
    again = Row.from_json(json.loads(json.dumps(row.to_json())))
    assert again == row
    assert again.question() == ([*prefix], [*suffix])
    assert again.image == tmp_path / "é.png"
    assert again.prompt == "<s>A see <image>?</s>"


@pytest.mark.parametrize("change", ["another picture", "no picture", "no file"])
def test_a_picture_that_is_not_the_one_of_the_question_is_refused(tmp_path: Path, change: str) -> None:
    path = tmp_path / "p.png"
    Pillow.new("RGB", (5, 4), (9, 8, 7)).save(path)
    row = replace(ROW, suffix=(("image", str(path)),), image_sha256=load_rgb(path, longest_edge=64).sha256)
    assert row.load_image().width == 5
    if change == "another picture":
        Pillow.new("RGB", (5, 4), (9, 8, 6)).save(path)
    elif change == "no picture":
        path.write_text("no picture")
    else:
        path.unlink()
    with pytest.raises(InputError, match=r"p\.png"):
        row.question()


def test_a_row_without_a_picture_has_none() -> None:
    assert ROW.image is None
    assert ROW.prompt == "<s>AB</s>"


def test_words_that_look_like_a_picture_are_words() -> None:
    row = replace(ROW, suffix=(("text", "<image>"),))
    assert row.image is None
    assert row.question()[1] == [Text("<image>")]


def test_rows_of_one_user_are_one_group() -> None:
    assert ROW.group == replace(ROW, at=9, item_id="other").group != replace(ROW, user="v").group


@given(st.lists(ROWS, min_size=1, max_size=4))
def test_an_export_has_one_line_a_row_for_other_trainers(
    tmp_path_factory: pytest.TempPathFactory, made: list[Row]
) -> None:
    path = tmp_path_factory.mktemp("rows") / "out.jsonl"
    rows.export(path, made)
    documents = [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
    assert documents == [
        {
            "prompt": "".join(text for _, text in (*row.prefix, *row.suffix)),
            "completion": row.answer,
            "user": row.user,
            "after": row.at,
            "item_id": row.item_id,
            "image": None,
            "ids": list(row.ids),
        }
        for row in made
    ]


def test_an_export_keeps_unicode_readable_and_names_the_picture(tmp_path: Path) -> None:
    row = replace(ROW, prefix=(("text", "Amélie 映画 \U0001f3ac"),), suffix=(("image", "/pics/é.png"), ("text", WILD)))
    rows.export(tmp_path / "out.jsonl", [row, ROW])
    text = (tmp_path / "out.jsonl").read_text(encoding="utf-8")
    assert "Amélie 映画 \U0001f3ac" in text
    first, second = (json.loads(line) for line in text.split("\n")[:2])
    assert (first["image"], first["prompt"].count("<image>"), second["image"]) == ("/pics/é.png", 1, None)
    assert first["prompt"].endswith(WILD)
