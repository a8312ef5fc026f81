"""`mirror sync --on-change`: run a command after a sync that changed something.

The command gets the changes as a JSON object on its standard input. Its failure is logged, and
changes nothing of the sync.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from threading import Thread
from time import monotonic, sleep
from typing import IO, TYPE_CHECKING, Any

import msgspec

from mirror.cli.log import notify
from mirror.errors import MirrorError

if TYPE_CHECKING:
    from io import BufferedReader

    from sqlalchemy.engine import Engine

    from mirror.cancellation import CancellationToken
    from mirror.sync.run import Result

TIME_LIMIT = 60.0
"""Seconds that a command may take."""

MAX_ROWS = 1000
"""Rows in each list of the input."""

MAX_BYTES = 1024 * 1024
"""Size of each list of the input."""

_GRACE = 5.0
"""Seconds from SIGTERM to SIGKILL."""

_GRACE_POLL = 0.05
"""Seconds between two looks whether all processes have ended."""

_POLL = 0.1
"""Seconds; within this time the end of the command's time, or of `mirror`, is noticed."""

_MAX_LINES = 100
"""Lines of the command's output that are logged."""

_MAX_LINE_LENGTH = 1000
_BLOCK_SIZE = 64 * 1024


def run(
    command: str,
    results: Sequence[Result],
    engine: Engine,
    variables: Mapping[str, str],
    cancellation: CancellationToken,
) -> None:
    """Run a command once, if a sync changed something; log how it fails.

    Args:
        command: for the shell.
        results: of the syncs of a round.
        engine: the mirror's database.
        variables: its environment variables.
        cancellation: ends the command.
    """
    changed = [result for result in results if _has_changed(result)]
    if not changed:
        return
    if cancellation.is_set():
        _report("the command of --on-change was not run: stopped by SIGTERM")
        return
    try:
        payload = _payload(changed, engine)
    except MirrorError as error:
        _report(f"the command of --on-change was not run: {error}")
        return
    _execute(command, payload, variables, cancellation)


def _has_changed(result: Result) -> bool:
    """Return whether a sync changed requests or the quarantine."""
    counts = result.counts
    return result.outcome == "applied" and any(
        (
            counts.inserted,
            counts.updated,
            counts.missing,
            counts.returned,
            counts.newly_quarantined,
        )
    )


def _payload(results: Sequence[Result], engine: Engine) -> bytes:
    """Return the input of the command: one line of JSON."""
    from mirror.cli.output import json_line, json_object
    from mirror.cli.sync_output import result_fields
    from mirror.db.engine import read_transaction
    from mirror.queries import seen

    ids = [result.run_id for result in results if result.run_id is not None]
    with read_transaction(engine) as connection:
        changes = seen.changes_of_runs(connection, ids, MAX_ROWS)
        requests = seen.new_requests_of_runs(connection, ids, MAX_ROWS)

    def row(row: object) -> str:
        return json_line(json_object(row))

    lists = {
        "runs": (
            (json_line(result_fields(result)) for result in results[:MAX_ROWS]),
            len(results),
        ),
        "changes": (map(row, changes.rows), changes.total),
        "new_requests": (map(row, requests.rows), requests.total),
    }
    payload: dict[str, Any] = {}
    omitted = {}
    for name, (lines, total) in lists.items():
        payload[name] = _bounded(lines)
        omitted[name] = total - len(payload[name])
    return msgspec.json.encode(payload | {"omitted": omitted}) + b"\n"


def _bounded(lines: Iterable[str]) -> list[msgspec.Raw]:
    """Return the first lines of JSON, as many as the limit of the size allows."""
    kept, size = [], 0
    for line in lines:
        encoded = line.encode()
        size += len(encoded)
        if size > MAX_BYTES:
            break
        kept.append(msgspec.Raw(encoded))
    return kept


def _execute(
    command: str, payload: bytes, variables: Mapping[str, str], cancellation: CancellationToken
) -> None:
    """Run the command in a session of its own; log its output and its failure."""
    began = monotonic()
    try:
        process = subprocess.Popen(  # noqa: S602 (as cron runs commands; only the user writes it)
            command,
            shell=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=variables,
            start_new_session=True,
        )
    except OSError as error:
        _report(f"the command of --on-change could not be started ({error.strerror})")
        return
    assert process.stdin is not None
    assert process.stdout is not None
    last_line: deque[str] = deque(maxlen=1)
    Thread(target=_feed, args=(process.stdin, payload), daemon=True).start()
    reader = Thread(target=_log_output, args=(process.stdout, last_line), daemon=True)
    reader.start()
    ending = None
    try:
        while ending is None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_POLL)
                break
            if cancellation.is_set():
                ending = "was ended: stopped by SIGTERM"
            elif monotonic() - began > TIME_LIMIT:
                ending = f"was ended: it took longer than {TIME_LIMIT:.0f} s"
    except KeyboardInterrupt:
        _report("the command of --on-change is interrupted; what was synced is in the mirror")
        raise
    finally:
        if process.returncode is None:
            _terminate(process)
    reader.join(_POLL * 10)  # not longer: a process that it left behind may hold the pipe
    if ending is None and process.returncode:
        ending = _failure(process.returncode)
    if ending:
        words = f" ({last_line[0]})" if last_line else ""
        _report(
            f"the command of --on-change {ending}{words}",
            exit_code=process.returncode,
            seconds=round(monotonic() - began, 3),
        )


def _feed(stream: IO[bytes], payload: bytes) -> None:
    """Write the input; a command need not read it."""
    with suppress(OSError):
        stream.write(payload)
    with suppress(OSError):
        stream.close()


def _log_output(stream: BufferedReader, last_line: deque[str]) -> None:
    """Log the first lines of the output, each free of control characters; read all of it."""
    with stream:
        for line in islice(iter(lambda: stream.readline(_MAX_LINE_LENGTH), b""), _MAX_LINES):
            if text := line.decode(errors="replace").strip():
                last_line.append(text)
                notify(f"on-change: {text}")
        tail = b""
        while block := stream.read1(_BLOCK_SIZE):
            tail = (tail + block).rstrip()[-_MAX_LINE_LENGTH:]
            if text := tail.decode(errors="replace").rpartition("\n")[2].strip():
                last_line.append(text)


def _terminate(process: subprocess.Popen[bytes]) -> None:
    """End a command and what it has started: by SIGTERM, and after a while by SIGKILL."""
    if not hasattr(os, "killpg"):  # Windows
        process.kill()
        process.wait()
        return
    try:
        is_running = _signal(process, signal.SIGTERM)
        for _ in range(round(_GRACE / _GRACE_POLL)):
            if not is_running:
                break
            sleep(_GRACE_POLL)
            process.poll()  # one that has ended is in its group until then
            is_running = _signal(process, 0)
    finally:  # also after a second Ctrl-C
        _signal(process, signal.SIGKILL)
        process.wait()


def _signal(process: subprocess.Popen[bytes], number: int) -> bool:
    """Send a signal to all processes of a command; return whether there are any."""
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _failure(code: int) -> str:
    """Say how a command failed."""
    if code > 0:
        return f"failed with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _report(message: str, **fields: Any) -> None:
    notify(message, logging.ERROR, on_change=fields or None)
