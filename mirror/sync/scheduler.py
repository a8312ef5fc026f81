"""Sync several environments, once or on an interval.

Environments share nothing but the database, where each has a lock of its own. So a failed one
leaves the others as they are.
"""

from __future__ import annotations

import logging
import random
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from traceback import format_exc
from types import FrameType

from mirror.cancellation import CancellationToken
from mirror.config.environments import EnvironmentConfig
from mirror.errors import MirrorError
from mirror.sync.run import Result, utc_now

SyncFunction = Callable[[EnvironmentConfig, CancellationToken], Result]
"""Syncs one environment, and ends early if it is cancelled."""

JITTER = 0.1
"""The share of an interval by which a round may begin earlier or later."""

_SLEEP_SLICE = 0.25
"""Seconds; a sleep notices within this time that it is cancelled, or that the machine woke up."""

logger = logging.getLogger(__name__)


def sync_all(
    configs: Sequence[EnvironmentConfig],
    sync: SyncFunction,
    jobs: int,
    cancellation: CancellationToken,
) -> Generator[Result, None, None]:
    """Sync environments; yield each result when it is there. Close the generator to cancel.

    Args:
        configs: the environments.
        sync: syncs one of them.
        jobs: how many at once; with 1 all run in the caller's thread.
        cancellation: ends the syncs that run, and prevents the others.
    """
    if len(configs) == 1:
        yield sync(configs[0], cancellation)
    elif jobs > 1:
        yield from _in_parallel(configs, sync, jobs, cancellation)
    else:
        for config in configs:
            if not cancellation.is_set():
                yield _sync_and_catch(config, sync, cancellation)


def _in_parallel(
    configs: Sequence[EnvironmentConfig],
    sync: SyncFunction,
    jobs: int,
    cancellation: CancellationToken,
) -> Iterator[Result]:
    from concurrent.futures import ThreadPoolExecutor, as_completed

    def sync_unless_cancelled(config: EnvironmentConfig) -> Result | None:
        return None if cancellation.is_set() else _sync_and_catch(config, sync, cancellation)

    with ThreadPoolExecutor(jobs, thread_name_prefix="mirror-sync") as pool:
        try:
            futures = [pool.submit(sync_unless_cancelled, config) for config in configs]
            for future in as_completed(futures):
                if (result := future.result()) is not None:
                    yield result
        except BaseException:
            cancellation.set()  # the pool waits for the syncs that run
            raise


def _sync_and_catch(
    config: EnvironmentConfig, sync: SyncFunction, cancellation: CancellationToken
) -> Result:
    """Sync an environment; turn an unexpected exception into its failure, so that others go on."""
    started_at = utc_now()
    try:
        return sync(config, cancellation)
    except Exception as error:  # noqa: BLE001 (it is reported, and the others go on)
        message, traceback = str(error), format_exc()
        if not isinstance(config.api, MirrorError):
            message, traceback = (config.api.token.redact(text) for text in (message, traceback))
        logger.debug("%s", traceback)
        failure = MirrorError(
            f"unexpected {type(error).__name__}: {message}. This is a defect of mirror",
            hint="please report it with what `mirror sync -v` says",
        )
        return Result.of_failure(config.environment, failure, started_at, utc_now())


class Interval:
    """The time between rounds, with jitter: schedulers that start together drift apart.

    Args:
        every: the interval.
        chance: returns a number from 0 up to 1.
    """

    def __init__(self, every: timedelta, chance: Callable[[], float] = random.random) -> None:
        self._seconds = every.total_seconds()
        self._chance = chance

    def initial_delay(self) -> float:
        """Return the seconds from the start to the first round: up to a tenth of the interval."""
        return JITTER * self._seconds * self._chance()

    def next_delay(self) -> float:
        """Return the seconds from the start of a round to the next: 0.9 to 1.1 of the interval."""
        return self._seconds * (1 + JITTER * (2 * self._chance() - 1))


@contextmanager
def cancelled_by_sigterm() -> Iterator[CancellationToken]:
    """Handle SIGTERM by setting the token that the context yields.

    The handler raises nothing: Python drops an exception that arises in some places, such as a
    callback of the garbage collector, and then the signal would be lost.
    """
    cancellation = CancellationToken()
    if threading.current_thread() is not threading.main_thread():
        yield cancellation
        return

    def cancel(_number: int, _frame: FrameType | None) -> None:
        cancellation.set()

    previous = signal.signal(signal.SIGTERM, cancel)
    try:
        yield cancellation
    finally:
        signal.signal(signal.SIGTERM, previous)


def since_boot() -> float:
    """Return the seconds of a clock that counts while the machine sleeps, and that nobody can set.

    On Linux `time.monotonic` stops during sleep, and CLOCK_BOOTTIME does not. Elsewhere it is
    `time.monotonic`, which goes on during sleep on Windows, but not on macOS.
    """
    clock: int | None = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


def sleep_until(
    deadline: float,
    cancellation: CancellationToken,
    now: Callable[[], float] = since_boot,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Sleep until a deadline or a cancellation; if the machine sleeps past it, until it wakes up.

    It polls the token: an event has a lock, which a signal handler must not take.

    Args:
        deadline: in seconds of `now`; a past one returns at once.
        cancellation: ends the sleep.
        now: a clock, in seconds.
        sleep: sleeps for some seconds of that clock, or longer.
    """
    while not cancellation.is_set() and (remaining := deadline - now()) > 0:
        sleep(min(remaining, _SLEEP_SLICE))
