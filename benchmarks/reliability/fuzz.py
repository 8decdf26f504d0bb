"""Fuzzed rows through every reader, and damaged pictures: nothing crashes, and each row and picture has an outcome.

Each row carries a number of its own. Afterwards it must stand in an item, an interaction or a reject. Of the files of a
reader, every second one is well written and has wild cells; the others have plain cells, and their bytes are damaged
afterwards. Rows that were damaged themselves may have lost their number; all others are looked for.
"""

from __future__ import annotations

import csv
import io
import json
import random
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from msr_local.catalogue.fields import MISSING
from msr_local.catalogue.images import load_rgb
from msr_local.catalogue.ingest import ingest
from msr_local.errors import InputError, MsrError
from msr_local.store.workspace import Workspace

from .record import made_with

TOGETHER = 500  # rows of a file
ITEMS = 40  # that the interactions are with
_FIRST = 1_000_000  # number of the first row
_NUMBER = re.compile(r"(?<!\d)1\d{6}(?!\d)")
_START = 1_600_000_000

Row = dict[str, Any]

WILD = [
    "", " ", "\\N", "NaN", "NULL", "None", "NaT", "0", "-1", "-0.0", "1e999", "inf", "１２", "4,5", "0x10", "1_000",
    "\x00", "a\x00b", "\x1b[2J\x1b[31mred", "\u202eright to left", "\u2028", "\ufeff", "\x85", "e\u0301" * 40,
    "🎬" * 60, '"', '""', '"open', 'a "quoted" word', "\\", '\\"', "'", "a,b", "a;b", "a|b", "a\tb", "a::b",
    "two\nlines", "cr\rlf\r\n", "<b>bold</b>", "<script>x</script>", "&amp;&#0;&#x110000;", "[1, 2, 3]",
    '["i1", "i2"]', "[", "{'a': 1}", '{"a":', "i1 i2 i3", "i1|i2", "2020-01-01", "0000-00-00", "31.12.2020 23:59",
    "12/1/2010 8:26", "99999999999999999999", "-62135596800", "Fri Aug 25 13:55:02 -0700 2017", "20141118033015",
    "2020-02-30", "25:61", "../../etc/passwd", "C:\\x", "https://example.org/a.jpg", "data:image/png;base64,AA",
    "=1+1", "%s%n", "{{ 7 * 7 }}", "x" * 12_000, "a b " * 3_000,
]  # fmt: skip
WILD_JSON: list[Any] = [
    None, True, False, 1.5, -3, 10**30, float("nan"), float("inf"), [], [1, 2], [None, "a"], {}, {"a": {"b": [1]}},
    [[[[[[[[1]]]]]]]], "\ud800", {"bytes": "x", "path": "../x.png"},
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reader:
    """A format: how both files are called and written. `wild` are values that only it can hold."""

    names: tuple[str, str]
    items: Callable[[Sequence[Row]], bytes]
    steps: Callable[[Sequence[Row]], bytes]
    wild: Sequence[Any] = ()
    keys: tuple[str, ...] = ()  # which cells may be wild; all where there is a column for the row's number
    binary: bool = False


def _delimited(
    sign: str, *, quoting: int = csv.QUOTE_MINIMAL, head: bool = True, kind: str = ""
) -> Callable[..., bytes]:
    def write(rows: Sequence[Row]) -> bytes:
        file = io.StringIO(newline="")
        writer = csv.writer(file, delimiter=sign, quoting=quoting, lineterminator="\n")  # type: ignore[arg-type]
        if head:
            writer.writerow([f"{name}:token" if kind else name for name in rows[0]])
        writer.writerows(row.values() for row in rows)
        return file.getvalue().encode("utf-8", "replace")

    return write


def _plain(sign: str, names: Sequence[str] = (), *, head: bool = False, typed: bool = False) -> Callable[..., bytes]:
    """Cells with `sign` between, as programs write them that know no quotes."""

    def write(rows: Sequence[Row]) -> bytes:
        columns = names or list(rows[0])
        lines = [sign.join(f"{name}:token" if typed else name for name in columns)] if head else []
        for row in rows:
            cells = (" ".join(str(row[name]).split()).replace(sign, " ") for name in columns)
            lines.append(sign.join(cells))
        return "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")

    return write


