"""The outside world's files: catalogues, interactions and pictures, read and checked."""

from __future__ import annotations

from .images import ImageFacts, RgbImage, check_image, images_by_id, load_rgb, resolve_image
from .readers import find_sources, read_interactions, read_items
from .rows import InteractionRow, ItemRow, Rejected
from .timestamps import parse_timestamp

__all__ = [
    "ImageFacts",
    "InteractionRow",
    "ItemRow",
    "Rejected",
    "RgbImage",
    "check_image",
    "find_sources",
    "images_by_id",
    "load_rgb",
    "parse_timestamp",
    "read_interactions",
    "read_items",
    "resolve_image",
]
