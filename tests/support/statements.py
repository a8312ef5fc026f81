"""What is sent to a database."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine


@contextmanager
def recorded(target: Connection | Engine | type[Engine]) -> Iterator[list[tuple[str, Any]]]:
    """Record the statements that this thread sends, with their parameters.

    The thread that asks Postgres who holds a lock sends as many as the machine is slow.
    """
    sent: list[tuple[str, Any]] = []
    thread = threading.get_ident()

    def note(_: Connection, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        if threading.get_ident() == thread:
            sent.append((statement, parameters))

    event.listen(target, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(target, "before_cursor_execute", note)
