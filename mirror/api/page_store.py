"""Temporary storage of pages until they are applied."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from tempfile import SpooledTemporaryFile

from msgspec import Raw

from mirror.errors import DiskUnavailable

_MAX_MEMORY = 8 << 20
"""Bytes kept in memory; more go to a file."""


class PageStore:
    """Stores response bodies in a temporary file; small lists never touch the disk.

    The file has no name, or one that no other user can open, and is deleted when closed.

    Raises:
        DiskUnavailable: by each method, if the temporary folder is full or cannot be used.
    """

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(_MAX_MEMORY)  # noqa: SIM115 (`close` closes it)
        self._places: list[tuple[int, int, int]] = []
        self._size = 0

    def clear(self) -> None:
        """Remove all bodies."""
        with _translate_errors():
            self._file.seek(0)
            self._file.truncate()
        self._places, self._size = [], 0

    def add(self, body: bytes | bytearray) -> None:
        """Append a body."""
        with _translate_errors():
            self._file.seek(self._size)
            self._file.write(body)
        self._places.append((self._size, len(body), zlib.crc32(body)))
        self._size += len(body)

    def __iter__(self) -> Iterator[bytes]:
        """Yield the bodies in order; may be repeated."""
        for begin, size, checksum in self._places:
            with _translate_errors():
                self._file.seek(begin)
                body = self._file.read(size)
                if zlib.crc32(body) != checksum:
                    raise OSError("the data read differs from the data written")
            yield body

    def close(self) -> None:
        """Delete the file."""
        with suppress(OSError):  # a failed write of data that is no longer needed
            self._file.close()


class StoredEntries:
    """The entries of stored pages; can be iterated more than once.

    Args:
        store: the pages; it must stay open until the last iteration.
        parse: returns the entries of a page.
    """

    def __init__(self, store: PageStore, parse: Callable[[bytes], Iterable[Raw]]) -> None:
        self._store = store
        self._parse = parse

    def __iter__(self) -> Iterator[Raw]:
        for body in self._store:
            yield from self._parse(body)


@contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DiskUnavailable(
            f"the pages of the list cannot be stored in the folder for temporary files "
            f"({error.strerror or error})",
            hint="free space there, or set TMPDIR to another folder, and try again",
        ) from error
