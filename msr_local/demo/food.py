"""Fruit, vegetables and groceries, each drawn by one function."""

from __future__ import annotations

from .canvas import Pen, both, box, brightness, flip, mix, oval, path

_STALK = (104, 72, 40)
_LEAF = (66, 140, 62)
_PAPER = (250, 248, 242)


def _leaf(pen: Pen, text: str, vein: str) -> None:
    pen.fill(path(text), _LEAF, 235)
    pen.line(path(vein), mix(_LEAF, (255, 255, 255), 0.3), 0.8, 235)


def apple(pen: Pen) -> None:
    """An apple with a stalk and at times a leaf."""
    pen.main(both("M50 30 Q58 22 70 24 Q90 28 88 54 Q84 84 66 90 Q58 92 50 87"), 205)
    pen.dim(oval(50, 31, 10, 4.5), 0.4)
    pen.line(path("M50 33 Q50 22 54 13"), _STALK, 3, 235)
    if pen.rng.random() < 0.7:
        _leaf(pen, "M53 22 Q60 8 78 12 Q72 26 53 22 Z", "M54 21.5 Q64 18 74 14")
    pen.dim(path("M84 44 Q84 76 64 89 Q86 84 88 56 Z"), 0.22)
    pen.shine(oval(33, 45, 6, 10), 0.45)


def pear(pen: Pen) -> None:
    """A pear with a stalk."""
    pen.main(both("M50 16 Q60 15 62 28 Q63 42 74 54 Q84 68 76 82 Q68 93 50 92"), 205)
    pen.line(path("M50 18 Q49 10 54 5"), _STALK, 2.8, 235)
    if pen.rng.random() < 0.5:
        _leaf(pen, "M52 13 Q58 2 74 6 Q68 18 52 13 Z", "M53 12.6 Q62 10 70 7.5")
    pen.dim(path("M66 44 Q82 64 70 86 Q88 78 78 60 Z"), 0.2)
    pen.shine(oval(36, 64, 5, 10), 0.4)
    for x, y in ((48, 70), (56, 62), (60, 76), (46, 56), (54, 84), (42, 80), (62, 68), (52, 44)):
        pen.dim(oval(x, y, 0.7, 0.7), 0.3)


def banana(pen: Pen) -> None:
    """A banana with dark ends."""
    pen.main(path("M14 28 Q16 64 44 78 Q70 90 92 66 Q94 60 88 60 Q66 66 48 54 Q30 42 24 22 Q18 20 14 28 Z"), 205)
    pen.seam(path("M18 28 Q24 58 48 67 Q70 74 90 62"), 1.1, 0.35)
    pen.dim(path("M14.5 34 Q18 64 44 78 Q70 90 92 66 Q70 82 46 73 Q24 64 14.5 34 Z"), 0.22)
    pen.fill(path("M14 29 Q12 18 17 12 L23 14 Q22 20 25 24 Q18 24 14 29 Z"), mix(pen.base, _STALK, 0.55), 205)
    pen.fill(path("M16.5 13 L17.5 10 L23.5 12 L23 15 Z"), (74, 56, 34), 215)
    pen.fill(path("M88.5 59.6 Q94 58 95 62 Q95 66 91 67.5 Z"), (74, 56, 34), 215)
    pen.shine(path("M30 40 Q42 56 62 60 Q44 60 30 40 Z"), 0.4)


def lemon(pen: Pen) -> None:
    """A lemon with pointed ends and dimpled skin."""
    pen.main(
        path(
            "M8 52 Q14 48 18 42 Q30 24 52 24 Q74 24 84 42 Q87 47 93 50 "
            "Q95 54 90 56 Q84 74 66 79 Q44 84 26 72 Q16 66 13 58 Q7 58 8 52 Z"
        )
    )
    for _ in range(26):
        x, y = pen.rng.uniform(26, 78), pen.rng.uniform(32, 72)
        pen.dim(oval(x, y, 0.9, 0.9), 0.22)
    pen.dim(path("M16 64 Q40 88 68 78 Q84 72 90 56 Q76 72 52 73 Q30 74 16 64 Z"), 0.2)
    pen.shine(oval(42, 38, 11, 5), 0.5)
    if pen.rng.random() < 0.4:
        _leaf(pen, "M14 46 Q12 28 26 18 Q30 34 14 46 Z", "M15 44 Q20 32 25 22")


