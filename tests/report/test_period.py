"""Periods: whole days in a row, the days before them, and how the calendar cuts them into steps."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mirror.cli.options import TIME, now
from mirror.errors import UsageError
from mirror.report.period import Period, period, steps

NOW = datetime(2024, 3, 13, 12, tzinfo=UTC)
"""A Wednesday, at noon."""

DAY = timedelta(days=1)
LAST_MOMENT = timedelta(days=1, microseconds=-1)
UNITS = ("week", "month", "year", "decade", "century")
MOST_DAYS_OF_60 = {"week": 420, "month": 1_824, "year": 21_915, "decade": 219_150}
"""So many days are cut into such steps, and more of them into longer ones."""

MOST_STEPS = {"week": 61, "month": 61, "year": 61, "decade": 62, "century": 100}
"""Sixty and a part of one; a few days more than sixty decades have can touch one more."""

always_the_same = settings(max_examples=300, deadline=None, database=None, derandomize=True)
any_period = st.lists(st.dates(), min_size=2, max_size=2, unique=True).map(
    lambda days: Period(min(days), max(days))
)
short_period = st.builds(
    lambda since, days: Period(since, since + timedelta(days=days)),
    st.dates(max_value=date(9000, 1, 1)),
    st.sampled_from([most + more for most in MOST_DAYS_OF_60.values() for more in (0, 1)])
    | st.integers(1, 25_000),
)
"""Of lengths at which the unit changes, or of a few years."""


def at(text: str) -> datetime:
    """Read a time in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def asked_for(since: str | None, until: str | None) -> Period:
    """The period between two times, if those are given."""
    return period(at(since) if since else None, at(until) if until else None, NOW)


def days(since: str, until: str) -> Period:
    """The days from one to another, the second one left out."""
    return Period(date.fromisoformat(since), date.fromisoformat(until))


def test_a_period_in_full() -> None:
    """A period knows its days, its last one, and the times at which it begins and ends in UTC."""
    leap = days("2024-02-28", "2024-03-01")
    assert leap.days == 2
    assert leap.last == date(2024, 2, 29)
    assert leap.start == at("2024-02-28")
    assert leap.end == at("2024-03-01")
    assert leap.start.tzinfo is leap.end.tzinfo is UTC
    around = [date(2024, 2, 27) + number * DAY for number in range(4)]
    assert [day in leap for day in around] == [False, True, True, False]


@pytest.mark.parametrize("time", [timedelta(0), LAST_MOMENT])
@pytest.mark.parametrize(
    ("today", "monday"),
    [
        ("2024-03-11", "2023-12-18"),  # itself a Monday
        ("2024-03-12", "2023-12-18"),
        ("2024-03-13", "2023-12-18"),
        ("2024-03-16", "2023-12-18"),
        ("2024-03-17", "2023-12-18"),  # the Sunday: the last week is whole
        ("2024-03-18", "2023-12-25"),
        ("2024-01-01", "2023-10-09"),
        ("2023-12-31", "2023-10-02"),
    ],
)
def test_the_usual_period(today: str, monday: str, time: timedelta) -> None:
    """It is thirteen weeks that begin on a Monday, the last one up to the end of today."""
    usual = period(None, None, at(today) + time)
    assert usual.since == date.fromisoformat(monday)
    assert usual.since.weekday() == 0
    assert usual.last == date.fromisoformat(today)
    weeks = steps(usual)
    assert weeks.unit == "week"
    assert [one.days for one in weeks.periods] == [7] * 12 + [usual.last.weekday() + 1]