def _json_lines(rows: Sequence[Row]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _json_array(rows: Sequence[Row]) -> bytes:
    return ("[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]\n").encode(
        "utf-8", "replace"
    )


def _wrapped(rows: Sequence[Row]) -> bytes:
    return b'{"status": "ok", "rows": ' + _json_array(rows).rstrip() + b"}\n"


def _dicts(rows: Sequence[Row]) -> bytes:
    plain = ({key: None if value != value else value for key, value in row.items()} for row in rows)
    return "".join(repr(row).replace("inf", "1e999") + "\n" for row in plain).encode("utf-8", "replace")


def _parquet(rows: Sequence[Row]) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    def text(value: Any) -> str | None:
        return None if value is None else str(value).encode("utf-8", "replace").decode()

    texts = [{key: text(value) for key, value in row.items()} for row in rows]
    file = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(texts), file, row_group_size=100)
    return file.getvalue()


def _u_item(rows: Sequence[Row]) -> bytes:
    genres = {f"g{n}": n % 2 for n in range(19)}
    return _plain("|")([{**row, "date": "01-Jan-1995", "none": "", "url": "http://x", **genres} for row in rows])


def _news(rows: Sequence[Row]) -> bytes:
    def row(one: Row) -> Row:
        told = {"title": one["title"], "abstract": one["kind"]}
        return {
            "id": f"N{one['item_id']}",
            "category": "news",
            "sub": "x",
            **told,
            "url": "https://x",
            "a": "[]",
            "b": "[]",
        }

    return _plain("\t")([row(one) for one in rows])


def _behaviours(rows: Sequence[Row]) -> bytes:
    def row(n: int, one: Row) -> Row:
        shown = f"N{one['item_id']}-1 N{one['item_id']}-0"
        return {"n": n, "user": f"U{one['user_id']}", "time": one["timestamp"], "history": "", "shown": shown}

    return _plain("\t")([row(n, one) for n, one in enumerate(rows)])


_HEADED = ("tag", "item_id", "user_id", "title", "kind", "rating", "timestamp")
_BARE = {"keys": ("title", "kind", "timestamp")}  # no column for the row's number: it is an id, and stays
_NUMBERS = ("user_id", "item_id", "rating", "timestamp")

READERS = {
    "CSV": Reader(("items.csv", "log.csv"), _delimited(","), _delimited(",")),
    "CSV, all quoted, ;": Reader(("items.csv", "log.csv"), *[_delimited(";", quoting=csv.QUOTE_ALL)] * 2),
    "TSV": Reader(("items.tsv", "log.tsv"), *[_plain("\t", head=True)] * 2),
    "JSON lines": Reader(("items.jsonl", "log.jsonl"), _json_lines, _json_lines, WILD_JSON),
    "JSON array": Reader(("items.json", "log.json"), _json_array, _json_array, WILD_JSON),
    "JSON in an object": Reader(("items.json", "log.json"), _wrapped, _wrapped, WILD_JSON),
    "Python dicts": Reader(("items.json", "log.json"), _dicts, _dicts, WILD_JSON),
    "Parquet": Reader(("items.parquet", "log.parquet"), _parquet, _parquet, binary=True),
    "RecBole": Reader(("a.item", "a.inter"), *[_plain("\t", head=True, typed=True)] * 2),
    "MovieLens ::": Reader(
        ("movies.dat", "ratings.dat"), _plain("::", ("item_id", "title", "kind")), _plain("::", _NUMBERS), **_BARE
    ),
    "MovieLens 100K": Reader(
        ("u.item", "u.data"),
        lambda rows: _u_item([{"item_id": row["item_id"], "title": row["title"]} for row in rows]),
        _plain("\t", _NUMBERS), **_BARE,
    ),
    "MIND": Reader(("news.tsv", "behaviors.tsv"), _news, _behaviours, **_BARE),
    "MicroLens": Reader(
        ("a_titles.csv", "a_pairs.tsv"),
        _plain(",", ("item_id", "title")), _plain("\t", ("user_id", "item_id")), **_BARE,
    ),
}  # fmt: skip


def fuzzed(rng: random.Random, reader: Reader, rows: Sequence[Row]) -> None:
    """Make about one cell of ten wild; a user keeps the row's number, unless there is none left."""
    values = [*WILD, *reader.wild]
    for row in rows[2:]:  # where there is no header, the first rows tell the columns
        for key in sorted(row.keys() & set(reader.keys or _HEADED[1:])):
            if rng.random() < 0.12:
                value = rng.choice(values) if rng.random() < 0.7 else _noise(rng)
                nobody = value.strip() in MISSING if isinstance(value, str) else not isinstance(value, int | float)
                row[key] = f"{value}-{row[key]}" if key == "user_id" and not nobody else value
        if rng.random() < 0.03 and "user_id" not in row and not reader.keys:
            row["item_id"] = rows[0]["item_id"]  # another item of the same id


