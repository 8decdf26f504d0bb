"""Clothing and shoes, each drawn by one function."""

from __future__ import annotations

from .canvas import Pen, both, brightness, flip, mix, oval, path, shifted

_SOLE = (238, 236, 230)
_DARK_SOLE = (60, 50, 46)
_METAL = (196, 198, 202)


def _folds(pen: Pen, *lines: str, strength: float = 0.22) -> None:
    for line in lines:
        pen.seam(path(line), 1.6, strength)


def _ribs(pen: Pen, left: float, right: float, top: float, bottom: float, count: int) -> None:
    for k in range(1, count):
        x = left + (right - left) * k / count
        pen.seam(((x, top), (x, bottom)), 0.7, 0.35)


def t_shirt(pen: Pen) -> None:
    """A T-shirt, spread out, with a round or a V neck."""
    long = pen.rng.uniform(-4, 5)
    deep = pen.rng.choice((25.0, 25.0, 31.0))
    pen.fill(both("M50 13 Q58 13 60 15 L58 24 L50 30"), pen.tone(-0.38), 150)
    neck = f"Q57 {deep - 1} 60 15" if deep < 30 else "L60 15"
    pen.main(
        both(
            f"M50 {deep} {neck} L70 18 Q76 20 79 24 L{94 + long / 2} {42 + long} L{84 + long / 3} {51 + long} "
            f"L73 42 L74 86 Q62 89 50 89"
        )
    )
    pen.seam(both(f"M50 {deep + 3.5} {neck.replace('60 15', '63.5 16')}")[:-1], 0.7, 0.45)
    sleeve = path("M70 18 Q67 30 73 42")
    for edge in (sleeve, flip(sleeve)):
        pen.seam(edge, 0.9, 0.5)
    hem = path(f"M{91.5 + long / 2} {39 + long} L{81.5 + long / 3} {48 + long}")
    for edge in (hem, flip(hem)):
        pen.seam(edge, 0.6, 0.35)
    pen.seam(path("M26 83 Q38 86 50 86 Q62 86 74 83"), 0.6, 0.35)
    _folds(pen, "M33 60 Q38 66 36 76", "M68 52 Q62 58 63 70")


def shirt(pen: Pen) -> None:
    """A shirt with a collar, buttons, cuffs and a pocket."""
    pen.fill(both("M50 12 L60 13 L58 24 L50 30"), pen.tone(-0.4), 140)
    sleeve = path("M68 17 Q80 19 83 30 L93 74 L83 77 L72 44 Z")
    for arm in (sleeve, flip(sleeve)):
        pen.main(arm, 175)
    pen.main(both("M50 27 L60 15 L71 18 Q72 32 74 44 L74 84 Q66 91 50 87"))
    cuff = path("M91.4 67 L93.4 75.5 L83.4 78.5 L81.2 70 Z")
    collar = path("M50 26 L59 11 L66.5 18 L59 30 Z")
    for left in (cuff, flip(cuff)):
        pen.fill(left, pen.tone(-0.12) if brightness(pen.base) > 60 else pen.tone(0.1), 215)
    for left in (collar, flip(collar)):
        pen.fill(left, pen.base, 245)
        pen.seam((*left, left[0]), 0.6, 0.4)
    pen.seam(path("M47 27 L47 87"), 0.6, 0.45)
    pen.seam(path("M53 27 L53 87"), 0.6, 0.45)
    button = (250, 248, 240) if brightness(pen.base) < 190 else pen.tone(-0.6)
    for k in range(6):
        pen.fill(oval(50, 33 + 9.5 * k, 1.3, 1.3), button, 230)
    if pen.rng.random() < 0.7:
        pen.seam(path("M58 40 L68 40 L68 50 L63 53 L58 50 Z"), 0.7, 0.5)
        pen.seam(path("M58 43 L68 43"), 0.5, 0.4)
    _folds(pen, "M32 56 Q38 64 35 76", "M86 44 L80 54")


