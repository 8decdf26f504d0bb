"""The cloth an object is cut from: one colour, or a pattern of two in which the first has the larger area."""

from __future__ import annotations

import math
import random

from PIL import Image, ImageDraw

from .canvas import Colour, brightness, mix

PATTERNS: tuple[str, ...] = ("plain", "striped", "checked", "polka-dotted", "floral", "zigzag")

_SECOND: dict[str, tuple[Colour, ...]] = {
    "white": ((124, 130, 142), (136, 136, 136)),
    "beige": ((255, 253, 248), (139, 96, 58)),
    "yellow": ((255, 255, 250), (173, 112, 10)),
    "pink": ((255, 252, 252), (186, 52, 112)),
    "grey": ((246, 246, 246), (48, 50, 56)),
    "black": ((240, 240, 240), (178, 181, 188)),
    "brown": ((248, 240, 226), (214, 182, 140)),
}
_WHITE: tuple[Colour, ...] = ((252, 252, 250),)


def second(colour: str, rng: random.Random) -> Colour:
    """The other colour of a pattern on an object of the named colour."""
    return rng.choice(_SECOND.get(colour, _WHITE))


class _Weave:
    """Places the repeats of a pattern: a lattice of its own scale, angle and phase."""

    def __init__(self, image: Image.Image, rng: random.Random, period: float, angle: float) -> None:
        self.draw, self.rng, self.period = ImageDraw.Draw(image), rng, period
        self._cos, self._sin = math.cos(angle), math.sin(angle)
        self._x = image.width / 2 + rng.uniform(0, period)
        self._y = image.height / 2 + rng.uniform(0, period)
        self.reach = math.ceil(0.75 * image.width / period) + 1

    def at(self, u: float, v: float) -> tuple[float, float]:
        u, v = u * self.period, v * self.period
        return self._x + u * self._cos - v * self._sin, self._y + u * self._sin + v * self._cos

    def band(self, v: float, high: float, colour: Colour | int) -> None:
        far = self.reach + 1
        self.draw.polygon([self.at(-far, v), self.at(far, v), self.at(far, v + high), self.at(-far, v + high)], colour)

    def dot(self, u: float, v: float, radius: float, colour: Colour) -> None:
        x, y = self.at(u, v)
        r = radius * self.period
        self.draw.ellipse((x - r, y - r, x + r, y + r), colour)


def cloth(
    pattern: str, base: Colour, other: Colour, rng: random.Random, pixels: int, *, grain: float, angle: float
) -> Image.Image | None:
    """A square of the pattern, None for plain; `grain` scales its repeat, `angle` in degrees turns it."""
    if pattern == "plain":
        return None
    image = Image.new("RGB", (pixels, pixels), base)
    period = pixels * grain * rng.uniform(0.85, 1.15)
    turn = math.radians(angle)
    # White with grey and grey with white differ by area alone.
    share = rng.uniform(0.25, 0.31) if max(base) - min(base) < 30 else rng.uniform(0.32, 0.4)
    if pattern == "striped":
        _striped(_Weave(image, rng, 0.13 * period, turn), other, share)
    elif pattern == "checked":
        _checked(_Weave(image, rng, 0.165 * period, turn), base, other, share)
    elif pattern == "polka-dotted":
        _dotted(_Weave(image, rng, 0.155 * period, turn), other)
    elif pattern == "floral":
        _floral(_Weave(image, rng, 0.22 * period, turn + rng.uniform(-0.3, 0.3)), base, other)
    else:
        _zigzag(_Weave(image, rng, 0.165 * period, turn), other, share)
    return image


def _striped(weave: _Weave, other: Colour, share: float) -> None:
    for row in range(-weave.reach, weave.reach + 1):
        weave.band(row, share, other)


def _checked(weave: _Weave, base: Colour, other: Colour, share: float) -> None:
    half = mix(base, other, 0.5)
    cells = range(-weave.reach, weave.reach + 1)
    for row in cells:
        weave.band(row, share, half)
    far = weave.reach + 1
    for column in cells:
        edge = column + share
        weave.draw.polygon(
            [weave.at(column, -far), weave.at(edge, -far), weave.at(edge, far), weave.at(column, far)], half
        )
        for row in cells:
            low = row + share
            weave.draw.polygon(
                [weave.at(column, row), weave.at(edge, row), weave.at(edge, low), weave.at(column, low)], other
            )


def _dotted(weave: _Weave, other: Colour) -> None:
    radius = weave.rng.uniform(0.26, 0.31)
    for row in range(-weave.reach, weave.reach + 1):
        for column in range(-weave.reach, weave.reach + 1):
            weave.dot(column + 0.5 * (row % 2), 0.9 * row, radius, other)


def _floral(weave: _Weave, base: Colour, other: Colour) -> None:
    rng = weave.rng
    heart = (238, 178, 40) if brightness(other) > 200 and not _yellowish(base) else mix(base, other, 0.25)
    heart = (205, 96, 40) if _yellowish(base) else heart
    leaf = mix(base, (30, 110, 60), 0.55) if brightness(base) > 90 else mix(base, (120, 190, 130), 0.6)
    petals = rng.choice((5, 5, 6))
    for row in range(-weave.reach, weave.reach + 1):
        for column in range(-weave.reach, weave.reach + 1):
            u = column + 0.5 * (row % 2) + rng.uniform(-0.08, 0.08)
            v = 0.85 * row + rng.uniform(-0.08, 0.08)
            start, size = rng.uniform(0, 6.28), rng.uniform(0.3, 0.36)
            _leaf(weave, u, v, start, size, leaf)
            rim = []
            for k in range(petals * 6):
                angle = start + 2 * math.pi * k / (petals * 6)
                r = size * (0.5 + 0.5 * abs(math.sin((angle - start) * petals / 2)) ** 0.7)
                rim.append(weave.at(u + r * math.cos(angle), v + r * math.sin(angle)))
            weave.draw.polygon(rim, other)
            weave.dot(u, v, 0.1, heart)


def _leaf(weave: _Weave, u: float, v: float, angle: float, size: float, colour: Colour) -> None:
    c, s = math.cos(angle), math.sin(angle)
    outline = ((0.2, 0.0), (0.9, 0.22), (1.5, 0.0), (0.9, -0.22))
    weave.draw.polygon([weave.at(u + size * (a * c - b * s), v + size * (a * s + b * c)) for a, b in outline], colour)


def _yellowish(colour: Colour) -> bool:
    return colour[0] > 180 and colour[1] > 95 and colour[2] < 90


def _zigzag(weave: _Weave, other: Colour, high: float) -> None:
    for row in range(-weave.reach, weave.reach + 1):
        top = [(k / 2, row + (0.0 if k % 2 else 0.42)) for k in range(-2 * weave.reach, 2 * weave.reach + 1)]
        rim = [weave.at(u, v) for u, v in top] + [weave.at(u, v + high) for u, v in reversed(top)]
        weave.draw.polygon(rim, other)
