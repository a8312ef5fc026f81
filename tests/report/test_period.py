"""Periods of whole days, the periods before them, and their split by the calendar."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mirror.cli.options import TIME, now
from mirror.errors import UsageError
from mirror.report.period import Period, period, split

NOW = datetime(2024, 3, 13, 12, tzinfo=UTC)
"""A Wednesday, at noon."""

DAY = timedelta(days=1)
LAST_MOMENT = timedelta(days=1, microseconds=-1)
UNITS = ("day", "week", "month", "year", "decade", "century")
MAX_DAYS = {"day": 34, "week": 364, "month": 1_824, "year": 21_915, "decade": 219_150}
"""The longest period split into each unit: below five weeks, below a year, then sixty of them."""

MAX_PARTS = {"day": 34, "week": 53, "month": 61, "year": 61, "decade": 62, "century": 100}
"""Sixty and a part of one; sixty decades are a few days shorter than some in the calendar."""

deterministic = settings(max_examples=600, deadline=None, database=None, derandomize=True)
any_period = st.lists(st.dates(), min_size=2, max_size=2, unique=True).map(
    lambda days: Period(min(days), max(days))
)
short_period = st.builds(
    lambda since, days: Period(since, since + timedelta(days=days)),
    st.dates(max_value=date(9000, 1, 1)),
    st.sampled_from([days + more for days in MAX_DAYS.values() for more in (0, 1)])
    | st.integers(1, 25_000),
)
"""A period whose length is at a change of the unit, or some years."""


def at(text: str) -> datetime:
    """Parse a time in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def period_of(since: str | None, until: str | None) -> Period:
    """The period of these options."""
    return period(at(since) if since else None, at(until) if until else None, NOW)


def days(since: str, until: str) -> Period:
    """The days from one to another, exclusive."""
    return Period(date.fromisoformat(since), date.fromisoformat(until))


def test_period() -> None:
    """A period has days, a last one of them, and times of its start and end in UTC."""
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
def test_default_period(today: str, monday: str, time: timedelta) -> None:
    """The default is thirteen weeks from a Monday on, the last one up to the end of today."""
    default = period(None, None, at(today) + time)
    assert default.since == date.fromisoformat(monday)
    assert default.since.weekday() == 0
    assert default.last == date.fromisoformat(today)
    unit, weeks = split(default)
    assert unit == "week"
    assert [week.days for week in weeks] == [7] * 12 + [default.last.weekday() + 1]


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
def test_period_of_options(since: str | None, until: str | None, expected: Period) -> None:
    """A period includes the day of `since`, and excludes that of `until` and the future."""
    assert period_of(since, until) == expected


