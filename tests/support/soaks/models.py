"""The states of an environment, as hashes that the output of each reader is compared with."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from tests.support.list_parser import KNOWN, TIMES, to_milliseconds
from tests.support.oracle import Memory


def state_hash(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Hash the listed requests of an environment, whatever reader returned them."""
    lines = sorted(repr([row["id"], *(_plain(name, row[name]) for name in KNOWN)]) for row in rows)
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=12).digest()


def fields_of(row: Any) -> dict[str, Any]:
    """The fields of a request that a helper returned."""
    return {name: getattr(row, name) for name in ("id", *KNOWN)}


def memory_hash(memory: Memory) -> bytes:
    """Hash what the model has as listed."""
    last = ((key, states[-1]) for key, states in memory.states.items())
    return state_hash({"id": key} | state.fields for key, state in last if not state.gone)


def change_key(row: Mapping[str, Any]) -> bytes:
    """Identify a change by its request, its kind and its time, in few bytes."""
    when = _plain("requested_at", row["changed_at"])
    text = repr((row["request_id"], row["kind"], when))
    return hashlib.blake2b(text.encode(), digest_size=8).digest()


def _plain(name: str, value: Any) -> Any:
    if value is None or name not in TIMES:
        return value
    time = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    return to_milliseconds(time).isoformat()
