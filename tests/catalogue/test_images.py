"""Pictures: where they may be, what of them is decoded, and how the broken ones are refused."""

import hashlib
import io
import struct
import subprocess
import sys
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from msr_local.catalogue import images as module
from msr_local.catalogue.images import check_image, images_within, load_rgb, resolve_image
from msr_local.errors import InputError

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def save(path, image, **options):
    image.save(path, **options)
    return path


def pixel(rgb, x, y):
    start = 3 * (y * rgb.width + x)
    return tuple(rgb.pixels[start : start + 3])


def near(colour, other, by=12):
    return all(abs(a - b) <= by for a, b in zip(colour, other, strict=True))


# Where a picture may be


@pytest.fixture
def root(tmp_path):
    (tmp_path / "secret.jpg").write_bytes(b"x")
    root = tmp_path / "root"
    (root / "posters").mkdir(parents=True)
    (root / "posters" / "1.jpg").write_bytes(b"x")
    (root / "out.jpg").symlink_to(tmp_path / "secret.jpg")
    (root / "in.jpg").symlink_to(root / "posters" / "1.jpg")
    (root / "loop.jpg").symlink_to(root / "loop.jpg")
    (root / "up").symlink_to(tmp_path)
    return root


@pytest.mark.parametrize("value", ["posters/1.jpg", "./posters/1.jpg", "posters\\1.jpg", "posters/../in.jpg"])
def test_resolve_within_the_root(root, value):
    assert resolve_image(value, root) == root / "posters" / "1.jpg"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("/etc/passwd", "absolute"),
        ("C:\\pictures\\1.jpg", "absolute"),
        ("c:1.jpg", "absolute"),
        ("\\\\server\\share\\1.jpg", "absolute"),
        ("//server/share/1.jpg", "absolute"),
        ("../secret.jpg", "outside"),
        ("posters/../../secret.jpg", "outside"),
        ("..\\secret.jpg", "outside"),
        ("../no/such/file.jpg", "outside"),
        ("out.jpg", "outside"),
        ("up/secret.jpg", "outside"),
        ("https://example.org/1.jpg", "download it first"),
        ("file:///etc/passwd", "download it first"),
        ("data:image/png;base64,AAAA", "download it first"),
        ("posters", "is a folder"),
        ("", "is a folder"),
        ("gone.jpg", "no such file"),
        ("loop.jpg", "no such file"),
        ("nul\0.jpg", "no such file"),
        ("x" * 5000, "no such file"),
    ],
)
def test_resolve_refuses(root, value, message):
    with pytest.raises(InputError, match=message) as caught:
        resolve_image(value, root)
    assert len(str(caught.value)) < 400


def test_pictures_within_a_folder(tmp_path):
    folder = tmp_path / "images"
    (folder / "4.png").mkdir(parents=True)
    for name in ("1.jpg", "1.png", "a b.JPEG", "tt0.5.webp", "notes.txt", "é🎬.gif"):
        (folder / name).write_bytes(b"x")
    (tmp_path / "secret.jpg").write_bytes(b"x")
    (folder / "out.jpg").symlink_to(tmp_path / "secret.jpg")
    (folder / "in.jpg").symlink_to(folder / "1.png")
    (folder / "dangling.jpg").symlink_to(folder / "gone.jpg")
    (folder / "loop.jpg").symlink_to(folder / "loop.jpg")
    assert images_within(folder).by_id == {
        "1": folder / "1.jpg",
        "a b": folder / "a b.JPEG",
        "tt0.5": folder / "tt0.5.webp",
        "é🎬": folder / "é🎬.gif",
        "in": folder / "in.jpg",
    }


@pytest.mark.parametrize("name", ["gone", "file"])
def test_pictures_need_a_folder(tmp_path, name):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match=name):
        images_within(tmp_path / name)