@pytest.mark.parametrize(
    ("since", "until", "days"),
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
def test_an_empty_period(since: str | None, until: str | None, days: str) -> None:
    """An empty period is an error of one sentence, with its days and a hint."""
    message = f"^no day lies between {days}; .*--since.*--until"
    with pytest.raises(UsageError, match=message) as error:
        period_of(since, until)
    assert "\n" not in str(error.value)
    assert ". " not in str(error.value)


@pytest.mark.calendar
def test_times_of_the_command_line() -> None:
    """Days, and times without a zone, are in UTC, whatever the zone of the machine."""
    today = now().date()
    last_week = period(TIME("7d"), TIME("0d"), now())
    if now().date() != today:  # midnight has just passed
        test_times_of_the_command_line()
        return
    assert today == datetime.now(UTC).date()
    assert last_week == Period(today - 7 * DAY, today)
    assert TIME("2024-02-29") == at("2024-02-29")
    assert TIME("2024-02-29T02:30:00") == at("2024-02-29T02:30:00")
    assert TIME("2024-02-29T02:30:00+05:30") == at("2024-02-28T21:00:00")


@pytest.mark.parametrize(
    ("current", "before"),
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
def test_the_period_before(current: Period, before: Period) -> None:
    """The period before has as many days; at the start of the calendar fewer, or none."""
    assert current.before == before


@deterministic
@given(any_period)
def test_any_period_before(current: Period) -> None:
    """The period before any period ends at its start."""
    before = current.before
    assert before.until == current.since
    assert before.days == current.days or before.since == date.min
    assert 0 <= before.days <= current.days


def start_of(unit: str, day: date) -> date:
    """The first day of the week, month, … of a day."""
    years = {"year": 1, "decade": 10, "century": 100}
    if unit == "day":
        return day
    if unit == "week":
        return day - day.weekday() * DAY
    if unit == "month":
        return day.replace(day=1)
    return date(max(1, day.year // years[unit] * years[unit]), 1, 1)


def check_split(whole: Period) -> None:
    """Check the parts of a period against the calendar."""
    unit, parts = split(whole)
    assert parts[0].since == whole.since
    assert parts[-1].until == whole.until
    for earlier, later in pairwise(parts):
        assert earlier.until == later.since == start_of(unit, later.since)
    for part in parts:
        assert part.days > 0
        assert start_of(unit, part.since) == start_of(unit, part.last)
    assert len(parts) <= MAX_PARTS[unit]
    assert unit == next((unit for unit, days in MAX_DAYS.items() if whole.days <= days), "century")


@deterministic
@given(any_period | short_period)
@example(Period(date.min, date.max))
@example(Period(date(9999, 12, 30), date.max))
@example(Period(date(9999, 11, 30), date(9999, 12, 31)))
@example(Period(date(9996, 1, 1), date.max))
@example(Period(date(9960, 1, 1), date.max))
@example(Period(date(9700, 1, 1), date.max))
def test_split_of_any_period(whole: Period) -> None:
    """Parts are consecutive, each within one week, month, …, and there are few of them."""
    check_split(whole)


@pytest.mark.parametrize(
    ("whole", "unit"),
    [
        (Period(date(2023, 1, 1), date(2023, 2, 4)), "day"),
        (Period(date(2023, 1, 1), date(2023, 12, 31)), "week"),
        (Period(date(2023, 1, 31), date(2028, 1, 29)), "month"),
        (Period(date(1999, 12, 31), date(2059, 12, 31)), "year"),
        (Period(date(2009, 12, 31), date(2610, 1, 2)), "decade"),
        (Period(date.min, date.max), "century"),
    ],
)
def test_the_most_parts(whole: Period, unit: str) -> None:
    """The maximum is reached if the first part is one day, and by the whole calendar."""
    actual, parts = split(whole)
    assert (actual, len(parts)) == (unit, MAX_PARTS[unit])


@pytest.mark.parametrize(
    ("whole", "unit", "lengths"),
    [
        (days("2024-03-13", "2024-03-14"), "day", [1]),
        (days("2024-02-26", "2024-03-04"), "day", [1] * 7),
        (days("2023-12-30", "2024-02-07"), "week", [2, 7, 7, 7, 7, 7, 2]),
        (days("2024-02-26", "2024-04-03"), "week", [7, 7, 7, 7, 7, 2]),
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
def test_split_by_hand(whole: Period, unit: str, lengths: list[int]) -> None:
    """Leap days and the ends of years are those of the calendar."""
    actual, parts = split(whole)
    assert (actual, [part.days for part in parts]) == (unit, lengths)


@pytest.mark.parametrize("unit", MAX_DAYS)
def test_where_the_unit_changes(unit: str) -> None:
    """The longest period of a unit is split into these, one day more into the next longer unit."""
    whole = Period(date(2001, 1, 1), date(2001, 1, 1) + MAX_DAYS[unit] * DAY)
    actual, parts = split(whole)
    assert actual == unit
    assert len(parts) >= {"day": 34, "week": 52}.get(unit, 60)
    longer, _ = split(Period(whole.since, whole.until + DAY))
    assert longer == UNITS[UNITS.index(unit) + 1]


def test_no_days_have_no_parts() -> None:
    """The empty period before the calendar has no parts, and is no error."""
    assert split(days("0001-01-01", "2024-01-01").before)[1] == []
