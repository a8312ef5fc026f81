"""Mirrors that many tests share, one of each kind of database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import pytest
from conftest import TOKEN, Mirror, World, new_database, once_of_each_kind

from mirror.sandbox.server import Sandbox, SandboxConfig

_T = TypeVar("_T")


@contextmanager
def of_each_kind(
    request: pytest.FixtureRequest, use: Callable[[Mirror], _T], timezone: str = "UTC"
) -> Iterator[Callable[[str], _T]]:
    """Give what is made of a mirror by the kind of its database, for a fixture of any scope.

    Args:
        request: of the fixture.
        use: fills a mirror that has the schema; what it returns is given to all.
        timezone: the zone that Postgres thinks in.
    """

    @contextmanager
    def make(kind: str) -> Iterator[_T]:
        world = World()
        with (
            new_database(kind, request, timezone, ready=True) as url,
            Sandbox(world, SandboxConfig(token=TOKEN)).running() as sandbox,
        ):
            yield use(Mirror(url, sandbox, world))

    with once_of_each_kind(make) as get:
        yield get
