"""Which column is which field, and what a cell must be to become one."""

from __future__ import annotations

import json
import math
import re
from base64 import b64decode
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import lru_cache
from typing import Any, TypeAlias

from ..errors import InputError
from ..store.rows import Rejected
from ..text import printable, storable
from ..values import is_markup, words
from .histories import together

Attribute: TypeAlias = str | int | float | bool | list["Attribute"]

Fields: TypeAlias = Mapping[str, tuple[str, ...]]
"""Field name -> the column names that mean it, as `key_of` makes them, the likeliest first."""

IGNORE = "ignore"

_RAW = 10_000  # characters that are kept of a rejected row
_ITEM_ID = tuple(
    "itemid movieid imdbid productid asin parentasin sku isbn videoid item iid bookid articleid newsid businessid"
    " trackid songid gameid appid animeid recipeid productcode itemcode stockcode tconst artistid"
    " venueid locationid ean gtin barcode idproduct variantsku lineitemsku aid".split()
)

ITEM_FIELDS: Fields = {
    "item_id": (*_ITEM_ID, "id"),
    "title": tuple(
        "title name productname productdisplayname itemname movietitle booktitle primarytitle prodname trackname"
        " songname songtitle gametitle appname itemtitle producttitle".split()
    ),
    "image": ("image", "imagepath", "img", "poster", "picture", "photo", "cover", "thumbnail"),
}
INTERACTION_FIELDS: Fields = {
    "user_id": tuple(
        "userid user uid customerid reviewerid visitorid sessionid customer username memberid shopperid"
        " clientid accountid profileid customeremail useremail email buyeremail idcustomer userpseudoid emailaddress"
        " emailbilling billingemail session".split()
    ),
    "item_id": (*_ITEM_ID, "items", "itemids", "itemlist", "itemidlist", "history"),
    "timestamp": tuple(
        "timestamp time ts date datetime createdat unixreviewtime eventtime invoicedate orderdate purchasedate"
        " reviewtime dateadded timestampms timems utctimestamp eventdate playedat listenedat watchedat viewedat ratedat"
        " purchasedat orderedat saledate reviewdate soldat tdat dateadd datecreated transactiondate"
        " eventtimestamp".split()
    ),
    "rating": ("rating", "score", "stars", "overall", "rate", "bookrating"),
    "earlier": ("itemidlist",),
}
_IDS = frozenset({"id", "userid", "uid", "customerid", *_ITEM_ID})
REQUIRED = frozenset({"user_id", "item_id", "title"})

MISSING = frozenset({"", "\\N", "nan", "NaN", "NaT", "NULL", "null", "None", "<NA>", "#N/A", "N/A", "n/a"})
"""How programs write that there is nothing."""
NO_ID = MISSING | {"NA"}
"""How they write that there is no id: R writes NA. A title may be called so."""
CUT = re.compile(r"\d([.,]\d+)?E\+\d\d", re.ASCII)
"""A number of which a spreadsheet shows the first digits only."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things are in a row: field -> index of its cell, and (index, name) of all other named columns."""

    fields: Mapping[str, int]
    others: tuple[tuple[int, str], ...]


def lay_out(columns: Sequence[str], fields: Fields, mapping: Mapping[str, str]) -> Layout:
    """Find the fields among `columns`: by `mapping` (column -> field or "ignore"), then by their names.

    Of two columns that could be one field the one spelt like it wins, then the likelier name, then the first.
    A column without a name (pandas writes its index so) is left out. Of other columns with one name, the second is
    "name (2)".
    """
    names = [column.strip() for column in columns]
    free = [index for index, name in enumerate(names) if name and name not in mapping]
    found: dict[str, int] = {}
    for field, synonyms in fields.items():
        chosen = [index for index, name in enumerate(names) if mapping.get(name) == field]
        ranked = [
            (names[index] != field, synonyms.index(key), index)
            for index in free
            if index not in found.values() and (key := key_of(names[index])) in synonyms
        ]
        if chosen:
            found[field] = chosen[0]
        elif ranked:
            found[field] = min(ranked)[-1]
    others = [(index, names[index]) for index in free if index not in found.values()]
    again = Counter[str]()
    for place, (index, name) in enumerate(others):
        again[name] += 1
        if again[name] > 1:
            others[place] = index, f"{name} ({again[name]})"
    return Layout(found, tuple(others))


