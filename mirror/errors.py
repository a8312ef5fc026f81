"""Everything that can stop `mirror`, as one tree of exceptions.

    MirrorError
    ├── UsageError               wrong usage or configuration: nothing was tried
    │   └── MissingExtra         a package of an optional extra is not installed
    ├── TokenRefused             the API does not accept the token
    ├── ApiError                 the API answered something that cannot be used
    │   └── ApiUnavailable       the API is out of reach for now: try again later
    ├── Stopped                  the run was cancelled: nothing was applied
    ├── ExportRunning            another export writes to the same folder: try again later
    ├── DiskUnavailable          there is no room on a disk for now: try again later
    ├── DatabaseError            the database rejected an operation
    │   ├── DatabaseUnavailable  the database is out of reach for now: try again later
    │   └── SchemaError          the database's schema is not the one this version works with
    └── GuardRefused             the pull or its base URL is suspicious: nothing was applied

The message says what happened, the hint what to do next; both are for a person, and neither holds
the token or a password. Only `mirror.cli` knows which error has which exit code.
"""

from __future__ import annotations

from collections.abc import Sequence


class MirrorError(Exception):
    """Base of all errors that `mirror` raises on purpose.

    Args:
        message: what happened, in one sentence.
        hint: what to do next, if there is anything to do.
        details: what there is to choose from, for lines of their own after the sentence.
    """

    def __init__(
        self, message: str, *, hint: str | None = None, details: Sequence[str] = ()
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class UsageError(MirrorError):
    """A setting, option or argument cannot be used as it was given."""


class MissingExtra(UsageError):
    """A package is not installed, which an extra of this package installs.

    Args:
        message: what needs the package.
        extra: the name of the extra.
    """

    def __init__(self, message: str, extra: str) -> None:
        super().__init__(message, hint=self.hint_for(extra))

    @staticmethod
    def hint_for(extra: str) -> str:
        """Return how to install an extra.

        That is no command: none is right for pip, pipx and uv, with a checkout, wheel and index.
        """
        return (
            f"install mirror again with the extra {extra}, as in '.[{extra}]' "
            "(and with those that it has already)"
        )


class TokenRefused(MirrorError):
    """The API answered 401 or 403: the token is unknown, was regenerated, or lacks a right."""


class ApiError(MirrorError):
    """The API answered something that cannot be used, and asking again would not help."""


class ApiUnavailable(ApiError):
    """The API could not be reached, was overloaded, or the list kept changing."""


class Stopped(MirrorError):
    """The run was cancelled before it was done."""

    def __init__(
        self,
        message: str = "the run was stopped before it was done; nothing was applied",
        *,
        hint: str | None = "the next run starts from the beginning",
    ) -> None:
        super().__init__(message, hint=hint)


class DiskUnavailable(MirrorError):
    """Not enough space on a disk, or no folder for temporary files."""


class ExportRunning(MirrorError):
    """Another export writes to the same folder."""


class DatabaseError(MirrorError):
    """The database rejected an operation."""


class DatabaseUnavailable(DatabaseError):
    """The database could not be reached, or was busy for too long."""


class SchemaError(DatabaseError):
    """The schema is missing, older than this version of `mirror`, or newer."""


class GuardRefused(MirrorError):
    """The list is implausible beside the mirror, or it or its base URL is another environment's."""
