"""Tables and paragraphs on a terminal, with one colour for each state."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TextIO, TypeGuard

import msgspec

from mirror.text import escape_unsafe

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_MAX_CELL_LENGTH = 1000
_MIN_WIDTH = 40
_MAX_WORD = 16
"""Characters of a word that a column is kept wide enough for."""

_GAP = "  "
"""Between two columns."""


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
    "status",
    "old_status",
    "new_status",
    "last_status",
    "event",
    "change",
    "kind",
    "from",
    "to",
    "outcome",
    "last run",
    "state",
}
"""Headers of the columns whose words are coloured."""

_NAMES = {"environment"}
"""Headers of the columns whose words break after a hyphen."""

_ALARMS = {"missing": "yellow", "quarantined": "yellow", "failures": "red", "failures since": "red"}
"""Colour of a number other than 0, by the header of its column."""

_JSON = msgspec.json.Encoder(decimal_format="number")

_NUMBER = re.compile(r"-?([0-9]+|[0-9]{1,3}(,[0-9]{3})+)(\.[0-9]+)?")


class StyledCell(msgspec.Struct, frozen=True):
    """A cell of a table in a colour of the terminal, such as "green"."""

    value: object
    style: str


class Lines(msgspec.Struct, frozen=True):
    """A cell of a table with a line for each text, or several, as far as there is room.

    Attributes:
        texts: what begins on a line of its own.
        most: lines that each text takes at most, the last one with an ellipsis; None for all.
    """

    texts: Sequence[str]
    most: int | None = None


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

    cells = [list(map(_styled, row, headers)) for row in rows]
    columns = [
        _Column(
            header,
            [row[place].value for row in cells],
            least=min_widths.get(header, 0),
            width=widths.get(header),
        )
        for place, header in enumerate(headers)
    ]
    console = _console(out)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    gaps = len(_GAP) * (len(columns) - 1)
    fitted = _fit(columns, console.width - gaps)
    for column, width in zip(columns, fitted, strict=True):
        justify: Literal["left", "right"] = "right" if column.numeric else "left"
        table.add_column(column.header, justify=justify, overflow="fold", width=width)
    for number, row in enumerate(cells):
        folded = map(partial(_fold, console), row, headers, fitted)
        table.add_row(*folded, end_section=number in blank_after)
    console.print(table)


def needed_widths(columns: Mapping[str, Sequence[object]]) -> dict[str, int]:
    """Return the characters that each column needs to be read well, the gap after it included.

    Args:
        columns: the cells of each column, by its header.
    """
    return {
        header: _Column(header, cells, least=0, width=None).needed + len(_GAP)
        for header, cells in columns.items()
    }


def _fold(console: Console, cell: StyledCell, header: str, width: int) -> Text:
    """Return a cell in lines of a column; names break at hyphens, and texts are cut."""
    from rich.text import Text

    if header in _NAMES:
        lines = [""]
        for piece in _pieces(escape_unsafe(_cell_text(cell.value))):
            if lines[-1] and _width(lines[-1] + piece) > width:
                lines.append("")
            lines[-1] += piece
        return Text("\n".join(lines), cell.style)
    if not isinstance(cell.value, Lines) or cell.value.most is None:
        return _rich_text(cell)
    parts: list[Text] = []
    for text in map(escape_unsafe, _cell_texts(cell.value)):
        folded = Text(text).wrap(console, width, overflow="fold")
        shown = list(folded[: cell.value.most])
        if len(folded) > len(shown):
            shown[-1].rstrip()
            shown[-1].truncate(width - 1)
            shown[-1].append("…")
        parts += shown
    return Text("\n", cell.style).join(parts)


def _pieces(name: str) -> list[str]:
    """Split a name after its hyphens."""
    return re.split("(?<=[-_.])", name)


class _Column:
    """How wide a column may be.

    Attributes:
        header: its header.
        numeric: whether it has numbers only.
        needed: the width in which it can be read well.
        widths: the width that it needs for its lines, its words, and what must not be folded.
    """

    def __init__(
        self, header: str, values: Sequence[object], *, least: int, width: int | None
    ) -> None:
        present = [value for value in values if value is not None]
        texts = [text for value in present for text in map(escape_unsafe, _cell_texts(value))]
        self.header = header
        self.numeric = bool(present) and all(map(_is_number, present))
        is_fixed = self.numeric or (
            bool(present) and all(isinstance(value, date) for value in present)
        )
        words = [
            word
            for text in (header, *texts)
            for word in (_pieces(text) if header in _NAMES else text.split())
        ]
        longest_word = max((_width(word) for word in words), default=1)
        longest = max(map(_width, texts), default=1)
        if width is not None:
            self.widths = (width, width, width)
        else:
            natural = max(longest, _width(header), least)
            fixed = longest if is_fixed else 1
            self.widths = (natural, max(min(longest_word, _MAX_WORD), fixed, least), fixed)
        self.needed = max([longest, *map(_width, header.split())])
        if header in _NAMES:
            self.needed = self.widths[1]
        elif any(isinstance(value, Lines) for value in present):
            self.needed = max(len(header), min(longest, _MAX_WORD))


def _fit(columns: Sequence[_Column], available: int) -> list[int]:
    """Return the widths of columns: the widest ones are narrowed first.

    Lines are folded between words at first, then within words, and last of all times and numbers.
    """
    widths = [column.widths[0] for column in columns]
    for least in (1, 2, 3):
        floors = [column.widths[least] if least < 3 else 1 for column in columns]
        while sum(widths) > available:
            excess = [
                width if width > floor else 0 for width, floor in zip(widths, floors, strict=True)
            ]
            if not any(excess):
                break
            widths[excess.index(max(excess))] -= 1
    return widths


def _width(text: str) -> int:
    """Return the number of cells of a terminal that a text takes."""
    from rich.cells import cell_len

    return cell_len(text)


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

    return Text("\n".join(map(escape_unsafe, _cell_texts(cell.value))), cell.style)


def _cell_texts(value: object) -> Sequence[str]:
    """Return the lines of a cell."""
    return list(map(_cell_text, value.texts if isinstance(value, Lines) else [value]))


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
    """Return a value as text: times in ISO 8601, lists as JSON, None as an empty string."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, datetime):
        precision = "milliseconds" if value.microsecond else "seconds"
        return value.replace(tzinfo=None).isoformat(timespec=precision) + "Z"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return _JSON.encode(value).decode()
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value)


def _cell_text(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    text = to_text(value)
    return text if len(text) <= _MAX_CELL_LENGTH else text[:_MAX_CELL_LENGTH] + "…"
