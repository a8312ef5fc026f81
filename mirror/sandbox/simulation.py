"""The simulation behind the sandbox: release requests are made, reviewed and cancelled over time.

A seed determines all of it, so that it can be repeated.
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
class ReleaseRequest:
    """A release request and the future result of its review.

    Attributes:
        verdict: its status from `due` on.
        cancelled_at: when its owner withdrew it, before `due`; or None.
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

    def payload(self, now: datetime) -> dict[str, str]:
        """Return the request as the API lists it at a time."""
        status = self.status(now)
        fields = {
            "id": self.id,
            "phone_number_id": self.phone_number_id,
            "phone_number": self.phone_number,
            "reason": self.reason,
            "status": status,
            "requested_at": iso(self.requested_at),
        }
        if status in {"approved", "rejected"}:
            fields["resolved_at"] = iso(self.due)
        if status == "rejected" and self.rejection_reason:
            fields["rejection_reason"] = self.rejection_reason
        return fields


class Simulation:
    """Release requests of an account, and a clock.

    Args:
        count: requests at the start, made in the year before.
        seed: the random seed, 0 or more.
        now: the time at the start (UTC).
        new_per_day: requests made on each simulated day.

    Attributes:
        requests: all requests by id, in the order they were made.
        hidden_ids: ids of requests that are left out of the list.
        malformed_ids: ids of requests that are listed with an invalid time.
    """

    def __init__(self, count: int, seed: int, now: datetime, new_per_day: int = 0) -> None:
        self.now = now
        self.new_per_day = new_per_day
        self._random = random.Random(seed)  # noqa: S311 (no cryptography)
        self.requests: dict[str, ReleaseRequest] = {}
        self.hidden_ids: set[str] = set()
        self.malformed_ids: set[str] = set()
        self._numbers: dict[str, str] = {}
        self._in_use: set[str] = set()
        while len(self.requests) < count:
            self._make_number(count)

    def advance(self, days: float) -> None:
        """Advance the clock: reviews end, and new requests are made."""
        start = self.now
        self.now += timedelta(days=days)
        for _ in range(round(days * self.new_per_day)):
            phone_number_id = self._add_number()
            when = start + (self.now - start) * self._random.random()
            self._add(phone_number_id, self._random.choice(_REASONS), when)

    def request_release(self, phone_number_id: str, reason: object) -> ReleaseRequest:
        """Request the release of a number.

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
        if any(
            request.phone_number_id == phone_number_id and request.status(self.now) == "pending"
            for request in self.requests.values()
        ):
            raise ApiProblem(
                HTTPStatus.CONFLICT,
                "RELEASE_ALREADY_PENDING",
                "There is a pending release request for this phone number",
            )
        return self._add(phone_number_id, reason, self.now)

    def cancel(self, request_id: str) -> ReleaseRequest:
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
        """Return the entries of the list now, in the order the requests were made."""
        return [
            request.payload(self.now)
            | ({"requested_at": "yesterday"} if request.id in self.malformed_ids else {})
            for request in self.requests.values()
            if request.id not in self.hidden_ids
        ]

    def _make_number(self, count: int) -> None:
        """Make a number and its past requests; a denied one is often followed by another."""
        phone_number_id = self._add_number()
        # The cube puts more requests on recent days, so that some are still open. It is the same
        # on every machine, which ** need not be.
        share = self._random.random()
        when = self.now - timedelta(days=365) * (share * share * share)
        while len(self.requests) < count:
            request = self._add(phone_number_id, self._random.choice(_REASONS), when)
            is_repeated = request.verdict != "approved" and self._random.random() < 0.6
            when = request.due + timedelta(days=self._random.uniform(0.1, 9))
            if not is_repeated or when > self.now:
                return

    def _add_number(self) -> str:
        phone_number_id = self._uuid()
        self._numbers[phone_number_id] = f"+1555{self._random.randrange(10**7):07d}"
        if self._random.random() < 0.1:
            self._in_use.add(phone_number_id)
        return phone_number_id

    def _add(self, phone_number_id: str, reason: str, when: datetime) -> ReleaseRequest:
        verdict = self._random.choices(_VERDICTS, (6, 3, 1))[0]
        when = when.replace(microsecond=0)
        request = ReleaseRequest(
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
    """An error response, in one of the documented shapes."""

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
    """Return a time in the format of the API."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
