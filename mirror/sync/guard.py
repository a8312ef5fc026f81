"""Refuse a list that is implausible beside the mirror.

Either it holds requests of another environment; or too many known requests are not in it, or can no
longer be read; or their ids are written otherwise.
"""

from __future__ import annotations

import shlex
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mirror.api.entries import EntryScan
from mirror.api.records import unusable_id
from mirror.db.commands import rename_command
from mirror.db.models import quarantined_records, release_requests
from mirror.db.runs import Run
from mirror.errors import GuardRefused
from mirror.sync.compare import Differences, staged
from mirror.text import plural

_TOLERATED, _TOLERATED_SHARE = 5, 0.1
"""So many of the known requests, or this share of them, may become missing or unreadable."""

_current = release_requests.c
_quarantined = quarantined_records.c


def check(
    connection: Connection,
    run: Run,
    scan: EntryScan,
    found: Differences,
    *,
    accept_missing: bool,
    options: Sequence[str] = (),
) -> None:
    """Refuse a list that is implausible. Without missing requests and invalid entries it is not.

    Args:
        connection: in the transaction of the merge, with `staged` as `compare` has filled it.
        run: the run that fetched the list.
        scan: the list.
        found: how it differs from the mirror.
        accept_missing: check only that the list is not that of another environment.
        options: those that name the mirror, for the command in an error.

    Raises:
        GuardRefused: the list is implausible.
    """
    if found.kinds["foreign"]:
        raise _wrong_environment(connection, run, options)
    if accept_missing or not (found.missing or found.invalid):
        return
    faults = _new_faults(connection, run, found)
    missing, unreadable = len(found.missing), faults.total()
    lost = missing + unreadable
    too_many = lost > _TOLERATED and lost > scan.known * _TOLERATED_SHARE
    # A single request with an unreadable field says nothing about the list.
    is_single = scan.known == unreadable == 1
    nothing_is_left = 0 < lost == scan.known and not is_single and (unreadable or not found.valid)
    rewritten = _rewritten_id(connection, run, found)
    if too_many or nothing_is_left or rewritten:
        raise _implausible(run, scan, found, faults, rewritten)


def _implausible(
    run: Run,
    scan: EntryScan,
    found: Differences,
    faults: Counter[str],
    rewritten: tuple[str, str | float] | None,
) -> GuardRefused:
    """Describe a list that the guard refuses, with what is lost and why."""
    findings, effects = [], []
    known = f" of the {scan.known:,} requests known in {run.environment!r}"
    without_id = Counter(entry.error for entry in found.invalid if entry.id is None)
    if rewritten:
        old, new = rewritten
        findings.append(f"ids are in another notation ({new!a} is there in place of {old!a})")
        effects.append("an id in another notation is another request")
    if missing := len(found.missing):
        findings.append(f"{missing:,}{known} are no longer in the list")
        effects.append("missing requests are kept as missing")
    if unreadable := faults.total():
        of_known = "" if missing else known
        findings.append(f"{unreadable:,}{of_known} can no longer be read ({_commonest(faults)})")
    if missing and without_id and not rewritten:
        count = without_id.total()
        findings.append(
            f"{plural(count, 'entry has', 'entries have')} no usable id ({_commonest(without_id)})"
        )
    if unreadable or without_id:
        effects.append("what cannot be read goes to quarantine")
    accept = f"run again with --environment {shlex.quote(run.environment)} --accept-missing"
    hint = f"if the list is right, {accept}: {', '.join(effects)}"
    if missing and len(effects) == 1:
        hint = f"if they are really gone, {accept}"
    if missing == scan.known and not rewritten:
        hint = f"check that the token is the one of {run.environment!r}; {hint}"
    return GuardRefused(f"{', and '.join(findings)}. Nothing was applied", hint=hint)


def _commonest(faults: Counter[str]) -> str:
    """Return the commonest fault, and whether there are others."""
    (fault, _), *others = faults.most_common(2)
    return f"most often: {fault}" if others else fault


def _wrong_environment(connection: Connection, run: Run, options: Sequence[str]) -> GuardRefused:
    """Describe a list that holds requests of another environment."""
    request = connection.execute(
        sa.select(_current.id, _current.environment)
        .join(staged, staged.c.id == _current.id)
        .where(staged.c.kind == "foreign")
        .limit(1)
    ).one()
    hint = f"check the token of {run.environment!r}"
    if run.previous is None:  # the name is new
        command = rename_command(request.environment, run.environment, options)
        hint += f"; if it is a new name for {request.environment!r}, run `{command}`"
    return GuardRefused(
        f"the list holds request {request.id}, which belongs to the environment "
        f"{request.environment!r}. Nothing was applied",
        hint=hint,
    )


def _new_faults(connection: Connection, run: Run, found: Differences) -> Counter[str]:
    """Count the listed requests whose entry can no longer be read, by what is wrong with it.

    A request that was in quarantine before does not count again: its list was accepted.
    """
    if not found.invalid_kinds:
        return Counter()
    listed = connection.scalars(
        sa.select(staged.c.id)
        .join(release_requests, _current.id == staged.c.id)
        .where(staged.c.unread.is_not(None), _current.missing_since.is_(None))
    )
    quarantined = connection.scalars(
        sa.select(_quarantined.request_id).where(
            _quarantined.environment == run.environment, _quarantined.resolved_at.is_(None)
        )
    )
    unreadable = set(listed).difference(quarantined)
    return Counter(
        {entry.id: entry.error for entry in found.invalid if entry.id in unreadable}.values()
    )


def _rewritten_id(
    connection: Connection, run: Run, found: Differences
) -> tuple[str, str | float] | None:
    """Find a missing request whose id is in the list in another notation; return both ids."""
    if not found.missing:
        return None
    missing = {without_notation(request_id): request_id for request_id in found.missing}
    for request_id in _new_ids(connection, run, found):
        if old := missing.get(without_notation(request_id)):
            return old, request_id
    return None


def _new_ids(connection: Connection, run: Run, found: Differences) -> Iterator[str | float]:
    """Yield the ids in the list that were not in the one before, usable or not."""
    if found.invalid or found.kinds["returned"]:
        was_unlisted = sa.or_(staged.c.kind.is_(None), staged.c.kind == "returned")
        yield from connection.scalars(sa.select(staged.c.id).where(was_unlisted))
    if found.kinds["new"]:
        yield from connection.scalars(
            sa.select(_current.id).where(
                _current.environment == run.environment, _current.sync_run_id == run.id
            )
        )
    for entry in found.invalid:
        if entry.id is None and (request_id := unusable_id(entry.raw)) is not None:
            yield request_id


def without_notation(request_id: str | float) -> str:
    """Return the same text for an id in all notations.

    They differ in type, case, leading zeros, white space, invisible characters, the Unicode form of
    a character, or the notation of a UUID.
    """
    if isinstance(request_id, float) and request_id.is_integer():
        request_id = int(request_id)
    text = unicodedata.normalize("NFKC", str(request_id)).casefold()
    text = "".join(filter(str.isprintable, text)).strip()
    with suppress(ValueError):
        return UUID(text).hex
    return (text.lstrip("0") or "0") if text.isdecimal() else text
