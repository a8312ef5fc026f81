"""The days from the year 1 on: 400 years have all the leap days that there are."""

from __future__ import annotations

from datetime import date

import pytest

from tests.queries.test_helpers import test_every_day_there_was  # noqa: F401 (collected here too)


@pytest.fixture
def first_day() -> date:
    """Where the days begin."""
    return date.min