# What of it is decoded


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff", "gif", "bmp"])
def test_every_format(tmp_path, suffix):
    path = save(tmp_path / f"a.{suffix}", Image.new("RGB", (20, 10), RED))
    rgb = load_rgb(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert (rgb.width, rgb.height, len(rgb.pixels), rgb.sha256) == (20, 10, 600, digest)
    assert near(pixel(rgb, 5, 5), RED)
    assert check_image(path) == digest


def test_the_name_does_not_decide(tmp_path):
    assert load_rgb(save(tmp_path / "a.jpg", Image.new("RGB", (3, 2), RED), format="PNG")).pixels == bytes(RED) * 6


@pytest.mark.parametrize(
    ("mode", "colour", "suffix", "expected"),
    [
        ("1", 1, "png", WHITE),
        ("L", 100, "png", (100, 100, 100)),
        ("LA", (0, 0), "png", WHITE),
        ("LA", (0, 128), "png", (127, 127, 127)),
        ("RGBA", (*RED, 0), "png", WHITE),
        ("RGBA", (*RED, 255), "webp", RED),
        ("CMYK", (0, 255, 255, 0), "jpg", RED),
        ("CMYK", (0, 255, 255, 0), "tiff", RED),
        ("I;16", 65535, "png", WHITE),
        ("I;16", 25700, "png", (100, 100, 100)),
        ("I;16", 25700, "tiff", (100, 100, 100)),
        ("I;16B", 25700, "tiff", (100, 100, 100)),
        ("I", 100, "tiff", (100, 100, 100)),
        ("I", 25700, "tiff", (100, 100, 100)),
        ("F", 0.5, "tiff", (128, 128, 128)),
        ("F", 100.0, "tiff", (100, 100, 100)),
        ("F", 65535.0, "tiff", WHITE),
        ("F", float("nan"), "tiff", None),
        ("F", float("inf"), "tiff", None),
    ],
)
def test_every_mode_becomes_rgb(tmp_path, mode, colour, suffix, expected):
    path = save(tmp_path / f"a.{suffix}", Image.new(mode, (9, 9), colour))
    rgb = load_rgb(path)
    assert len(rgb.pixels) == 9 * 9 * 3
    assert expected is None or near(pixel(rgb, 4, 4), expected, by=3)
    assert check_image(path) == rgb.sha256


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    image = Image.new("I;16", (256, 1))
    for x in range(256):
        image.putpixel((x, 0), x * 257)
    rgb = load_rgb(save(tmp_path / "a.png", image))
    assert list(rgb.pixels[::3]) == list(range(256))


def test_a_wide_range_is_stretched(tmp_path):
    image = Image.new("F", (3, 1))
    for x, value in enumerate((-1000.0, 0.0, 1000.0)):
        image.putpixel((x, 0), value)
    rgb = load_rgb(save(tmp_path / "a.tiff", image))
    assert near(tuple(rgb.pixels[::3]), (0, 128, 255), by=1)


def test_palette_with_transparency(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *GREEN])
    image.putpixel((1, 0), 1)
    rgb = load_rgb(save(tmp_path / "a.png", image, transparency=bytes([0, 255])))
    assert (pixel(rgb, 0, 0), pixel(rgb, 1, 0)) == (WHITE, GREEN)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tiff"])
