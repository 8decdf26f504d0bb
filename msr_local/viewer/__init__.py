"""What a person sees: Rich renderables for the terminal, and one HTML page that stands alone."""

from __future__ import annotations

from msr_local.viewer.explanation import explanation_view
from msr_local.viewer.recommendations import recommendations_view
from msr_local.viewer.report import html_report

__all__ = ["explanation_view", "html_report", "recommendations_view"]
