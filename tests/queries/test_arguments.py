"""The arguments of the query helpers, and their names where Python looks for them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy.engine import Connection

import mirror as package
from mirror.arguments import time_argument
from mirror.cli.options import TIME
from mirror.db.engine import create_engine
from mirror.errors import UsageError
from tests.support.commands import run_python
from tests.support.mirrors import Mirror
from tests.support.statements import recorded
from tests.support.upstream import request

SAME: list[date | str] = [
    date(2024, 1, 5),
    datetime(2024, 1, 5),  # noqa: DTZ001 (a naive one is in UTC)
    datetime(2024, 1, 5, tzinfo=UTC),
    datetime(2024, 1, 4, 21, tzinfo=timezone(timedelta(hours=-3))),
    "2024-01-05",
    "20240105",
    "2024-01-05T00:00",
    "2024-01-05 00:00:00.000",
    "2024-01-05T00:00:00Z",
    "2024-01-05T02:00:00+02:00",
]
"""Ways to write one time."""


class OtherDatetime(datetime):
    """A time of another library, such as pandas."""


@pytest.fixture
def reading(mirror: Mirror) -> Any:
    """A connection to a mirror with requests before, at and after that time."""
    resolved = {"status": "approved", "resolved_at": "2024-01-05T00:00:00Z"}
    mirror.sync(
        [
            request(1, requested_at="2024-01-04T23:59:59.999Z", **resolved),
            request(2, requested_at="2024-01-05T00:00:00Z", **resolved),
            request(3, requested_at="2024-01-06T00:00:00Z"),
        ]
    )
    mirror.sync([request(1, requested_at="2024-01-04T23:59:59.999Z")])
    with package.connect(mirror.url) as connection:
        yield connection


def test_ways_to_write_a_time(reading: Connection) -> None:
    """Dates, times and text select the same rows; a date is its start, also as `until`."""
    for when in [*SAME, OtherDatetime(2024, 1, 5, tzinfo=UTC)]:
        since = package.release_requests(reading, since=when, missing=True)
        until = package.release_requests(reading, until=when)
        assert [[row.id for row in rows] for rows in (since, until)] == [
            ["request-3", "request-2"],
            ["request-1"],
        ], when
        assert len(package.turnaround(reading, since=when)) == 1
        assert package.turnaround(reading, until=when) == []
        assert package.days(reading, since=when)[0].day == date(2024, 1, 5)
        assert package.days(reading, until=when)[-1].day == date(2024, 1, 4)
        assert package.release_requests(reading, as_of=when) == []
        assert len(package.changes(reading, since=when)) == 3
    assert package.changes(reading, since=date(2025, 1, 1)) == []
    assert len(package.release_requests(reading, as_of=date(2025, 1, 1))) == 1


@pytest.mark.parametrize("text", [when for when in SAME if isinstance(when, str)])
def test_the_options_mean_the_same(text: str) -> None:
    """Text means the same in Python and on the command line."""
    assert TIME.convert(text, None, None) == time_argument("since", text)


def test_a_time_within_a_day_means_that_day(reading: Connection) -> None:
    """`days` has whole days (UTC): that of `since` is the first, that of `until` is left out."""
    evening = datetime(2024, 1, 5, 22, tzinfo=timezone(timedelta(hours=-3)))
    assert package.days(reading, since=evening)[0].day == date(2024, 1, 6)
    assert package.days(reading, until=evening)[-1].day == date(2024, 1, 5)


WITH_TIMES: list[tuple[Callable[..., Any], tuple[str, ...]]] = [
    (package.release_requests, ("since", "until", "as_of")),
    (package.changes, ("since",)),
    (package.turnaround, ("since", "until")),
    (package.days, ("since", "until")),
]


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (1704412800, TypeError, "must be a date, a datetime or ISO 8601 text, not int"),
        (time(), TypeError, "must be a date, a datetime or ISO 8601 text, not time"),
        (timedelta(days=7), TypeError, "must be a date, a datetime or ISO 8601 text, not timed"),
        (b"2024-01-05", TypeError, "must be a date, a datetime or ISO 8601 text, not bytes"),
        ("", ValueError, "must be a date or time .*, not ''"),
        ("7d", ValueError, "must be a date or time .*, not '7d'"),
        ("2024-02-30", ValueError, "must be a date or time .*, not '2024-02-30'"),
        ("0001-01-01T00:00+01:00", ValueError, "must be a date or time in the years 1 to 9999"),
        (
            datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))),
            ValueError,
            "must be a date or time in the years 1 to 9999",
        ),
    ],
)
def test_times_that_are_none(
    connection: Connection, value: object, error: type[Exception], message: str
) -> None:
    """Anything else is an error that names the argument."""
    for helper, names in WITH_TIMES:
        for name in names:
            with pytest.raises(error, match=f"^{name} {message}"):
                helper(connection, **{name: value})


HELPERS: list[Callable[..., Any]] = [
    package.release_requests,
    package.changes,
    package.phone_numbers,
    package.turnaround,
    package.days,
    package.quarantine,
    package.last_run,
    package.count_by_status,
]


def test_other_arguments_of_another_type(connection: Connection) -> None:
    """They are a TypeError that names the argument, whichever helper it is."""
    for helper in HELPERS:
        for value in (["prod"], 7, b"prod"):
            with pytest.raises(TypeError, match=r"^environment must be text, not (list|int|bytes)"):
                helper(connection, environment=value)
    number: Any
    for number in (15551234567, None, b"+15551234567"):
        for call in (
            lambda: package.phone_number_history(connection, number),  # noqa: B023 (called here)
            lambda: package.normalize_number(number),  # noqa: B023
        ):
            with pytest.raises(TypeError, match=r"^number must be text, not (int|None|bytes)$"):
                call()
    wrong: list[tuple[Callable[..., Any], dict[str, Any], str]] = [
        (package.release_requests, {"number": 1}, "number must be text, not int"),
        (package.release_requests, {"number": "1", "region": 55}, "region must be text, not int"),
        (package.release_requests, {"status": ["pending"]}, "status must be text, not list"),
        (package.changes, {"run_id": "1"}, "run_id must be a whole number, not str"),
        (package.status, {"environments": "prod"}, "environments must be a list of texts, not str"),
        (package.status, {"environments": [1]}, "environments must be text, not int"),
        (package.status, {"environments": 1}, "environments must be a list of texts, not int"),
        (package.status, {"now": 0}, "now must be a date, a datetime or"),
        (package.status, {"environments": ["a"], "max_age": lambda _: 5}, "max_age must be a func"),
        (package.release_requests, {"ids": 5}, "ids must be a list of texts, not int"),
        (package.release_requests, {"ids": b"request-1"}, "ids must be a list of texts, not byt"),
        (package.release_requests, {"ids": [None]}, "ids must be text, not None"),
        (package.release_requests, {"limit": True}, "limit must be a whole number, not bool"),
        (package.changes, {"run_id": True}, "run_id must be a whole number, not bool"),
        (package.runs, {"outcomes": 5}, "outcomes must be a list of texts, not int"),
    ]
    for helper, arguments, message in wrong:
        with pytest.raises(TypeError, match=f"^{message}"):
            helper(connection, **arguments)


def test_lists_of_any_kind(reading: Connection) -> None:
    """A list may be whatever Python iterates over, also if that is possible only once."""
    for kind in (list, tuple, set, dict.fromkeys, iter):
        rows = package.release_requests(reading, missing=True, ids=kind(["request-2", "x"]))
        assert [row.id for row in rows] == ["request-2"], kind
        assert len(package.runs(reading, outcomes=kind(["applied", "x"]))) == 2
        names = [row.environment for row in package.status(reading, environments=kind(["a", "b"]))]
        assert names == ["a", "b"]
    ids = [f"request-{number}" for number in range(30_001)]
    assert len(package.release_requests(reading, missing=True, ids=ids[:-1] * 2)) == 2
    with pytest.raises(ValueError, match=r"^ids must be at most 30,000, not 30,001$"):
        package.release_requests(reading, ids=ids)


class OtherInteger:
    """A whole number of another library, such as NumPy."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


