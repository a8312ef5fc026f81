"""Tables and paragraphs on a terminal, with one colour for each state."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, TextIO, TypeGuard

import msgspec

from mirror.text import escape_unsafe

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_MAX_CELL_LENGTH = 1000
_MIN_WIDTH = 40

STYLES = {
    # Statuses of requests
    "pending": "blue",
    "approved": "green",
    "rejected": "red",
    "cancelled": "dim",
    # Events and kinds of changes
    "requested": "blue",
    "reopened": "blue",
    "resolved": "green",
    "corrected": "yellow",
    "vanished": "yellow",
    "returned": "yellow",
    # Outcomes of runs
    "applied": "green",
    "unchanged": "green",
    "superseded": "dim",
    "running": "blue",
    "refused": "red",
    "abandoned": "red",
    # Checks; a run can be failed too
    "ok": "green",
    "warning": "yellow",
    "failed": "red",
}
"""Colour of each state on a terminal."""

_STATE_COLUMNS = {
    *(
        "status",
        "event",
        "change",
        "kind",
        "from",
        "to",
        "outcome",
        "last run",
        "state",
        "quarantine",
    ),
    *("old_status", "new_status", "last_status"),
}
"""Headers of the columns whose words are coloured."""

_ALARMS = {"missing": "yellow", "quarantined": "yellow", "failures": "red", "failures since": "red"}
"""Colour of a number other than 0, by the header of its column."""

_NUMBER = re.compile(r"-?([0-9]+|[0-9]{1,3}(,[0-9]{3})+)(\.[0-9]+)?")


class StyledCell(msgspec.Struct, frozen=True):
    """A cell of a table in a colour of the terminal, such as "green"."""

    value: object
    style: str


class Lines(msgspec.Struct, frozen=True):
    """A cell of a table with a line for each text."""

    texts: Sequence[str]


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

    Numbers are right-aligned, and states have the colour of `STYLES`.

    Args:
        rows: cells.
        headers: of the columns.
        out: the terminal.
        blank_after: numbers of the rows that a blank line follows, from 0.
        min_widths: least width of a column in characters, by its header.
        widths: width of a column whose cells are folded there, by its header.
    """
    from rich import box
    from rich.table import Table

    styled = [list(map(_styled, row, headers)) for row in rows]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    for place, header in enumerate(headers):
        values = [row[place].value for row in styled if row[place].value is not None]
        numeric = bool(values) and all(map(_is_number, values))
        times = bool(values) and all(isinstance(value, date) for value in values)
        states = [len(value) for value in values if _is_state(value, header)]
        table.add_column(
            header,
            justify="right" if numeric else "left",
            overflow="fold",
            no_wrap=numeric or times,
            min_width=max([min_widths.get(header, 0), *states]) or None,
            width=widths.get(header),
        )
    for number, row in enumerate(styled):
        table.add_row(*map(_rich_text, row), end_section=number in blank_after)
    _console(out).print(table)


def render_fields(values: Mapping[str, object], out: TextIO) -> None:
    """Draw a name and its value on each line; long values are folded. None is left out.

    Args:
        values: cells, by their names.
        out: the terminal.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    for name, value in values.items():
        if value is not None:
            table.add_row(Text(name, "bold"), _rich_text(_styled(value, name)))
    _console(out).print(table)


def _styled(cell: object, header: str) -> StyledCell:
    """Return a cell in the colour that its column gives it."""
    if isinstance(cell, StyledCell):
        return cell
    if _is_state(cell, header):
        return StyledCell(cell, STYLES[cell])
    alarm = _ALARMS.get(header, "") if _is_number(cell) and str(cell) != "0" else ""
    return StyledCell(cell, alarm)


def _is_state(value: object, header: str) -> TypeGuard[str]:
    """Return whether a cell is a state that has a colour."""
    return header in _STATE_COLUMNS and isinstance(value, str) and value in STYLES


def _is_number(value: object) -> bool:
    """Return whether a value is a number, or one as text."""
    if isinstance(value, str):
        return _NUMBER.fullmatch(value) is not None
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _rich_text(cell: StyledCell) -> Text:
    from rich.text import Text

    texts = cell.value.texts if isinstance(cell.value, Lines) else [_cell_text(cell.value)]
    return Text("\n".join(map(escape_unsafe, texts)), cell.style)


def _console(out: TextIO) -> Console:
    from rich.console import Console

    return Console(file=out, highlight=False, emoji=False, markup=False)


def wrap(text: str, out: TextIO, indent: int = 0, *, state: str = "") -> None:
    """Write untrusted text in lines that fit the terminal.

    Args:
        text: of one paragraph.
        out: the terminal.
        indent: spaces before each line but the first.
        state: the word that the text begins with, which gets its colour of `STYLES`.
    """
    import shutil
    import textwrap

    width = max(_MIN_WIDTH, shutil.get_terminal_size().columns)
    lines = textwrap.wrap(
        escape_unsafe(text), width, subsequent_indent=" " * indent, break_on_hyphens=False
    )
    if state in STYLES:
        from rich.text import Text

        first = Text(lines[0])
        first.stylize(STYLES[state], 0, len(state))
        _console(out).print(first, soft_wrap=True)
        del lines[0]
    out.writelines(f"{line}\n" for line in lines)


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
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value)


def _cell_text(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    text = to_text(value)
    return text if len(text) <= _MAX_CELL_LENGTH else text[:_MAX_CELL_LENGTH] + "…"
