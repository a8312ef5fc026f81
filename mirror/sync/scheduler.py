"""Many syncs: a round over environments, one after the other or side by side, and its repetition.

Environments have nothing in common but the database, where each has a lock of its own. So one that
fails leaves the others as they are.
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

Work = Callable[[EnvironmentConfig, CancellationToken], Result]
"""Syncs an environment, and ends early if it is told to stop."""

JITTER = 0.1
"""The part of an interval by which a round may begin earlier or later."""

_NAP = 0.25
"""Seconds, within which a pause ends when it is to stop, or when the machine wakes."""

logger = logging.getLogger(__name__)


def sync_all(
    targets: Sequence[EnvironmentConfig], work: Work, jobs: int, stopping: CancellationToken
) -> Generator[Result, None, None]:
    """Sync environments, and yield the results as they come; close it to end what has begun.

    Args:
        targets: what to sync.
        work: syncs one.
        jobs: how many at once. With one, all is done in the caller's thread.
        stopping: ends what has begun, and keeps the others from beginning.
    """
    if len(targets) == 1:
        yield work(targets[0], stopping)
    elif jobs > 1:
        yield from _side_by_side(targets, work, jobs, stopping)
    else:
        for target in targets:
            if not stopping.is_set():
                yield _isolated(target, work, stopping)


def _side_by_side(
    targets: Sequence[EnvironmentConfig], work: Work, jobs: int, stopping: CancellationToken
) -> Iterator[Result]:
    from concurrent.futures import ThreadPoolExecutor, as_completed

    def begin(target: EnvironmentConfig) -> Result | None:
        return None if stopping.is_set() else _isolated(target, work, stopping)

    with ThreadPoolExecutor(jobs, thread_name_prefix="mirror-sync") as pool:
        try:
            for future in as_completed([pool.submit(begin, target) for target in targets]):
                if (result := future.result()) is not None:
                    yield result
        except BaseException:
            stopping.set()  # what has begun ends as soon as it can, and is waited for
            raise


def _isolated(target: EnvironmentConfig, work: Work, stopping: CancellationToken) -> Result:
    """Sync an environment; a defect of ours that shows in one is no reason to leave out others."""
    started_at = utc_now()
    try:
        return work(target, stopping)
    except Exception as error:  # noqa: BLE001 (it is reported, and the others go on)
        said, traceback = str(error), format_exc()
        if not isinstance(target.api, MirrorError):
            said, traceback = (target.api.token.redact(text) for text in (said, traceback))
        logger.debug("%s", traceback)
        failure = MirrorError(
            f"unexpected {type(error).__name__}: {said}. This is a defect of mirror",
            hint="please report it with what `mirror sync -v` says",
        )
        return Result.of_failure(target.environment, failure, started_at, utc_now())


class Interval:
    """Decides when rounds begin, so that many schedulers that start together drift apart.

    Args:
        every: the interval.
        chance: returns a number from 0 up to 1.
    """

    def __init__(self, every: timedelta, chance: Callable[[], float] = random.random) -> None:
        self._seconds = every.total_seconds()
        self._chance = chance

    def first(self) -> float:
        """Return the seconds to wait for the first round: up to a tenth of the interval."""
        return JITTER * self._seconds * self._chance()

    def next(self, passed: float) -> float:
        """Return the seconds to wait for the next round; none if the last one took too long.

        Args:
            passed: seconds since the last one began.
        """
        interval = self._seconds * (1 + JITTER * (2 * self._chance() - 1))
        return max(0.0, interval - passed)


@contextmanager
def stopped_by_sigterm() -> Iterator[CancellationToken]:
    """Let SIGTERM stop what is done in the context.

    The handler raises nothing: an exception may come up where Python drops it, as in the callback
    of a garbage collection, and then nobody would ever know of the signal.
    """
    stopping = CancellationToken()
    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield stopping
    finally:
        signal.signal(signal.SIGTERM, before)


def since_boot() -> float:
    """Return seconds that go on while the machine sleeps, and that no setting of a clock moves.

    `time.monotonic` stands still meanwhile on Linux, which has another clock for this. It is used
    where there is no other: on Windows it goes on, on macOS it does not.
    """
    clock: int | None = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


def sleep_until(
    seconds: float,
    stopping: CancellationToken,
    now: Callable[[], float] = since_boot,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Wait, until it is to stop; not with an event, whose lock a signal handler must not take.

    A machine that sleeps meanwhile does not wait for longer: what came due is done on waking.

    Args:
        seconds: how long.
        stopping: ends it.
        now: a clock, in seconds.
        sleep: lets some of its seconds pass, or more.
    """
    ends = now() + seconds
    while not stopping.is_set() and (left := ends - now()) > 0:
        sleep(min(left, _NAP))