def test_the_first_frame_of_several(tmp_path, suffix):
    frames = [Image.new("RGB", (12, 12), colour) for colour in (RED, GREEN, BLUE)]
    path = save(tmp_path / f"a.{suffix}", frames[0], save_all=True, append_images=frames[1:])
    assert near(pixel(load_rgb(path), 6, 6), RED)
    assert check_image(path) == load_rgb(path).sha256


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("longest_edge", [None, 24])
def test_exif_orientation(tmp_path, suffix, orientation, longest_edge):
    upright = Image.new("RGB", (96, 48), WHITE)
    upright.paste(RED, (0, 0, 48, 24))  # top left
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / f"a.{suffix}", stored, exif=exif)
    rgb = load_rgb(path, longest_edge)
    assert (rgb.width, rgb.height) == ((24, 12) if longest_edge else (96, 48))
    assert near(pixel(rgb, rgb.width // 4, rgb.height // 4), RED, by=40)
    assert near(pixel(rgb, rgb.width * 3 // 4, rgb.height // 4), WHITE, by=40)
    assert near(pixel(rgb, rgb.width // 4, rgb.height * 3 // 4), WHITE, by=40)
    assert check_image(path) == rgb.sha256


def test_broken_exif_is_no_reason_to_refuse(tmp_path):
    path = save(tmp_path / "a.jpg", Image.new("RGB", (8, 8)), exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xff" * 20)
    assert load_rgb(path).width == 8 and check_image(path)


@pytest.mark.parametrize(
    ("size", "edge", "expected"),
    [((1000, 500), 100, (100, 50)), ((50, 20), 100, (50, 20)), ((999, 1), 10, (10, 1)), ((801, 1201), 400, (267, 400))],
)
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_longest_edge(tmp_path, size, edge, expected, suffix):
    path = save(tmp_path / f"a.{suffix}", Image.new("RGB", size, RED))
    rgb = load_rgb(path, edge)
    assert (rgb.width, rgb.height) == expected
    assert len(rgb.pixels) == 3 * rgb.width * rgb.height
    assert near(pixel(rgb, 0, 0), RED)
    assert check_image(path) == rgb.sha256


# What is refused


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_bomb(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def refusals(path):
    messages = []
    for look in (load_rgb, check_image):
        with pytest.raises(InputError) as caught:
            look(path)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert messages[0].count(path.name) == 1
    assert len(messages[0]) < len(str(path)) + 150
    return messages[0]


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "gif", "bmp", "tiff"])
@pytest.mark.parametrize("keep", [0.5, 0.95])
def test_truncated(tmp_path, suffix, keep):
    path = tmp_path / f"a.{suffix}"
    Image.effect_noise((200, 200), 80).convert("RGB").save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    assert "picture" in refusals(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"<html>not found</html>", "not a picture of a known kind"),
        (b"%PDF-1.4\n", "not a picture of a known kind"),
        (b"GIF89a", "picture"),
        (b"\xff\xd8\xff", "picture"),
        (png_bomb(10_001, 10_000), "more than 100,000,000 pixels"),
        (png_bomb(13_000, 13_000), "more than 100,000,000 pixels"),
        (png_bomb(2**30, 2**30), "more than 100,000,000 pixels"),
        (png_bomb(9_700, 9_700), "broken picture"),
    ],
)
def test_refused_data(tmp_path, data, message):
    path = tmp_path / "a.png"
    path.write_bytes(data)
    assert message in refusals(path)


def test_other_formats_are_not_opened(tmp_path):
    assert "known kind" in refusals(save(tmp_path / "a.png", Image.new("RGB", (4, 4)), format="PPM"))
    assert "known kind" in refusals(save(tmp_path / "a.jpg", Image.new("RGB", (16, 16)), format="ICO"))


def test_paths_that_are_no_files(tmp_path):
    (tmp_path / "folder.jpg").mkdir()
    assert "no such file" in refusals(tmp_path / "folder.jpg")
    assert "no such file" in refusals(tmp_path / "gone.jpg")


def test_large_files_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_BYTES", 100)
    assert "the limit is 100" in refusals(save(tmp_path / "a.bmp", Image.new("RGB", (20, 20))))


def test_no_warning_leaks_even_from_threads(tmp_path):
    image = Image.new("P", (9_700, 9_700))  # over the size from which Pillow warns
    image.info["transparency"] = bytes([0] * 10)
    path = save(tmp_path / "a.png", image)
    script = (
        "import sys; from concurrent.futures import ThreadPoolExecutor; from pathlib import Path; "
        "from msr_local.catalogue.images import check_image; "
        "print(len(set(ThreadPoolExecutor(2).map(check_image, [Path(sys.argv[1])] * 2))))"
    )
    ran = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr) == ("1\n", "")


def test_pillow_says_nothing_of_its_own(tmp_path):
    path = save(tmp_path / "a.tiff", Image.new("RGB", (4, 4)))
    samples = b"\x15\x01\x03\x00\x01\x00\x00\x00\x03"
    path.write_bytes(path.read_bytes().replace(samples, samples[:-1] + b"\x6a"))
    script = (
        "import sys; from pathlib import Path; from msr_local.catalogue.images import check_image; "
        "check_image(Path(sys.argv[1]))"
    )
    ran = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=False)
    assert ran.stderr.splitlines()[-1].startswith("msr_local.errors.InputError") and "\nMore" not in f"\n{ran.stderr}"


SAMPLES = {}


def sample(kind):
    if kind not in SAMPLES:
        file = io.BytesIO()
        Image.effect_noise((24, 24), 80).convert("RGB").save(file, kind)
        SAMPLES[kind] = file.getvalue()
    return SAMPLES[kind]


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP"]),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
    keep=st.floats(0, 1),
)
def test_damaged_bytes_are_decoded_or_refused(tmp_path, kind, flips, keep):
    data = bytearray(sample(kind))
    for place, value in flips:
        data[int(place * len(data) ** (0.6 if value % 2 else 1))] = value  # more often in the headers
    path = tmp_path / "a.bin"
    path.write_bytes(data[: int(len(data) * keep) if keep < 0.5 else None])
    for look in (load_rgb, check_image):
        assert complaint(look, path).count("a.bin") <= 1


def complaint(look, path):
    try:
        look(path)
    except InputError as error:
        return str(error)
    return ""
