"""Runs asynchronous code from synchronous code, in any thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from typing import Any, TypeVar

import anyio

from mirror.cancellation import CancellationToken
from mirror.errors import Stopped

T = TypeVar("T")


def run(function: Callable[[], Awaitable[T]], cancellation: CancellationToken | None = None) -> T:
    """Run an asynchronous function in an event loop of its own.

    In a thread that runs one already, as a notebook's does, it has a thread of its own as well.

    Args:
        function: the function.
        cancellation: ends it at once; a signal handler or another thread may set it.

    Raises:
        Stopped: it was cancelled.
    """

    async def main() -> T:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(_LookupExecutor())
        scope = anyio.CancelScope()

        def cancel() -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(scope.cancel)

        with (cancellation or CancellationToken()).on_cancel(cancel), scope:
            return await function()
        raise Stopped

    try:
        asyncio.get_running_loop()
    except RuntimeError:  # there is none
        return anyio.run(main)
    context = copy_context()
    with ThreadPoolExecutor(1, "mirror-loop") as pool:
        return pool.submit(lambda: context.run(lambda: anyio.run(main))).result()


class _LookupExecutor(ThreadPoolExecutor):
    """Looks up host names, each in a daemon thread: nothing can end a lookup that hangs.

    So neither the end of the event loop nor that of the program waits for one.
    """

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Call a function in a thread of its own."""
        future: Future[T] = Future()

        def call() -> None:
            try:
                future.set_result(fn(*args, **kwargs))
            except Exception as error:  # noqa: BLE001 (it is raised where the result is awaited)
                future.set_exception(error)

        future.set_running_or_notify_cancel()
        threading.Thread(target=call, name="mirror-lookup", daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002
        """Wait for nothing."""
