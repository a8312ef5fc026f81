"""The Rich display of progress bars."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, TextIO, cast

from rich import progress
from rich.console import Console, RenderableType
from rich.table import Column
from rich.text import Text

from mirror.progress import Phase, Progress
from mirror.text import escape_unsafe

_NARROW = 60
"""Width below which there is no room for a bar."""


_LABEL_WIDTH = 12
"""Columns that labels have at least, if their status is longer than usual."""


class _Label(progress.ProgressColumn):
    """The name of an environment, shortened where the terminal is too narrow for all columns."""

    def render(self, task: progress.Task) -> Text:
        return Text(task.description, no_wrap=True, overflow="ellipsis")


class _Terminal:
    """A stream that ignores errors: a closed terminal must not end a sync."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


class ProgressDisplay(progress.Progress):
    """A task for each sync, which reads its counters at each refresh.

    Args:
        out: the terminal.
    """

    def __init__(self, out: TextIO) -> None:
        console = Console(
            file=cast(TextIO, _Terminal(out)),
            highlight=False,
            emoji=False,
            markup=False,
            soft_wrap=True,  # log lines longer than the terminal stay as they are
        )
        width = console.width
        bar = [progress.BarColumn(width // 4)] if width >= _NARROW else []
        self._room = width - bool(bar) * (width // 4 + 1) - _LABEL_WIDTH
        status = progress.TextColumn(
            "{task.fields[status]}", markup=False, table_column=Column(no_wrap=True)
        )
        super().__init__(
            _Label(),
            *bar,
            status,
            console=console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=out is sys.stderr,
        )

    def add_sync(self, label: str, counters: Progress) -> None:
        """Show a sync until it is done."""
        self.add_task(escape_unsafe(label), counters=counters, status="")

    def get_renderables(self) -> Iterable[RenderableType]:
        """Update the tasks, and return what to draw."""
        for task in self.tasks:
            counters = task.fields["counters"]
            if counters.phase is Phase.DONE:
                self.remove_task(task.id)
            else:
                task.fields["status"], task.completed, task.total = _state(counters)
                if waits := list(counters.waits.values()):
                    reason = escape_unsafe(waits[-1].describe(time.monotonic()))
                    both = f"{task.fields['status']}; {reason}" if task.total else reason
                    task.fields["status"] = both if len(both) <= self._room else reason
        return super().get_renderables()


def _state(counters: Progress) -> tuple[str, int, int | None]:
    """Return the status in words, and how far the bar is, of how much; None if that is unknown."""
    if counters.phase is Phase.LOADING:
        done, total = counters.entries, counters.entries_expected or 0
        return f"{done:,} of {total:,} requests", done, total
    if counters.phase is not Phase.READING:
        return "waiting for the database", 0, None
    pages = counters.pages_expected
    if pages is not None and pages > 1:
        return f"page {counters.pages:,} of {pages:,}", counters.pages, pages
    if (size := counters.bytes_expected) is not None:
        return f"{_format_size(counters.bytes)} of {_format_size(size)}", counters.bytes, size
    return _format_size(counters.bytes) if counters.bytes else "waiting for the API", 0, None


def _format_size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e6 else f"{count / 1e3:,.0f} kB"
