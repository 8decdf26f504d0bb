"""Bags, accessories and things for the home, each drawn by one function."""

from __future__ import annotations

import math

from .canvas import Colour, Pen, both, box, brightness, flip, oval, path, shifted

_GOLD = (216, 178, 88)
_SILVER = (198, 201, 206)
_STEEL = (150, 154, 160)


def _accent(pen: Pen, by: float = 0.3) -> Colour:
    return pen.tone(-by) if brightness(pen.base) > 60 else pen.tone(by)


def handbag(pen: Pen) -> None:
    """A handbag with one arched handle, a flap or a top edge, and a clasp."""
    high = pen.rng.uniform(-5, 3)
    pen.line(path(f"M32 46 Q32 {14 + high} 50 {14 + high} Q68 {14 + high} 68 46"), _accent(pen, 0.22), 4.2, 225)
    pen.main(both("M50 40 L76 40 Q80 40 81 44 L88 82 Q88 88 82 88 L50 89"))
    if pen.rng.random() < 0.5:
        pen.main(both("M50 38 L77 38 Q80 40 80 44 Q78 62 66 63 L50 64"), 235)
        pen.seam(both("M50 62 L66 61 Q75 60 77.6 46")[:-1], 0.6, 0.45)
        pen.fill(box(45.5, 58, 54.5, 68, 2), _GOLD, 255)
        pen.fill(oval(50, 64, 1.2, 1.2), (120, 90, 40), 200)
    else:
        pen.fill(both("M50 38 L76.5 38 L78 46 L50 46"), _accent(pen, 0.2), 235)
        pen.fill(oval(50, 42, 2.6, 2.6), _GOLD, 255)
        for side in (path("M70 46 L74 88"), path("M30 46 L26 88")):
            pen.seam(side, 0.9, 0.4)
    for x in (32, 68):
        pen.fill(oval(x, 44.5, 2.6, 2.6), _GOLD, 255)
    pen.seam(both("M50 86 L82 85 Q85 84 84.6 81 L81 60")[:-1], 0.6, 0.4)


def backpack(pen: Pen) -> None:
    """A backpack from the front: loop, zips, front pocket, side pockets."""
    pen.line(path("M43 15 Q43 6 50 6 Q57 6 57 15"), _accent(pen, 0.3), 3.2, 215)
    side = path("M74 48 Q85 48 86 60 L85 82 Q84 87 76 87 Z")
    for pocket in (side, flip(side)):
        pen.fill(pocket, _accent(pen, 0.22), 170)
    pen.main(both("M50 11 Q77 11 78 38 L79 82 Q79 91 70 91 L50 91"))
    pen.main(both("M50 52 L66 52 Q71 52 71 57 L71 80 Q71 84 66 84 L50 84"), 245)
    zipper = pen.tone(-0.55) if brightness(pen.base) > 60 else pen.tone(0.45)
    pen.line(path("M28 48 Q27 22 50 22 Q73 22 72 48"), zipper, 1.5, 200)
    pen.line(path("M32 59 L68 59"), zipper, 1.5, 225)
    pen.line(path("M66 59 L66 64"), _SILVER, 1.8, 255)
    pen.line(path("M72 44 L72 50"), _SILVER, 1.8, 255)
    pen.fill(box(45.5, 33, 54.5, 42, 1.5), (120, 78, 46) if brightness(pen.base) > 90 else (196, 152, 104), 240)
    pen.seam(path("M30 82 Q30 86 36 86 L64 86 Q70 86 70 82"), 0.6, 0.3)


def wallet(pen: Pen) -> None:
    """A folded wallet with cards that stand out at the top, stitched along the edge."""
    for k, card in enumerate(((226, 228, 232), (170, 186, 206), (238, 226, 196))):
        pen.fill(box(19 + 4 * k, 22 + 2.6 * k, 78 + 2 * k, 50, 2), card, 150 + 10 * k)
    pen.main(box(10, 31, 90, 77, 5), 200)
    pen.seam((*box(13, 34, 87, 74, 4),), 0.6, 0.5)
    if pen.rng.random() < 0.6:
        pen.fill(path("M91 46 Q70 45 66 48 Q62 54 66 60 Q70 63 91 62 Z"), _accent(pen, 0.25), 240)
        pen.fill(oval(70.5, 54, 2.7, 2.7), _GOLD, 255)
    else:
        pen.seam(path("M50 31 L50 77"), 1.1, 0.55)
        pen.seam(path("M54 44 Q72 47 90 44"), 0.9, 0.5)