def test_whole_numbers_of_other_libraries(reading: Connection) -> None:
    """They are whole numbers too, as a column of a data frame has them."""
    run_id, limit = cast(Any, OtherInteger(2)), cast(Any, OtherInteger(1))
    assert len(package.changes(reading, run_id=run_id, limit=limit)) == 1


def test_texts_that_no_database_can_store(reading: Connection) -> None:
    """Nothing has them, and the connection goes on working."""
    helpers: list[Callable[..., Any]] = [*HELPERS, partial(package.runs, limit=1)]
    for text in ("\0", "\ud800"):
        for helper in helpers:
            assert not helper(reading, environment=text)
        assert package.release_requests(reading, ids=[text]) == []
        (status,) = package.status(reading, environments=[text])
        assert status.complete_at is None
    assert package.last_run(reading)


def test_a_long_id_takes_few_statements(reading: Connection) -> None:
    """However long an id is that does not exist, the one that begins alike is found soon."""
    with recorded(reading) as sent:
        for length in (2, 100, 5_000):
            with pytest.raises(UsageError, match="did you mean request-2"):
                package.request_details(reading, "request-2" + "x" * length)
        with pytest.raises(UsageError, match="`mirror requests` lists them"):
            package.request_details(reading, "x" * 5_000)
    assert len(sent) < 200


