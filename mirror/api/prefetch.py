"""Run requests concurrently; yield results in request order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextvars import copy_context
from typing import Generic, TypeVar

from mirror.api.rate_limit import Cancelled
from mirror.cancellation import CancellationToken

_LOOK_AHEAD = 2
"""Requests in flight or completed but not yielded yet, per thread."""
_POLL = 1.0  # seconds
_JOIN_TIMEOUT = 1.0  # seconds

T = TypeVar("T")


def map_ordered(
    fetch: Callable[[int], T],
    numbers: range,
    concurrency: int,
    cancel: Callable[[], None],
    cancellation: CancellationToken | None = None,
) -> Generator[T, None, None]:
    """Call a function for each number in several threads; yield the results in order.

    The caller's thread processes all results, so nothing depends on the order of arrival. That
    includes failures: the exception raised is that of the lowest number that failed.

    Args:
        fetch: returns one result, in any thread; it runs in the caller's context variables.
        numbers: the numbers.
        concurrency: number of threads.
        cancel: makes each running `fetch` return at once. Called unless all results were yielded;
            close the generator to have it called in time.
        cancellation: ends the wait for the next result, even if no `fetch` can be ended.

    Raises:
        Cancelled: `cancellation` was set.
    """
    pool = _Pool(fetch, numbers, min(concurrency, numbers.stop - numbers.start))
    completed = False
    try:
        with (cancellation or CancellationToken()).on_cancel(pool.abandon):
            pool.start()
            for number in numbers:
                yield pool.wait_for(number)
        completed = True
    finally:
        pool.stop()
        if not completed:
            cancel()
        pool.join()


class _Pool(Generic[T]):
    """Threads that fetch, and their results."""

    def __init__(self, fetch: Callable[[int], T], numbers: range, concurrency: int) -> None:
        self._fetch = fetch
        self._changed = threading.Condition()
        self._results: dict[int, T] = {}
        self._failures: dict[int, BaseException] = {}
        self._next, self._stop = numbers.start, numbers.stop
        self._look_ahead = _LOOK_AHEAD * concurrency
        self._awaited = numbers.start
        self._abandoned = False
        self._concurrency = concurrency
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start as many threads as the system allows, up to the concurrency."""
        while len(self._threads) < self._concurrency:
            # Daemons: a DNS lookup and the making of a connection cannot be interrupted.
            thread = threading.Thread(
                target=copy_context().run, args=(self._work,), name="mirror-page", daemon=True
            )
            try:
                thread.start()
            except RuntimeError:  # the system's limit of threads
                if not self._threads:
                    raise
                return
            self._threads.append(thread)

    def wait_for(self, number: int) -> T:
        """Return the result for a number, or raise its failure."""
        with self._changed:
            self._awaited = number
            self._changed.notify_all()
            while not self._abandoned:
                if number in self._results:
                    return self._results.pop(number)
                if number in self._failures:
                    raise self._failures[number]
                # A signal handler of this thread that abandons just here notifies nobody.
                self._changed.wait(_POLL)
            raise Cancelled

    def stop(self) -> None:
        """Start no further fetch."""
        with self._changed:
            self._stop = self._next
            self._changed.notify_all()

    def abandon(self) -> None:
        """Start no further fetch, and wait for none."""
        with self._changed:
            self._abandoned = True
            self.stop()

    def join(self) -> None:
        """Wait for the threads, but not for one that cannot be interrupted."""
        end = time.monotonic() + _JOIN_TIMEOUT
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _work(self) -> None:
        while (number := self._next_number()) is not None:
            try:
                result = self._fetch(number)
            except BaseException as error:  # noqa: BLE001 (it is raised in the caller's thread)
                with self._changed:
                    self._failures[number] = error
                    self.stop()  # results after a failure are not needed
            else:
                with self._changed:
                    self._results[number] = result
                    self._changed.notify_all()

    def _next_number(self) -> int | None:
        """Return the next number once it is within the look-ahead; None if there are no more."""
        with self._changed:
            while self._next < self._stop:
                if self._next < self._awaited + self._look_ahead:
                    self._next += 1
                    return self._next - 1
                self._changed.wait()
            return None
