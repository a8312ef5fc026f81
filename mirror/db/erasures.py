"""Erasures on record: what replaces the personal data of a request, and which requests stay erased.

A mark stands in place of each text. It is the same for all requests of a number, and no other
number has it, so that they are still counted as one number.
"""

from __future__ import annotations

import json
import re

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mirror.db.models import erased_requests, erasures

TEXTS = ("phone_number_id", "reason", "rejection_reason")
"""Columns of a version that hold texts about the number and its owner, or null."""

_MARK = re.compile(r"erased-([1-9][0-9]{0,17})")


def mark(erasure: int) -> str:
    """Return the mark of an erasure, by its number."""
    return f"erased-{erasure}"


def erasure_of(text: str) -> int | None:
    """Return the number of the erasure whose mark a text is; None if it is no mark."""
    match = _MARK.fullmatch(text)
    return int(match[1]) if match else None


def marked_object(mark: str) -> dict[str, str]:
    """Return what replaces an object of JSON."""
    return {"erased": mark}


def marked_extra(mark: str) -> str:
    """Return what replaces `extra`, as the text that SQLAlchemy makes of `marked_object`."""
    return json.dumps(marked_object(mark))


def marked_raw(mark: str) -> str:
    """Return what replaces the JSON of a record in quarantine."""
    return json.dumps(mark)


def fingerprint(mark: str, request_id: str, number: int) -> str:
    """Return the fingerprint of the record number 1, 2, … of an erased request."""
    return f"{mark} {request_id} {number}"


def marks(connection: Connection) -> dict[str, str]:
    """Return the mark of each erased request, by its id, or the fingerprint of its record."""
    rows = connection.execute(sa.select(erased_requests.c.request_id, erased_requests.c.erasure_id))
    return {request_id: mark(erasure) for request_id, erasure in rows}


def next_number(connection: Connection) -> int:
    """Return the number of the next erasure; the connection holds the lock of all erasures."""
    return 1 + (connection.scalar(sa.select(sa.func.max(erasures.c.id))) or 0)
