"""Pictures of shop products, drawn by rule from object, colour, pattern and a seed: what they show is known."""

from __future__ import annotations

import colorsys
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256

from PIL import Image

from . import food, things, wear
from .canvas import Colour, Pen, Pose
from .patterns import PATTERNS, cloth, second

COLOURS: dict[str, Colour] = {
    "black": (30, 30, 33),
    "white": (247, 247, 245),
    "grey": (134, 137, 141),
    "red": (206, 32, 38),
    "orange": (243, 128, 22),
    "yellow": (249, 211, 44),
    "green": (48, 146, 70),
    "blue": (42, 110, 220),
    "navy": (27, 38, 94),
    "purple": (124, 58, 166),
    "pink": (243, 145, 184),
    "brown": (112, 67, 36),
    "beige": (224, 203, 168),
}

_ALL = tuple(COLOURS)
_ANY = (_ALL, PATTERNS)
_PLAIN = (_ALL, ("plain",))
_WOVEN = (_ALL, ("plain", "striped", "checked", "zigzag"))


@dataclass(frozen=True, slots=True)
class _Kind:
    """How an object is drawn, and in which colours and patterns it comes."""

    paint: Callable[[Pen], None]
    colours: tuple[str, ...]
    patterns: tuple[str, ...]
    turn: float = 8
    standing: bool = False
    grain: float = 1.0
    angles: tuple[float, ...] = (0, 0, 90)


