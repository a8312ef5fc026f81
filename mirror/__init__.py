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
    from mirror.queries import (
        Change,
        Day,
        HistoryEvent,
        PhoneNumber,
        ReleaseRequest,
        SyncRun,
        Turnaround,
        changes,
        connect,
        count_by_status,
        days,
        last_run,
        normalize_number,
        phone_number_history,
        phone_numbers,
        release_requests,
        turnaround,
    )

__all__ = [
    "Change",
    "Day",
    "HistoryEvent",
    "MirrorError",
    "PhoneNumber",
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
    "release_requests",
    "turnaround",
]


def __getattr__(name: str) -> object:
    """Import what is public when it is asked for: SQLAlchemy takes a fifth of a second."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    room = "mirror.errors" if name == "MirrorError" else "mirror.queries"
    value = getattr(import_module(room), name)
    globals()[name] = value
    return value
