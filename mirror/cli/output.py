"""What a person or a program reads: tables, JSON and CSV.

Texts of upstream are not trusted: a terminal never receives a control, bidi or invisible character
of theirs. JSON and CSV carry them as they are, in JSON as escapes.
"""

from __future__ import annotations

import csv
import errno
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, TextIO

import msgspec

from mirror.errors import DiskUnavailable, UsageError
from mirror.text import UNSAFE, escape_unsafe

_LONGEST_CELL = 1000
_NARROWEST = 40

Column = Callable[[Any], object]
"""How a column of a drawn table is made from a row."""


def write(
    rows: Sequence[Any],
    kind: type[Any],
    form: str,
    out: TextIO,
    *,
    drawn: Mapping[str, Column],
) -> None:
    """Write rows.

    Args:
        rows: instances of `kind`.
        kind: a dataclass.
        form: "table" (drawn on a terminal, tab-separated elsewhere), "json" or "csv".
        out: where to.
        drawn: title and content of the columns that a drawn table has.
    """
    names = [field.name for field in fields(kind)]
    if form == "json":
        _write_json(rows, names, out)
    elif form == "csv":
        _write_csv(rows, names, out)
    elif out.isatty():
        render_table([[column(row) for column in drawn.values()] for row in rows], list(drawn), out)
    else:
        _write_lines(rows, names, out)


@dataclass(frozen=True, slots=True)
class Coloured:
    """A cell of a drawn table in a colour of the terminal, such as "green"."""

    value: object
    colour: str


def render_table(
    rows: Iterable[Sequence[object]],
    titles: Sequence[str],
    out: TextIO,
    *,
    gaps: Collection[int] = (),
    least: Mapping[str, int] = MappingProxyType({}),
) -> None:
    """Draw a table for a terminal; columns share its width, and long texts are folded.

    Args:
        rows: their cells.
        titles: of the columns.
        out: the terminal.
        gaps: rows after which a line is left free, counted from 0.
        least: characters that columns have at least, by their titles.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    for title in titles:
        table.add_column(
            title,
            overflow="fold",
            no_wrap=title.endswith("(UTC)"),
            min_width=least.get(title),
        )
    for number, row in enumerate(rows):
        cells = (one if isinstance(one, Coloured) else Coloured(one, "") for one in row)
        texts = (Text(escape_unsafe(_short(one.value)), one.colour) for one in cells)
        table.add_row(*texts, end_section=number in gaps)
    Console(file=out, highlight=False, emoji=False, markup=False).print(table)


def wrap(text: str, out: TextIO, indent: int = 0) -> None:
    """Write a text to a terminal, in lines that fit its width.

    Args:
        text: not trusted.
        out: where to.
        indent: columns that the lines after the first one leave free.
    """
    import shutil
    import textwrap

    width = max(_NARROWEST, shutil.get_terminal_size().columns)
    lines = textwrap.wrap(
        escape_unsafe(text), width, subsequent_indent=" " * indent, break_on_hyphens=False
    )
    out.writelines(f"{line}\n" for line in lines)


def replace(path: Path, text: str) -> None:
    """Write a file; whoever reads it meanwhile sees the old one or the new one, never a part.

    Args:
        path: of the file; what is no regular file, such as a pipe, is written to as it is.
        text: all that it is to hold.

    Raises:
        DiskUnavailable: there is no room for it.
        UsageError: it cannot be written there.
    """
    try:
        path = path.resolve()
        beside = path.with_name(f".{path.name[:100]}.{os.getpid()}")
        if path.exists() and not path.is_file():
            path.write_text(text, encoding="utf-8")
            return
        try:
            beside.write_text(text, encoding="utf-8")
            if path.exists():
                beside.chmod(path.stat().st_mode)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        raise (DiskUnavailable if full else UsageError)(
            f"{path} cannot be written ({error.strerror}); choose another place for it"
        ) from error


def json_line(value: Any) -> str:
    """Return a value as one line of JSON, which is safe to show on a terminal."""
    text = msgspec.json.encode(value).decode()
    return UNSAFE.sub(_json_escape, text)


def json_text(value: Any) -> str:
    """Return a value as JSON in lines that a person can read, safe to show on a terminal."""
    return msgspec.json.format(json_line(value), indent=2)


def abbreviated(identifier: str) -> str:
    """Return the start of an id, for a drawn table."""
    return identifier if len(identifier) <= 14 else identifier[:13] + "…"


def to_text(value: object) -> str:
    """Return a value as text, complete: times in ISO 8601, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        precision = "milliseconds" if value.microsecond else "seconds"
        return value.replace(tzinfo=None).isoformat(timespec=precision) + "Z"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _short(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    text = to_text(value)
    return text if len(text) <= _LONGEST_CELL else text[:_LONGEST_CELL] + "…"


def _write_lines(rows: Sequence[Any], names: list[str], out: TextIO) -> None:
    out.write("\t".join(names) + "\n")
    out.writelines(
        "\t".join(escape_unsafe(to_text(getattr(row, name))) for name in names) + "\n"
        for row in rows
    )


class _Lines:
    """Ends lines as Unix does; the csv module quotes only those line ends that it writes itself."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def write(self, line: str) -> int:
        return self._out.write(line.removesuffix("\r\n") + "\n")


def _write_csv(rows: Sequence[Any], names: list[str], out: TextIO) -> None:
    shown = escape_unsafe if out.isatty() else str
    writer = csv.writer(_Lines(out), lineterminator="\r\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow([shown(to_text(getattr(row, name))) for name in names])


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


def _json_escape(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
