"""An upstream whose list a test sets."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from mirror.sandbox.simulation import Simulation

TOKEN = "talq_a-secret-of-the-tests"


class FakeUpstream(Simulation):
    """An upstream whose list a test sets.

    Attributes:
        records: the entries of its list.
    """

    def __init__(self) -> None:
        super().__init__(0, 0, datetime(2024, 1, 11, 12, 0, tzinfo=UTC))
        self.records: list[Any] = []

    def list_payload(self) -> list[Any]:
        """The entries of the list; bytes are sent as they are."""
        return [msgspec.Raw(one) if isinstance(one, bytes) else one for one in self.records]


def request(number: int = 1, /, **fields: Any) -> dict[str, Any]:
    """A release request as the API returns it; a field that is None is left out."""
    record = {
        "id": f"request-{number}",
        "phone_number_id": f"phone-{number}",
        "phone_number": f"+1555000{number:04d}",
        "reason": "Number is no longer in use",
        "status": "pending",
        "requested_at": "2024-01-10T14:30:00Z",
    } | fields
    return {name: value for name, value in record.items() if value is not None}


def requests(*numbers: int, **fields: Any) -> list[dict[str, Any]]:
    """Release requests with these numbers, alike but for their number, id and phone number."""
    return [request(number, **fields) for number in numbers]
