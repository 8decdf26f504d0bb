"""The explanation as one HTML page that stands alone: no script, nothing fetched, everything escaped."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ..recipe.views import Explanation
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
