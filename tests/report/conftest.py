"""Mirrors of the lists of `tests.support.statistics_lists`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy.engine import Connection

from mirror.db.engine import read_transaction
from tests.support.databases import DATABASES
from tests.support.mirrors import Mirror, mirrors_by_kind
from tests.support.statistics_lists import sync_lists


@pytest.fixture(scope="session")
def mirrors(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Mirror]]:
    """The mirrors of the lists, one of each kind of database; tests only read them."""
    with mirrors_by_kind(request, sync_lists) as get:
        yield get


@pytest.fixture(params=DATABASES)
def synced(
    request: pytest.FixtureRequest, mirrors: Callable[[str], Mirror]
) -> Iterator[Connection]:
    """A connection to a mirror of the lists."""
    with read_transaction(mirrors(request.param).engine) as connection:
        yield connection
