from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.text import Text
from viewer_samples import BARE, ODD, PLAIN, UNCALIBRATED, WILD, drawn, listed

from msr_local.recipe.views import Evidence, Explanation, Recommendation, Thumbnail, TimelineBlock
from msr_local.viewer.explanation import explanation_view
from msr_local.viewer.recommendations import recommendations_view

ALL = pytest.mark.parametrize(
    "explanation", [PLAIN, WILD, BARE, ODD, UNCALIBRATED], ids=["plain", "wild", "bare", "odd", "uncalibrated"]
)
COLOURED = {"force_terminal": True, "color_system": "truecolor"}


def both_views(explanation: Explanation, width: int = 80, **console: object) -> str:
    return drawn(recommendations_view(listed(explanation)), width, **console) + drawn(
        explanation_view(explanation), width, **console
    )


def widest(output: str) -> int:
    return max(cell_len(Text.from_ansi(line).plain) for line in output.split("\n"))


@ALL
@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 129, 130, 160, 250])
@pytest.mark.parametrize("console", [{}, COLOURED, {"encoding": "ascii"}], ids=["piped", "coloured", "ascii"])
def test_no_line_is_wider_than_the_console(explanation: Explanation, width: int, console: dict) -> None:
    assert widest(both_views(explanation, width, **console)) <= width


@settings(max_examples=100)
@given(text=st.text(max_size=120), width=st.integers(20, 180), encoding=st.sampled_from(["utf-8", "ascii"]))
def test_any_text_keeps_inside_and_inert(text: str, width: int, encoding: str) -> None:
    explanation = replace(
        PLAIN,
        user=text,
        title=text,
        timeline=[TimelineBlock(1, text, text, [{"item_id": text, "title": text}], text, [text], [text])],
        evidence=[Evidence(text, text, 0.2, shared=[text, "a"]), Evidence(text, text, 0.0)],
        recommendations=[Recommendation(1, text, text, 0.5, 0.0, 0.5, 0.5, text, {text: 1.0})],
    )
    output = both_views(explanation, width, encoding=encoding)
    assert widest(output) <= width
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", output)


def test_piped_output_carries_no_escape_and_shows_markup_as_text() -> None:
    output = both_views(WILD, 160)
    assert "\x1b" not in output and "\x07" not in output
    assert "[red]not red[/red]" in re.sub(r"\s+", " ", output)
    assert ":boom:" in output
    assert "\u202e" not in output


def test_on_a_terminal_the_only_escapes_are_our_colours() -> None:
    output = both_views(WILD, **COLOURED)
    assert "\x1b[2J" not in output and "\x1b]" not in output
    assert set(re.findall(r"\x1b\[[\d;]*([^\d;])", output)) == {"m"}
    assert "\x1b[31mnot red" not in output


def test_no_color_keeps_the_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    output = both_views(PLAIN, force_terminal=True)
    assert not re.search(r"\x1b\[(?:\d;)*[34]\d", output)
    assert "▀" not in output
    for sign in ("+0.91 ±0.04", "-0.41 ±0.12", "+quiet", "-space"):
        assert sign in output


def test_evidence_is_sorted_and_diverges_from_one_axis() -> None:
    rows = [line for line in drawn(explanation_view(PLAIN)).splitlines() if re.search(r"│.*[+-]\d\.\d\d ±", line)]
    assert [line.split("  ")[0] for line in rows] == ["last 8 titles", "preference summary"]
    assert rows[0].endswith("+0.91 ±0.04  quiet, sea")
    axis = {line.index("│") for line in rows}
    assert len(axis) == 1
    left, right = rows[1].split("│")
    assert "━" in left and "━" not in right
    assert "━" in rows[0].split("│")[1]


def test_ascii_consoles_get_ascii_letters() -> None:
    named = replace(PLAIN, user="Zoë", title="L’été “à” la plage…")
    output = drawn(explanation_view(named), encoding="ascii")
    assert output.isascii()
    assert "Zoe over time" in output
    assert 'Why L\'ete "a" la plage...?' in output
    assert "=" in output and "#" in output
    assert "+0.91 +-0.04" in output and "measured; +- is the 95%" in re.sub(r"\s+", " ", output)


def test_an_encoding_keeps_the_accents_that_it_has() -> None:
    output = drawn(explanation_view(replace(PLAIN, user="Zoë")), encoding="latin-1")
    assert "Zoë over time" in output and "—" not in output


def test_legacy_windows_gets_plain_glyphs() -> None:
    output = drawn(explanation_view(PLAIN), legacy_windows=True)
    assert "|" in output and "━" not in output and "│" not in output


def test_long_titles_are_cut_with_an_ellipsis_and_short_ones_are_whole() -> None:
    long = replace(PLAIN.recommendations[0], title="x" * 500)
    output = drawn(recommendations_view(replace(listed(PLAIN), items=[long, PLAIN.recommendations[1]])))
    assert "x…" in output and "Salt and Signal" in output
    assert len(output.splitlines()) == 6