def belt(pen: Pen) -> None:
    """A belt laid in a ring, with a metal buckle and holes."""
    pen.fill(path("M9 40 Q9 20 50 20 Q91 20 91 40 L91 48 Q88 32 50 32 Q12 32 9 48 Z"), pen.base, 170)
    pen.dim(path("M9 40 Q9 20 50 20 Q91 20 91 40 L91 48 Q88 32 50 32 Q12 32 9 48 Z"), 0.3)
    pen.main(path("M9 40 Q11 58 50 58 Q89 58 91 40 L91 58 Q89 78 50 78 Q11 78 9 58 Z"))
    for edge in (
        path("M10 44.5 Q14 60.5 50 60.5 Q86 60.5 90 44.5"),
        path("M10 58.5 Q14 75.5 50 75.5 Q86 75.5 90 58.5"),
    ):
        pen.seam(edge, 0.6, 0.45)
    metal = pen.rng.choice((_GOLD, _SILVER))
    frame = box(37, 54.5, 58, 81, 3)
    pen.line((*frame, frame[0]), metal, 3.2, 255)
    pen.line(path("M38 68 L57 68"), metal, 2.2, 255)
    for k in range(3):
        pen.fill(
            oval(66 + 6 * k, 67 - 1.3 * k - 0.5 * k * k, 1.1, 1.4),
            pen.tone(-0.7) if brightness(pen.base) > 60 else (0, 0, 0),
            90,
        )
    pen.fill(path("M30 57.5 L34.4 58 L34.4 78 L30 77.4 Z"), _accent(pen, 0.2), 240)


def wristwatch(pen: Pen) -> None:
    """A wristwatch with a pale dial, the case in the colour of its strap."""
    pen.main(path("M37 36 L39 8 Q50 4 61 8 L63 36 Z"), 180)
    pen.main(path("M37 64 L39 92 Q50 97 61 92 L63 64 Z"), 180)
    for k in range(3):
        pen.fill(oval(50, 78 + 5 * k, 1.3, 1.1), pen.tone(-0.65), 90)
    pen.seam(path("M40.5 34 L42 10"), 0.6, 0.4)
    pen.seam(path("M59.5 34 L58 10"), 0.6, 0.4)
    pen.seam(path("M40.5 66 L42 90"), 0.6, 0.4)
    pen.seam(path("M59.5 66 L58 90"), 0.6, 0.4)
    pen.line(path("M70 50 L75 50"), _STEEL, 4, 230)
    pen.fill(oval(50, 50, 23, 23), pen.base, 235)
    pen.fill(oval(50, 50, 16.5, 16.5), (250, 249, 245), 215)
    for k in range(12):
        c, s = math.cos(k * math.pi / 6), math.sin(k * math.pi / 6)
        pen.line(
            ((50 + 12.6 * c, 50 + 12.6 * s), (50 + 14.8 * c, 50 + 14.8 * s)), (70, 70, 74), 1.2 if k % 3 else 2, 215
        )
    turn = pen.rng.uniform(0, 2 * math.pi)
    for angle, long, width in ((turn, 7.5, 2.2), (turn * 12 % 6.2832, 11.5, 1.5)):
        pen.line(((50, 50), (50 + long * math.cos(angle), 50 + long * math.sin(angle))), (40, 40, 46), width, 225)
    pen.fill(oval(50, 50, 1.6, 1.6), (40, 40, 46), 230)


def sunglasses(pen: Pen) -> None:
    """Sunglasses from the front with a thick frame and lenses of the same tint."""
    arm = path("M88 34 Q95 33 96 40 L94 46 L88 44 Z")
    for side in (arm, flip(arm)):
        pen.fill(side, _accent(pen, 0.25), 150)
    pen.line(path("M42 41 Q50 33 58 41"), pen.base, 6, 215)
    round_ = pen.rng.random() < 0.4
    rim = oval(73, 50, 20, 20) if round_ else path("M54 35 Q74 29 93 34 Q94 52 86 61 Q76 68 64 63 Q53 56 54 35 Z")
    middle = (73.0, 50.0) if round_ else (73.5, 47.5)
    lens = tuple((middle[0] + (x - middle[0]) * 0.62, middle[1] + (y - middle[1]) * 0.6) for x, y in rim)
    glass = pen.tone(-0.16) if brightness(pen.base) > 60 else pen.tone(0.1)
    gleam = tuple(
        (middle[0] + (x - 73) * 0.4, middle[1] + (y - 50) * 0.4) for x, y in path("M60 66 L78 32 L86 32 L68 68 Z")
    )
    for left in (False, True):
        pen.fill(flip(rim) if left else rim, pen.base, 235)
        pen.fill(flip(lens) if left else lens, glass, 205)
        pen.shine(shifted(gleam, -46) if left else gleam, 0.35)