@dataclass(frozen=True, slots=True)
class Naming:
    """Which columns are which of the `fields`: by `mapping` (column -> field or "ignore"), then by usual names."""

    fields: Fields
    mapping: Mapping[str, str]

    def is_row(self, columns: Sequence[str]) -> bool:
        """Whether all that is required of a row is among `columns`."""
        found = lay_out(columns, self.fields, self.mapping).fields
        return {"item_id", *REQUIRED} & self.fields.keys() <= found.keys()


def check_columns(columns: Sequence[str], fields: Fields, mapping: Mapping[str, str]) -> None:
    """Raises InputError if `mapping` does not fit `columns`, or if a required field is not among them."""
    names = [column.strip() for column in columns]
    listed = f"Its columns are: {', '.join(printable(name)[:40] or '(no name)' for name in names[:40])}."
    for column, field in mapping.items():
        if column not in names:
            raise InputError(f"there is no column {column!r} to map. {listed}")
        if field != IGNORE and field not in fields:
            raise InputError(
                f"{column!r} cannot be mapped to {field!r}. The fields are: {', '.join([*fields, IGNORE])}."
            )
        if field != IGNORE and list(mapping.values()).count(field) > 1:
            raise InputError(f"more than one column is mapped to {field}.")
    found = lay_out(columns, fields, mapping).fields
    hint = (
        "If its header is further down, delete the lines above; if it is this one, part its columns by commas or tabs. "
        if len([name for name in names if name]) < 2
        else ""
    )
    if missing := [field for field in fields if field in REQUIRED and field not in found]:
        ways = f"Next: say which one it is with --map COLUMN={missing[0]}"
        if fields is ITEM_FIELDS and {"user_id", "item_id"} <= lay_out(columns, INTERACTION_FIELDS, {}).fields.keys():
            ways += ", or, if these are the interactions, name the file of the items before this one"
        if "user_id" in missing and {"title", "item_id"} <= lay_out(columns, ITEM_FIELDS, {}).fields.keys():
            ways += (
                ", or, if these are the items, name the file of the interactions after this one; if all rows are one "
                "person's, add a column user_id with one name in it"
            )
        others = {*names} - {names[index] for index in found.values()}
        if missing == ["item_id"] and "user_id" in found and len(others) > 2 and "timestamp" not in found:
            user = printable(names[found["user_id"]])[:40]
            ways += (
                ", or, if each column is an item, make a row of each cell: pandas.read_csv(FILE).melt("
                f"{user!r}, var_name='item_id', value_name='rating').dropna().to_csv(NEW, index=False)"
            )
        raise InputError(f"found no column for {' and '.join(missing)}. {listed} {hint}{ways}.")


@lru_cache(maxsize=1024)
def key_of(name: str) -> str:
    """A column's name without case and punctuation."""
    return re.sub(r"[\W_]+", "", name.casefold())


