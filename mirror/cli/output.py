"""Output of commands: tables, JSON and CSV.

Text from the API is not trusted: a terminal never receives its control, bidi or invisible
characters. JSON and CSV keep them, JSON as escapes. A spreadsheet takes none of it for a formula.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from decimal import Decimal
from itertools import chain
from math import isfinite
from operator import attrgetter
from types import MappingProxyType
from typing import Any, TextIO

import msgspec

from mirror.cli import spreadsheet
from mirror.cli.pager import paged
from mirror.cli.table import (
    STYLES,
    Lines,
    StyledCell,
    abbreviate_id,
    needed_widths,
    render_fields,
    render_table,
    to_text,
    wrap,
)
from mirror.text import UNSAFE, JsonText, escape_unsafe

__all__ = [
    "STYLES",
    "Column",
    "Lines",
    "StyledCell",
    "abbreviate_id",
    "json_line",
    "json_object",
    "json_text",
    "needed_widths",
    "render_fields",
    "render_table",
    "to_text",
    "wrap",
    "write_rows",
    "write_values",
]

Column = Callable[[Any], object]
"""Returns the cell of a row in a table."""


def write_rows(
    rows: Sequence[Any],
    row_type: type[Any],
    output_format: str,
    out: TextIO,
    *,
    columns: Mapping[str, Column] = MappingProxyType({}),
    only: Sequence[str] | None = None,
) -> None:
    """Write rows; on a terminal through a pager, if they are higher than the screen.

    Args:
        rows: instances of `row_type`.
        row_type: a dataclass; its fields are those of JSON, CSV and tab-separated rows.
        output_format: "table" (drawn on a terminal, tab-separated elsewhere), "json", "csv", or
            "spreadsheet" (CSV whose texts stay text when a spreadsheet opens it).
        out: the stream.
        columns: header and cells of each column of the table on a terminal.
        only: names of the fields to write, in their order, in all formats; None for all fields,
            and for `columns` on a terminal.
    """
    with paged(out) as screen:
        _write_rows(rows, row_type, output_format, screen, columns, only)


def _write_rows(
    rows: Sequence[Any],
    row_type: type[Any],
    output_format: str,
    out: TextIO,
    columns: Mapping[str, Column],
    only: Sequence[str] | None,
) -> None:
    names = only or [field.name for field in fields(row_type)]
    if only:
        columns = {name: attrgetter(name) for name in only}
    if output_format != "table" or not out.isatty():
        values = ([getattr(row, name) for name in names] for row in rows)
        write_values(values, names, output_format, out)
    elif rows:  # what else there is, the command says
        cells = [[column(row) for column in columns.values()] for row in rows]
        render_table(cells, list(columns), out)


def write_values(
    rows: Iterable[Sequence[object]], names: Sequence[str], output_format: str, out: TextIO
) -> None:
    """Write rows as they come; only a table on a terminal needs them all at once.

    Args:
        rows: values of the columns.
        names: of the columns, each of which is there once.
        output_format: as for `write_rows`.
        out: the stream.
    """
    if output_format == "json":
        _write_json(rows, names, out)
    elif output_format == "csv":
        _write_csv(rows, names, out, to_text)
    elif output_format == "spreadsheet":
        if not out.isatty():
            out.write("\ufeff")  # without it, Excel does not read UTF-8
        _write_csv(rows, names, out, _spreadsheet_cell, quote_all=True)
    elif out.isatty():
        render_table(rows, [escape_unsafe(name) for name in names], out)
    else:
        _write_tab_separated(rows, names, out)


def json_line(value: Any) -> str:
    """Return a value as one line of JSON, safe to show on a terminal."""
    text = msgspec.json.encode(value).decode()
    return UNSAFE.sub(_json_escape, text)


def json_text(value: Any) -> str:
    """Return a value as indented JSON, safe to show on a terminal."""
    return msgspec.json.format(json_line(value), indent=2)


def _write_tab_separated(
    rows: Iterable[Sequence[object]], names: Sequence[str], out: TextIO
) -> None:
    out.writelines(
        "\t".join(escape_unsafe(to_text(value)) for value in row) + "\n"
        for row in chain([names], rows)
    )


class _UnixLines:
    """Turns the CRLF of the csv module, which quotes only its own line ends, into LF."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def write(self, line: str) -> int:
        return self._out.write(line.removesuffix("\r\n") + "\n")


def _write_csv(
    rows: Iterable[Sequence[object]],
    names: Sequence[str],
    out: TextIO,
    to_cell: Callable[[object], str],
    *,
    quote_all: bool = False,
) -> None:
    escape = escape_unsafe if out.isatty() else str
    writer = csv.writer(
        _UnixLines(out),
        lineterminator="\r\n",
        quoting=csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL,
    )
    for row in chain([names], rows):
        writer.writerow([escape(to_cell(value)) for value in row])


def _spreadsheet_cell(value: object) -> str:
    text = to_text(value)
    return spreadsheet.cell(text) if isinstance(value, str) else text


def json_object(row: Any) -> dict[str, Any]:
    """Return a dataclass as an object of JSON: times as text, `extra` as it was sent."""
    names = [field.name for field in fields(row)]
    return {name: _json_value(name, getattr(row, name)) for name in names}


def _write_json(rows: Iterable[Sequence[object]], names: Sequence[str], out: TextIO) -> None:
    separator = "["
    for row in rows:
        values = {name: _json_value(name, value) for name, value in zip(names, row, strict=True)}
        out.write(f"{separator}\n  {json_line(values)}")
        separator = ","
    out.write("[]\n" if separator == "[" else "\n]\n")


def _json_value(name: str, value: object) -> object:
    if isinstance(value, datetime):
        return to_text(value)
    if isinstance(value, list | tuple):
        return [_json_value(name, item) for item in value]
    if is_dataclass(value):
        from mirror.queries.results import FieldChange  # not needed for the result of a sync

        if isinstance(value, FieldChange):
            old, new = (_json_value(value.field, side) for side in (value.old, value.new))
            return {"field": value.field, "old": old, "new": new}
        return json_object(value)
    if isinstance(value, JsonText) or (name == "extra" and isinstance(value, str)):
        return msgspec.Raw(msgspec.json.format(value.encode(), indent=-1))  # in one line
    if isinstance(value, Decimal | float):
        value = msgspec.Raw(str(value).encode()) if isfinite(value) else str(value)
    return value


def _json_escape(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
