"""Standard output whose errors differ from all other errors of the operating system."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from mirror.files import DISK_FULL


class OutputFailed(Exception):
    """The output of a command could not be written.

    Attributes:
        reason: message of the operating system.
        reader_closed: the reader of a pipe closed it, which is no failure.
        disk_full: there is no room on the disk.
    """

    def __init__(self, error: OSError) -> None:
        self.reason = error.strerror
        self.reader_closed = isinstance(error, BrokenPipeError)
        self.disk_full = error.errno in DISK_FULL
        super().__init__(self.reason)


class Stdout:
    """Wraps a stream: raises `OutputFailed` in place of `OSError`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write text."""
        with _errors_marked():
            return self._stream.write(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write lines, which end as given."""
        with _errors_marked():
            self._stream.writelines(lines)

    def flush(self) -> None:
        """Write what is still in the buffer."""
        with _errors_marked():
            self._stream.flush()


@contextmanager
def _errors_marked() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputFailed(error) from error