def tomato(pen: Pen) -> None:
    """A tomato with its green star."""
    pen.main(both("M50 30 Q62 25 74 30 Q92 38 90 58 Q86 84 62 88 Q56 89 50 88"), 205)
    pen.dim(path("M86 44 Q86 76 60 88 Q86 86 90 58 Z"), 0.2)
    pen.dim(path("M50 32 Q36 34 24 44 Q36 38 50 38 Q64 38 76 44 Q64 34 50 32 Z"), 0.25)
    green = (54, 120, 52)
    star = (
        "M50 30 L54 30 L68 22 L62 32 L78 38 L61 38 L62 50 L53 40 L46 52 "
        "L43 40 L28 46 L38 36 L22 30 L40 31 L40 22 L47 29 Z"
    )
    pen.fill(path(star), green, 235)
    pen.line(path("M50 33 Q51 24 56 18"), green, 3, 250)
    pen.shine(oval(31, 54, 5, 9), 0.5)


def bell_pepper(pen: Pen) -> None:
    """A bell pepper with its lobes and a thick green stalk."""
    lobe = path("M58 28 Q78 20 84 38 Q90 60 78 84 Q68 94 58 86 Q50 60 58 28 Z")
    for side in (lobe, flip(lobe)):
        pen.main(side, 180)
    pen.main(both("M50 30 Q60 26 64 36 Q72 62 62 86 Q56 92 50 90"), 225)
    pen.seam(path("M62 34 Q72 60 63 86"), 1.3, 0.4)
    pen.seam(path("M38 34 Q28 60 37 86"), 1.3, 0.4)
    green = (46, 104, 46) if pen.base[1] > pen.base[0] else (72, 142, 62)
    pen.fill(path("M36 31 Q42 24 50 26 Q60 24 64 31 Q58 36 50 33 Q42 37 36 31 Z"), green, 240)
    pen.line(path("M50 29 Q49 18 57 11"), green, 6, 250)
    pen.shine(path("M27 40 Q23 56 28 72 Q32 56 32 38 Z"), 0.5)
    pen.shine(path("M46 42 Q43 54 46 68 Q50 54 50 42 Z"), 0.3)


def carrot(pen: Pen) -> None:
    """A carrot with its leaves."""
    for text in ("M50 28 Q44 14 34 8", "M50 28 Q48 12 46 3", "M50 28 Q54 12 58 4", "M50 28 Q58 16 68 9"):
        pen.line(path(text), _LEAF, 3, 200)
        x, y = path(text)[-1]
        for dx, dy in ((-3, 4), (3, 4), (0, 0), (-2, 9), (3, 9)):
            pen.fill(oval(x + dx * 0.9 + (50 - x) * dy / 30, y + dy, 3, 3), mix(_LEAF, (0, 0, 0), 0.02 * (dy + 2)), 220)
    pen.main(both("M50 24 Q62 22 64 34 Q64 62 52 95 L50 96"), 205)
    for y, left, right in ((38, 37, 48), (46, 52, 62), (55, 40, 49), (64, 51, 58), (72, 44, 50), (80, 50, 54)):
        pen.seam(((left, y), (right, y + 1)), 0.9, 0.4)
    pen.dim(path("M60 26 Q64 62 51 95 Q70 60 64 32 Z"), 0.2)
    pen.shine(path("M42 32 Q41 50 46 70 Q46 50 46 32 Z"), 0.35)


