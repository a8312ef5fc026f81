"""Databases for tests: SQLite files and databases on a real Postgres."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import TypeVar

import pytest

from mirror.db import migrate
from mirror.db.engine import create_engine

DATABASES = ("sqlite", "postgresql")

_T = TypeVar("_T")


def upgrade(url: str) -> None:
    """Give an empty database the schema."""
    migrate.upgrade(create_engine(url, create=True))


@contextmanager
def new_database(
    kind: str, request: pytest.FixtureRequest, timezone: str = "UTC", *, ready: bool = False
) -> Iterator[str]:
    """Yield the URL of a new database.

    Args:
        kind: "sqlite" or "postgresql".
        request: of the fixture, which may have any scope.
        timezone: of the Postgres database.
        ready: it has the schema; otherwise it is empty.
    """
    if kind == "sqlite":
        folder = request.getfixturevalue("tmp_path_factory").mktemp("db")
        path = Path(folder) / "mirror.db"
        if ready:
            shutil.copy(request.getfixturevalue("_sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    with request.getfixturevalue("_pools")(ready).borrow(timezone) as url:
        yield url


@contextmanager
def cached_by_kind(
    make: Callable[[str], AbstractContextManager[_T]],
) -> Iterator[Callable[[str], _T]]:
    """Yield a function from a kind of database to what `make` makes, once for each kind.

    A parametrized fixture would be made anew each time that tests run in another order.
    """
    with ExitStack() as stack:
        yield cache(lambda kind: stack.enter_context(make(kind)))
