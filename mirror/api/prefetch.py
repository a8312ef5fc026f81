"""Send requests side by side; process their results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Generic, TypeVar

import anyio

_LOOK_AHEAD = 2
"""Results requested but not processed yet, per request in flight."""

T = TypeVar("T")


async def fetch_in_order(
    fetch: Callable[[int], Awaitable[T]],
    numbers: Iterable[int],
    concurrency: int,
    process: Callable[[int, T], None],
) -> None:
    """Fetch a result for each number; process the results in order.

    Nothing depends on the order of arrival. That includes failures: the exception raised is that of
    the first number whose fetch or processing failed. The requests in flight are then cancelled.

    Args:
        fetch: returns the result for a number.
        numbers: the numbers.
        concurrency: the number of `fetch` that run at once.
        process: gets a number and its result.
    """
    window = _Window(fetch, concurrency)
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        try:
            for number in numbers:
                if window.is_full:
                    process(*await window.pop())
                tasks.start_soon(window.fetch, window.append(number))
            while window.tasks:
                process(*await window.pop())
        except Exception as error:  # noqa: BLE001 (a task group would raise it in a group)
            failure = error
            tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


class _Task(Generic[T]):
    """The request for a number, and its result or failure once it is done."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.done = anyio.Event()
        self.result: T
        self.failure: Exception | None = None


class _Window(Generic[T]):
    """The tasks whose results are not processed yet, in the order of their numbers."""

    def __init__(self, fetch: Callable[[int], Awaitable[T]], concurrency: int) -> None:
        self.tasks: deque[_Task[T]] = deque()
        self._fetch = fetch
        self._slots = anyio.Semaphore(concurrency)
        self._max_tasks = _LOOK_AHEAD * concurrency
        self._has_failure = False

    @property
    def is_full(self) -> bool:
        return len(self.tasks) == self._max_tasks

    def append(self, number: int) -> _Task[T]:
        self.tasks.append(_Task(number))
        return self.tasks[-1]

    async def fetch(self, task: _Task[T]) -> None:
        """Fetch a result, unless a number before it failed: then nobody needs it."""
        async with self._slots:
            if self._has_failure:  # slots are given in order, so `pop` raises that failure first
                return
            try:
                task.result = await self._fetch(task.number)
            except Exception as error:  # noqa: BLE001 (`pop` raises it)
                task.failure, self._has_failure = error, True
            task.done.set()

    async def pop(self) -> tuple[int, T]:
        """Wait for the result of the first task, and remove it; raise its failure."""
        task = self.tasks.popleft()
        await task.done.wait()
        if task.failure is not None:
            raise task.failure
        return task.number, task.result