def clean(value: Any) -> Any:
    """`value` with all text in it storable, however deep; bytes that are UTF-8 become text."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, bytes):
        try:
            return storable(value.decode())
        except UnicodeDecodeError:
            return value
    if isinstance(value, list):
        return [clean(element) for element in value]
    if isinstance(value, dict):
        return {storable(str(key)): clean(element) for key, element in value.items()}
    return value


def rejected(line: int, reason: str, raw: str) -> Rejected:
    """The row `raw` refused; of a long one only the beginning is kept, and never its line end."""
    return Rejected(line, reason, raw.rstrip("\r\n")[:_RAW])


def shown(value: object) -> str:
    """`value` as an error quotes it: short, and so that its type shows."""
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"


def to_text(field: str, value: object, missing: Collection[str] = NO_ID) -> str:
    """`value` without outer blanks; a number that is whole loses its ".0".

    Raises ValueError, "item_id is empty", if it is blank or one of the spellings of `missing`, or neither text nor a
    number, or an id of which a spreadsheet has left the first digits.
    """
    if value is None or isinstance(value, str):
        text = bare((value or "").strip())
        if not text or text in missing:
            raise ValueError(f"{field} is empty" + (f" ({text})" if text else ""))
        if "E+" in text and missing is NO_ID and CUT.fullmatch(text):
            raise ValueError(f"{field} {text} is a number that a spreadsheet has cut: export the column as text")
        return text
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, float) and math.isnan(value):
        raise ValueError(f"{field} is empty (nan)")
    if isinstance(value, dict) and missing is NO_ID:  # {"id": 5, "name": …}, as programs write a user or a product
        for key, one in value.items():
            if key_of(str(key)) in _IDS and isinstance(one, str | int):
                return to_text(field, one)
    if isinstance(value, bool | bytes | list | dict) or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"{field} {shown(value)} is neither text nor a number")
    if isinstance(value, Decimal) and value == int(value):
        return str(int(value))
    return str(value)


def bare(text: str) -> str:
    """`text` out of the formula ="0012", by which exports keep spreadsheets from taking it for a number."""
    return text[2:-1] if text[:2] == '="' and text[2:].endswith('"') else text


def to_title(value: object, missing: Collection[str] = MISSING) -> str:
    """`value` as `to_text`, and as a reader of a page would see it: without markup, entities as characters."""
    text = to_text("title", value, missing)
    return (words(text) or text) if is_markup(text) else text


_INLINE = re.compile(r"\s*data:image/[\w.+-]+;base64,")
_WHOLE = re.compile(r"0*(\d+)(?:\.0*)?", re.ASCII)


def whole(text: str) -> str:
    """`text` without what makes no difference to a whole number: "128.0" and "00128" are "128"."""
    found = _WHOLE.fullmatch(text)
    return found[1] if found else text


def to_rating(value: object) -> float | None:
    """`value` as a finite number, None if it is missing. Raises ValueError for all else.

    "4,5" is 4.5, "4.0 out of 5 stars" and "★★★★☆" are 4, "true" is 1 and "false" 0.
    """
    return None if value is None else _rating(value if isinstance(value, str) else str(value))


@lru_cache(maxsize=1024)  # ratings are few
def _rating(text: str) -> float | None:
    text = text.strip()
    if text in MISSING:
        return None
    if stars := _STARS.fullmatch(text):
        text = stars[1] or str(text.count("★"))
    text = _JUDGED.get(text.casefold(), text)
    try:
        number = float(text.replace(",", ".") if _DECIMAL_COMMA.fullmatch(text) else text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or "_" in text:
        raise ValueError(f"rating {shown(text)} is not a number")
    return number


_JUDGED = {"true": "1", "false": "0"}
_STARS = re.compile(r"(\d+(?:[.,]\d+)?)(?: out of \d+)?[ -]?stars?|★+☆*|☆+", re.ASCII | re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d{1,2}", re.ASCII)


def to_image(value: object) -> str | bytes | None:
    """`value` as the text of a path, without outer blanks, or as the bytes of a picture; None if it is missing.

    Of several the first counts; of a data: address, what it holds; of an object, as Hugging Face data sets have it, its
    "bytes", else its "path". What is none of these stays as it looks: that refuses the picture, not its item.
    """
    if isinstance(value, str) and (found := _INLINE.match(value)):
        try:
            return b64decode(value[found.end() :].strip(), validate=True)
        except ValueError:
            return value.strip()
    if (several := together(value, None)) is not None:
        value = several[0] if several else None
    if isinstance(value, dict):
        data, named = value.get("bytes"), value.get("path")
        value = data if isinstance(data, bytes) and data else named or (value if any(value.values()) else None)
    if value is None or (isinstance(value, bytes) and value):
        return value
    if isinstance(value, str):
        return None if value.strip() in MISSING else value.strip()
    return shown(value)


def to_attribute(value: object) -> Attribute | None:
    """`value` as JSON can hold it; an object becomes its JSON text. None if there is nothing in it.

    Text is as a reader of a page would see it; a list or an object that is written as text stays as it is.
    """
    if isinstance(value, str):
        text = bare(value.strip())
        if text in MISSING:
            return None
        return words(text) or None if is_markup(text) and text[0] not in "[{(" else text
    if value is None or isinstance(value, bytes):
        return None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bool | int):
        return value
    if isinstance(value, list):
        return [element for each in value if (element := to_attribute(each)) is not None] or None
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False, default=str) if value else None
    return value.isoformat() if isinstance(value, date) else str(value)
