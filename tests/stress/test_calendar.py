"""The days of the years 1 to 400, which have all kinds of leap years."""

from __future__ import annotations

from datetime import date

import pytest

from tests.queries.test_helpers import test_days_of_the_calendar  # noqa: F401 (collected here too)


@pytest.fixture
def first_day() -> date:
    """The first day of the calendar."""
    return date.min
