"""An API whose requests change at random, for comparing views with the model."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from random import Random
from typing import Any

from tests.support.list_parser import Fields
from tests.support.upstream import request

NOON = datetime(2024, 1, 11, 12, tzinfo=UTC)
"""When the first requests exist."""

COUNT = 30
"""Requests at the start: enough for the guard to accept that a few vanish at once."""

REASONS = ("Number is no longer in use", "The campaign has ended", "Número não é\0 necessário")
JUNK: tuple[Any, ...] = ("junk", 42, None, [], {"phone_number": "+15550000000"})


class RandomUpstream:
    """An API whose requests change at random.

    Attributes:
        requests: all requests by id, also those that are not listed.
        away: ids of the requests that are not listed.
    """

    def __init__(self, seed: int, count: int = COUNT) -> None:
        self._random = Random(seed)  # noqa: S311 (test data, no cryptography)
        self.now = NOON
        self.requests: dict[str, Fields] = {}
        self.away: set[str] = set()
        for _ in range(count):
            self._submit()

    def advance_a_day(self) -> None:
        """Submit, resolve, reopen, edit, hide and show requests."""
        self.now += timedelta(days=1)
        for _ in range(self._random.randrange(4)):
            self._submit()
        for act, share in (
            (self._resolve, 0.15),
            (self._edit, 0.1),
            (self._reopen, 0.03),
            (self._hold, 0.03),
        ):
            for record in self.requests.values():
                if self._random.random() < share:
                    act(record)
        here = sorted(self.requests.keys() - self.away)
        back = {key for key in sorted(self.away) if self._random.random() < 0.4}
        self.away -= back
        self.away |= set(self._random.sample(here, self._random.randrange(max(1, len(here) // 10))))

    def list_entries(self) -> list[Any]:
        """Return the list of the day."""
        random = self._random
        listed = {key: record for key, record in self.requests.items() if key not in self.away}
        invalid = {key for key in listed if random.random() < 0.03}
        entries: list[Any] = []
        for key, record in listed.items():
            if key not in invalid:
                entries += [record] * (2 if random.random() < 0.05 else 1)
            elif random.random() < 0.5:
                entries.append(
                    record
                    | random.choice(
                        [{"requested_at": "yesterday"}, {"status": 7}, {"phone_number": ""}]
                    )
                )
            else:
                entries += [record, record | {"reason": "Something else"}]
        entries += random.sample(JUNK, random.randrange(3))
        random.shuffle(entries)
        return entries

    def _submit(self) -> None:
        random = self._random
        number = len(self.requests)
        record = request(
            number,
            phone_number=f"+1555000{random.randrange(40):04d}",
            phone_number_id=random.choice([f"phone-{random.randrange(40)}", None]),
            reason=random.choice([*REASONS, None]),
            requested_at=self._time(),
        )
        self.requests[record["id"]] = record
        if random.random() < 0.2:
            self._resolve(record)

    def _time(self) -> str:
        """Return a time of the past day, in one of several forms of ISO 8601."""
        time = self.now - timedelta(microseconds=self._random.randrange(86_400_000_000))
        zone = timezone(timedelta(minutes=self._random.choice([0, 0, 0, -180, 330])))
        precision = self._random.choice(["seconds", "milliseconds", "microseconds"])
        return time.astimezone(zone).isoformat(timespec=precision).replace("+00:00", "Z")

    def _resolve(self, record: Fields) -> None:
        if record["status"] in {"pending", "on_hold"} or self._random.random() < 0.1:
            record["status"] = self._random.choice(
                ["approved", "approved", "rejected", "cancelled"]
            )
            self._set(record, "resolved_at", self._random.choice([self._time(), None]))
            denied = record["status"] == "rejected"
            self._set(record, "rejection_reason", self._random.choice(REASONS) if denied else None)

    def _edit(self, record: Fields) -> None:
        name = self._random.choice(
            ["reason", "phone_number", "phone_number_id", "requested_at", "resolved_at", "carrier"]
        )
        value = {
            "reason": self._random.choice([*REASONS, None]),
            "phone_number": f"+1555000{self._random.randrange(40):04d}",
            "phone_number_id": self._random.choice(["phone-x", None]),
            "requested_at": self._time(),
            "resolved_at": self._time(),
            "carrier": self._random.random(),
        }[name]
        self._set(record, name, value)

    def _reopen(self, record: Fields) -> None:
        record["status"] = "pending"
        self._set(record, "resolved_at", None)
        self._set(record, "rejection_reason", None)

    def _hold(self, record: Fields) -> None:
        record["status"] = "on_hold"

    def _set(self, record: Fields, name: str, value: object) -> None:
        record.pop(name, None)
        if value is not None:
            record[name] = value
