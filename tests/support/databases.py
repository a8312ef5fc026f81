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
    """Give a database, "sqlite" or "postgresql", for a fixture of any scope.

    Args:
        kind: of the database.
        request: of the fixture.
        timezone: the zone that Postgres thinks in.
        ready: it has the schema; otherwise there is nothing in it.
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
def once_of_each_kind(
    make: Callable[[str], AbstractContextManager[_T]],
) -> Iterator[Callable[[str], _T]]:
    """Give what is costly by the kind of database: made when it is first asked for, and kept.

    A fixture with parameters would be made anew each time that tests come in another order.
    """
    with ExitStack() as stack:
        yield cache(lambda kind: stack.enter_context(make(kind)))
