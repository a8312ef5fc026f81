"""A progress bar for each sync that runs, drawn on a terminal.

Rich, which draws, is imported only where there is something to see.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from mirror.progress import Phase, Progress
from mirror.text import escape_unsafe

if TYPE_CHECKING:
    from rich.table import Table

_DELAY = 0.5


_PAUSE = 0.1  # seconds from one picture to the next


_NARROW = 60
"""Columns below which there is no room for a bar."""


_SHORTEST_LABEL = 4


@dataclass(frozen=True, slots=True)
class _Doing:
    """What a sync is doing, as it is drawn.

    Attributes:
        said: in words.
        done, whole: what the bar shows; without a whole it only moves.
    """

    said: str
    done: int = 0
    whole: int | None = None


def _doing(progress: Progress) -> _Doing:
    if progress.phase is Phase.LOADING:
        done, whole = progress.entries, progress.entries_expected or 0
        return _Doing(f"{done:,} of {whole:,} requests", done, whole)
    if progress.phase is not Phase.READING:
        return _Doing(progress.phase.value)
    pages = progress.pages_expected
    if pages is not None and pages > 1:
        return _Doing(f"page {progress.pages:,} of {pages:,}", progress.pages, pages)
    if (size := progress.bytes_expected) is not None:
        return _Doing(f"{_size(progress.bytes)} of {_size(size)}", progress.bytes, size)
    return _Doing(_size(progress.bytes) if progress.bytes else "waiting for the API")


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e6 else f"{count / 1e3:,.0f} kB"


class Board:
    """The syncs that run, one line each."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._syncs: list[tuple[str, Progress]] = []

    def begin(self, label: str) -> Progress:
        """Draw one more sync, until it is done.

        Args:
            label: what it is called; not trusted.

        Returns:
            Where the sync counts.
        """
        progress = Progress()
        with self._lock:
            self._syncs = [*self._running(), (label, progress)]
        return progress

    def _running(self) -> list[tuple[str, Progress]]:
        return [one for one in self._syncs if one[1].phase is not Phase.DONE]

    def draw(self, width: int) -> Table:
        """Return a picture of the syncs that run, in so many columns."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        lines = [
            (Text(escape_unsafe(label)), _doing(progress)) for label, progress in self._running()
        ]
        said = max((len(doing.said) for _, doing in lines), default=0)
        bar = 0 if width < _NARROW else width // 4
        table = Table.grid(padding=(0, 1, 0, 0))
        room = max(_SHORTEST_LABEL, width - said - bar - 3)
        table.add_column(no_wrap=True, overflow="ellipsis", max_width=room)
        for label, doing in lines:
            drawn = [ProgressBar(doing.whole, doing.done, bar)] if bar else []
            table.add_row(label, *drawn, Text(doing.said, no_wrap=True, overflow="ellipsis"))
        return table


@contextmanager
def board(out: TextIO, delay: float = _DELAY) -> Iterator[Board]:
    """Draw the syncs that run on a terminal, for as long as the context lasts.

    What is written to `sys.stderr` meanwhile appears above them, line by line; but not what is
    written past it: a log handler has to look `sys.stderr` up when it writes. Standard output has
    to wait until the context has ended, if it is the same terminal. In the end nothing is left of
    the picture, whatever ends the context.

    Args:
        out: the terminal, as a rule `sys.stderr`.
        delay: seconds before anything is drawn; what is over by then is not seen.
    """
    running, over = Board(), threading.Event()
    # No daemon: the process does not end before the terminal is as it was.
    painter = threading.Thread(target=_paint, args=(running, out, delay, over), name="mirror-board")
    painter.start()
    try:
        yield running
    finally:
        over.set()
        painter.join()


def _paint(running: Board, out: TextIO, delay: float, over: threading.Event) -> None:
    """Draw again and again, until it is over."""
    if over.wait(delay):
        return
    from rich.console import Console
    from rich.live import Live

    if over.is_set():
        return
    # Who writes lines longer than the terminal is wide gets them as they are.
    console = Console(file=out, highlight=False, emoji=False, markup=False, soft_wrap=True)
    with (
        suppress(OSError),  # the terminal is gone
        Live(
            get_renderable=lambda: running.draw(console.width),
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=out is sys.stderr,
        ) as live,
    ):
        while True:
            live.refresh()
            if over.wait(_PAUSE):
                return