def _noise(rng: random.Random) -> str:
    limit = rng.choice((0x7F, 0xFF, 0x2FFF, 0x1FFFF))
    return "".join(chr(n) for n in (rng.randrange(limit) for _ in range(rng.randrange(30))) if not 0xD800 <= n < 0xE000)


def damaged(rng: random.Random, data: bytes, *, binary: bool, head: int) -> tuple[bytes, set[str]]:
    """The file with about one line of ten damaged, after the first `head` lines; the numbers of these lines."""
    if binary:
        broken = bytearray(data)
        for _ in range(rng.randrange(1, 4)):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        return bytes(broken[: rng.randrange(len(broken))] if rng.random() < 0.2 else broken), set()
    lines, lost = data.splitlines(keepends=True), set[str]()
    for place in range(head, len(lines)):
        if rng.random() < 0.1:
            lost.update(_NUMBER.findall(lines[place].decode("utf-8", "replace")))
            lines[place] = _broken(rng, lines[place])
            if not lines[place].endswith(b"\n") and place + 1 < len(lines):  # the next one is part of it
                lost.update(_NUMBER.findall(lines[place + 1].decode("utf-8", "replace")))
    return b"".join(lines), lost


def _broken(rng: random.Random, line: bytes) -> bytes:
    at = rng.randrange(len(line))
    junk = rng.choice(
        [b'"', b"'", b",", b"\t", b";", b"|", b"\\", b"\x00", b"\xff", b"\xc3", b"{", b"}", b"[", b"]", b"\n", b"\r"]
    )
    ways = [
        lambda: line[:at] + junk + line[at:],
        lambda: line[:at] + junk + line[at + 1 :],
        lambda: line[:at] + line[at + 1 :],
        lambda: line[:at] + b"\n",
        lambda: line + line,
        lambda: bytes(rng.randrange(256) for _ in range(40)) + b"\n" + line,
        lambda: b"",
    ]
    return rng.choice(ways)()


def _items(reader: Reader, numbers: Sequence[int]) -> list[Row]:
    rows = [{"tag": n, "item_id": n, "title": f"Thing {n}", "kind": f"kind {n % 7}"} for n in numbers]
    return [_untagged(row) for row in rows] if reader.keys else rows


def _steps(reader: Reader, numbers: Sequence[int], items: Sequence[int]) -> list[Row]:
    rows = [
        {"tag": n, "user_id": n, "item_id": items[n % len(items)], "rating": 1 + n % 5, "timestamp": _START + n}
        for n in numbers
    ]
    return [_untagged(row) for row in rows] if reader.keys else rows


def _untagged(row: Row) -> Row:
    return {key: value for key, value in row.items() if key != "tag"}


def read_rows(name: str, count: int, seed: int, crashes: list[str], together: int = TOGETHER) -> Counter[str]:
    """Fuzz one reader with `count` rows of items and as many of interactions; what became of them."""
    reader, rng, found = READERS[name], random.Random(f"{name} {seed}"), Counter[str]()
    for start in range(0, count, together):
        numbers = range(_FIRST + start, _FIRST + min(start + together, count))
        known = range(_FIRST + 900_000, _FIRST + 900_000 + ITEMS)
        for part in ("items", "interactions"):
            few = _items(reader, known)
            rows = _items(reader, numbers) if part == "items" else _steps(reader, numbers, known)
            break_bytes = start // together % 2
            if not break_bytes:
                fuzzed(rng, reader, rows)
            if part == "items":
                rows = [*few, *rows]
            data, lost = reader.items(rows) if part == "items" else reader.steps(rows), set[str]()
            if break_bytes:
                data, lost = damaged(rng, data, binary=reader.binary, head=3)
            files = reader.items(few), reader.steps(_steps(reader, range(_FIRST + 950_000, _FIRST + 950_020), known))
            files = (data, files[1]) if part == "items" else (files[0], data)
            wanted = {str(n) for n in numbers} - lost
            if break_bytes and reader.binary:  # a damaged number is another number: only how many there are is known
                wanted = set()
            found["lost"] += _read(reader, files, wanted, part, len(rows), found, crashes)
            found["rows"] += len(numbers)
            found["damaged"] += len(lost)
    return found


