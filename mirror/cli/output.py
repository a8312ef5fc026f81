"""Output of commands: tables, JSON and CSV.

Text from the API is not trusted: a terminal never receives its control, bidi or invisible
characters. JSON and CSV keep them, JSON as escapes. A spreadsheet takes none of it for a formula.
"""

from __future__ import annotations

import csv
import errno
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, TextIO

import msgspec

from mirror.errors import DiskUnavailable, UsageError
from mirror.text import UNSAFE, escape_unsafe

_MAX_CELL_LENGTH = 1000
_MIN_WIDTH = 40

# A number, a date or an amount written in digits, as a phone number is. Words that a spreadsheet
# converts in its language (SEPT1, 10 pm, TRUE) are not among them. A string of a formula has at
# most 255 characters in Excel.
_NUMBER = re.compile(r"(?=\D*[0-9])[0-9 \xa0\u202f'+().,/:%$€£¥eE-]{1,255}")
_SIGN = r"\s*[=+\-@\uff0b\uff0d\uff1d\uff20]"  # also full-width + - = @
_FORMULA = re.compile(rf"[\t\r\n]|{_SIGN}")
_INNER_FORMULA = re.compile(rf"(?<=[;\t\r\n])(?={_SIGN})")
"""Where a cell may begin in a program that splits cells there, whatever the quotes are."""

Column = Callable[[Any], object]
"""Returns the cell of a row in a table."""


def write_rows(
    rows: Sequence[Any],
    row_type: type[Any],
    output_format: str,
    out: TextIO,
    *,
    columns: Mapping[str, Column] = MappingProxyType({}),
) -> None:
    """Write rows.

    Args:
        rows: instances of `row_type`.
        row_type: a dataclass; its fields are those of JSON, CSV and tab-separated rows.
        output_format: "table" (drawn on a terminal, tab-separated elsewhere), "json", "csv", or
            "spreadsheet" (CSV whose texts stay text when a spreadsheet opens it).
        out: the stream.
        columns: header and cells of each column of the table on a terminal.
    """
    names = [field.name for field in fields(row_type)]
    if output_format == "json":
        _write_json(rows, names, out)
    elif output_format == "csv":
        _write_csv(rows, names, out, to_text)
    elif output_format == "spreadsheet":
        if not out.isatty():
            out.write("\ufeff")  # without it, Excel does not read UTF-8
        _write_csv(rows, names, out, _spreadsheet_cell, quote_all=True)
    elif out.isatty():
        cells = [[column(row) for column in columns.values()] for row in rows]
        render_table(cells, list(columns), out)
    else:
        _write_tab_separated(rows, names, out)


class StyledCell(msgspec.Struct, frozen=True):
    """A cell of a table in a colour of the terminal, such as "green"."""

    value: object
    style: str


