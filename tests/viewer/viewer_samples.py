"""Explanations to draw, one well-behaved and one that tries everything, and a console to draw them on."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rich.console import Console, RenderableType

from msr_local.recipe.views import (
    Evidence,
    Explanation,
    Recommendation,
    RecommendationList,
    Thumbnail,
    TimelineBlock,
)

HOSTILE = (
    "[red]not red[/red] [link=https://evil.example]x[/link] \x1b[2J\x1b]0;owned\x07 "
    "<script>alert('&')</script> :boom: {{ 7 * 7 }} \x9b31m \u202eevil\u2066 \r\nsecond line\ttab \ud800 "
    "静かな港 👩‍👩‍👧‍👦🏳️‍🌈 e\u0301 \u0301 שלום " + "long" * 125
)


def _explanation(text: Callable[[str], str]) -> Explanation:
    """An explanation every string of which went through `text`."""
    return Explanation(
        user=text("ada"),
        item_id="f0",
        title=text("The Lantern Keepers"),
        p_yes=0.812,
        log_odds=1.463,
        probability=0.642,
        description_lines=[text("2019, drama"), text("Two sisters inherit a lighthouse.")],
        caption=text("Two women on the gallery of a lighthouse."),
        image=Thumbnail(30, 40, bytes(range(0, 240, 2)) * 30),
        timeline=[
            TimelineBlock(
                1,
                "2024-03-02T20:11:00Z",
                "2024-03-17T21:00:00Z",
                [{"item_id": "f7", "title": text("Ember of Callisto")}],
                text("Likes space adventures."),
            ),
            TimelineBlock(
                2,
                text("2024-04-01T20:11:00Z"),
                None,
                [{"item_id": "f8", "title": text("The Orchard Year")}] * 3,
                text("Likes quiet family dramas."),
                added=[text("quiet")],
                dropped=[text("space")],
            ),
        ],
        evidence=[
            Evidence("image", text("the picture itself"), -0.021, (-0.111, 0.069), 0.4, 12),
            Evidence("history", text("last 8 titles"), 0.907, (0.867, 0.947), -0.2, 12, [text("quiet"), text("sea")]),
            Evidence("summary", text("preference summary"), -0.412, (-0.532, -0.292), -1.3, 12),
        ],
        recommendations=[
            Recommendation(1, "f0", text("The Lantern Keepers"), 0.812, 1.463, 0.913, 0.642, None, {"markov": 1.0}),
            Recommendation(
                2, "f1", text("Salt and Signal"), 0.031, -3.44, 0.5, 0.118, text("A radio."), {text("x"): 0.7}
            ),
        ],
        thumbnails={"f1": Thumbnail(4, 3, bytes(range(36)))},
        notes=[text("Coverage is low.")],
    )


PLAIN = _explanation(str)
WILD = _explanation(lambda text: text + HOSTILE)
UNCALIBRATED = replace(
    PLAIN, probability=None, recommendations=[replace(one, probability=None) for one in PLAIN.recommendations]
)
BARE = Explanation(user="new", item_id="f0", title="", p_yes=0.5, log_odds=0.0)
ODD = replace(PLAIN, evidence=[Evidence("hint", "", float("nan")), Evidence("hint", "", float("-inf"))])


def listed(explanation: Explanation) -> RecommendationList:
    """The recommendations of `explanation` by themselves."""
    summary = explanation.timeline[-1].summary if explanation.timeline else ""
    return RecommendationList(explanation.user, summary, explanation.recommendations)


def drawn(view: RenderableType, width: int = 80, encoding: str = "utf-8", **console: Any) -> str:
    """What a console writes for `view`, strictly encoded; piped and colourless unless told otherwise."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="")
    Console(file=stream, width=width, **console).print(view)
    stream.seek(0)
    return stream.read()