def sweater(pen: Pen) -> None:
    """A sweater with ribbed neck, cuffs and hem."""
    high = pen.rng.choice((0, 0, 6))
    pen.fill(both(f"M50 {13 - high} L59 {14 - high} L58 22 L50 28"), pen.tone(-0.4), 140)
    sleeve = path("M68 18 Q80 20 84 32 L94 76 L80 80 L71 46 Z")
    for arm in (sleeve, flip(sleeve)):
        pen.main(arm, 170)
    pen.main(both("M50 26 Q58 25 61 16 L71 19 Q72 34 75 46 Q77 64 76 82 L50 83"))
    rib = pen.tone(-0.1) if brightness(pen.base) > 60 else pen.tone(0.08)
    pen.fill(both("M50 82 L75.5 81.5 Q75 86 73 90 Q62 91 50 91"), rib, 215)
    _ribs(pen, 27, 73, 82.5, 90, 20)
    cuff = path("M92.6 70 L94.6 79 Q88 83 81.5 83 L79 74 Z")
    for arm in (cuff, flip(cuff)):
        pen.fill(arm, rib, 215)
    for k in (1, 2, 3, 4):
        line = ((93 - 2.8 * k, 71.5 + 0.7 * k), (94.5 - 2.6 * k, 80.2 + 0.6 * k))
        pen.seam(line, 0.6, 0.35)
        pen.seam(flip(line), 0.6, 0.35)
    pen.fill(
        both(f"M50 {29 - high / 3} Q62 28 63.5 {15 - high} L58.5 {13 - high} Q57 {23 - high} 50 {24 - high}"), rib, 240
    )
    for k in range(-3, 4):
        pen.seam(((50 + 2.9 * k, 24 - high - 0.35 * k * k), (50 + 3.5 * k, 28.6 - high / 3 - 0.5 * k * k)), 0.6, 0.35)
    armhole = path("M71 19 Q69 33 73 46")
    for side in (armhole, flip(armhole)):
        pen.seam(side, 0.9, 0.45)
    _folds(pen, "M34 58 Q40 66 36 78", "M87 48 L80 58")


def jacket(pen: Pen) -> None:
    """A jacket with a zip, an upright collar and pockets; quilted at times."""
    pen.fill(both("M50 9 L60 9 L60 22 L50 24"), pen.tone(-0.45), 130)
    sleeve = path("M68 18 Q82 20 85 34 L94 76 L80 80 L72 48 Z")
    for arm in (sleeve, flip(sleeve)):
        pen.main(arm, 165)
    pen.main(both("M50 24 L61 15 L71 18 Q73 36 75 48 L76 88 L50 89"))
    collar = path("M50.8 25 L51.5 22 L58 7 Q65 9 66 18 Z")
    for side in (collar, flip(collar)):
        pen.fill(side, pen.tone(-0.14) if brightness(pen.base) > 60 else pen.tone(0.12), 235)
    if pen.rng.random() < 0.5:
        for y in (35, 47, 59, 71, 82):
            for side in (path(f"M51 {y} Q62 {y + 2.5} 75 {y - 1}"), path(f"M49 {y} Q38 {y + 2.5} 25 {y - 1}")):
                pen.seam(side, 1.3, 0.5)
    else:
        for side in (path("M59 40 L69 38"), path("M51 84 L76 83")):
            pen.seam(side, 0.9, 0.55)
            pen.seam(flip(side), 0.9, 0.55)
    pocket = path("M60 76 L66 60")
    for side in (pocket, flip(pocket)):
        pen.line(side, pen.tone(-0.5) if brightness(pen.base) > 60 else pen.tone(0.35), 1.5, 190)
    pen.line(path("M50 24 L50 88.5"), mix(_METAL, (90, 90, 90), 0.3), 2.2, 235)
    pen.line(path("M50 28 L50 33"), (235, 235, 235), 2.4, 250)
    cuff = path("M92.8 71 L93.8 75.6 L80 79.6 L78.6 75.2 Z")
    for side in (cuff, flip(cuff)):
        pen.fill(side, pen.tone(-0.25) if brightness(pen.base) > 60 else pen.tone(0.12), 200)


