"""Pictures from outside, checked before anything else uses them.

All decoding is Pillow's, from bytes in memory; what leaves this module is raw RGB. Native code further on
gets neither a path nor a compressed picture.
"""

from __future__ import annotations

import hashlib
import io
import logging
import math
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import cast
from urllib.parse import unquote, urlsplit

from PIL import Image, UnidentifiedImageError

from ..engine import types
from ..errors import InputError
from .fields import shown, whole

# What Pillow warns of is decided here anyway. Once, while this is imported: threads decode pictures later.
warnings.filterwarnings("ignore", module=r"PIL\.")

MAX_BYTES = 64 * 2**20
MAX_PIXELS = 100_000_000
SUFFIXES = frozenset({".jpg", ".jpeg", ".jfif", ".png", ".webp", ".tif", ".tiff", ".gif", ".bmp"})

_FOREIGN = frozenset(".heic .heif .avif .svg .jxl .jp2 .psd .tga .ico .dng .eps".split())

logging.getLogger("PIL").addHandler(logging.NullHandler())  # what is wrong with a picture is said here, in our words

_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP")
_THINNEST = 50  # times that a side may be longer than the other
_URL = re.compile(r"(?:[a-z][a-z0-9+.-]+://|data:)", re.IGNORECASE)
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def resolve_image(value: str, root: Path) -> Path:
    """The file that `value`, a path relative to `root` with `/` or `\\`, names.

    Raises InputError if that is no file, or not within `root`, after links and `..` are followed.
    """
    if _URL.match(value):
        raise InputError(f"image {shown(value)} is a URL: download it first, then name the file")
    windows = PureWindowsPath(value)
    if windows.drive or windows.root or PurePosixPath(value).is_absolute():
        raise InputError(f"image {shown(value)} is an absolute path: it must be relative to {root}")
    try:
        home = root.resolve()
        path = home.joinpath(*windows.parts).resolve()
        # Asked first, so that nothing is told of files elsewhere.
        if not path.is_relative_to(home):
            raise InputError(f"image {shown(value)} is outside {root}")
        if path.is_dir():
            raise InputError(f"image {shown(value)} is a folder")
        if path.is_file():
            return path
    except (OSError, RuntimeError, ValueError):  # too long a name, a circle of links, a NUL
        pass
    raise InputError(f"image {shown(value)}: no such file in {root}")


@dataclass(frozen=True, slots=True)
class Images:
    """The pictures in a folder: by file name without suffix (item 42 -> 42.jpg), and by file name in small letters.

    `by_look` is by file name without suffix, capitals, and zeros before a number. `twice` are names that stand in
    several folders; `foreign` counts pictures of kinds that are not read, by suffix.
    """

    by_id: Mapping[str, Path] = field(default_factory=dict)
    by_name: Mapping[str, Path] = field(default_factory=dict)
    by_look: Mapping[str, Path] = field(default_factory=dict)
    twice: frozenset[str] = frozenset()
    foreign: Mapping[str, int] = field(default_factory=dict)

    def of(self, item_id: str) -> Path | None:
        """The picture that is called like the item; if there is none, 0128.jpg is of item 128, and ab.jpg of AB."""
        return self.by_id.get(item_id) or self.by_look.get(_look_of(item_id))

    def called(self, name: str) -> Path | None:
        """The picture that a path or an address in a row means by its last part; in a path, also without suffix."""
        address = _URL.match(name)
        last = PurePosixPath(unquote(urlsplit(name).path) if address else name.replace("\\", "/")).name
        return self.by_name.get(last.casefold()) or (None if address else self.by_id.get(last))


def images_within(folder: Path) -> Images:
    """The pictures in `folder` and all folders in it; of two with one name the one nearest to `folder`, then the first.

    Links that leave the folder are passed over. Raises InputError if the folder cannot be listed.
    """
    by_id: dict[str, Path] = {}
    by_name: dict[str, Path] = {}
    by_look: dict[str, Path] = {}
    twice: set[str] = set()
    foreign: Counter[str] = Counter()
    home, folders = folder.resolve(), [folder]
    while folders:
        below: list[Path] = []
        for at in folders:
            try:
                with os.scandir(at) as entries:
                    found = sorted(entries, key=lambda entry: entry.name)
            except OSError as error:
                if at == folder:
                    raise InputError(f"{folder}: {error.strerror or error}") from error
                continue
            for entry in found:
                path = at / entry.name
                if entry.is_dir(follow_symlinks=False):
                    below.append(path)
                elif path.suffix.lower() in _FOREIGN:
                    foreign[path.suffix.lower()] += 1
                elif _is_inside(entry, home):
                    if by_name.setdefault(path.name.casefold(), path) is not path:
                        twice.add(path.name)
                    by_id.setdefault(path.stem, path)
                    by_look.setdefault(_look_of(path.stem), path)
        folders = below
    return Images(by_id, by_name, by_look, frozenset(twice), foreign)