def render_table(
    rows: Iterable[Sequence[object]],
    headers: Sequence[str],
    out: TextIO,
    *,
    blank_after: Collection[int] = (),
    min_widths: Mapping[str, int] = MappingProxyType({}),
    widths: Mapping[str, int] = MappingProxyType({}),
) -> None:
    """Draw a table as wide as the terminal at most; long cells are folded.

    Args:
        rows: cells.
        headers: of the columns.
        out: the terminal.
        blank_after: numbers of the rows that a blank line follows, from 0.
        min_widths: least width of a column in characters, by its header.
        widths: width of a column whose cells are folded there, by its header.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    for header in headers:
        table.add_column(
            header,
            overflow="fold",
            no_wrap=header.endswith("(UTC)") and header not in widths,
            min_width=min_widths.get(header),
            width=widths.get(header),
        )
    for number, row in enumerate(rows):
        cells = (cell if isinstance(cell, StyledCell) else StyledCell(cell, "") for cell in row)
        texts = (Text(escape_unsafe(_cell_text(cell.value)), cell.style) for cell in cells)
        table.add_row(*texts, end_section=number in blank_after)
    Console(file=out, highlight=False, emoji=False, markup=False).print(table)


def wrap(text: str, out: TextIO, indent: int = 0) -> None:
    """Write untrusted text in lines that fit the terminal.

    Args:
        text: of one paragraph.
        out: the terminal.
        indent: spaces before each line but the first.
    """
    import shutil
    import textwrap

    width = max(_MIN_WIDTH, shutil.get_terminal_size().columns)
    lines = textwrap.wrap(
        escape_unsafe(text), width, subsequent_indent=" " * indent, break_on_hyphens=False
    )
    out.writelines(f"{line}\n" for line in lines)


def write_file(path: Path, text: str) -> None:
    """Write a file atomically: a reader sees the old content or the new one, never a part.

    Only its owner can read a new file. One that is replaced keeps its permissions.

    Args:
        path: of the file. A device or pipe is written to directly.
        text: the new content.

    Raises:
        DiskUnavailable: the disk is full.
        UsageError: the file cannot be written.
    """
    try:
        path = path.resolve()
        temporary = path.with_name(f".{path.name[:100]}.{os.getpid()}")
        if path.exists() and not path.is_file():
            path.write_text(text, encoding="utf-8")
            return
        try:
            temporary.touch(mode=0o600)
            temporary.write_text(text, encoding="utf-8")
            if path.exists():
                temporary.chmod(path.stat().st_mode)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        raise (DiskUnavailable if full else UsageError)(
            f"{path} cannot be written ({error.strerror})", hint="choose another place for it"
        ) from error


def json_line(value: Any) -> str:
    """Return a value as one line of JSON, safe to show on a terminal."""
    text = msgspec.json.encode(value).decode()
    return UNSAFE.sub(_json_escape, text)


def json_text(value: Any) -> str:
    """Return a value as indented JSON, safe to show on a terminal."""
    return msgspec.json.format(json_line(value), indent=2)


def abbreviate_id(identifier: str) -> str:
    """Return the start of an id, for a table on a terminal."""
    return identifier if len(identifier) <= 14 else identifier[:13] + "…"


def to_text(value: object) -> str:
    """Return a value as text: times in ISO 8601, None as an empty string."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        precision = "milliseconds" if value.microsecond else "seconds"
        return value.replace(tzinfo=None).isoformat(timespec=precision) + "Z"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _cell_text(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    text = to_text(value)
    return text if len(text) <= _MAX_CELL_LENGTH else text[:_MAX_CELL_LENGTH] + "…"


def _write_tab_separated(rows: Sequence[Any], names: list[str], out: TextIO) -> None:
    out.write("\t".join(names) + "\n")
    out.writelines(
        "\t".join(escape_unsafe(to_text(getattr(row, name))) for name in names) + "\n"
        for row in rows
    )


class _UnixLines:
    """Turns the CRLF of the csv module, which quotes only its own line ends, into LF."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def write(self, line: str) -> int:
        return self._out.write(line.removesuffix("\r\n") + "\n")


def _write_csv(
    rows: Sequence[Any],
    names: list[str],
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
    writer.writerow(names)
    for row in rows:
        writer.writerow([escape(to_cell(getattr(row, name))) for name in names])


def _spreadsheet_cell(value: object) -> str:
    """Return a cell of CSV that a spreadsheet shows as it is.

    What is written in digits becomes a formula that gives its text: the only form that Excel,
    LibreOffice, Gnumeric and SheetJS all read as that text. An apostrophe would remain in the
    text, but it is safe before any other text, which could end the string of a formula. So it is
    within a text, where a program may split it.
    """
    text = to_text(value)
    if not isinstance(value, str):
        return text
    if _NUMBER.fullmatch(text):
        return f'="{text}"'
    text = _INNER_FORMULA.sub("'", text)
    return f"'{text}" if _FORMULA.match(text) else text


def _write_json(rows: Sequence[Any], names: list[str], out: TextIO) -> None:
    lines = (
        json_line({name: _json_value(name, getattr(row, name)) for name in names}) for row in rows
    )
    out.write("[" + ",".join("\n  " + line for line in lines) + ("\n]\n" if rows else "]\n"))


def _json_value(name: str, value: object) -> object:
    if isinstance(value, datetime):
        return to_text(value)
    if name == "extra" and isinstance(value, str):
        return msgspec.Raw(msgspec.json.format(value.encode(), indent=-1))  # in one line
    return value


def _json_escape(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
