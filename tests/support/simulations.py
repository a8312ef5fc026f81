"""Simulations of the mock API, and what tests look for in them."""

from __future__ import annotations

from datetime import UTC, datetime

from mirror.sandbox.simulation import Simulation

START = datetime(2024, 1, 11, 12, 0, 0, tzinfo=UTC)
REASON = "The office has moved"
RESOLVED = ("approved", "rejected", "cancelled")


def simulation(seed: int = 7, count: int = 300, new_per_day: int = 0) -> Simulation:
    """A simulation as it begins."""
    return Simulation(count, seed, START, new_per_day)


def list_at(upstream: Simulation) -> list[dict[str, str]]:
    """The list as the API gives it now."""
    return [request.payload(upstream.now) for request in upstream.requests.values()]


def phone_number_id(upstream: Simulation, *, in_use: bool = False, pending: bool = False) -> str:
    """A number that is assigned to an agent or not, and has a pending request or not."""
    with_pending_request = {
        request.phone_number_id
        for request in upstream.requests.values()
        if request.status(upstream.now) == "pending"
    }
    return next(
        number
        for number in upstream._numbers
        if (number in upstream._in_use) is in_use and (number in with_pending_request) is pending
    )


def request_id(upstream: Simulation, status: str) -> str:
    """A request with a status."""
    return next(
        request.id
        for request in upstream.requests.values()
        if request.status(upstream.now) == status
    )
