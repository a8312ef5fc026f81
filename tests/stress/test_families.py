"""The rest of some families of tests, of which the default tests have representatives."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.mirrors import Mirror
from tests.support.workers import KILLED, Worker
from tests.sync.test_killed import crashed_mirror
from tests.sync.test_overlap import OVERTAKEN
from tests.sync.test_overlap import (
    test_an_older_pull_that_ends_later_changes_nothing as expect_an_older_pull_to_change_nothing,
)


@pytest.mark.parametrize("moment", ["INSERT INTO sync_runs", "UPDATE sync_runs"])
def test_a_sync_killed_as_it_records_its_run(mirror: Mirror, worker: Worker, moment: str) -> None:
    """The mirror is the old one, with or without a record of the run."""
    crashed = crashed_mirror(mirror)
    crashed.sync_to_end()
    crashed.change_list()
    crashed.start_sync(worker, kill_at=moment)
    assert worker.result().code == KILLED
    crashed.check_after_kill()
    crashed.sync_to_end()


@pytest.mark.parametrize("case", OVERTAKEN)
def test_overtaken_on_postgres(make_ready_database: Callable[[str], str], case: str) -> None:
    """A run that is overtaken changes nothing in Postgres either."""
    expect_an_older_pull_to_change_nothing(make_ready_database, "postgresql", case)
