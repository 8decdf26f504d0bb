"""From bytes to text: which encoding it is, how sure that is, and what is said of it."""

from __future__ import annotations

import codecs
import io
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO
from unicodedata import category

from ..errors import InputError
from ..text import printable
from .containers import open_unpacked

_LINE_END = re.compile(r"\n|\r(?=[^\n])")
_UTF8 = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_HIGH = re.compile(rb"[\x80-\xff]")
_BETWEEN = re.compile(rb'[\s\d,;|"]+')  # words
_CONTROL = re.compile(rb"[\x00\x02-\x08\x0e-\x1a\x1c-\x1f\x7f]")  # without \x01, which parts the columns of Hive
_NO_TEXT = "not a text file. Next: save it as CSV, JSON or Parquet."
_PLAIN_CONTROL = "\t\r\n\x01\u200b\u200c\u200d\u200e\u200f\ufeff"
_CHUNK = 2**20
_EVIDENCE = 2**18  # bytes of lines that are not UTF-8: enough to know what they are
_FEW = 12  # bytes over 127 that tell nothing

# What files of the world are in, besides UTF-8; of two that fit alike, the first.
_LIKELY = (
    "cp1252", "cp1251", "gb18030", "cp932", "big5", "cp949", "euc_jp", "koi8_r", "cp1250", "cp1254", "cp1253",
    "cp1255", "cp1256", "cp1257", "iso8859_2", "cp866", "cp874", "mac_roman",
)  # fmt: skip
_CORE = {"gb18030": "gb2312", "cp932": "shift_jis", "cp949": "euc_kr"}  # nearly all that is written in them
_LATIN = ("cp1252", "cp1250", "cp1254", "cp1257", "iso8859_2", "mac_roman")
_LETTERS = (
    "àâæçéèêëîïôœùûüÿ", "äöüßé", "áéíóúüñªº", "áâãàçéêíóôõúüªº", "àèéìíîòóùú", "åäöéü", "æøåéöüò", "áðéíóúýþæö",
    "áàçéèíïóòúü", "áčďéěíňóřšťúůýž", "áäčďéíĺľňóôŕšťúýž", "ąćęłńóśźż", "áéíóöőúüű", "ăâîșțşţ", "çğıöşüâîû",
    "ąčęėįšųūž", "āčēģīķļņōŗšūž", "äöüõšž", "čćđšž",
)  # fmt: skip
"""The letters over 127 of languages: French, German, Spanish, Portuguese, Italian, Swedish, Danish and so on."""
_IN_WORD = re.compile(r"(?<=[^\W\d_])[¡-©«-´¶-¹»-¿×÷¨¸˝˛˙ˇ˘](?=[^\W\d_])|(?<=[a-zß-öø-ÿ])[À-ÞŸŠŒŽ]")
"""What stands in no word: a sign between letters, a capital after a small letter."""
_SPOKEN = {
    "cp1252": "Windows-1252", "cp1251": "Windows-1251", "gb18030": "GB18030 (GBK)", "cp932": "Shift-JIS (cp932)",
    "big5": "Big5", "cp949": "EUC-KR (cp949)", "euc_jp": "EUC-JP", "koi8_r": "KOI8-R", "utf-16-le": "UTF-16",
    "utf-16-be": "UTF-16", "utf-32-le": "UTF-32", "utf-32-be": "UTF-32",
}  # fmt: skip

_CP1252 = [bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in range(256)]


