"""The mirror that the tests of readers share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support.databases import DATABASES, cached_by_kind
from tests.support.readers import ReaderMirror, reader_mirror


@pytest.fixture(scope="session")
def _reader_mirrors(request: pytest.FixtureRequest) -> Iterator[Callable[[str], ReaderMirror]]:
    with cached_by_kind(lambda kind: reader_mirror(kind, request)) as get:

        def refreshed(kind: str) -> ReaderMirror:
            mirror = get(kind)
            mirror.refresh()
            return mirror

        yield refreshed


@pytest.fixture
def sqlite(_reader_mirrors: Callable[[str], ReaderMirror]) -> ReaderMirror:
    """The mirror in SQLite."""
    return _reader_mirrors("sqlite")


@pytest.fixture
def postgres(_reader_mirrors: Callable[[str], ReaderMirror]) -> ReaderMirror:
    """The mirror in Postgres."""
    return _reader_mirrors("postgresql")


@pytest.fixture(params=DATABASES)
def either(
    request: pytest.FixtureRequest, _reader_mirrors: Callable[[str], ReaderMirror]
) -> ReaderMirror:
    """The mirror in each kind of database."""
    return _reader_mirrors(request.param)
