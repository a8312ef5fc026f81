"""A mirror used through the command line, and plain readers of what its commands print."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from mirror.queries import helpers
from mirror.queries.results import ReleaseRequest
from tests.support.commands import Ran, run_mirror
from tests.support.hostile import NUMBER, ODD, listing, page
from tests.support.http_servers import HttpResponse, ScriptedServer, http
from tests.support.mirrors import Mirror

FORMATS = ("table", "json", "csv")
UNSTORABLE = re.compile("[\0\ud800-\udfff]")
TIMES = {"requested_at", "resolved_at"}
KNOWN = {
    "id", "phone_number_id", "phone_number", "reason", "status", "rejection_reason", *TIMES,
}  # fmt: skip

UNSAFE = {"Cc", "Cf", "Zl", "Zp", "Cs"}
"""Unicode categories: controls, formats (also bidi and zero-width), line separators, surrogates."""

Helper = Callable[..., Sequence[Any]]

READS: dict[str, tuple[tuple[str, ...], Helper]] = {
    "requests": (("requests",), helpers.release_requests),
    "missing": (
        ("requests", "--missing"),
        lambda connection, **only: helpers.release_requests(connection, missing=True, **only),
    ),
    "history": (
        ("history", NUMBER),
        lambda connection, **only: helpers.phone_number_history(connection, NUMBER, **only),
    ),
    "changes": (("changes",), helpers.changes),
}
"""The commands that print data, and the helpers that return the same rows."""


class CliMirror:
    """A mirror that has synced both hostile lists, and its commands."""

    def __init__(self, mirror: Mirror, token_file: Path) -> None:
        self.mirror = mirror
        self._token = ("--token-file", str(token_file))
        self._database = ("--database", mirror.url)
        self.first = self.sync(http(200, listing(1)))
        self.second = self.sync(http(200, listing(2)), "--accept-missing")
        self.sync(http(200, page([ODD])), "--environment", "odd")

    def sync(self, response: HttpResponse, *options: str) -> Ran:
        """Run `mirror sync --json` with a server that always gives one response."""
        with ScriptedServer([response]).running() as server:
            return run_mirror(*self.sync_arguments(server.base_url, "--json", *options))

    def sync_arguments(self, base_url: str, *options: str) -> list[str]:
        """The arguments of a sync."""
        url = ("--base-url", base_url, "--accept-base-url")  # each server has a port of its own
        return ["sync", *url, *self._token, *self._database, *options]

    def read_arguments(self, *arguments: str, environment: str = "default") -> list[str]:
        """The arguments of a command that reads."""
        return [*arguments, "--environment", environment, *self._database]

    def output_of(self, *arguments: str, environment: str = "default") -> str:
        """What a command that reads writes into a pipe."""
        ran = run_mirror(*self.read_arguments(*arguments, environment=environment))
        assert ran.code == 0
        assert re.fullmatch(r"(mirror: \d+ times are unknown: .*\n)?", ran.err)
        return ran.out

    def rows_of(self, command: str, environment: str = "default") -> list[dict[str, Any]]:
        """The rows that a command of `READS` has to print."""
        rows = self.mirror.query(READS[command][1], environment=environment)
        assert rows
        return [asdict(row) for row in rows]

    def rows_and_versions(self) -> dict[str, list[str]]:
        """All tables but the quarantine, in which a row also has the run that saw it last."""
        state = self.mirror.state()
        return {table: rows for table, rows in state.items() if table != "quarantined_records"}


def unsafe(text: str) -> set[str]:
    """The characters of a text that must never reach a terminal."""
    return {char for char in set(text) - {"\n"} if unicodedata.category(char) in UNSAFE}


def storable(value: Any) -> Any:
    """A value with NUL and surrogates replaced, wherever they are in it."""
    if isinstance(value, str):
        return UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, list):
        return list(map(storable, value))
    if isinstance(value, dict):
        return dict(zip(map(storable, value), map(storable, value.values()), strict=True))
    return value


def read_json(text: str) -> Any:
    """Read JSON with the standard library, numbers as decimals, huge ones as their text."""

    def number(digits: str) -> tuple[str, Decimal] | str:
        mantissa, _, exponent = digits.lower().partition("e")
        is_huge = len(mantissa) > 1000 or len(exponent.lstrip("+-")) > 2
        return digits if is_huge else ("number", Decimal(digits))

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is not JSON")

    return json.loads(text, parse_int=number, parse_float=number, parse_constant=refuse)


def expected_fields(raw: bytes) -> dict[str, Any]:
    """The fields of an entry, as the mirror must store them."""
    extra = storable(read_json(raw.decode()))
    fields = {name: extra.pop(name, None) for name in sorted(KNOWN)}
    fields |= {name: _time(fields[name]) for name in TIMES if fields[name] is not None}
    return fields | {"extra": extra or None}


def _time(text: str) -> datetime:
    """A time in UTC, to the millisecond."""
    time = datetime.fromisoformat(text.upper()).astimezone(UTC)
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def stored_fields(row: ReleaseRequest) -> dict[str, Any]:
    """The fields of a stored request, in the form of `expected_fields`."""
    fields = {name: getattr(row, name) for name in sorted(KNOWN)}
    return fields | {"extra": None if row.extra is None else read_json(row.extra)}


def from_json(text: str) -> list[dict[str, Any]]:
    """Read rows from JSON."""
    rows: list[dict[str, Any]] = read_json(text)
    for row in rows:
        for name in row:
            if name in {"valid_from", "missing_since", "not_before"} or name.endswith("_at"):
                row[name] = row[name] and datetime.fromisoformat(row[name])
            elif name == "sync_run_id":
                row[name] = int(row[name][1])
    return rows


def as_json(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows in the form of `from_json`: with `extra` decoded."""
    lists = {"changed_fields": list}
    return [
        {name: lists.get(name, lambda value: value)(value) for name, value in row.items()}
        | ({"extra": read_json(row["extra"])} if row.get("extra") else {})
        for row in rows
    ]


def from_csv(text: str) -> list[dict[str, str]]:
    """Read rows from CSV."""
    with _long_cells():
        return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


@contextmanager
def _long_cells() -> Iterator[None]:
    """Let the csv module read cells of any length."""
    limit = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(limit)


def as_csv(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Rows in the form of `from_csv`."""
    return [{name: _cell(value) for name, value in row.items()} for row in rows]


def _cell(value: object) -> str:
    """A value in CSV: empty for None, times in ISO 8601 with a Z."""
    if isinstance(value, datetime):
        precision = "milliseconds" if value.microsecond else "seconds"
        return value.isoformat(timespec=precision).replace("+00:00", "Z")
    if isinstance(value, tuple):
        return ",".join(value)
    return "" if value is None else str(value)