def dress(pen: Pen) -> None:
    """A sleeveless dress with a waist and a wide skirt."""
    wide = pen.rng.uniform(-4, 5)
    pen.fill(both("M50 20 Q56 19 60 10 L59 24 L50 27"), pen.tone(-0.4), 130)
    pen.main(both("M50 25 Q57 24 58.5 8 L64 8 Q63 22 70 30 Q66 36 63 44 L50 45"), 190)
    pen.main(both(f"M50 43 L63 43 Q72 62 {82 + wide} 86 Q74 91 66 89 Q58 93 50 90"))
    pen.fill(
        both("M50 42 Q57 42 63.4 41 L63.4 45.5 Q57 46.5 50 46.5"),
        pen.tone(-0.3) if brightness(pen.base) > 60 else pen.tone(0.25),
        235,
    )
    _folds(
        pen, "M45 48 Q41 66 36 88", "M53 48 Q54 68 55 91", "M58 48 Q64 66 70 88", "M40 48 Q34 66 26 85", strength=0.35
    )
    _folds(pen, "M40 32 Q44 36 43 42", "M60 32 Q56 36 57 42")


def skirt(pen: Pen) -> None:
    """A skirt with a waistband and folds."""
    wide = pen.rng.uniform(-6, 5)
    pen.main(both(f"M50 20 L67 20 Q78 50 {88 + wide} 78 Q78 84 70 81 Q60 87 50 83"))
    pen.fill(
        both("M50 15 Q60 15 66.5 14 L68 22 Q60 23.5 50 23.5"),
        pen.tone(-0.2) if brightness(pen.base) > 60 else pen.tone(0.15),
        230,
    )
    _folds(pen, "M44 25 Q39 55 36 83", "M52 25 Q53 55 54 84", "M59 25 Q67 55 71 81", strength=0.4)
    _folds(pen, "M37 25 Q28 50 21 76", "M64 25 Q74 48 82 76", strength=0.25)
    pen.fill(oval(62, 18.6, 1.6, 1.6), (245, 240, 225) if brightness(pen.base) < 190 else pen.tone(-0.6), 250)


def trousers(pen: Pen) -> None:
    """Long trousers with waistband, fly and pockets."""
    flare = pen.rng.uniform(-3, 4)
    pen.fill(both("M50 8 Q60 8 67 7 L67 11 L50 12"), pen.tone(-0.45), 130)
    leg = path(f"M49.5 11 L68 9 Q73 28 73 50 L{72 + flare} 93 Q64 95 {55.5 - flare / 3} 93 L51.5 46 L49.5 42 Z")
    for side in (flip(leg), leg):
        pen.main(side, 190)
    pen.seam(path("M32.5 15 Q50 17.5 67.5 15"), 0.8, 0.5)
    pen.seam(path("M50 12 L50 44"), 0.9, 0.5)
    pen.seam(path("M54 16 Q55 28 50 34"), 0.6, 0.4)
    for side in (path("M61 16 Q64 23 71 25"), path("M62.5 30 L63.5 92"), path("M60 11 L60 16")):
        pen.seam(side, 0.8, 0.4)
        pen.seam(flip(side), 0.8, 0.4)
    pen.fill(oval(50, 13.6, 1.4, 1.4), _METAL, 250)
    _folds(pen, "M52 44 Q58 47 64 46", "M48 44 Q42 47 36 46", "M56 62 Q62 65 70 62")


def shorts(pen: Pen) -> None:
    """Wide shorts with a cord."""
    long = pen.rng.uniform(-5, 6)
    pen.fill(both("M50 21 Q62 21 69 19 L69 24 L50 26"), pen.tone(-0.45), 130)
    leg = path(f"M49.5 24 L70 21 Q78 44 {84} {72 + long} Q72 78 {55} {76 + long} L51 52 L49.5 50 Z")
    for side in (flip(leg), leg):
        pen.main(side, 190)
    pen.seam(path("M29 29 Q50 32.5 71 29"), 0.9, 0.5)
    pen.seam(path("M50 26 L50 52"), 0.9, 0.5)
    hem = path(f"M54.7 {72 + long} Q70 74 83.3 {68 + long}")
    pocket = path("M64 31 Q68 40 76 42")
    for side in (hem, pocket):
        pen.seam(side, 0.7, 0.4)
        pen.seam(flip(side), 0.7, 0.4)
    cord = (250, 248, 240) if brightness(pen.base) < 190 else pen.tone(-0.5)
    pen.line(path("M50 28 Q46 36 47 42"), cord, 1.1, 230)
    pen.line(path("M50 28 Q54 34 54 40"), cord, 1.1, 230)
    _folds(pen, "M53 52 Q60 56 66 54", "M47 52 Q40 56 34 54")


