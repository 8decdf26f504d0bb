"""What one console can show. Views are drawn on a canvas, when width, colours and encoding are known."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, replace

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.text import Text

from ..text import printable, storable

# Typographic marks that have no decomposition but an obvious plain form.
_PLAIN_MARKS = str.maketrans(
    {**dict.fromkeys("‘’", "'"), **dict.fromkeys("“”", '"'), **dict.fromkeys("–—·", "-"), "±": "+-"}
)
# Beyond this, lines get too long to read and columns too far apart to compare.
_WIDEST = 168


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The few characters that the views draw with."""

    bar: str
    half_left: str  # ends a bar that grows to the right, half a cell early
    half_right: str  # starts a bar that grows to the left, half a cell late
    track: str
    rule: str
    axis: str
    dot: str
    rail: str
    pointer: str
    between: str
    to: str
    ellipsis: str


UNICODE = Glyphs("━", "╸", "╺", "─", "─", "│", "●", "│", "›", " · ", " → ", "…")
ASCII = Glyphs("=", "", "", ".", "-", "|", "*", "|", ">", ", ", " to ", "...")


@dataclass(frozen=True, slots=True)
class Canvas:
    """A width to fill, the glyphs that its console can encode, and whether it can paint a picture."""

    width: int
    glyphs: Glyphs
    encoding: str
    paints: bool

    @classmethod
    def of(cls, console: Console, options: ConsoleOptions) -> Canvas:
        """The canvas that `console` offers."""
        plain = options.ascii_only or options.legacy_windows
        coloured = console.color_system in ("256", "truecolor") and not console.no_color
        return cls(
            width=min(options.max_width, _WIDEST),
            glyphs=ASCII if plain else UNICODE,
            encoding=options.encoding,
            paints=coloured and options.is_terminal and not plain,
        )

    def narrowed(self, width: int) -> Canvas:
        """The same canvas, `width` cells wide."""
        return replace(self, width=width)

    def text(self, value: str, style: str = "", cells: int | None = None) -> Text:
        """Foreign text made safe to show, never read as markup, and cut to `cells` when given."""
        value = printable(storable(value))
        if self.glyphs is ASCII:
            value = "".join(self._encodable(character) for character in unicodedata.normalize("NFC", value))
        text = Text(value, style=style, overflow="fold")
        if cells is not None and text.cell_len > cells:
            ellipsis = self.glyphs.ellipsis if cells > len(self.glyphs.ellipsis) else ""
            text.truncate(max(0, cells - len(ellipsis)), overflow="crop")
            text.rstrip()
            text.append(ellipsis)
        return text

    def heading(self, title: Text) -> Text:
        """A section's title, with a faint rule that runs to the right edge."""
        title = title.copy()
        title.stylize_before("bold")
        rest = self.width - title.cell_len - 1
        return title if rest < 1 else title.append(" ").append(self.glyphs.rule * rest, "dim")

    def _encodable(self, character: str) -> str:
        """`character`, or what is left of it without its accents, or a question mark."""
        if self._encodes(character):
            return character
        parts = unicodedata.normalize("NFKD", character.translate(_PLAIN_MARKS))
        return "".join(filter(self._encodes, parts)) or "?"

    def _encodes(self, character: str) -> bool:
        try:
            character.encode(self.encoding)
        except UnicodeEncodeError:
            return False
        return True


class Drawing:
    """A view that is drawn once its console is known."""

    def __init__(self, draw: Callable[[Canvas], RenderableType]) -> None:
        self._draw = draw

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._draw(Canvas.of(console, options))