def cap(pen: Pen) -> None:
    """A peaked cap from the side."""
    pen.main(path("M12 64 Q10 24 48 22 Q78 22 82 62 Q48 56 12 64 Z"), 205)
    pen.fill(path("M50 60 Q72 56 82 58 Q98 64 97 74 Q94 78 86 74 Q68 66 46 67 Q46 63 50 60 Z"), _accent(pen, 0.22), 225)
    pen.seam(path("M50 63.5 Q74 60 93 72"), 0.6, 0.4)
    pen.seam(path("M48 22 Q36 36 36 60"), 0.8, 0.45)
    pen.seam(path("M48 22 Q64 36 66 58"), 0.8, 0.45)
    pen.seam(path("M12 61 Q48 53 81 59.5"), 0.7, 0.4)
    pen.fill(oval(48, 21.5, 3.4, 2.4), _accent(pen, 0.3), 250)
    for x, y in ((28, 38), (54, 36)):
        pen.fill(oval(x, y, 1.1, 1.1), _accent(pen, 0.55), 120)


def scarf(pen: Pen) -> None:
    """A scarf tied in a loop, its fringed ends hanging down."""
    yarn = _accent(pen, 0.12)
    for left, right, end in ((33, 49, 82), (52, 69, 76)):
        for k in range(7):
            x = left + (right - left) * (k + 0.5) / 7
            pen.line(((x, end - 2), (x + pen.rng.uniform(-1, 1), end + 9)), yarn, 1.4, 170)
    pen.main(path("M43 38 L62 40 L70 78 L52 79 Z"), 165)
    pen.main(path("M40 38 L58 40 Q52 60 50 84 L32 82 Q34 58 40 38 Z"), 205)
    pen.fill(path("M26 24 Q50 10 74 24 Q70 34 50 33 Q30 34 26 24 Z"), _accent(pen, 0.4), 120)
    pen.main(path("M24 22 Q20 36 38 44 Q50 49 62 44 Q80 36 76 22 Q70 34 50 34 Q30 34 24 22 Z"), 235)
    pen.main(path("M24 22 Q34 8 50 8 Q66 8 76 22 Q66 15 50 15 Q34 15 24 22 Z"), 190)
    pen.main(path("M38 36 Q48 32 60 37 Q63 46 58 52 Q48 55 40 50 Q36 42 38 36 Z"), 250)
    for fold in ("M28 30 Q40 40 60 39", "M44 40 Q50 44 54 50", "M44 54 Q41 66 40 82"):
        pen.seam(path(fold), 0.9, 0.35)


def tie(pen: Pen) -> None:
    """A tie, knotted."""
    wide = pen.rng.uniform(-2, 2.5)
    pen.main(path("M45 20 L55 20 L58 78 L52 86 L47 78 Z"), 150)
    pen.main(both(f"M50 19 L55.5 19 Q58 50 {65 + wide} 80 L50 96"), 205)
    pen.main(both("M50 4 L60.5 5 L56 21 Q53 22.5 50 22.5"), 245)
    pen.seam(path("M44.4 21 Q50 24 55.6 21"), 1.2, 0.55)
    pen.seam(path("M50 26 Q51 50 50 78"), 0.7, 0.15)
    pen.seam(path("M50 24 Q49 28 47 32"), 1, 0.35)


def umbrella(pen: Pen) -> None:
    """An open umbrella from the side with a hooked handle."""
    wood = (136, 92, 58) if pen.rng.random() < 0.6 else (70, 70, 76)
    pen.line(path("M50 8 L50 84 Q50 92 43 92 Q36 92 36 84"), wood, 3.2, 220)
    pen.main(
        path(
            "M6 52 Q10 16 50 14 Q90 16 94 52 "
            "Q87 45 79 52 Q71 45 64 52 Q57 46 50 52 Q43 46 36 52 Q29 45 21 52 Q13 45 6 52 Z"
        ),
    )
    for x, bend in ((21, 22), (36, 40), (64, 60), (79, 78)):
        pen.seam(path(f"M50 14 Q{bend} 24 {x} 51"), 0.9, 0.45)
    pen.dim(path("M50 14 Q60 24 64 52 Q71 45 79 52 Q78 24 50 14 Z"), 0.06)
    pen.dim(path("M50 14 Q78 24 79 52 Q87 45 94 52 Q90 16 50 14 Z"), 0.12)
    pen.shine(path("M46 18 Q24 24 15 40 Q22 28 46 22 Z"), 0.3)
    pen.line(path("M50 7 L50 14"), wood, 2.4, 240)


