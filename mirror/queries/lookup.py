"""Find the stored phone numbers that a number may mean, however it is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mirror.db.models import past_versions, release_requests
from mirror.numbers import reading
from mirror.queries.select import check_connection, in_environment


@dataclass(frozen=True, slots=True)
class NumberMatch:
    """A stored phone number that matches what was typed.

    Attributes:
        phone_number: as stored.
        words: how what was typed was read; empty if as it stands.
    """

    phone_number: str
    words: str


def find_number(
    connection: Connection, number: str, region: str | None = None
) -> list[NumberMatch]:
    """Return the stored numbers, of current and past versions, that a number may mean.

    Args:
        connection: to the mirror's database.
        number: as typed. All usual ways to read it are looked for at once.
        region: ISO 3166 country code, for numbers without a calling code.

    Raises:
        UsageError: no request has this text, and it cannot be read as a phone number; or the region
            does not exist.
    """
    check_connection(connection)
    typed = reading.read(number, region)
    readings = {reading.text: reading for reading in typed.readings}
    order = list(readings)
    found = {}
    for phone_number, e164 in connection.execute(select_numbers(order)):
        text = phone_number if phone_number in readings else e164
        words = readings[text].words
        if text != phone_number:
            words = ", ".join(filter(None, (f"another notation of {text}", words)))
        found[phone_number] = (order.index(text), NumberMatch(phone_number, words))
    if not found and typed.error:
        raise typed.error
    return [match for _, match in sorted(found.values(), key=lambda ranked: ranked[0])]


@dataclass(frozen=True, slots=True)
class Renumbered:
    """A request that had another phone number before.

    Attributes:
        request_id: its id.
        former: the number that it had.
        present: the number that it has.
    """

    request_id: str
    former: str
    present: str


def find_renumbered(
    connection: Connection, matches: Sequence[NumberMatch], environment: str | None
) -> list[Renumbered]:
    """Return the requests that had a number before and have another one now.

    Args:
        connection: to the mirror's database.
        matches: the stored numbers that it may be, of `find_number`.
        environment: only requests of this environment; None for all.
    """
    numbers = [match.phone_number for match in matches]
    now, past = release_requests.c, past_versions.c
    query = (
        sa.select(now.id, past.phone_number, now.phone_number)
        .select_from(release_requests.join(past_versions, past.id == now.id))
        .where(
            past.phone_number.in_(numbers),
            now.phone_number.not_in(numbers),
            *in_environment(now, environment),
        )
        .distinct()
        .order_by(now.id, past.phone_number)
    )
    return [Renumbered(*row) for row in connection.execute(query)] if numbers else []


def select_numbers(texts: list[str]) -> sa.CompoundSelect[Any]:
    """Select the stored numbers that are one of some texts, or have one as their E.164 form.

    It is a UNION, so that each part uses its index.
    """
    columns = [
        (column, table.c.phone_number, table.c.phone_number_e164)
        for table in (release_requests, past_versions)
        for column in (table.c.phone_number, table.c.phone_number_e164)
    ]
    return sa.union(
        *(sa.select(number, e164).where(column.in_(texts)) for column, number, e164 in columns)
    )
