"""Servers and clocks for the tests of the API client."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import stamina

from tests.support.fake_clock import FakeClock
from tests.support.http_servers import HttpResponse, ScriptedServer, Serve


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a server that sends the given responses."""
    with ExitStack() as stack:

        def start(*responses: HttpResponse) -> ScriptedServer:
            return stack.enter_context(ScriptedServer(responses).running())

        yield start


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeClock]:
    """Let the client wait as in production, back-off included, in no time."""
    clock = FakeClock()
    monkeypatch.setattr("asyncio.sleep", clock.sleep)
    with stamina.set_testing(False):
        yield clock


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """An event that ends responses which would hang; set after the test at the latest."""
    event = threading.Event()
    yield event
    event.set()
