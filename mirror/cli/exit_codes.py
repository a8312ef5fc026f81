"""Exit codes: the code of each error, and the most serious of several codes.

Two codes stand for no error, and are chosen elsewhere: 3 in `sync_output`, 5 in `status`.
"""

from __future__ import annotations

from collections.abc import Iterable

from mirror import errors

EXIT_CODES: dict[type[errors.MirrorError], int] = {
    errors.UsageError: 2,
    errors.GuardRefused: 4,
    errors.ApiUnavailable: 75,
    errors.DatabaseUnavailable: 75,
    errors.DiskUnavailable: 75,
    errors.ExportRunning: 75,
    errors.TokenRefused: 77,
    errors.MirrorError: 1,
}
"""The first class that fits counts."""

EXIT_NEWLY_QUARANTINED = 3
EXIT_STALE = 5

MOST_SERIOUS_FIRST = (2, 77, 4, 1, EXIT_NEWLY_QUARANTINED, 75, EXIT_STALE, 0)
"""Codes that need action rank first. New quarantine is reported by one run only, while a
temporary failure is reported again by the next run, so 3 must not be hidden by 75."""


def exit_code(error: errors.MirrorError) -> int:
    """Return the exit code of an error."""
    return next(code for kind, code in EXIT_CODES.items() if isinstance(error, kind))


def most_serious(codes: Iterable[int]) -> int:
    """Return the most serious of several exit codes; 0 if there are none."""
    return min(codes, key=MOST_SERIOUS_FIRST.index, default=0)
