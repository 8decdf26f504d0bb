"""A picture as coloured half blocks for the terminal, and as a data: URI for the page."""

from __future__ import annotations

import base64
import io

from PIL import Image
from rich.color import Color
from rich.style import Style
from rich.text import Text

from ..recipe.views import Thumbnail


def half_blocks(thumbnail: Thumbnail, columns: int) -> Text:
    """The picture inside `columns` x `columns / 2` cells; a cell's two colours are two stacked pixels."""
    scale = columns / max(thumbnail.width, thumbnail.height)
    width = max(1, round(thumbnail.width * scale))
    rows = max(1, round(thumbnail.height * scale / 2))
    small = _image(thumbnail).resize((width, 2 * rows), Image.Resampling.LANCZOS)
    rgb = small.tobytes()

    def colour(x: int, y: int) -> Color:
        red, green, blue = rgb[3 * (y * width + x) : 3 * (y * width + x) + 3]
        return Color.from_rgb(red, green, blue)

    picture = Text(no_wrap=True, end="")
    for row in range(rows):
        if row:
            picture.append("\n")
        for x in range(width):
            picture.append("▀", Style(color=colour(x, 2 * row), bgcolor=colour(x, 2 * row + 1)))
    return picture


def data_uri(thumbnail: Thumbnail) -> str:
    """The picture as a PNG inside a `data:` URI."""
    buffer = io.BytesIO()
    _image(thumbnail).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _image(thumbnail: Thumbnail) -> Image.Image:
    return Image.frombytes("RGB", (thumbnail.width, thumbnail.height), thumbnail.rgb)