def _look_of(name: str) -> str:
    """`name` without capitals, and without zeros before a number."""
    return whole(name).casefold()


def load_rgb(path: Path, longest_edge: int | None = None, sha256: str | None = None) -> types.Image:
    """Decode `path` to RGB: upright, on white, the first frame of several; with the SHA-256 of the file.

    With `longest_edge` (pixels, at least 1) a picture that is larger is scaled down to it; and one that is thinner than
    any model can scale on is widened with white.
    Raises InputError if it cannot be decoded, is over `MAX_BYTES` or `MAX_PIXELS`, of a kind not wanted, or no longer
    the file that had the hash `sha256`.
    """
    data = _read(path)
    found = hashlib.sha256(data).hexdigest()
    if sha256 is not None and found != sha256:
        raise InputError(f"{path}: the picture has changed. Next: ingest again.")
    with _decoding(path):
        image = _to_rgb(_upright(data, longest_edge))
        if longest_edge is not None:
            image.thumbnail((longest_edge, longest_edge), Image.Resampling.LANCZOS, reducing_gap=2.0)
            image = _widened(image)
        return types.Image(image.width, image.height, image.tobytes(), found)


def check_image(path: Path) -> str:
    """Decode all of `path`, as coarsely as its format allows; its SHA-256. Threads may; raises as `load_rgb`."""
    data = _read(path)
    with _decoding(path):
        _upright(data, longest_edge=1)
    return hashlib.sha256(data).hexdigest()


def _is_inside(entry: os.DirEntry[str], folder: Path) -> bool:
    if Path(entry.name).suffix.lower() not in SUFFIXES:
        return False
    if not entry.is_symlink():
        return entry.is_file()
    try:
        target = Path(entry.path).resolve(strict=True)
    except (OSError, RuntimeError):
        return False
    return target.is_file() and target.is_relative_to(folder)


def _read(path: Path) -> bytes:
    try:
        size = path.stat().st_size if path.is_file() else None
        data = path.read_bytes() if size is not None and size <= MAX_BYTES else b""
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    if size is None:
        raise InputError(f"{path}: no such file")
    if size > MAX_BYTES:
        raise InputError(f"{path}: {size:,} bytes, the limit is {MAX_BYTES:,}")
    if not data:
        raise InputError(f"{path}: the file is empty")
    return data


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    try:
        yield
    except Image.DecompressionBombError:
        raise InputError(f"{path}: more than {MAX_PIXELS:,} pixels") from None
    except UnidentifiedImageError:
        raise InputError(f"{path}: not a picture of a known kind ({', '.join(_FORMATS)})") from None
    except Exception as error:  # broken data makes Pillow raise nearly anything
        raise InputError(f"{path}: broken picture ({str(error) or type(error).__name__})") from error


def _upright(data: bytes, longest_edge: int | None) -> Image.Image:
    """The first frame, upright; smaller than the picture where JPEG could leave out detail."""
    image: Image.Image = Image.open(io.BytesIO(data), formats=_FORMATS)
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise Image.DecompressionBombError
    if longest_edge is not None:
        # Twice the edge, so that the scaling which follows still has something to average.
        factor = min(1.0, 2 * longest_edge / max(width, height))
        image.draft(None, (math.ceil(width * factor), math.ceil(height * factor)))
    image.load()
    orientation = _orientation(image)  # after loading: Pillow turns TIFF itself, and then drops the tag
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # a picture is good without its EXIF data
        return 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        image = _to_grey(image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image.getchannel("A"))
    return white


def _widened(image: Image.Image) -> Image.Image:
    """The picture on white, where one side is so much shorter than the other that scaling would leave none of it."""
    least = -(-max(image.size) // _THINNEST)
    if min(image.size) >= least:
        return image
    white = Image.new("RGB", (max(image.width, least), max(image.height, least)), "white")
    white.paste(image, ((white.width - image.width) // 2, (white.height - image.height) // 2))
    return white


def _to_grey(image: Image.Image) -> Image.Image:
    """16 bits, 32 bits or floats as 8 bits.

    White is what 16 bits can hold; else the first of 1 (floats), 255 and 65535 that no pixel is over; where a
    pixel is over all of them or negative, the darkest becomes black and the brightest white.
    """
    whites = [65_535] if image.mode.startswith("I;16") else [1, 255, 65_535] if image.mode == "F" else [255, 65_535]
    if image.mode != "F":
        image = image.convert("I")
    low, high = cast("tuple[float, float]", image.getextrema())
    fitting = [white for white in whites if low >= 0 and high <= white]
    black, white = (0.0, fitting[0]) if fitting else (low, high)
    scale = 255 / ((white - black) or 1)
    grey = image.point(lambda value: value * scale + (0.5 - black * scale)).convert("L")
    grey.info.pop("transparency", None)  # it counts in the old values
    return grey
