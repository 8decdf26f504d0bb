"""Shapes on a square of 100 by 100, and the pen that lays them down with shade, light and shadow."""

from __future__ import annotations

import math
import random
import re
from functools import lru_cache

from PIL import Image, ImageChops, ImageDraw, ImageFilter

Colour = tuple[int, int, int]
Points = tuple[tuple[float, float], ...]

_TOKEN = re.compile(r"[MLQCZ]|-?\d+(?:\.\d+)?")
_STEPS = 10


@lru_cache(maxsize=4096)
def path(text: str) -> Points:
    """The points of a path in SVG's notation: absolute M, L, Q, C and Z only, one command per letter."""
    tokens = _TOKEN.findall(text)
    points: list[tuple[float, float]] = []
    at, command = 0, "M"
    while at < len(tokens):
        if tokens[at].isalpha():
            command = tokens[at]
            at += 1
            if command == "Z":
                continue
        count = {"M": 1, "L": 1, "Q": 2, "C": 3}[command]
        numbers = [float(token) for token in tokens[at : at + 2 * count]]
        given = list(zip(numbers[::2], numbers[1::2], strict=True))
        at += 2 * count
        points.extend(given if count == 1 else _bezier([points[-1], *given]))
    return tuple(points)


def _bezier(control: list[tuple[float, float]]) -> list[tuple[float, float]]:
    order = len(control) - 1
    curve = []
    for step in range(1, _STEPS + 1):
        t = step / _STEPS
        weights = [math.comb(order, k) * t**k * (1 - t) ** (order - k) for k in range(order + 1)]
        curve.append(
            (
                sum(w * x for w, (x, _) in zip(weights, control, strict=True)),
                sum(w * y for w, (_, y) in zip(weights, control, strict=True)),
            )
        )
    return curve


def flip(points: Points) -> Points:
    """The mirror image, left for right."""
    return tuple((100 - x, y) for x, y in points)


@lru_cache(maxsize=1024)
def both(text: str) -> Points:
    """A symmetric outline from its right half, which runs from the middle to the middle."""
    half = path(text)
    return half + flip(half)[::-1]


@lru_cache(maxsize=1024)
def oval(x: float, y: float, rx: float, ry: float) -> Points:
    """An ellipse."""
    turn = 2 * math.pi / 32
    return tuple((x + rx * math.cos(k * turn), y + ry * math.sin(k * turn)) for k in range(32))


def box(left: float, top: float, right: float, bottom: float, r: float = 0) -> Points:
    """A rectangle with corners of radius `r`."""
    a, b, c, d = left, top, right, bottom
    if not r:
        return ((a, b), (c, b), (c, d), (a, d))
    return path(
        f"M{a + r} {b} L{c - r} {b} Q{c} {b} {c} {b + r} L{c} {d - r} Q{c} {d} {c - r} {d} "
        f"L{a + r} {d} Q{a} {d} {a} {d - r} L{a} {b + r} Q{a} {b} {a + r} {b}"
    )


def shifted(points: Points, dx: float = 0, dy: float = 0, scale: float = 1) -> Points:
    """The points scaled about the middle, then moved."""
    return tuple((50 + (x - 50) * scale + dx, 50 + (y - 50) * scale + dy) for x, y in points)


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """`one` with a `share` of `other`."""
    r, g, b = (round(a + (c - a) * share) for a, c in zip(one, other, strict=True))
    return r, g, b


def brightness(colour: Colour) -> float:
    """0 for black to 255 for white."""
    return 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2]


class Pose:
    """Where an object stands and how it is stretched; from points of the square to pixels."""

    def __init__(self, rng: random.Random, pixels: int, turn: float) -> None:
        unit = pixels / 100
        scale = rng.uniform(0.86, 1.0) * unit
        angle = math.radians(rng.uniform(-turn, turn))
        self.mirror = rng.random() < 0.5
        self._wide, self._high = rng.uniform(0.92, 1.06), rng.uniform(0.93, 1.04)
        self._taper = rng.uniform(-0.06, 0.06)
        self._cos, self._sin = math.cos(angle) * scale, math.sin(angle) * scale
        self._x = pixels / 2 + rng.uniform(-3, 3) * unit
        self._y = pixels / 2 + rng.uniform(-3, 3) * unit
        self.unit = scale

    def __call__(self, points: Points) -> list[tuple[float, float]]:
        wide = -self._wide if self.mirror else self._wide
        placed = []
        for x, y in points:
            v = (y - 50) * self._high
            u = (x - 50) * (wide + (self._taper if wide > 0 else -self._taper) * v / 50)
            placed.append((self._x + u * self._cos - v * self._sin, self._y + u * self._sin + v * self._cos))
        return placed


