"""The page store: what is applied is what was fetched, from memory or from a disk."""

from __future__ import annotations

import errno

import pytest

from mirror.api.client import Client, FetchedList
from mirror.errors import DiskUnavailable
from tests.support.api_client import assert_fails, settings
from tests.support.api_pages import BODIES, ENTRIES, PAGES, RESPONSES, assert_complete, replaced
from tests.support.http_servers import Serve, paged


def test_the_entries_can_be_read_more_than_once(serve: Serve) -> None:
    """The entries of pages are read from a file, in their order, any number of times."""
    with Client(settings(serve(replaced()))) as client:
        listing = client.fetch_list()
        assert isinstance(listing, FetchedList)
        both = list(zip(iter(listing.entries), iter(listing.entries), strict=True))
    assert both == list(zip(ENTRIES, ENTRIES, strict=True))


@pytest.mark.parametrize("max_memory", [1, 1000, 1 << 20])
def test_pages_are_the_same_from_memory_and_from_disk(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, max_memory: int
) -> None:
    """Whether and when a disk is used changes nothing, not even after a failed attempt."""
    monkeypatch.setattr("mirror.api.page_store._MAX_MEMORY", max_memory)
    changed = iter([paged(PAGES, total=5)[3]])
    assert_complete(serve(replaced(p4=lambda _: next(changed, RESPONSES[3]))))


class FullDisk:
    """A temporary file on a full disk."""

    def __init__(self, *_: object) -> None: ...

    def seek(self, _: int) -> None:
        """Succeed."""

    def truncate(self) -> None:
        """Succeed."""

    def write(self, _: bytes) -> None:
        """Fail."""
        raise OSError(errno.ENOSPC, "No space left on device")

    close = truncate


def test_a_full_disk_is_reported(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages that cannot be stored fail the fetch, with a hint."""
    monkeypatch.setattr("mirror.api.page_store.SpooledTemporaryFile", FullDisk)
    assert_fails(serve(replaced()), DiskUnavailable, "No space left on device", "TMPDIR")


def test_a_missing_temporary_folder_is_reported(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is only needed for long lists; if it is then missing, the error says so."""
    monkeypatch.setattr("tempfile.tempdir", "/nonexistent/folder")
    assert_complete(serve(replaced()))  # a short list stays in memory
    monkeypatch.setattr("mirror.api.page_store._MAX_MEMORY", 100)
    assert_fails(serve(replaced()), DiskUnavailable, "No such file or directory")


def test_a_corrupted_temporary_file_is_noticed(serve: Serve) -> None:
    """Exactly what was verified is applied, or nothing."""
    with Client(settings(serve(replaced()))) as client:
        listing = client.fetch_list()
        assert isinstance(listing, FetchedList)
        assert client._page_store is not None
        client._page_store._file.seek(len(BODIES[0]) + 40)
        client._page_store._file.write(b"\0")
        with pytest.raises(DiskUnavailable, match="differs from the data written"):
            list(listing.entries)
