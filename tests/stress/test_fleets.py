"""Several environments on both databases: thirty at a time, and all ways to interrupt them."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fleets import Fleet, fail_three, interrupt_fetches


@pytest.fixture
def fleet(ready_database_url: str, tmp_path: Path) -> Iterator[Fleet]:
    """No environment yet, on each kind of database."""
    with Fleet(ready_database_url, tmp_path) as fleet:
        yield fleet


def test_thirty_environments_on_both_databases(fleet: Fleet) -> None:
    """Three that fail leave the others alone."""
    fail_three(fleet, 30)


@pytest.mark.parametrize(
    ("number", "jobs", "every"),
    [
        (signal.SIGTERM, 1, True),
        (signal.SIGTERM, 3, False),
        (signal.SIGTERM, 1, False),
        (signal.SIGINT, 1, False),
        (signal.SIGINT, 3, True),
    ],
)
def test_a_signal_of_any_kind_in_the_middle_of_pulls(
    number: signal.Signals, jobs: int, every: bool, fleet: Fleet
) -> None:
    """A fetch that waits for the API ends at once, and is on record as failed."""
    interrupt_fetches(fleet.add_three(), number, jobs, every=every)
