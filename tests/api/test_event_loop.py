"""The event loop behind synchronous functions: nothing outlives it, and nobody waits for it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import anyio
import pytest

from mirror.api.event_loop import run
from mirror.cancellation import CancellationToken
from mirror.errors import Stopped
from tests.support.api_client import LONG

HANGING_LOOKUP = """
import socket, threading
from datetime import UTC, datetime
from mirror.api.health import check_health
from mirror.config.settings import ApiSettings, Secret
from mirror.errors import ApiUnavailable

socket.getaddrinfo = lambda *_, **__: threading.Event().wait()
try:
    check_health(ApiSettings("https://api.example", Secret("x"), timeout=0.01), datetime.now)
except ApiUnavailable as error:
    print(error)
"""


def test_a_lookup_that_hangs_does_not_keep_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host name lookup that never ends delays neither the time-out nor the end of the process."""
    monkeypatch.setenv("NO_PROXY", "*")
    command = [sys.executable, "-c", HANGING_LOOKUP]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=LONG)
    assert "sent nothing for 0.01 seconds" in done.stdout


def test_a_cancellation_before_the_function() -> None:
    """A token that is set already lets nothing be awaited."""
    cancellation = CancellationToken()
    cancellation.set()
    with pytest.raises(Stopped):
        run(lambda: anyio.sleep(LONG), cancellation)


def test_a_cancellation_after_the_end() -> None:
    """A thread that cancels a function while it ends does no harm."""

    class LateCallback(CancellationToken):
        call: Callable[[], None]

        @contextmanager
        def on_cancel(self, callback: Callable[[], None]) -> Iterator[None]:
            """Keep a callback that another thread is about to call."""
            self.call = callback
            yield

    cancellation = LateCallback()

    async def answer() -> int:
        return 42

    assert run(answer, cancellation) == 42
    cancellation.call()


def test_beside_another_loop() -> None:
    """A program whose thread runs a loop already, such as a notebook, can fetch all the same."""

    async def answer() -> int:
        return 42

    async def notebook() -> int:
        return run(answer)

    assert asyncio.run(notebook()) == 42