def sock(pen: Pen) -> None:
    """A sock from the side, with cuff, heel and toe set off."""
    tone = pen.tone(-0.14 if brightness(pen.base) > 225 else -0.28) if brightness(pen.base) > 60 else pen.tone(0.2)
    pen.main(
        path("M34 12 L58 12 L58 50 Q60 58 70 63 L82 69 Q91 75 88 84 Q85 92 74 90 L56 86 Q38 81 34 66 Q32 56 34 48 Z")
    )
    pen.fill(path("M33.6 53 Q46 55 47 66 Q47 74 42.5 78.5 Q35 73 33.8 64 Q33 58 33.6 53 Z"), tone, 205)
    pen.fill(path("M76 66 L83 69.6 Q91 75 88 84 Q85 92 74 90 L70 89.2 Q68 76 76 66 Z"), tone, 205)
    pen.fill(path("M32.5 8 Q46 6.5 59.5 8 L59 21 Q46 23 33.5 21 Z"), tone, 225)
    _ribs(pen, 33, 59, 8.5, 21, 9)
    _folds(pen, "M56 50 Q52 56 47 57", "M58 54 Q55 60 50 62")


def sandal(pen: Pen) -> None:
    """A pair of flat sandals from above."""
    foot = path(
        "M71 8 Q86 8 88 26 Q89 38 85 52 Q83 60 84 70 Q86 91 72 92 Q58 92 59 74 Q60 62 57 50 Q52 34 56 22 Q60 8 71 8 Z"
    )
    strap = pen.tone(-0.4) if brightness(pen.base) > 60 else pen.tone(0.4)
    style = pen.rng.random() < 0.5
    for side in (foot, flip(foot)):
        pen.fill(shifted(side, 0, 1.5), pen.tone(-0.35) if brightness(pen.base) > 60 else pen.tone(0.2), 130)
        pen.main(shifted(side, 0, -0.5), 190)
        inner = tuple(
            (50 + (x - 50) * 1 + (72 - x) * 0.12 * (1 if x > 50 else 0), 50 + (y - 50) * 0.92) for x, y in side
        )
        if side is foot:
            pen.seam(inner, 0.7, 0.35)
            pen.seam(flip(inner), 0.7, 0.35)
    lines = (
        ("M71 22 Q62 30 57.5 48", "M71 22 Q80 30 86 48")
        if style
        else ("M54.5 30 Q70 20 88 32", "M57 46 Q70 38 86.5 48")
    )
    for line in map(path, lines):
        pen.line(line, strap, 4.6, 255)
        pen.line(flip(line), strap, 4.6, 255)


def sneaker(pen: Pen) -> None:
    """A sports shoe from the side, with laces and a thick pale sole."""
    white = brightness(pen.base) > 205
    sole = (120, 124, 130) if white else _SOLE
    pen.fill(path("M15 32 Q24 36 36 29 L40 33 L34 40 L16 40 Z"), pen.tone(-0.5), 130)
    pen.main(
        path(
            "M11 70 Q8 56 12 44 Q10 34 14 29 Q19 27 21 32 Q28 38 37 30 L44 26 Q50 36 60 45 Q72 50 84 55 Q93 60 93 71 Z"
        )
    )
    pen.fill(path("M93 72 Q94 59 84 55.5 Q79 61 79 73 Z"), sole if not white else pen.tone(-0.12), 215)
    pen.fill(path("M9 70 Q50 73 94 70 Q97 75 93 80 L12 80 Q7 77 9 70 Z"), sole, 225)
    pen.seam(path("M9 75.5 Q50 78 95 75.5"), 0.8, 0.35)
    flash = pen.tone(-0.35) if brightness(pen.base) > 60 else pen.tone(0.4)
    if pen.rng.random() < 0.5:
        pen.fill(path("M24 60 Q38 66 60 50 Q46 70 28 68 Z"), flash, 225)
    else:
        for aside in (0, 8):
            pen.fill(shifted(path("M40 46 L44 48 L38 68 L34 68 Z"), aside), flash, 220)
    pen.fill(path("M12 44 Q10 34 14 29 L19 29 Q17 40 20 54 Q14 52 12 44 Z"), flash, 215)
    lace = (250, 250, 248) if brightness(pen.base) < 190 else (92, 98, 108)
    for k in range(4):
        x, y = 43 + 5.2 * k, 30.5 + 4.6 * k
        pen.line(((x - 4.5, y + 5), (x + 2.2, y - 1.2)), lace, 1.9, 250)
    pen.seam(path("M37 31 Q44 46 58 52 Q66 55 73 56"), 0.8, 0.4)


