"""Hides what an erasure removed, in entries of a list that upstream still has.

The database never receives it: the mark takes its place before an entry is loaded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

import msgspec

from mirror.api.records import InvalidRecord, PartialRecord, Record
from mirror.db.erasures import TEXTS, fingerprint, marked_extra, marked_raw

_Fields = TypeVar("_Fields", Record, PartialRecord)


def hide_fields(record: _Fields, mark: str) -> _Fields:
    """Return a record with a mark in place of each text about the number and its owner."""
    hidden = {name: mark for name in ("phone_number", *TEXTS) if getattr(record, name)}
    if record.extra:
        hidden["extra"] = marked_extra(mark)
    return msgspec.structs.replace(record, **hidden)


def hide_entry(
    entry: Record | InvalidRecord, marks: Mapping[str, str]
) -> Record | InvalidRecord | None:
    """Return an entry without what is erased of it; None if nothing is.

    The JSON of an invalid one is hidden by `hide_raw`, after the guard has seen it.
    """
    mark = marks.get(entry.id) if entry.id is not None else None
    if mark is None:
        return None
    if isinstance(entry, Record):
        return hide_fields(entry, mark)
    if entry.readable is None:
        return entry
    return msgspec.structs.replace(entry, readable=hide_fields(entry.readable, mark))


def hide_raw(entries: Iterable[InvalidRecord], marks: Mapping[str, str]) -> Iterator[InvalidRecord]:
    """Yield invalid entries, with a mark in place of the JSON of those that are erased.

    The fingerprint of an erased request would tell its number to whoever tries them all.
    """
    counted: Counter[str] = Counter()
    for entry in entries:
        mark = marks.get(entry.id) if entry.id is not None else None
        if mark is not None and entry.id is not None:
            counted[entry.id] += 1
            yield msgspec.structs.replace(
                entry,
                raw=marked_raw(mark),
                fingerprint=fingerprint(mark, entry.id, counted[entry.id]),
            )
        elif mark := marks.get(entry.fingerprint):
            yield msgspec.structs.replace(entry, raw=marked_raw(mark))
        else:
            yield entry
