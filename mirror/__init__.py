"""A local SQL mirror of Talkover phone-number release requests, with history.

The query helpers need neither network nor token:

    import mirror

    with mirror.connect() as connection:
        for event in mirror.phone_number_history(connection, "+1 (555) 123-4567"):
            print(event.occurred_at, event.event)
"""

TYPE_CHECKING = False  # type checkers know this name; importing it takes as long as Python's start
if TYPE_CHECKING:
    from mirror.errors import MirrorError
    from mirror.queries.helpers import (
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
    from mirror.queries.results import (
        Change,
        Day,
        HistoryEvent,
        PhoneNumber,
        QuarantinedRecord,
        ReleaseRequest,
        SyncRun,
        Turnaround,
    )
    from mirror.queries.status import EnvironmentStatus, status

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
    "Change": "mirror.queries.results",
    "Day": "mirror.queries.results",
    "EnvironmentStatus": "mirror.queries.status",
    "HistoryEvent": "mirror.queries.results",
    "MirrorError": "mirror.errors",
    "PhoneNumber": "mirror.queries.results",
    "QuarantinedRecord": "mirror.queries.results",
    "ReleaseRequest": "mirror.queries.results",
    "SyncRun": "mirror.queries.results",
    "Turnaround": "mirror.queries.results",
    "status": "mirror.queries.status",
}


def __getattr__(name: str) -> object:
    """Import what is public when it is asked for: SQLAlchemy takes a fifth of a second."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_ELSEWHERE.get(name, "mirror.queries.helpers")), name)
    globals()[name] = value
    return value