def mug(pen: Pen) -> None:
    """A mug with a ring for a handle."""
    pen.main_line(path("M70 36 Q92 34 92 52 Q92 70 70 70"), 6.5, 190)
    pen.main(path("M20 24 L74 24 Q75 60 71 82 Q68 89 47 89 Q26 89 23 82 Q19 60 20 24 Z"))
    pen.dim(path("M60 28 L74 26 Q75 60 71 82 Q69 87 58 88 Q62 60 60 28 Z"), 0.2)
    pen.fill(oval(47, 24, 27, 7.5), pen.tone(-0.06) if brightness(pen.base) > 60 else pen.tone(0.18), 225)
    pen.fill(oval(47, 24.8, 24, 5.8), pen.tone(-0.45), 120)
    pen.shine(path("M27 36 L31 36 Q30 58 32 78 L29 78 Q26 58 27 36 Z"), 0.5)


def teapot(pen: Pen) -> None:
    """A teapot with spout, lid and handle."""
    pen.main_line(path("M24 44 Q6 38 8 54 Q10 70 28 72"), 5.4, 185)
    pen.main(path("M70 62 Q84 58 84 42 Q86 36 94 35 Q98 38 93 42 Q92 70 70 78 Z"), 185)
    pen.main(path("M50 34 Q80 34 80 60 Q78 84 64 86 L36 86 Q22 84 20 60 Q20 34 50 34 Z"))
    pen.main(path("M32 39 Q34 26 50 25 Q66 26 68 39 Q50 44 32 39 Z"), 235)
    pen.seam(path("M32 39 Q50 45 68 39"), 1, 0.5)
    pen.fill(oval(50, 22, 4.4, 4), _accent(pen, 0.2), 250)
    pen.dim(path("M66 40 Q80 46 80 60 Q78 84 64 86 Q74 66 66 40 Z"), 0.18)
    pen.shine(path("M29 48 Q25 58 29 70 Q32 60 34 46 Z"), 0.5)


def cushion(pen: Pen) -> None:
    """A square cushion with pointed corners and piping."""
    outline = path("M10 12 Q50 22 90 12 Q80 50 90 90 Q50 80 10 90 Q20 50 10 12 Z")
    pen.main(outline, 205)
    pen.line((*outline, outline[0]), _accent(pen, 0.3), 1.7, 180)
    for fold in ("M15 17 Q24 26 30 28", "M85 17 Q76 26 70 28", "M15 85 Q24 76 30 73", "M85 85 Q76 76 70 73"):
        pen.seam(path(fold), 1.5, 0.3)
    if pen.rng.random() < 0.5:
        pen.fill(oval(50, 51, 3.2, 3.2), _accent(pen, 0.35), 120)
        for fold in ("M46 48 Q40 44 36 44", "M54 54 Q60 58 64 58", "M54 48 Q60 43 64 43", "M46 55 Q40 60 37 60"):
            pen.seam(path(fold), 1.2, 0.3)
    pen.shine(shifted(path("M26 28 Q40 32 52 30 Q40 38 28 44 Z")), 0.16)


def lamp(pen: Pen) -> None:
    """A table lamp: a wide shade on a slim foot."""
    foot = pen.rng.choice(((150, 104, 66), _GOLD, (96, 98, 104)))
    pen.fill(path("M47.5 60 L52.5 60 L53 84 L47 84 Z"), foot, 210)
    pen.fill(path("M34 88 Q36 82 50 82 Q64 82 66 88 Q66 92 50 92 Q34 92 34 88 Z"), foot, 225)
    pen.fill(both("M50 8 L67 9 L66 14 L50 15"), pen.tone(-0.35), 130)
    pen.main(both("M50 11 Q60 11 67 9 L84 58 Q68 63 50 63"))
    pen.line(path("M63 61 L63 74"), foot, 0.9, 190)
    pen.seam(path("M17 55 Q34 60.5 50 60.5 Q66 60.5 83 55"), 0.9, 0.45)
    pen.seam(path("M33 12 Q50 15 67 12"), 0.7, 0.4)
    pen.shine(path("M38 16 L46 17 L38 58 L26 56 Z"), 0.18)