def strawberry(pen: Pen) -> None:
    """A strawberry with seeds and leaves."""
    pen.main(both("M50 26 Q66 18 78 28 Q88 40 76 62 Q64 86 50 92"), 205)
    seed = (246, 214, 120) if brightness(pen.base) < 180 else (206, 60, 60)
    for row in range(6):
        y = 38 + 8.6 * row
        half = (30, 27, 22, 16.5, 10, 4)[row]
        count = (5, 5, 4, 3, 2, 1)[row]
        for k in range(count):
            x = 50 + (0 if count == 1 else half * 0.82 * (2 * k / (count - 1) - 1))
            pen.fill(oval(x, y, 1.1, 1.8), seed, 165)
    pen.dim(path("M80 34 Q78 62 52 91 Q74 80 80 50 Z"), 0.2)
    star = "M50 30 L58 40 L61 29 L76 36 L68 24 L80 18 L62 18 L50 10 L38 18 L20 18 L32 24 L24 36 L39 29 L42 40 Z"
    pen.fill(path(star), _LEAF, 240)
    pen.line(path("M50 22 Q50 12 55 6"), mix(_LEAF, (0, 0, 0), 0.2), 2.8, 250)
    pen.shine(oval(32, 46, 3.5, 7), 0.45)


def milk_carton(pen: Pen) -> None:
    """A carton with a gabled top, and a drop on its label."""
    pen.main(path("M24 36 L64 36 L64 92 L24 92 Z"), 205)
    pen.main(path("M64 36 L80 33 L80 88 L64 92 Z"), 205)
    pen.dim(path("M64 36 L80 33 L80 88 L64 92 Z"), 0.28)
    pen.main(path("M24 36 L30 16 L70 16 L64 36 Z"), 225)
    pen.fill(path("M64 36 L70 16 L80 33 Z"), pen.tone(-0.42) if brightness(pen.base) > 60 else pen.tone(0.1), 160)
    pen.fill(
        path("M29.5 17 L29.5 8 L70.5 8 L70.5 17 Z"),
        pen.tone(-0.14) if brightness(pen.base) > 60 else pen.tone(0.2),
        235,
    )
    pen.seam(path("M24 36 L64 36"), 0.8, 0.4)
    panel = _PAPER if brightness(pen.base) < 205 else (120, 150, 190)
    drop = (120, 170, 220) if brightness(pen.base) < 205 else _PAPER
    pen.fill(oval(44, 64, 13, 13), panel, 215)
    pen.fill(path("M44 53 Q53 64 51.5 69 Q49 74 44 74 Q39 74 36.5 69 Q35 64 44 53 Z"), drop, 225)


def juice_carton(pen: Pen) -> None:
    """A small brick of juice with a bent straw, and a round fruit on its label."""
    pen.line(path("M58 28 L58 8 L72 2"), (245, 245, 245) if brightness(pen.base) < 205 else (214, 80, 70), 3.2, 235)
    pen.main(path("M28 28 L66 28 L66 92 L28 92 Z"), 205)
    pen.main(path("M66 28 L78 22 L78 86 L66 92 Z"), 205)
    pen.dim(path("M66 28 L78 22 L78 86 L66 92 Z"), 0.3)
    pen.fill(path("M28 28 L40 22 L78 22 L66 28 Z"), pen.tone(0.25), 235)
    pen.line(path("M58 25.5 L58 14"), (245, 245, 245) if brightness(pen.base) < 205 else (214, 80, 70), 3.2, 250)
    pen.fill(box(35, 52, 59, 78, 3), _PAPER if brightness(pen.base) < 205 else (196, 202, 210), 215)
    fruit = pen.rng.choice(((240, 140, 40), (205, 60, 60), (140, 180, 70)))
    pen.fill(oval(47, 66, 9, 9), fruit, 230)
    pen.fill(oval(47, 66, 6.6, 6.6), mix(fruit, (255, 255, 255), 0.45), 225)
    for line in ("M47 59.4 L47 72.6", "M40.6 66 L53.4 66", "M42.4 61.4 L51.6 70.6", "M42.4 70.6 L51.6 61.4"):
        pen.line(path(line), fruit, 0.9, 225)
    pen.fill(path("M47 57 Q50 50 57 52 Q54 58 47 57 Z"), _LEAF, 235)