def test_what_is_no_connection(ready_database_url: str) -> None:
    """What else opens a database is told apart from a connection."""
    context = package.connect(ready_database_url)
    engine = create_engine(ready_database_url)
    helpers: list[Callable[..., Any]] = [*HELPERS, package.status]
    for helper in helpers:
        for value in (context, engine, ready_database_url, None):
            with pytest.raises(TypeError, match=r"^connection must be .* `with mirror\.connect\("):
                helper(value)
    with pytest.raises(TypeError, match=r"^connection must be"):
        package.phone_number_history(engine, "+15551234567")  # type: ignore[arg-type]
    path: Any = Path("mirror.db")
    with pytest.raises(TypeError, match=r"^database_url must be text"), package.connect(path):
        pytest.fail("it was opened")


def test_the_status_of_now(mirror: Mirror) -> None:
    """Without a time it is that of this machine's clock; a naive one is in UTC."""
    mirror.sync([request(1)])
    with package.connect(mirror.url) as connection:
        before = datetime.now(UTC)
        (status,) = package.status(connection)
        after = datetime.now(UTC)
        assert status.age is not None
        ages = [(clock - mirror.now).total_seconds() for clock in (before, after)]
        assert ages[0] <= status.age <= ages[1]
        naive = (mirror.now + timedelta(hours=2)).replace(tzinfo=None)
        assert package.status(connection, now=naive)[0].age == 7200


def test_where_python_looks_for_names() -> None:
    """`dir`, tab completion, `help` and `import *` know all public names from the start."""
    script = """
import pydoc, rlcompleter, sys
import mirror
print(set(mirror.__all__) <= set(dir(mirror)), "sqlalchemy" in sys.modules)
completer = rlcompleter.Completer({"mirror": mirror})
print(completer.complete("mirror.release", 0))
text = pydoc.plain(pydoc.render_doc(mirror))
print([name for name in mirror.__all__ if f" {name}" not in text])
from mirror import *
print(release_requests is mirror.release_requests, len(mirror.__all__))
"""
    ran = run_python("-c", script)
    assert ran.out.splitlines() == [
        "True False",
        "mirror.release_requests(",
        "[]",
        f"True {len(package.__all__)}",
    ], ran.err