def _decode_as_cp1252(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(_CP1252[byte] for byte in error.object[error.start : error.end]), error.end


# Per byte, not per file: one stray byte in a UTF-8 file must not garble every other accent in it.
codecs.register_error("msr-local-cp1252", _decode_as_cp1252)


@dataclass(frozen=True, slots=True)
class Encoding:
    """What Python calls the encoding of a file, and what there is to say of it: nothing where nothing is odd."""

    name: str
    note: str = ""


def detect_encoding(path: Path) -> Encoding:
    """The encoding of `path`, from all of its bytes. UTF-8 unless they say otherwise.

    A file that is mostly UTF-8 stays so; its other bytes are read as Windows-1252. Raises InputError if it is no
    text, or as `open_unpacked`.
    """
    good_lines = bad_lines = good = stray = 0
    evidence: list[bytes] = []
    with open_unpacked(path) as binary:
        start = binary.peek(1)[:4096]
        if start.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
            return Encoding("utf-32")
        if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return Encoding("utf-16")
        if 0 in start and (name := _wide(start)):
            return Encoding(name, f"{_SPOKEN[name]} without a byte order mark: read as such.")
        if len(start) >= 100 and start.count(0) > len(start) / 4:  # of fewer bytes, nothing tells
            raise InputError(_NO_TEXT)
        if len(start) > 1000 and len(_CONTROL.findall(start)) > len(start) / 10:
            raise InputError(_NO_TEXT)
        while chunk := binary.read(_CHUNK):
            if chunk.isascii():
                continue
            for line in (chunk + binary.readline()).split(b"\n"):
                if line.isascii():
                    continue
                found = len(_UTF8.findall(line))
                other = len(_HIGH.findall(_UTF8.sub(b"", line)))
                good, stray = good + found, stray + other
                good_lines, bad_lines = good_lines + (not other), bad_lines + bool(other)
                if other:
                    evidence.append(line)
            if sum(map(len, evidence)) > _EVIDENCE:
                break
    if not stray:
        return Encoding("utf-8-sig")
    if good >= stray or (good_lines >= bad_lines):
        return Encoding("utf-8-sig", f"{stray:,} bytes are not UTF-8: they are read as Windows-1252.")
    return _guess(b"\n".join(evidence)[:_EVIDENCE], stray)


def _wide(start: bytes) -> str | None:
    """UTF-16 or UTF-32, if the first bytes of a file make lines of known characters in it; whatever the script."""
    for name in ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be"):
        text = codecs.getincrementaldecoder(name)("replace").decode(start)  # the last sign may be cut
        odd = sum(sign == "\ufffd" or (category(sign)[0] == "C" and sign not in _PLAIN_CONTROL) for sign in text)
        if text.count("\n") + text.count("\r") > start.count(b"\n") / 2 and odd <= len(text) / 100:
            return name
    return None


def _guess(evidence: bytes, stray: int) -> Encoding:
    from charset_normalizer import from_bytes

    found: list[Any] = []
    for disorder in (0.2, 0.6) if stray >= _FEW else ():
        found = found or list(from_bytes(evidence, cp_isolation=list(_LIKELY), threshold=disorder))
    if not found:
        few = f"a guess: only {stray} bytes tell" if stray < _FEW else "a guess"
        return Encoding("utf-8-sig", _said("cp1252", few, evidence))
    best = min(found, key=lambda one: _badness(one) + _LIKELY.index(one.encoding) / 4)
    if best.encoding in _LATIN:  # they differ in a few letters: those tell that stand in one language together
        latin = [one for one in found if one.encoding in _LATIN]
        best = min(latin, key=lambda one: _badness(one) + _LIKELY.index(one.encoding) / 4 + _foreign(str(one)))
    alike = {best.encoding, *best.could_be_from_charset}  # what reads the same of the evidence
    name = next((one for one in _LIKELY if one in alike), best.encoding)
    telling = sum(len(_HIGH.findall(word)) for word in set(_BETWEEN.split(evidence)))  # a word tells once
    sure = f"{min(99, (100 - best.percent_chaos) * min(1, 0.5 + telling / 200)):.0f}% sure"
    if name == "cp1252":  # with the bytes that it does not define
        return Encoding("utf-8-sig", _said(name, sure, evidence))
    return Encoding(name, _said(name, sure, evidence))


def _badness(match: Any) -> float:
    """Disorder counts against an encoding, as do signs that hardly anybody writes; words of a language count for it."""
    signs = [sign for sign in str(match) if not sign.isascii()]
    core = _CORE.get(match.encoding)
    # EUC-KR spells what it lacks in eight bytes.
    rare = sum(not 0 < len(sign.encode(core, "ignore")) <= 2 for sign in signs) if core else 0
    odd = len(_IN_WORD.findall(str(match)))
    return float(match.percent_chaos - match.percent_coherence / 2 + 100 * (rare + odd) / max(1, len(signs)))


def _foreign(text: str) -> float:
    """The percentage of the letters over 127 that the language which has most of them does not have."""
    letters = Counter(letter for letter in text.lower() if letter.isalpha() and not letter.isascii())
    most = max(sum(letters[letter] for letter in language) for language in _LETTERS)
    return 100 - 100 * most / max(1, letters.total())


def _said(name: str, sure: str, evidence: bytes) -> str:
    words = re.split(r"[\s,;|]+", evidence[:400].decode(name, "replace"))
    seen = printable(next((word for word in words if not word.isascii()), ""))[:30]
    return (
        f"not UTF-8: read as {_SPOKEN.get(name, name)} ({sure}), as in {seen!r}. If that is wrong: --encoding NAME, as "
        "in gb18030."
    )


@contextmanager
def open_text(path: Path, encoding: str | None = None) -> Iterator[TextIO]:
    """`path`, unpacked and decoded, as lines with their ends untouched.

    In `encoding`, else in the one that `detect_encoding` finds. Lines end as the first one does: in a file of `\\n` a
    lone `\\r` is text. Raises as `open_unpacked`, and InputError if there is no such encoding.
    """
    name = encoding or detect_encoding(path).name
    try:
        "x".encode(name)
    except LookupError:
        raise InputError(f"there is no encoding {name!r}. Next: --encoding NAME, as in gb18030 or koi8-r.") from None
    errors = "msr-local-cp1252" if name.replace("_", "-").startswith("utf-8") else "replace"
    with open_unpacked(path) as binary:
        end = _LINE_END.search(binary.peek(1).decode(name, errors))
        with io.TextIOWrapper(binary, name, errors, newline=end[0] if end else "\n") as text:
            yield text