def _natural(*colours: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return colours, ("plain",)


_KINDS: dict[str, _Kind] = {
    "T-shirt": _Kind(wear.t_shirt, *_ANY),
    "shirt": _Kind(wear.shirt, *_ANY, grain=0.9),
    "sweater": _Kind(wear.sweater, *_ANY),
    "jacket": _Kind(wear.jacket, *_ANY),
    "dress": _Kind(wear.dress, *_ANY),
    "skirt": _Kind(wear.skirt, *_ANY),
    "trousers": _Kind(wear.trousers, *_ANY, grain=0.8),
    "shorts": _Kind(wear.shorts, *_ANY),
    "sock": _Kind(wear.sock, *_ANY, grain=0.85, turn=14),
    "sandal": _Kind(wear.sandal, *_ANY, grain=0.75, turn=14),
    "sneaker": _Kind(wear.sneaker, *_ANY, grain=0.75, standing=True, turn=4),
    "boot": _Kind(wear.boot, *_ANY, grain=0.85, standing=True, turn=4),
    "high heel": _Kind(wear.high_heel, *_ANY, grain=0.7, standing=True, turn=4),
    "handbag": _Kind(things.handbag, *_ANY, standing=True, turn=5),
    "backpack": _Kind(things.backpack, *_ANY, standing=True, turn=5),
    "wallet": _Kind(things.wallet, *_ANY, turn=14),
    "belt": _Kind(things.belt, *_PLAIN, turn=8),
    "wristwatch": _Kind(things.wristwatch, _ALL, ("plain", "striped"), grain=0.7, turn=14, angles=(0, 90)),
    "sunglasses": _Kind(things.sunglasses, *_PLAIN, turn=9),
    "cap": _Kind(things.cap, *_ANY, turn=8),
    "scarf": _Kind(things.scarf, *_WOVEN, grain=0.75, turn=9),
    "tie": _Kind(things.tie, *_ANY, grain=0.6, turn=14, angles=(35, -35)),
    "umbrella": _Kind(things.umbrella, *_ANY, turn=12),
    "apple": _Kind(food.apple, *_natural("red", "green", "yellow"), standing=True),
    "pear": _Kind(food.pear, *_natural("green", "yellow", "brown"), standing=True),
    "banana": _Kind(food.banana, *_natural("yellow", "green"), turn=16),
    "lemon": _Kind(food.lemon, *_natural("yellow", "green"), turn=25),
    "tomato": _Kind(food.tomato, *_natural("red", "yellow", "orange", "green"), standing=True),
    "bell pepper": _Kind(food.bell_pepper, *_natural("red", "yellow", "green", "orange"), standing=True),
    "carrot": _Kind(food.carrot, *_natural("orange", "purple", "yellow"), turn=20),
    "strawberry": _Kind(food.strawberry, *_natural("red", "white"), turn=15),
    "milk carton": _Kind(food.milk_carton, *_ANY, standing=True, turn=3),
    "juice carton": _Kind(food.juice_carton, *_ANY, standing=True, turn=3),
    "yoghurt pot": _Kind(food.yoghurt_pot, *_ANY, standing=True, turn=3),
    "jam jar": _Kind(
        food.jam_jar, *_natural("red", "orange", "yellow", "green", "purple", "pink", "brown"), standing=True, turn=3
    ),
    "cereal box": _Kind(food.cereal_box, *_ANY, standing=True, turn=3),
    "mug": _Kind(things.mug, *_ANY, standing=True, turn=3),
    "teapot": _Kind(things.teapot, *_ANY, standing=True, turn=3),
    "cushion": _Kind(things.cushion, *_ANY, turn=8),
    "lamp": _Kind(things.lamp, *_ANY, standing=True, turn=3),
}
OBJECTS: tuple[str, ...] = tuple(_KINDS)

# Chosen so that no object, colour or pattern is held out as a whole.
_SALT = "look 1: "
_HELD_OUT_PER_CENT = 20


@dataclass(frozen=True, slots=True)
class Look:
    """What can be seen of a product: one of OBJECTS, of COLOURS and of PATTERNS."""

    object: str
    colour: str
    pattern: str

    @property
    def name(self) -> str:
        """As in a caption: `red striped T-shirt`, `red T-shirt` where it is plain."""
        return " ".join(word for word in (self.colour, self.pattern, self.object) if word != "plain")


@lru_cache(maxsize=1)
def looks() -> tuple[Look, ...]:
    """All combinations that are drawn, in a fixed order: fruit comes in its natural colours only."""
    return tuple(
        Look(name, colour, pattern)
        for name, kind in _KINDS.items()
        for colour in kind.colours
        for pattern in kind.patterns
    )


def held_out(look: Look) -> bool:
    """Whether training must not see this combination; so for about a fifth of them."""
    digest = sha256(f"{_SALT}{look.object}/{look.colour}/{look.pattern}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % 100 < _HELD_OUT_PER_CENT


def draw(look: Look, seed: int = 0, size: int = 384) -> Image.Image:
    """An RGB picture, `size` pixels square, the same for the same arguments (and version of Pillow).

    The seed varies all that the look leaves open: place, size, slant, proportions, shade, background and the
    scale and phase of the pattern. Raises KeyError for an object or a colour that is not known.
    """
    return draw_with_mask(look, seed, size)[0]


def draw_with_mask(look: Look, seed: int = 0, size: int = 384) -> tuple[Image.Image, Image.Image]:
    """As `draw`, and an L picture that is 255 where the object is and 0 where it is not."""
    kind = _KINDS[look.object]
    rng = random.Random(f"{look.object}/{look.colour}/{look.pattern}/{seed}")
    pixels = size * (3 if size <= 256 else 2)
    base = _shade(look.colour, rng)
    other = second(look.colour, rng)
    slant = rng.choice(kind.angles) + rng.uniform(-4, 4)
    fabric = cloth(look.pattern, base, other, rng, pixels, grain=kind.grain, angle=slant)
    ground = _ground(look.colour, rng, size)
    pen = Pen(Pose(rng, pixels, kind.turn), rng, base, fabric, pixels)
    kind.paint(pen)
    return pen.finish(ground, kind.standing)


def _shade(name: str, rng: random.Random) -> Colour:
    hue, saturation, value = colorsys.rgb_to_hsv(*(part / 255 for part in COLOURS[name]))
    hue += rng.uniform(-0.012, 0.012)
    saturation *= rng.uniform(0.9, 1.06)
    value *= rng.uniform(0.985, 1.01) if name == "white" else rng.uniform(0.9, 1.08)
    r, g, b = colorsys.hsv_to_rgb(hue % 1, min(1, saturation), min(1, value))
    return round(255 * r), round(255 * g), round(255 * b)


_TINTS: tuple[Colour, ...] = (
    (250, 250, 250),
    (244, 244, 246),
    (238, 243, 248),
    (247, 240, 242),
    (238, 246, 240),
    (249, 246, 238),
)
_TINTS_FOR_WHITE: tuple[Colour, ...] = (
    (186, 194, 204),
    (196, 198, 201),
    (204, 190, 194),
    (186, 202, 190),
    (178, 196, 214),
)


def _ground(colour: str, rng: random.Random, size: int) -> Image.Image:
    top = rng.choice(_TINTS_FOR_WHITE if colour == "white" else _TINTS)
    depth = rng.uniform(0.88, 0.96)
    r, g, b = top
    bottom = (round(r * depth), round(g * depth), round(b * depth))
    fade = Image.linear_gradient("L").resize((size, size), Image.Resampling.BILINEAR)
    return Image.composite(Image.new("RGB", (size, size), bottom), Image.new("RGB", (size, size), top), fade)
