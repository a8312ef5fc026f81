"""Questions asked side by side, and their answers in order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextvars import copy_context
from typing import Generic, TypeVar

from mirror.api.rate_limit import Cancelled
from mirror.cancellation import CancellationToken

_LOOK_AHEAD = 2
"""Questions in flight or answered but not used yet, for each one that is asked at once."""
_PATIENCE = 1.0  # seconds

T = TypeVar("T")


def map_ordered(
    ask: Callable[[int], T],
    numbers: range,
    at_once: int,
    give_up: Callable[[], None],
    stopping: CancellationToken | None = None,
) -> Generator[T, None, None]:
    """Ask numbered questions side by side, and yield the answers in the order of the numbers.

    Everything that is made of the answers is made in the caller's thread, so it cannot depend on
    which of them came first. That holds for failures too: what is raised is the failure of the
    first question that fails, in the order of the numbers.

    Args:
        ask: gets one answer, in any thread; what is set in the caller's context is set in it too.
        numbers: the questions.
        at_once: how many are asked at once.
        give_up: makes each `ask` that has begun end at once. It is called unless all answers were
            yielded; close the iterator to have it called in time.
        stopping: ends the wait for the next answer, also where no `ask` can be ended.

    Raises:
        Abandoned: it was stopped.
    """
    line = _Line(ask, numbers, min(at_once, numbers.stop - numbers.start))
    answered = False
    try:
        with (stopping or CancellationToken()).on_cancel(line.abandon):
            line.start()
            for number in numbers:
                yield line.wait_for(number)
        answered = True
    finally:
        line.stop()
        if not answered:
            give_up()
        line.join()


class _Line(Generic[T]):
    """The threads that ask, and what they were told."""

    def __init__(self, ask: Callable[[int], T], numbers: range, at_once: int) -> None:
        self._ask = ask
        self._news = threading.Condition()
        self._answers: dict[int, T] = {}
        self._failures: dict[int, BaseException] = {}
        self._next, self._stop = numbers.start, numbers.stop
        self._look_ahead = _LOOK_AHEAD * at_once
        self._wanted = numbers.start
        self._abandoned = False
        self._at_once = at_once
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin to ask, with as many threads as may be."""
        while len(self._threads) < self._at_once:
            # Daemons: nobody can end one that looks up a host's name, or makes a connection.
            thread = threading.Thread(
                target=copy_context().run, args=(self._work,), name="mirror-page", daemon=True
            )
            try:
                thread.start()
            except RuntimeError:  # the system gives no more of them
                if not self._threads:
                    raise
                return
            self._threads.append(thread)

    def wait_for(self, number: int) -> T:
        """Return an answer, or raise why there is none."""
        with self._news:
            self._wanted = number
            self._news.notify_all()
            while not self._abandoned:
                if number in self._answers:
                    return self._answers.pop(number)
                if number in self._failures:
                    raise self._failures[number]
                # If this thread's own signal handler abandons it just here, no news are heard.
                self._news.wait(_PATIENCE)
            raise Cancelled

    def stop(self) -> None:
        """Begin no further question."""
        with self._news:
            self._stop = self._next
            self._news.notify_all()

    def abandon(self) -> None:
        """Begin no further question, and wait for none."""
        with self._news:
            self._abandoned = True
            self.stop()

    def join(self) -> None:
        """Wait until the threads have ended, but for none that cannot be ended."""
        ends = time.monotonic() + _PATIENCE
        for thread in self._threads:
            thread.join(max(0.0, ends - time.monotonic()))

    def _work(self) -> None:
        while (number := self._take()) is not None:
            try:
                answer = self._ask(number)
            except BaseException as error:  # noqa: BLE001 (it is raised in the caller's thread)
                with self._news:
                    self._failures[number] = error
                    self._stop = self._next  # what comes after it is in vain
                    self._news.notify_all()
            else:
                with self._news:
                    self._answers[number] = answer
                    self._news.notify_all()

    def _take(self) -> int | None:
        """Return the number to ask for next, when it is its turn; None if there are no more."""
        with self._news:
            while self._next < self._stop:
                if self._next < self._wanted + self._look_ahead:
                    self._next += 1
                    return self._next - 1
                self._news.wait()
            return None