class Pen:
    """Lays down the parts of one object, back to front; `finish` lights it and sets it on its background."""

    def __init__(self, pose: Pose, rng: random.Random, base: Colour, cloth: Image.Image | None, pixels: int) -> None:
        self.rng, self.base, self._pose, self._cloth = rng, base, pose, cloth
        square = (pixels, pixels)
        self._paint = Image.new("RGB", square, base)
        self._cover, self._relief = Image.new("L", square), Image.new("L", square)
        self._ink, self._glow = Image.new("L", square), Image.new("L", square)
        self._draw = {
            id(layer): ImageDraw.Draw(layer)
            for layer in (self._paint, self._cover, self._relief, self._ink, self._glow)
        }

    def tone(self, by: float) -> Colour:
        """The object's colour darker (`by` below 0) or lighter, from -1 to 1."""
        return mix(self.base, (255, 255, 255) if by > 0 else (0, 0, 0), abs(by))

    def main(self, points: Points, relief: int = 200) -> None:
        """A part in the object's colour and pattern."""
        placed = self._pose(points)
        if self._cloth is None:
            self._on(self._paint).polygon(placed, self.base)
        else:
            mask = Image.new("L", self._paint.size)
            ImageDraw.Draw(mask).polygon(placed, 255)
            self._paint.paste(self._cloth, (0, 0), mask)
        self._solid(placed, relief)

    def fill(self, points: Points, colour: Colour, relief: int = 200) -> None:
        """A part in one colour."""
        placed = self._pose(points)
        self._on(self._paint).polygon(placed, colour)
        self._solid(placed, relief)

    def line(self, points: Points, colour: Colour, width: float, relief: int = 220) -> None:
        """A strap, a stalk or a cord in one colour, with round ends."""
        placed = self._pose(points)
        self._stroke(self._paint, placed, colour, width)
        self._stroke(self._cover, placed, 255, width)
        self._stroke(self._relief, placed, relief, width)

    def main_line(self, points: Points, width: float, relief: int = 200) -> None:
        """A strap or a handle in the object's colour and pattern."""
        if self._cloth is None:
            self.line(points, self.base, width, relief)
            return
        placed = self._pose(points)
        mask = Image.new("L", self._paint.size)
        self._stroke(mask, placed, 255, width, ImageDraw.Draw(mask))
        self._paint.paste(self._cloth, (0, 0), mask)
        self._stroke(self._cover, placed, 255, width)
        self._stroke(self._relief, placed, relief, width)

    def seam(self, points: Points, width: float = 0.8, strength: float = 0.4) -> None:
        """A line in the surface: darker, or lighter where the object is too dark to show it."""
        layer = self._glow if brightness(self.base) < 70 else self._ink
        self._stroke(layer, self._pose(points), round(255 * strength), width)

    def dim(self, points: Points, strength: float = 0.25) -> None:
        """A part of the surface in shade."""
        self._on(self._ink).polygon(self._pose(points), round(255 * strength))

    def shine(self, points: Points, strength: float = 0.5) -> None:
        """A part of the surface that reflects light."""
        self._on(self._glow).polygon(self._pose(points), round(255 * strength))

    def finish(self, ground: Image.Image, standing: bool) -> tuple[Image.Image, Image.Image]:
        """The picture and what of it is object, at the size of `ground`: the pen's square is a whole multiple."""
        size = ground.width
        factor = self._paint.width // size
        paint, cover, relief, ink, glow = (
            layer.reduce(factor) for layer in (self._paint, self._cover, self._relief, self._ink, self._glow)
        )
        step = max(1, round(size / 90))
        soft = relief.filter(ImageFilter.GaussianBlur(size / 60))
        slope = ImageChops.subtract(_moved(soft, -step), _moved(soft, step), 0.9, 128)
        wide = relief.filter(ImageFilter.BoxBlur(size / 16))
        broad = ImageChops.subtract(_moved(wide, -2 * step), _moved(wide, 2 * step), 1.5, 128)
        ink = ImageChops.invert(ink.filter(ImageFilter.GaussianBlur(size / 400)))
        glow = glow.filter(ImageFilter.GaussianBlur(size / 250))
        for light in (slope, broad):
            ink = ImageChops.multiply(ink, light.point(_DARKER))
            glow = ImageChops.screen(glow, light.point(_LIGHTER))
        paint = ImageChops.multiply(paint, Image.merge("RGB", (ink, ink, ink)))
        paint = ImageChops.screen(paint, Image.merge("RGB", (glow, glow, glow)))
        picture = ImageChops.multiply(ground, _shadow(cover, standing))
        picture.paste(paint, (0, 0), cover)
        return picture, cover

    def _solid(self, placed: list[tuple[float, float]], relief: int) -> None:
        self._on(self._cover).polygon(placed, 255)
        self._on(self._relief).polygon(placed, relief)
        for layer in (self._ink, self._glow):
            self._on(layer).polygon(placed, 0)

    def _on(self, layer: Image.Image) -> ImageDraw.ImageDraw:
        return self._draw[id(layer)]

    def _stroke(
        self,
        layer: Image.Image,
        placed: list[tuple[float, float]],
        ink: Colour | int,
        width: float,
        draw: ImageDraw.ImageDraw | None = None,
    ) -> None:
        draw = draw or self._on(layer)
        broad = max(1, round(width * self._pose.unit))
        draw.line(placed, ink, broad, joint="curve")
        if broad > 3:
            for x, y in (placed[0], placed[-1]):
                r = broad / 2 - 0.5
                draw.ellipse((x - r, y - r, x + r, y + r), ink)


def _moved(layer: Image.Image, by: int) -> Image.Image:
    return ImageChops.offset(layer, by, by)


def _shadow(cover: Image.Image, standing: bool) -> Image.Image:
    size = cover.width
    small = cover.reduce(2)
    shade = Image.new("L", small.size)
    left, _, right, bottom = small.getbbox() or (0, 0, 1, 1)
    if standing:
        high = small.width / 22
        ImageDraw.Draw(shade).ellipse((left - high / 2, bottom - 1.5 * high, right + high, bottom + 0.8 * high), 130)
        shade = shade.filter(ImageFilter.GaussianBlur(size / 60))
    else:
        shade.paste(ImageChops.offset(small, round(size / 120), round(size / 60)).point(_HALF))
        shade = shade.filter(ImageFilter.GaussianBlur(size / 70))
    shade = ImageChops.invert(shade).resize(cover.size, Image.Resampling.BILINEAR)
    return Image.merge("RGB", (shade, shade, shade))


_DARKER = [min(255, 255 - round(0.95 * max(0, 126 - value))) for value in range(256)]
_LIGHTER = [min(255, round(0.75 * max(0, value - 130))) for value in range(256)]
_HALF = [round(0.42 * value) for value in range(256)]
