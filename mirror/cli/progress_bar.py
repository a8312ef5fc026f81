"""Progress bars on a terminal, one for each sync that runs.

They appear after half a second. Rich takes long to import, so shorter syncs show no bar.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from mirror.progress import Progress

if TYPE_CHECKING:
    from mirror.cli.progress_display import ProgressDisplay

_DELAY = 0.5  # seconds


class ProgressBars:
    """The syncs that run, and their display once it has started."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._syncs: list[tuple[str, Progress]] = []
        self._display: ProgressDisplay | None = None

    def add(self, label: str) -> Progress:
        """Show one more sync, until it is done.

        Args:
            label: name of the environment; not trusted.

        Returns:
            The counters for that sync to update.
        """
        progress = Progress()
        with self._lock:
            self._syncs.append((label, progress))
            if self._display:
                self._display.add_sync(label, progress)
        return progress

    def show_in(self, display: ProgressDisplay) -> None:
        """Show the syncs in a display, which has started."""
        with self._lock:
            self._display = display
            for label, progress in self._syncs:
                display.add_sync(label, progress)


@contextmanager
def progress_bars(out: TextIO, delay: float = _DELAY) -> Iterator[ProgressBars]:
    """Show progress bars within the context.

    Lines that are written to `sys.stderr` meanwhile appear above the bars, if a log handler looks
    it up for each line. Standard output must not be written if it is the same terminal. At the end
    the bars are erased, whatever ends the context.

    Args:
        out: the terminal, as a rule `sys.stderr`.
        delay: seconds before the bars appear.
    """
    bars, finished = ProgressBars(), threading.Event()
    # Not a daemon: even after a second Ctrl-C the process waits until the terminal is restored.
    thread = threading.Thread(target=_show, args=(bars, out, delay, finished), name="progress-bars")
    thread.start()
    try:
        yield bars
    finally:
        finished.set()
        thread.join()


def _show(bars: ProgressBars, out: TextIO, delay: float, finished: threading.Event) -> None:
    if finished.wait(delay):
        return
    from mirror.cli.progress_display import ProgressDisplay

    if not finished.is_set():  # importing took a while
        with ProgressDisplay(out) as display:
            bars.show_in(display)
            finished.wait()
