"""HTML pages without a script, everything escaped: an explanation that stands alone, and the page to browse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ..recipe.views import Explanation, RecommendationList
from ..text import printable, storable
from .bars import Span, effect, signed
from .pixels import data_uri
from .timeline import day_range


def html_report(explanation: Explanation) -> str:
    """The whole explanation as an HTML document."""
    template = _ENVIRONMENT.get_template("report.html.j2")
    return template.render(
        it=explanation,
        picture=data_uri(explanation.image) if explanation.image else None,
        span=Span.of(explanation.evidence),
        thumbnails={item_id: data_uri(one) for item_id, one in explanation.thumbnails.items()},
        calibrated=all(item.probability is not None for item in explanation.recommendations),
    )


def browse_page(
    people: Sequence[Mapping[str, Any]], items: Sequence[Mapping[str, Any]], words: str, user: str,
    listed: RecommendationList | None, wrong: str = "",
) -> str:  # fmt: skip
    """The page of a site: users, items (rows as `msr-local users` and `items` list them), and what is recommended.

    Its links and pictures are paths of `msr_local.serve`. `wrong` is told above all.
    """
    template = _ENVIRONMENT.get_template("browse.html.j2")
    return template.render(people=people, found=items, words=words, user=user, listed=listed, wrong=wrong)


def _clean(value: Any) -> Any:
    """Plain strings lose what could disturb a page; markup made by the template itself stays."""
    return printable(storable(value)) if type(value) is str else value


_ENVIRONMENT = Environment(
    loader=PackageLoader("msr_local", "viewer"),
    autoescape=True,
    finalize=_clean,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters.update(signed=signed, effect=effect, days=day_range, percent="{:.1%}".format)