def boot(pen: Pen) -> None:
    """A boot from the side, with a dark heel."""
    high = pen.rng.uniform(-4, 8)
    pen.fill(
        path(f"M28 {14 - high} Q42 {10 - high} 57 {14 - high} L56 {20 - high} L29 {20 - high} Z"), pen.tone(-0.5), 130
    )
    pen.main(
        path(f"M27 {15 - high} Q42 {19 - high} 58 {15 - high} L57 50 Q60 58 72 62 Q90 67 90 81 L28 81 Q24 70 28 58 Z")
    )
    pen.fill(path("M26 79 L91 79 Q92 84 89 85.5 L52 85.5 L49 92 L27 92 Z"), _DARK_SOLE, 215)
    if pen.rng.random() < 0.5:
        pen.fill(
            path("M27.6 53 Q42 59 57.6 52 L58 58 Q43 65 27 59 Z"),
            pen.tone(-0.35) if brightness(pen.base) > 60 else pen.tone(0.25),
            235,
        )
        pen.line(path("M45 55.5 L51 54.5 L51.6 60 L45.6 61.5 L45 55.5"), (214, 178, 92), 1.4, 255)
    else:
        for k in range(5):
            y = 24 + 6.6 * k
            pen.line(
                ((52, y), (57.6, y + 1.5)), (245, 242, 230) if brightness(pen.base) < 190 else (92, 88, 84), 1.8, 250
            )
    pen.seam(path("M30 76 Q60 79 89 76"), 0.8, 0.4)
    pen.seam(path(f"M29 {20 - high} Q42 {24 - high} 57.5 {20 - high}"), 0.8, 0.4)
    pen.seam(path("M56 50 Q48 62 50 78"), 0.9, 0.35)
    pen.shine(path("M74 65 Q84 67 87 74 Q80 70 73 69 Z"), 0.4)


def high_heel(pen: Pen) -> None:
    """A pump with a stiletto heel, from the side."""
    pen.fill(path("M13 34 Q16 26 21 30 Q36 58 62 62 L70 68 L50 72 Z"), pen.tone(-0.45), 140)
    pen.main(
        path(
            "M11 36 Q12 27 17 28 Q22 52 44 64 Q56 70 64 60 Q70 58 78 66 Q88 74 93 80 Q94 85 88 86 L62 86 "
            "Q50 84 40 72 Q32 64 24 62 Q21 74 20 88 L15 88 Q15 72 12 58 Q9 46 11 36 Z"
        )
    )
    pen.fill(path("M93 81.5 Q94 85 88 86.5 L62 86.5 Q58 86 54 84 Q74 84 93 81.5 Z"), _DARK_SOLE, 190)
    pen.fill(path("M14.8 85 L20.2 85 L20 89 L15 89 Z"), _DARK_SOLE, 190)
    pen.seam(path("M17 30 Q23 53 44 65.5 Q56 71.5 65 61.5"), 0.8, 0.35)
    if pen.rng.random() < 0.4:
        pen.line(path("M20 44 Q34 34 43 56"), pen.base, 2.4, 240)
    if pen.rng.random() < 0.4:
        pen.fill(path("M66 62 L60 57 L60 67 Z"), pen.tone(-0.3), 250)
        pen.fill(path("M66 62 L72 57 L72 67 Z"), pen.tone(-0.3), 250)
    pen.shine(path("M74 66 Q82 70 88 77 Q80 74 73 71 Z"), 0.55)
