"""Exit codes: which error has which, and which of several is the most serious."""

from __future__ import annotations

from collections.abc import Iterable

from mirror import errors

EXIT_CODES: dict[type[errors.MirrorError], int] = {
    errors.UsageError: 2,
    errors.GuardRefused: 4,
    errors.ApiUnavailable: 75,
    errors.DatabaseUnavailable: 75,
    errors.DiskUnavailable: 75,
    errors.TokenRefused: 77,
    errors.MirrorError: 1,
}
"""The first class that fits counts."""

EXIT_NEWLY_QUARANTINED = 3
EXIT_STALE = 5

MOST_SERIOUS_FIRST = (2, 77, 4, 1, EXIT_NEWLY_QUARANTINED, 75, EXIT_STALE, 0)
"""What needs a person comes first. New quarantine is said once, and what fails for now says itself
again at the next run, so the former must not be hidden by the latter."""


def exit_code(error: errors.MirrorError) -> int:
    """Return the exit code that stands for an error."""
    return next(code for kind, code in EXIT_CODES.items() if isinstance(error, kind))


def most_serious(codes: Iterable[int]) -> int:
    """Return the exit code that stands for several; 0 for none."""
    return min(codes, key=MOST_SERIOUS_FIRST.index, default=0)
