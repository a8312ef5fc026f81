"""The wish to stop: told by one thread, obeyed by the others where they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class CancellationToken:
    """Lets a thread end what others do; it is set once, and for good.

    There is no lock in it, so that a signal handler may set it whatever its thread was about to
    do. What is called then must bear that too.
    """

    def __init__(self) -> None:
        self._set = False
        self._callbacks: dict[object, Callable[[], None]] = {}

    def is_set(self) -> bool:
        """Tell whether to stop."""
        return self._set

    def set(self) -> None:
        """Stop: call what is registered."""
        self._set = True
        for key in list(self._callbacks):
            self._call(key)

    @contextmanager
    def on_cancel(self, callback: Callable[[], None]) -> Iterator[None]:
        """Have something called when it is set, for as long as the context lasts.

        Args:
            callback: called once at most, by the thread that sets it; at once if it is set already.
        """
        key = object()
        self._callbacks[key] = callback
        try:
            if self.is_set():  # asked after it was registered, so that `set` cannot miss it
                self._call(key)
            yield
        finally:
            self._callbacks.pop(key, None)

    def _call(self, key: object) -> None:
        """Call what is registered, unless somebody else does or has done so."""
        callback = self._callbacks.pop(key, None)
        if callback is not None:
            callback()
