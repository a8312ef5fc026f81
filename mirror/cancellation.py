"""Cooperative cancellation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class CancellationToken:
    """Lets one thread cancel the work of others; once set, it stays set.

    It uses no lock, so a signal handler may set it at any point of its thread. Callbacks must
    tolerate that too.
    """

    def __init__(self) -> None:
        self._set = False
        self._callbacks: dict[object, Callable[[], None]] = {}

    def is_set(self) -> bool:
        """Return whether the work is cancelled."""
        return self._set

    def set(self) -> None:
        """Cancel the work: run the registered callbacks."""
        self._set = True
        for key in list(self._callbacks):
            self._call(key)

    @contextmanager
    def on_cancel(self, callback: Callable[[], None]) -> Iterator[None]:
        """Register a callback for as long as the context lasts.

        Args:
            callback: called at most once, by the thread that sets the token; immediately if the
                token is set already.
        """
        key = object()
        self._callbacks[key] = callback
        try:
            if self.is_set():  # checked after the registration, so `set` cannot miss the callback
                self._call(key)
            yield
        finally:
            self._callbacks.pop(key, None)

    def _call(self, key: object) -> None:
        """Run a callback unless another thread did or does."""
        callback = self._callbacks.pop(key, None)
        if callback is not None:
            callback()


current: ContextVar[CancellationToken | None] = ContextVar("cancellation", default=None)
"""Cancels the current sync, for what is called by other commands too."""