def test_the_list_shows_sources_and_numbers() -> None:
    output = drawn(recommendations_view(listed(PLAIN)))
    assert re.search(r"# +title +probability +p\(yes\) +found by", output)
    assert re.search(r"1 +The Lantern Keepers +━+╸?─* 0\.642 +0\.812 +markov 100%", output)


def test_without_a_calibration_the_list_shows_the_score_it_is_ordered_by() -> None:
    output = both_views(UNCALIBRATED)
    assert re.search(r"1 +The Lantern Keepers +0\.913 +0\.812 +markov 100%", output)
    assert "probability" not in output


def test_what_cannot_be_told_from_nothing_is_named_and_has_no_bar() -> None:
    output = drawn(explanation_view(PLAIN), width=160)
    assert "No clear effect: the picture itself" in output and "-0.02" not in output
    assert "rather than for 12 other candidates: log-odds, measured; ± is the 95%" in re.sub(r"\s+", " ", output)
    none = replace(PLAIN, evidence=[PLAIN.evidence[0]])
    assert "No part of the question speaks clearly for or against this item." in drawn(explanation_view(none))


@pytest.mark.parametrize(
    ("evidence", "said"),
    [
        (Evidence("hint", "x", 0.5), "There is no other candidate to compare with"),
        (Evidence("hint", "x", 0.5, None, 0.1, 1), "rather than for the only other candidate: log-odds, measured."),
    ],
)
def test_with_few_others_it_says_what_the_numbers_are(evidence: Evidence, said: str) -> None:
    output = re.sub(r"\s+", " ", drawn(explanation_view(replace(PLAIN, evidence=[evidence]))))
    assert said in output and "±" not in output


def test_common_words_give_way_to_bars_on_a_narrow_console() -> None:
    output = drawn(explanation_view(PLAIN), width=50)
    assert "quiet, sea" not in output and "+0.91 ±0.04" in output


def test_narrow_consoles_lose_columns_not_titles() -> None:
    output = drawn(recommendations_view(listed(PLAIN)), width=40)
    assert "The Lantern Keepers" in output and "0.642" in output and "found by" not in output


def test_a_wide_console_puts_the_history_beside_the_item() -> None:
    first = drawn(explanation_view(PLAIN), width=160).splitlines()[0]
    assert "ada over time" in first and "Recommended now" in first
    assert "Recommended now" not in drawn(explanation_view(PLAIN), width=80).splitlines()[0]


def test_a_recipe_without_summaries_does_not_say_that_there_is_no_history() -> None:
    output = both_views(replace(PLAIN, timeline=(), interactions=2478))
    assert "2,478 interactions. This recipe has no preference summaries" in output
    assert "no history yet" not in output


def test_nothing_known_is_said_in_words() -> None:
    output = both_views(BARE)
    assert "no history yet" in output
    assert "No evidence was measured" in output
    assert "Nothing to recommend" in output
    assert "Why f0?" in output
    assert "Seen in the picture" not in output


def test_a_long_history_says_what_it_leaves_out() -> None:
    blocks = [replace(PLAIN.timeline[0], block=number) for number in range(1, 17)]
    assert "4 earlier blocks" in drawn(explanation_view(replace(PLAIN, timeline=blocks)))


@pytest.mark.parametrize(
    ("size", "columns", "rows"),
    [((30, 30), 24, 12), ((200, 300), 16, 12), ((400, 100), 24, 3), ((1, 999), 1, 12)],
)
def test_the_thumbnail_fits_its_box(size: tuple[int, int], columns: int, rows: int) -> None:
    image = Thumbnail(*size, b"\x10\x20\x30" * (size[0] * size[1]))
    output = drawn(explanation_view(replace(PLAIN, image=image)), **COLOURED)
    painted = [Text.from_ansi(line).plain.count("▀") for line in output.splitlines() if "▀" in line]
    assert painted == [columns] * rows
    assert "38;2;16;32;48;48;2;16;32;48" in output


@pytest.mark.parametrize(
    "console",
    [
        {},
        {"force_terminal": True, "color_system": "standard"},
        {**COLOURED, "encoding": "ascii"},
        {**COLOURED, "width": 40},
    ],
    ids=["piped", "16 colours", "ascii", "narrow"],
)
def test_no_thumbnail_where_it_cannot_be_painted(console: dict) -> None:
    assert "▀" not in drawn(explanation_view(PLAIN), **console)


def test_a_summary_that_did_not_change_is_said_once() -> None:
    blocks = [replace(PLAIN.timeline[0], block=number, summary="Likes tea.", added=(), dropped=()) for number in (1, 2)]
    shown = drawn(explanation_view(replace(PLAIN, timeline=blocks)))
    assert shown.count("Likes tea.") == 1 and shown.count("The summary stayed as it was.") == 1
