"""The standard output: its errors are told from all other errors of the operating system."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO


class OutputFailed(Exception):
    """What a command prints could not be written.

    Attributes:
        reason: in the system's words.
        unread: whoever read it has enough.
    """

    def __init__(self, error: OSError) -> None:
        self.reason = error.strerror
        self.unread = isinstance(error, BrokenPipeError)
        super().__init__(self.reason)


class Stdout:
    """Behaves like a stream, but says `OutputFailed` where that says `OSError`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text."""
        with _marked():
            return self._stream.write(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write some texts."""
        with _marked():
            self._stream.writelines(lines)

    def flush(self) -> None:
        """Write what was kept back so far."""
        with _marked():
            self._stream.flush()


@contextmanager
def _marked() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputFailed(error) from error
