"""A local SQL mirror of Talkover phone-number release requests, with history.

The query helpers need neither network nor token:

    import mirror

    with mirror.connect() as connection:
        for event in mirror.phone_number_history(connection, "+1 (555) 123-4567"):
            print(event.occurred_at, event.event)
"""

TYPE_CHECKING = (
    False  # type checkers know the name; typing takes as long to import as Python to start
)
if TYPE_CHECKING:
    from mirror.errors import MirrorError
    from mirror.numbers.reading import normalize_number
    from mirror.queries.details import request_details
    from mirror.queries.helpers import (
        changes,
        connect,
        count_by_status,
        days,
        last_run,
        phone_number_history,
        phone_numbers,
        quarantine,
        release_requests,
        runs,
        turnaround,
    )
    from mirror.queries.results import (
        Change,
        Day,
        FieldChange,
        HistoryEvent,
        PhoneNumber,
        QuarantinedRecord,
        ReleaseRequest,
        RequestDetails,
        RequestVersion,
        SyncRun,
        Turnaround,
    )
    from mirror.queries.status import EnvironmentStatus, status

__all__ = [
    "Change",
    "Day",
    "EnvironmentStatus",
    "FieldChange",
    "HistoryEvent",
    "MirrorError",
    "PhoneNumber",
    "QuarantinedRecord",
    "ReleaseRequest",
    "RequestDetails",
    "RequestVersion",
    "SyncRun",
    "Turnaround",
    "changes",
    "connect",
    "count_by_status",
    "days",
    "last_run",
    "normalize_number",
    "phone_number_history",
    "phone_numbers",
    "quarantine",
    "release_requests",
    "request_details",
    "runs",
    "status",
    "turnaround",
]
_MODULES = {
    "Change": "mirror.queries.results",
    "Day": "mirror.queries.results",
    "EnvironmentStatus": "mirror.queries.status",
    "FieldChange": "mirror.queries.results",
    "HistoryEvent": "mirror.queries.results",
    "MirrorError": "mirror.errors",
    "PhoneNumber": "mirror.queries.results",
    "QuarantinedRecord": "mirror.queries.results",
    "ReleaseRequest": "mirror.queries.results",
    "RequestDetails": "mirror.queries.results",
    "RequestVersion": "mirror.queries.results",
    "SyncRun": "mirror.queries.results",
    "Turnaround": "mirror.queries.results",
    "normalize_number": "mirror.numbers.reading",
    "request_details": "mirror.queries.details",
    "status": "mirror.queries.status",
}
"""Modules of the public names that are not in `mirror.queries.helpers`."""


def __dir__() -> list[str]:
    """Return the public names, with those that are not imported yet."""
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})


def __getattr__(name: str) -> object:
    """Import a public name on first use: SQLAlchemy takes 0.1 s, which `mirror --help` must not."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_MODULES.get(name, "mirror.queries.helpers")), name)
    globals()[name] = value
    return value
