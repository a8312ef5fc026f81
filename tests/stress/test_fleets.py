"""Many environments, on both databases: all ways to interrupt them, and thirty at a time."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.fleets import Fleet, fail_three_of_thirty, interrupt_pulls


@pytest.fixture
def fleet(ready_database_url: str, tmp_path: Path) -> Iterator[Fleet]:
    """A database of each kind, and no environment yet."""
    with ExitStack() as stack:
        yield Fleet(ready_database_url, tmp_path, stack)


def test_thirty_environments_on_both_databases(fleet: Fleet) -> None:
    """Three that fail leave the others alone."""
    fail_three_of_thirty(fleet)


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
    """A pull that waits for an answer is given up at once, and put on record as what it was."""
    interrupt_pulls(fleet.add_three(), number, jobs, every=every)
