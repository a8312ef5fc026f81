"""Many generated lists: what test_statistics.py and test_views.py do with one or two."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import pytest
from sqlalchemy.engine import Connection

from mirror.db.engine import read_transaction
from tests.db.test_views import test_chance  # noqa: F401 (likewise)
from tests.report.test_collect import CASES, check_cases
from tests.report.test_statistics import (  # noqa: F401 (collected here too, with our fixtures)
    TIMES,
    oracles,
    statistics,
    test_as_of_a_time,
    test_changes,
    test_counts,
    test_hours,
    test_last_events,
    test_open_requests,
    test_rankings,
    test_released,
    test_resolutions,
)
from tests.support.databases import DATABASES
from tests.support.mirrors import mirrors_by_kind
from tests.support.statistics_lists import RandomUpstream, sync_lists

SEEDS = range(2, 7)


@pytest.fixture(
    scope="module", params=[(kind, seed) for kind in DATABASES for seed in SEEDS], ids=str
)
def synced(request: pytest.FixtureRequest) -> Iterator[Connection]:
    """A connection to a mirror of two upstreams."""
    kind, seed = request.param
    upstreams = (RandomUpstream(seed), RandomUpstream(seed + 100))
    lists = {upstream.name: upstream.lists() for upstream in upstreams}
    with (
        mirrors_by_kind(request, lambda mirror: sync_lists(mirror, lists)) as mirrors,
        read_transaction(mirrors(kind).engine) as connection,
    ):
        yield connection


@pytest.fixture(params=[False, True], ids=["all", "one"])
def environment(request: pytest.FixtureRequest, synced: Connection) -> str | None:
    """The environment to filter by: None for all, or one of the two."""
    if not request.param:
        return None
    names = synced.exec_driver_sql("SELECT min(environment) FROM release_requests")
    return str(names.scalar_one())


@pytest.fixture(params=range(8, 13))
def seed(request: pytest.FixtureRequest) -> int:
    """The seed of what upstream does."""
    return int(request.param)


@pytest.fixture
def many_days() -> int:
    """The number of days."""
    return 25


@pytest.fixture
def times() -> list[datetime]:
    """The times of a state."""
    return TIMES


@pytest.mark.parametrize("kind", DATABASES)
def test_every_figure(request: pytest.FixtureRequest, kind: str) -> None:
    """Each figure of a report is what a plain computation gives, in every kind of period."""
    with mirrors_by_kind(request, sync_lists) as mirrors:
        check_cases(mirrors(kind), CASES)