def yoghurt_pot(pen: Pen) -> None:
    """A wide pot that narrows to its foot, with a silver lid pulled up at one side."""
    pen.main(both("M50 32 L82 32 L73 87 Q62 92 50 92"))
    pen.dim(path("M66 36 L82 34 L73 87 Q68 90 62 91 Z"), 0.2)
    pen.fill(both("M50 27 L85 26 Q86 29 84 33 L50 35"), (222, 224, 228), 235)
    pen.fill(path("M16 28 Q50 23 84 28 L95 20 Q97 17 92 16 Q50 16 19 23 Z"), (204, 208, 214), 245)
    pen.seam(path("M21 26 Q52 20 90 19"), 0.8, 0.3)
    panel = _PAPER if brightness(pen.base) < 205 else (216, 150, 170)
    pen.fill(oval(48, 63, 11.5, 9.5), panel, 220)
    berry = pen.rng.choice(((190, 40, 70), (80, 70, 150), (230, 130, 50)))
    for x, y in ((44.4, 61), (51.8, 62), (48, 66.4)):
        pen.fill(oval(x, y, 3.5, 3.5), berry, 235)
    pen.shine(path("M27 42 L31 42 L36 82 L33 82 Z"), 0.45)


def jam_jar(pen: Pen) -> None:
    """A glass of jam with a metal lid and a paper label."""
    glass = (226, 232, 234)
    pen.fill(both("M50 24 L66 24 Q81 29 81 39 L81 84 Q80 92 71 92 L50 92"), glass, 200)
    pen.main(both("M50 28 L67 28 Q79 32 79 41 L79 83 Q78 90.5 70 90.5 L50 90.5"), 215)
    lid = pen.rng.choice(((214, 180, 92), (205, 208, 212), (244, 242, 236)))
    pen.fill(both("M50 11 L69 11 Q72 11 72 14 L72 23 Q72 26 69 26 L50 26"), lid, 240)
    for k in range(1, 12):
        x = 27 + 46 * k / 12
        pen.line(((x, 14.5), (x, 24)), mix(lid, (0, 0, 0), 0.22), 0.9, 240)
    pen.fill(box(36, 53, 64, 73, 2), _PAPER, 225)
    pen.fill(oval(50, 61.5, 4.8, 4.8), pen.base, 235)
    pen.fill(path("M50 57.4 Q53 52 59 53.5 Q56 58.4 50 57.4 Z"), _LEAF, 235)
    for y, half in ((68.2, 9), (70.8, 6)):
        pen.line(((50 - half, y), (50 + half, y)), (150, 140, 130), 1, 225)
    pen.shine(path("M25 40 Q24 60 26 84 L29.5 84 Q28 60 29.5 38 Z"), 0.6)
    pen.dim(path("M70 32 Q77 36 77 44 L77 83 Q76 88 70 89 Z"), 0.18)


def cereal_box(pen: Pen) -> None:
    """A tall box with a bowl of cereal on its front."""
    pen.main(path("M18 16 L70 16 L70 92 L18 92 Z"), 205)
    pen.main(path("M70 16 L82 10 L82 86 L70 92 Z"), 205)
    pen.dim(path("M70 16 L82 10 L82 86 L70 92 Z"), 0.32)
    pen.fill(path("M18 16 L30 10 L82 10 L70 16 Z"), pen.tone(0.3), 235)
    panel = _PAPER if brightness(pen.base) < 205 else (176, 186, 200)
    pen.fill(box(24, 23, 64, 36, 2.5), panel, 220)
    for x0, x1 in ((28, 40), (43, 60)):
        pen.line(((x0, 29.5), (x1, 29.5)), pen.tone(-0.3) if brightness(pen.base) > 60 else pen.base, 3.4, 225)
    pen.fill(oval(44, 63, 19, 6.5), (244, 240, 230), 235)
    for k in range(14):
        x, y = 44 + pen.rng.uniform(-14, 14), 62 + pen.rng.uniform(-3.2, 2.4)
        pen.fill(oval(x, y, 2.6, 2), ((214, 150, 62), (232, 178, 92))[k % 2], 245)
    bowl = (240, 242, 246) if brightness(pen.base) < 205 else (110, 140, 180)
    pen.fill(path("M25 63.5 Q44 72 63 63.5 Q60 80 52 82 L36 82 Q28 80 25 63.5 Z"), bowl, 235)
