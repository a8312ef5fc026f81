"""Many lives that chance rules: what test_statistics.py and test_views.py do with one or two."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy.engine import Connection

from mirror.db.engine import read_transaction
from tests.db.test_views import test_chance  # noqa: F401 (likewise)
from tests.report.test_statistics import (  # noqa: F401 (collected here too, with our fixtures)
    Life,
    tell,
    test_asked_again,
    test_counts,
    test_hours,
    test_hours_are_those_of_the_cookbook,
    test_last_changes,
    test_last_events,
    test_missing_and_quarantined,
    test_open_requests,
    test_open_requests_of_the_past,
    test_rejection_reasons,
    test_released,
)
from tests.support.databases import DATABASES
from tests.support.mirrors import mirrors_by_kind

SEEDS = range(2, 7)


@pytest.fixture(
    scope="module", params=[(kind, seed) for kind in DATABASES for seed in SEEDS], ids=str
)
def told(request: pytest.FixtureRequest) -> Iterator[Connection]:
    """A connection to a mirror that has seen two lives."""
    kind, seed = request.param
    lives = {life.name: life.lists() for life in (Life(seed), Life(seed + 100))}
    with (
        mirrors_by_kind(request, lambda mirror: tell(mirror, lives)) as mirrors,
        read_transaction(mirrors(kind).engine) as connection,
    ):
        yield connection


@pytest.fixture(params=[False, True], ids=["all", "one"])
def environment(request: pytest.FixtureRequest, told: Connection) -> str | None:
    """The environment to ask about: None for all, or one of the two."""
    if not request.param:
        return None
    names = told.exec_driver_sql("SELECT min(environment) FROM release_requests")
    return str(names.scalar_one())


@pytest.fixture(params=range(8, 13))
def seed(request: pytest.FixtureRequest) -> int:
    """What decides what upstream does."""
    return int(request.param)


@pytest.fixture
def many_days() -> int:
    """How long it goes on."""
    return 25