def _read(
    reader: Reader, files: tuple[bytes, bytes], numbers: set[str], part: str, count: int, found: Counter[str],
    crashes: list[str],
) -> int:  # fmt: skip
    """Ingest a pair of files; how many rows are missing: of these numbers, or, without any, of so many rows."""
    with tempfile.TemporaryDirectory() as folder, Workspace(Path(folder) / "home") as workspace:
        paths = [Path(folder) / name for name in reader.names]
        for path, data in zip(paths, files, strict=True):
            path.write_bytes(data)
        try:
            done = ingest(workspace, *paths)
        except MsrError as error:
            found["files refused"] += 1
            found["silent"] += not str(error).strip()
            return 0
        except Exception as error:
            found["crashes"] += 1
            crashes.append(f"{reader.names[part != 'items']}: {type(error).__name__}: {error}"[:300])
            return 0
        counts = done.items if part == "items" else done.interactions
        found["taken"] += counts.new
        found["duplicates"] += counts.duplicate
        found["rejected"] += counts.rejected
        rejects = workspace.execute("SELECT reason, raw FROM rejects").fetchall()
        found["silent"] += sum(not reason.strip() for reason, _ in rejects)
        if not numbers:
            return max(0, count - sum(asdict(counts).values()))
        texts = [raw for _, raw in rejects]
        if part == "items":
            for row in workspace.execute("SELECT item_id, title, attributes FROM items"):
                texts += row
        else:
            texts += [user for (user,) in workspace.execute("SELECT user_id FROM interactions")]
        return len(numbers - set(_NUMBER.findall("\n".join(texts))))


# ---- pictures


_MODES = {"PNG": ("RGB", "L", "RGBA", "P", "1"), "TIFF": ("RGB", "L", "RGBA", "CMYK"), "JPEG": ("RGB", "L", "CMYK")}


def _picture(rng: random.Random) -> bytes:
    """A small picture of some format, with bytes changed, cut off or put in."""
    from PIL import Image

    kind = rng.choice(("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP"))
    file = io.BytesIO()
    size = rng.randint(1, 40), rng.randint(1, 40)
    Image.effect_noise(size, 80).convert(rng.choice(_MODES.get(kind, ("RGB", "L")))).save(file, kind)
    data = bytearray(file.getvalue())
    for _ in range(rng.randrange(1, 9)):
        place = int(rng.random() * len(data) ** rng.choice((0.6, 1)))  # more often in the headers
        data[place] = rng.randrange(256)
    if rng.random() < 0.3:
        data = data[: rng.randrange(len(data))]
    if rng.random() < 0.1:
        data[rng.randrange(len(data) + 1) : 0] = rng.randbytes(20)
    return bytes(data)


def look_at_pictures(count: int, seed: int, crashes: list[str]) -> Counter[str]:
    """Ingest damaged pictures, then decode each that passed as for a caption."""
    rng, found = random.Random(f"pictures {seed}"), Counter(pictures=count)
    with tempfile.TemporaryDirectory() as name, Workspace(Path(name) / "home") as workspace:
        folder = Path(name)
        (folder / "img").mkdir()
        for n in range(count):
            (folder / f"img/{n}.{rng.choice(('jpg', 'png', 'webp'))}").write_bytes(_picture(rng))
        (folder / "items.csv").write_text("item_id,title\n" + "".join(f"{n},Thing {n}\n" for n in range(count)))
        (folder / "log.csv").write_text("user_id,item_id\nann,0\n")
        try:
            done = ingest(workspace, folder / "items.csv", folder / "log.csv", images=folder / "img")
        except Exception as error:
            crashes.append(f"pictures: {type(error).__name__}: {error}"[:300])
            return found
        found["usable"], found["rejected"] = done.images, done.images_rejected
        found["lost"] = count - done.images - done.images_rejected
        rejects = workspace.execute("SELECT reason FROM rejects").fetchall()
        found["silent"] = sum(not reason.strip() for (reason,) in rejects) + abs(len(rejects) - done.images_rejected)
        for (path,) in workspace.execute("SELECT path FROM images WHERE error IS NULL").fetchall():
            try:
                load_rgb(Path(path), longest_edge=1024)
            except InputError:
                found["refused when decoded in full"] += 1
            except Exception as error:
                crashes.append(f"{path}: {type(error).__name__}: {error}"[:300])
    return found


def measure(rows: int, pictures: int, seed: int, together: int = TOGETHER) -> dict[str, Any]:
    """The results: what became of the rows of each reader and of the pictures; `crashes` should be empty."""
    crashes: list[str] = []
    readers = {name: dict(read_rows(name, rows, seed, crashes, together)) for name in READERS}
    looked_at = dict(look_at_pictures(pictures, seed, crashes))
    return {**made_with(seed), "rows": rows, "readers": readers, "pictures": looked_at, "crashes": crashes}
