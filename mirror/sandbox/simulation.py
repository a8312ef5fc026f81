"""The world behind the sandbox: requests are made, reviewed and cancelled while its time passes.

All of it is decided by a seed, so that it happens again in the same way.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, Literal

Verdict = Literal["approved", "rejected", "cancelled"]

_VERDICTS: tuple[Verdict, ...] = ("approved", "rejected", "cancelled")
_REASONS = (
    "Number is no longer in use after migration",
    "Replaced by new toll-free number",
    "The campaign has ended",
    "The customer moved to another carrier",
    "Campanha encerrada, número não é mais necessário",
    "Office closed, calls go to the main line",
    "Too many spam complaints on this number",
)
_REJECTIONS = (
    "The number is linked to an active agent",
    "A porting request is in progress",
    "There are open invoices for this number",
)


@dataclass(slots=True)
class Request:
    """A release request, with what its review will come to.

    Attributes:
        verdict: the status it will get, at `due`.
        cancelled_at: when its owner withdrew it, if that was before `due`.
    """

    id: str
    phone_number_id: str
    phone_number: str
    reason: str
    requested_at: datetime
    due: datetime
    verdict: Verdict
    rejection_reason: str | None = None
    cancelled_at: datetime | None = None

    def status(self, now: datetime) -> str:
        """Return the status at a time."""
        if self.cancelled_at is not None:
            return "cancelled"
        return self.verdict if self.due <= now else "pending"

    def as_answered(self, now: datetime) -> dict[str, str]:
        """Return the request as the API shows it at a time."""
        status = self.status(now)
        shown = {
            "id": self.id,
            "phone_number_id": self.phone_number_id,
            "phone_number": self.phone_number,
            "reason": self.reason,
            "status": status,
            "requested_at": iso(self.requested_at),
        }
        if status in {"approved", "rejected"}:
            shown["resolved_at"] = iso(self.due)
        if status == "rejected" and self.rejection_reason:
            shown["rejection_reason"] = self.rejection_reason
        return shown


class Simulation:
    """The world behind the API.

    Args:
        count: requests that exist at the start, made over the year before.
        seed: decides everything that happens.
        now: the time at the start, UTC.
        new_per_day: requests made on each day that passes.

    Attributes:
        hidden_ids: ids of requests that its list lacks, as an API's must not.
        malformed_ids: ids of requests whose time its list writes as none can read it.
    """

    def __init__(self, count: int, seed: int, now: datetime, new_per_day: int = 0) -> None:
        self.now = now
        self.new_per_day = new_per_day
        self._random = random.Random(seed)  # noqa: S311 (a stand-in's fate, no cryptography)
        self.requests: dict[str, Request] = {}
        self.hidden_ids: set[str] = set()
        self.malformed_ids: set[str] = set()
        self._numbers: dict[str, str] = {}
        self._in_use: set[str] = set()
        while len(self.requests) < count:
            self._make_number(count)

    def advance(self, days: float) -> None:
        """Let time pass: reviews come to an end, and new requests are made."""
        start = self.now
        self.now += timedelta(days=days)
        for _ in range(round(days * self.new_per_day)):
            phone_number_id = self._add_number()
            when = start + (self.now - start) * self._random.random()
            self._add(phone_number_id, self._random.choice(_REASONS), when)

    def request_release(self, phone_number_id: str, reason: object) -> Request:
        """Ask for a number's release.

        Raises:
            ApiProblem: one of the documented errors.
        """
        if phone_number_id not in self._numbers:
            raise ApiProblem(HTTPStatus.NOT_FOUND, "NOT_FOUND", "The phone number does not exist")
        if not isinstance(reason, str) or not 10 <= len(reason) <= 500:
            raise ApiProblem(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                "VALIDATION_ERROR",
                "The given data was invalid",
                errors={"reason": ["The reason must have 10 to 500 characters"]},
            )
        if phone_number_id in self._in_use:
            raise ApiProblem(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                "PHONE_NUMBER_IN_USE",
                "The phone number is assigned to an agent",
            )
        mine = (one for one in self.requests.values() if one.phone_number_id == phone_number_id)
        if any(one.status(self.now) == "pending" for one in mine):
            raise ApiProblem(
                HTTPStatus.CONFLICT,
                "RELEASE_ALREADY_PENDING",
                "There is a pending release request for this phone number",
            )
        return self._add(phone_number_id, reason, self.now)

    def cancel(self, request_id: str) -> Request:
        """Withdraw a pending request.

        Raises:
            ApiProblem: one of the documented errors.
        """
        request = self.requests.get(request_id)
        if request is None:
            raise ApiProblem(
                HTTPStatus.NOT_FOUND, "NOT_FOUND", "The release request does not exist"
            )
        if request.status(self.now) != "pending":
            raise ApiProblem(
                HTTPStatus.CONFLICT,
                "RELEASE_ALREADY_RESOLVED",
                "The release request has been resolved already",
            )
        request.cancelled_at = self.now
        return request

    def list_payload(self) -> Sequence[object]:
        """Return all requests as the API shows them now, in the order they were made."""
        return [
            request.as_answered(self.now)
            | ({"requested_at": "yesterday"} if request.id in self.malformed_ids else {})
            for request in self.requests.values()
            if request.id not in self.hidden_ids
        ]

    def _make_number(self, count: int) -> None:
        """Make a number and its requests of the past: denied, it is often asked for again."""
        phone_number_id = self._add_number()
        # The cube makes recent days fuller than old ones, so that some requests are still open.
        when = self.now - timedelta(days=365) * self._random.random() ** 3
        while len(self.requests) < count:
            request = self._add(phone_number_id, self._random.choice(_REASONS), when)
            again = request.verdict != "approved" and self._random.random() < 0.6
            when = request.due + timedelta(days=self._random.uniform(0.1, 9))
            if not again or when > self.now:
                return

    def _add_number(self) -> str:
        phone_number_id = self._uuid()
        self._numbers[phone_number_id] = f"+1555{self._random.randrange(10**7):07d}"
        if self._random.random() < 0.1:
            self._in_use.add(phone_number_id)
        return phone_number_id

    def _add(self, phone_number_id: str, reason: str, when: datetime) -> Request:
        verdict = self._random.choices(_VERDICTS, (6, 3, 1))[0]
        when = when.replace(microsecond=0)
        request = Request(
            id=self._uuid(),
            phone_number_id=phone_number_id,
            phone_number=self._numbers[phone_number_id],
            reason=reason,
            requested_at=when,
            due=when + timedelta(seconds=round(86400 * self._random.uniform(0.3, 6))),
            verdict=verdict,
            rejection_reason=self._random.choice(_REJECTIONS) if verdict == "rejected" else None,
        )
        self.requests[request.id] = request
        return request

    def _uuid(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))


class ApiProblem(Exception):
    """An answer that says no, in one of the documented shapes."""

    def __init__(
        self,
        status: HTTPStatus,
        code: str,
        message: str,
        errors: dict[str, list[str]] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body: dict[str, Any] = {"success": False, "message": message, "code": code}
        if errors is not None:
            self.body = {"success": False, "message": message, "errors": errors}
        elif status == HTTPStatus.UNAUTHORIZED:
            self.body = {"success": False, "error": {"code": code, "message": message}}


def iso(time: datetime) -> str:
    """Write a time as the API does."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
