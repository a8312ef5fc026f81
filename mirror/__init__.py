"""A local SQL mirror of Talkover phone-number release requests, with history.

The query helpers need neither network nor token:

    import mirror

    with mirror.connect() as connection:
        for event in mirror.phone_number_history(connection, "+1 (555) 123-4567"):
            print(event.occurred_at, event.event)
"""

__version__ = "0.1.0"

TYPE_CHECKING = False  # type checkers know this name; importing it takes as long as Python's start
if TYPE_CHECKING:
    from mirror.errors import MirrorError
    from mirror.health import EnvironmentStatus, status
    from mirror.queries import (
        changes,
        connect,
        count_by_status,
        days,
        last_run,
        normalize_number,
        phone_number_history,
        phone_numbers,
        quarantine,
        release_requests,
        turnaround,
    )
    from mirror.rows import (
        Change,
        Day,
        HistoryEvent,
        PhoneNumber,
        QuarantinedRecord,
        ReleaseRequest,
        SyncRun,
        Turnaround,
    )

__all__ = [
    "Change",
    "Day",
    "EnvironmentStatus",
    "HistoryEvent",
    "MirrorError",
    "PhoneNumber",
    "QuarantinedRecord",
    "ReleaseRequest",
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
    "status",
    "turnaround",
]
_ELSEWHERE = {
    "Change": "mirror.rows",
    "Day": "mirror.rows",
    "EnvironmentStatus": "mirror.health",
    "HistoryEvent": "mirror.rows",
    "MirrorError": "mirror.errors",
    "PhoneNumber": "mirror.rows",
    "QuarantinedRecord": "mirror.rows",
    "ReleaseRequest": "mirror.rows",
    "SyncRun": "mirror.rows",
    "Turnaround": "mirror.rows",
    "status": "mirror.health",
}


def __getattr__(name: str) -> object:
    """Import what is public when it is asked for: SQLAlchemy takes a fifth of a second."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_ELSEWHERE.get(name, "mirror.queries")), name)
    globals()[name] = value
    return value
