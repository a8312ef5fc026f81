"""The lists that are measured: made of their size alone, so that they are the same anywhere."""

from __future__ import annotations

import hashlib
import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

_FIRST = datetime(2023, 1, 2, 8, tzinfo=UTC)
_REVIEWED = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
_STATUSES = (
    "approved", "pending", "approved", "rejected", "pending",
    "approved", "rejected", "pending", "approved", "cancelled",
)  # fmt: skip
_REASONS = (
    "Number is no longer in use after migration to the new toll-free line",
    'The campaign "Summer 2024" has ended, its numbers go back',
    "Campanha encerrada, número não é mais necessário para a operação",
    "The customer moved to another carrier.\nPorting was confirmed by e-mail.",
    "Too many spam complaints on this number, we take another one",
    "Büro geschlossen, Anrufe gehen an die Zentrale",
    "テスト用の番号なので、もう必要ありません",
)
_REVIEWED_EVERY = {1: 10_000, 2: 100}
"""One request in so many has been resolved, by version: those of version 1 also in version 2."""

_REJECTION = "There are open invoices for this number"


@dataclass(frozen=True, slots=True)
class Facts:
    """What is true of a list, and of a database that holds it and came from version 0.

    Attributes:
        path: where its JSON is.
        size: bytes of it.
        sha256: of it, in hex.
        requests: how many there are.
        pending: those that wait for a review.
        resolved: those that say when they were resolved.
        reasons: characters of all reasons.
        superseded: earlier versions.
    """

    path: Path
    size: int
    sha256: str
    requests: int
    pending: int
    resolved: int
    reasons: int
    superseded: int


def make(folder: Path, count: int, version: int, seed: int = 0) -> Facts:
    """Write a list into a folder, entry by entry, and count what it holds.

    Args:
        folder: where the file goes.
        count: requests in version 0.
        version: 1 has 0.01 % of them resolved (at least one); 2 has 1 % of them resolved, and 0.1 %
            new ones.
        seed: lists of different seeds have no id and no number in common.
    """
    path = folder / f"{count}-{version}-{seed}.json"
    digest = hashlib.sha256()
    size = requests = pending = resolved = reasons = superseded = 0
    with path.open("wb") as file:
        for place, entry in enumerate(_entries(count, version, seed)):
            requests += 1
            pending += entry["status"] == "pending"
            resolved += "resolved_at" in entry
            reasons += len(entry["reason"])
            superseded += _is_reviewed(place, count, version)
            opening = b"," if place else b'{"success":true,"data":['
            piece = opening + msgspec.json.encode(entry)
            digest.update(piece)
            size += file.write(piece)
        digest.update(b"]}")
        size += file.write(b"]}")
    return Facts(path, size, digest.hexdigest(), requests, pending, resolved, reasons, superseded)


def number_asked_twice(count: int) -> str:
    """Return a phone number in the middle of a list that two of its requests are about."""
    return _number(count // 20 * 10 + 4)


def _entries(count: int, version: int, seed: int) -> Iterator[dict[str, str]]:
    chance = random.Random(f"{count} {seed}")  # noqa: S311 (it makes names, no secrets)
    new = -(-count // 1000) if version == 2 else 0
    phone_number_id = ""
    for place in range(count + new):
        if not _asks_again(place):
            phone_number_id = _uuid(chance)
        requested_at = _FIRST + timedelta(seconds=place * 100_000_000 // (count + 1_000))
        entry = {
            "id": _uuid(chance),
            "phone_number_id": phone_number_id,
            "phone_number": _number(place, seed),
            "reason": f"{_REASONS[place % 7]} (ticket {place}, decided by the operations team)",
            "status": _STATUSES[place % 10] if place < count else "pending",
            "requested_at": _iso(requested_at),
        }
        if entry["status"] in {"approved", "rejected"}:
            hours = 3 + place % 90
            entry["resolved_at"] = _iso(requested_at + timedelta(hours=hours))
        if _is_reviewed(place, count, version):
            entry["status"] = "rejected" if place % 200 == 1 else "approved"
            entry["resolved_at"] = _iso(_REVIEWED)
        if entry["status"] == "rejected":
            entry["rejection_reason"] = _REJECTION
        yield entry


def _is_reviewed(place: int, count: int, version: int) -> bool:
    """Whether a request is pending in version 0 and resolved in this one."""
    return version > 0 and place % _REVIEWED_EVERY[version] == 1 and place < count


def _asks_again(place: int) -> bool:
    """Whether a request is about the number of the one before it, which was denied."""
    return place % 10 == 4


def _number(place: int, seed: int = 0) -> str:
    return f"+1{555 + seed}{place - _asks_again(place):07d}"


def _uuid(chance: random.Random) -> str:
    return str(uuid.UUID(int=chance.getrandbits(128), version=4))


def _iso(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"