@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [
        ("2024-03-01", "2024-03-05", days("2024-03-01", "2024-03-05")),
        ("2024-03-01T23:59:59.999999", "2024-03-05T00:00", days("2024-03-01", "2024-03-05")),
        ("2024-03-01", "2024-03-05T23:59:59.999999", days("2024-03-01", "2024-03-05")),
        ("2024-03-04T08:00", "2024-03-05T07:00", days("2024-03-04", "2024-03-05")),
        ("2024-03-13T12:00", None, days("2024-03-13", "2024-03-14")),
        ("2024-03-13", "2024-03-14", days("2024-03-13", "2024-03-14")),
        ("2024-03-13", "2024-03-15", days("2024-03-13", "2024-03-14")),
        ("2024-03-13", "9999-12-31T23:59:59", days("2024-03-13", "2024-03-14")),
        ("0001-01-01", None, days("0001-01-01", "2024-03-14")),
        ("0001-01-01", "0001-01-02", days("0001-01-01", "0001-01-02")),
        (None, "2024-03-13T12:00", days("2023-12-18", "2024-03-13")),
        (None, "2024-03-12", days("2023-12-18", "2024-03-12")),
        (None, "2024-03-11T12:00", days("2023-12-11", "2024-03-11")),
        (None, "2099-01-01", days("2023-12-18", "2024-03-14")),
        (None, "0001-03-27", days("0001-01-01", "0001-03-27")),
        (None, "0001-02-01", days("0001-01-01", "0001-02-01")),
        (None, "0001-01-02", days("0001-01-01", "0001-01-02")),
    ],
)
def test_a_period_that_was_asked_for(
    since: str | None, until: str | None, expected: Period
) -> None:
    """The day of the first time is in it, that of the second one is not, and none is to come."""
    assert asked_for(since, until) == expected


@pytest.mark.parametrize(
    ("since", "until", "named"),
    [
        ("2024-03-05T08:00", "2024-03-05T20:00", "2024-03-05 and 2024-03-05"),
        ("2024-03-05", "2024-03-04", "2024-03-05 and 2024-03-04"),
        ("2024-03-14", None, "2024-03-14 and 2024-03-14"),
        ("2024-03-14", "2024-04-01", "2024-03-14 and 2024-03-14"),
        ("9999-12-31", None, "9999-12-31 and 2024-03-14"),
        (None, "0001-01-01T12:00", "0001-01-01 and 0001-01-01"),
        ("0001-01-01", "0001-01-01", "0001-01-01 and 0001-01-01"),
    ],
)
def test_an_empty_period_is_refused(since: str | None, until: str | None, named: str) -> None:
    """Where there is no day, one sentence says between which ones, and what to choose instead."""
    with pytest.raises(UsageError, match=f"^no day lies between {named}; .*--since.*--until") as it:
        asked_for(since, until)
    told = str(it.value)
    assert "\n" not in told
    assert ". " not in told


@pytest.mark.calendar
def test_times_of_the_command_line() -> None:
    """Days are those of UTC, whatever the zone of the machine; so is a time that names no zone."""
    today = now().date()
    last_week = period(TIME("7d"), TIME("0d"), now())
    if now().date() != today:  # it has just become another one
        test_times_of_the_command_line()
        return
    assert today == datetime.now(UTC).date()
    assert last_week == Period(today - 7 * DAY, today)
    assert TIME("2024-02-29") == at("2024-02-29")
    assert TIME("2024-02-29T02:30:00") == at("2024-02-29T02:30:00")
    assert TIME("2024-02-29T02:30:00+05:30") == at("2024-02-28T21:00:00")


@pytest.mark.parametrize(
    ("which", "before"),
    [
        (days("2024-03-11", "2024-03-14"), days("2024-03-08", "2024-03-11")),
        (days("2024-01-01", "2024-02-01"), days("2023-12-01", "2024-01-01")),
        (days("2024-03-01", "2024-03-02"), days("2024-02-29", "2024-03-01")),
        (days("0001-01-08", "0001-01-15"), days("0001-01-01", "0001-01-08")),
        (days("0001-01-03", "0001-01-15"), days("0001-01-01", "0001-01-03")),
        (days("0001-01-01", "2024-01-01"), days("0001-01-01", "0001-01-01")),
        (days("0001-01-01", "9999-12-31"), days("0001-01-01", "0001-01-01")),
        (days("5000-01-01", "9999-12-31"), days("0001-01-01", "5000-01-01")),
    ],
)
def test_the_period_before(which: Period, before: Period) -> None:
    """There are as many days before it, or as many as the calendar has: at its start, none."""
    assert which.before == before


@always_the_same
@given(any_period)
def test_any_period_before(which: Period) -> None:
    """Whatever the period, the one before it ends where it begins."""
    before = which.before
    assert before.until == which.since
    assert before.days == which.days or before.since == date.min
    assert 0 <= before.days <= which.days


