from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from PIL import Image
from viewer_samples import BARE, ODD, PLAIN, UNCALIBRATED, WILD

from msr_local.recipe.views import Explanation, Thumbnail
from msr_local.viewer.report import html_report

VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Checks that tags nest, and keeps the text and the attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize(
    "explanation", [PLAIN, WILD, BARE, ODD, UNCALIBRATED], ids=["plain", "wild", "bare", "odd", "uncalibrated"]
)
def test_the_page_stands_alone_and_is_well_formed(explanation: Explanation) -> None:
    html = html_report(explanation)
    page = Page(html)
    html.encode("utf-8")
    assert not page.tags & {"script", "link", "iframe", "object", "base", "form", "a"}
    for name, value in page.attributes:
        assert not name.startswith("on")
        assert name not in ("href", "action")
        assert name != "src" or value.startswith("data:image/png;base64,")
    assert "url(" not in html and "@import" not in html
    assert "default-src 'none'" in html


def test_user_data_is_escaped() -> None:
    html = html_report(WILD)
    assert "<script>" not in html
    assert "&lt;script&gt;alert(&#39;&amp;&#39;)&lt;/script&gt;" in html
    assert "{{ 7 * 7 }}" in Page(html).text
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\u2066\ud800]", html)


def test_the_page_says_what_the_terminal_says() -> None:
    text = re.sub(r"\s+", " ", Page(html_report(PLAIN)).text)
    for part in (
        "Why The Lantern Keepers?",
        "2024-03-02 → 2024-03-17 Ember of Callisto",
        "The Orchard Year · The Orchard Year",
        "+quiet -space",
        "probability 0.642 p(yes) 0.812 log-odds +1.463",
        "last 8 titles quiet, sea +0.91 ±0.04 preference summary -0.41 ±0.12 the picture itself -0.02 ±0.09 no clear",
        "rather than for 12 other candidates: log-odds, measured; ± is the 95% interval.",
        "in common with the item",
        "#title probability p(yes) 1 The Lantern Keepers 0.642 0.812 2 Salt and Signal 0.118 0.031",
        "Note: Coverage is low.",
    ):
        assert part in text


def test_without_a_calibration_the_page_shows_the_score_and_no_probability() -> None:
    text = re.sub(r"\s+", " ", Page(html_report(UNCALIBRATED)).text)
    assert "#title score p(yes) 1 The Lantern Keepers 0.913 0.812" in text and "probability" not in text


def test_recommended_items_have_small_pictures_that_are_described() -> None:
    page = Page(html_report(PLAIN))
    sources = [value for name, value in page.attributes if name == "src"]
    described = [value for name, value in page.attributes if name == "alt"]
    assert described == ["Two women on the gallery of a lighthouse.", "A radio."]
    image = Image.open(io.BytesIO(base64.b64decode(sources[1].partition(",")[2])))
    assert (image.width, image.height, image.tobytes()) == (4, 3, bytes(range(36)))
    untold = replace(PLAIN, recommendations=[replace(PLAIN.recommendations[1], caption=None)])
    assert [value for name, value in Page(html_report(untold)).attributes if name == "alt"][1] == "Salt and Signal"


def test_the_picture_survives() -> None:
    source = next(value for name, value in Page(html_report(PLAIN)).attributes if name == "src")
    image = Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))
    assert PLAIN.image
    assert (image.width, image.height) == (PLAIN.image.width, PLAIN.image.height)
    assert image.tobytes() == PLAIN.image.rgb


def test_a_thumbnail_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="2x2"):
        Thumbnail(2, 2, b"\0" * 11)


def test_a_recipe_without_summaries_does_not_say_that_there_is_no_history() -> None:
    text = Page(html_report(replace(PLAIN, timeline=(), interactions=2478))).text
    assert "2,478 interactions. This recipe has no preference summaries" in text and "no history yet" not in text


def test_without_data_the_page_says_so() -> None:
    text = Page(html_report(BARE)).text
    assert "Why f0?" in text and "no history yet" in text and "No evidence was measured" in text
