"""What a person sees: Rich renderables for the terminal, and one HTML page that stands alone."""

from __future__ import annotations

from .explanation import explanation_view
from .recommendations import recommendations_view
from .report import html_report

__all__ = ["explanation_view", "html_report", "recommendations_view"]
