"""The page of numbers: what stands between its marks comes from the manifests, and nothing else is touched."""

from __future__ import annotations

from embedded import report

PAGE = (
    "Before.\n\n<!-- drift: from the manifest -->\nold\n<!-- end -->\n\n"
    "Between.\n\n<!-- other: x -->\nmine\n<!-- end -->\n"
)


def test_only_what_stands_between_the_marks_is_replaced() -> None:
    made = report.filled(PAGE, {"drift": "| new |"})
    assert made == PAGE.replace("old", "| new |")
    assert report.filled(made, {"drift": "| new |"}) == made and report.filled(PAGE, {}) == PAGE


def test_examples_are_drawn_by_lot_and_the_same_each_time() -> None:
    rows = [[source, str(n), f"truth {n}", f"said {n}"] for source in ("fashion", "groceries") for n in range(30)]
    made = report.examples(rows, each=5)
    assert made == report.examples(rows[::-1], each=5) and len(made.splitlines()) == 2 + 10


def test_the_sheet_shows_held_out_drawings(tmp_path) -> None:
    from embedded.pictures import drawings

    held = [picture for picture, _ in drawings() if picture.held_out][:30]
    report.sheet({one.name: "A red mug." for one in held}, tmp_path / "sheet.jpg", count=6, wrong=3)
    assert (tmp_path / "sheet.jpg").stat().st_size > 5_000
