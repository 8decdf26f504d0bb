"""Plain tables: rows with a header, and facts with their names on the left."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from ..text import printable, storable


def headed(columns: Iterable[str], *, right: bool = False) -> Table:
    """An empty table with these column names; `right`: all but the first column hold numbers.

    A long word goes on in the next line: an id that is cut is none.
    """
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for number, name in enumerate(columns):
        numbers = right and number > 0
        table.add_column(name, justify="right" if numbers else "left", no_wrap=numbers, overflow="fold")
    return table


def shown(value: Any) -> Text:
    """Any value as text on one line; None is blank."""
    return Text(printable(storable("" if value is None else str(value))))


def rows_table(rows: Sequence[Mapping[str, Any]], right: Collection[str] = ()) -> Table:
    """One line a row, under the names of the first row; the columns `right` hold numbers."""
    table = headed(name.replace("_", " ") for name in (rows[0] if rows else ("nothing here yet",)))
    for column, name in zip(table.columns, rows[0] if rows else (), strict=False):
        column.justify = "right" if name in right else "left"
    for row in rows:
        table.add_row(*map(shown, row.values()))
    return table


def facts_table(facts: Mapping[str, Any]) -> Table:
    """One line a fact: its name, and what it is."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(overflow="fold")  # a path that is cut is none
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), shown(f"{value:,}" if isinstance(value, int) else value))
    return table