def start_of(unit: str, day: date) -> date:
    """The first day of the week, month, … in which a day is; there is no year before the first."""
    years = {"year": 1, "decade": 10, "century": 100}
    if unit == "week":
        return day - day.weekday() * DAY
    if unit == "month":
        return day.replace(day=1)
    return date(max(1, day.year // years[unit] * years[unit]), 1, 1)


def check_steps(which: Period) -> None:
    """The steps of a period are what they must be."""
    cut = steps(which)
    assert cut.periods[0].since == which.since
    assert cut.periods[-1].until == which.until
    for earlier, later in pairwise(cut.periods):
        assert earlier.until == later.since == start_of(cut.unit, later.since)
    for step in cut.periods:
        assert step.days > 0
        assert start_of(cut.unit, step.since) == start_of(cut.unit, step.last)
    assert len(cut.periods) <= MOST_STEPS[cut.unit]
    assert cut.unit == next(
        (one for one, most in MOST_DAYS_OF_60.items() if which.days <= most), "century"
    )


@always_the_same
@given(any_period)
@example(Period(date.min, date.max))
@example(Period(date(9999, 12, 30), date.max))
@example(Period(date(9999, 11, 30), date(9999, 12, 31)))
@example(Period(date(9996, 1, 1), date.max))
@example(Period(date(9960, 1, 1), date.max))
@example(Period(date(9700, 1, 1), date.max))
def test_any_period_in_steps(which: Period) -> None:
    """Steps meet, each is one week, month, … or a part of it, and there are few of them."""
    check_steps(which)


@always_the_same
@given(short_period)
def test_shorter_periods_in_steps(which: Period) -> None:
    """The same holds where the unit changes."""
    check_steps(which)


@pytest.mark.parametrize(
    ("which", "unit"),
    [
        (Period(date(2023, 1, 1), date(2024, 2, 25)), "week"),
        (Period(date(2023, 1, 31), date(2028, 1, 29)), "month"),
        (Period(date(1999, 12, 31), date(2059, 12, 31)), "year"),
        (Period(date(2009, 12, 31), date(2610, 1, 2)), "decade"),
        (Period(date.min, date.max), "century"),
    ],
)
def test_the_most_steps(which: Period, unit: str) -> None:
    """There are so many steps when the first one is only a day, or in all of the calendar."""
    cut = steps(which)
    assert cut.unit == unit
    assert len(cut.periods) == MOST_STEPS[unit]


@pytest.mark.parametrize(
    ("which", "unit", "lengths"),
    [
        (days("2024-03-13", "2024-03-14"), "week", [1]),
        (days("2024-03-11", "2024-03-18"), "week", [7]),
        (days("2023-12-30", "2024-01-09"), "week", [2, 7, 1]),
        (days("2024-02-26", "2024-03-06"), "week", [7, 2]),
        (days("2023-01-15", "2024-03-20"), "month",
         [17, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 31, 29, 19]),
        (days("2015-12-31", "2021-01-02"), "year", [1, 366, 365, 365, 365, 366, 1]),
        (days("1895-06-01", "1905-06-01"), "year", [214, 366, 365, 365, 365, 365, 365, 365, 365,
         366, 151]),
        (days("0001-01-01", "0101-01-01"), "decade", [3287, 3652, 3653, 3652, 3653, 3652, 3653,
         3652, 3653, 3652, 365]),
        (days("1899-01-01", "2600-01-01"), "century", [365, 36524, 36525, 36524, 36524,
         36524, 36525, 36524]),
    ],
)  # fmt: skip
def test_steps_by_hand(which: Period, unit: str, lengths: list[int]) -> None:
    """Leap days and the ends of years fall where the calendar has them."""
    cut = steps(which)
    assert cut.unit == unit
    assert [one.days for one in cut.periods] == lengths


@pytest.mark.parametrize("unit", MOST_DAYS_OF_60)
def test_the_unit_changes_after_sixty(unit: str) -> None:
    """Sixty steps' days are cut into such steps, and one day more into the next longer ones."""
    whole = Period(date(2001, 1, 1), date(2001, 1, 1) + MOST_DAYS_OF_60[unit] * DAY)
    assert steps(whole).unit == unit
    more = Period(whole.since, whole.until + DAY)
    assert steps(more).unit == UNITS[UNITS.index(unit) + 1]
    assert len(steps(whole).periods) >= 60


def test_no_days_have_no_steps() -> None:
    """What comes before the calendar's first day has no steps, so that it can be asked for."""
    assert steps(days("0001-01-01", "2024-01-01").before).periods == []
