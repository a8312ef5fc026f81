"""The pages of a list, kept aside until they are applied."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from tempfile import SpooledTemporaryFile

from msgspec import Raw

from mirror.errors import DiskUnavailable

_IN_MEMORY = 8 << 20
"""Bytes from which on a disk is used."""


class PageStore:
    """Keeps bodies in a temporary file; small ones never touch the disk.

    The file has no name, or one that nobody else can use, and is gone when it is closed.

    Raises:
        DiskUnavailable: by each method, if the temporary folder is full or cannot be used.
    """

    def __init__(self) -> None:
        # It is closed by `close`: a context here would end too early.
        self._file = SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115
        self._places: list[tuple[int, int, int]] = []
        self._size = 0

    def clear(self) -> None:
        """Forget all bodies."""
        with _explained():
            self._file.seek(0)
            self._file.truncate()
        self._places, self._size = [], 0

    def add(self, body: bytes | bytearray) -> None:
        """Keep a body."""
        with _explained():
            self._file.seek(self._size)
            self._file.write(body)
        self._places.append((self._size, len(body), zlib.crc32(body)))
        self._size += len(body)

    def __iter__(self) -> Iterator[bytes]:
        """Yield the bodies as they were added, as often as wanted."""
        for begin, size, checksum in self._places:
            with _explained():
                self._file.seek(begin)
                body = self._file.read(size)
                if zlib.crc32(body) != checksum:
                    raise OSError("what was read is not what was written")
            yield body

    def close(self) -> None:
        """Give the space back."""
        with suppress(OSError):  # what could not be written is not needed any more
            self._file.close()


class StoredEntries:
    """The entries of the pages in a spool; they can be iterated more than once.

    Args:
        spool: holds the pages, and is not closed before the last iteration.
        read: finds the entries of a page.
    """

    def __init__(self, spool: PageStore, read: Callable[[bytes], Iterable[Raw]]) -> None:
        self._spool = spool
        self._read = read

    def __iter__(self) -> Iterator[Raw]:
        for body in self._spool:
            yield from self._read(body)


@contextmanager
def _explained() -> Iterator[None]:
    """Turn the errors of the temporary file into one for people."""
    try:
        yield
    except OSError as error:
        raise DiskUnavailable(
            f"the pages of the list cannot be kept in the folder for temporary files "
            f"({error.strerror or error})",
            hint="make room there, or name another folder in TMPDIR, and try again",
        ) from error
