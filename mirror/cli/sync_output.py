"""The output of a sync: a line for a person on stderr, JSON for programs on stdout."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click
import msgspec

from mirror.cli.exit_codes import EXIT_NEWLY_QUARANTINED, exit_code
from mirror.cli.log import notify
from mirror.cli.stdout import OutputFailed
from mirror.text import format_seconds, plural

if TYPE_CHECKING:
    from mirror.db.runs import Counts, Outcome
    from mirror.queries.results import SyncRun
    from mirror.sync.run import Result


@dataclass(frozen=True, slots=True)
class SyncResult:
    """The result of a sync, as `--json` prints it, and `--log-format json` in `run`.

    Attributes:
        run_id: number of the run (`sync_runs.id`), or None if it is not on record: it could not be
            put there, or is a dry run.
        environment: name of the environment.
        outcome: "applied", "unchanged", "superseded", "refused", "failed" or "dry_run".
        fetched: entries of the list.
        inserted: requests seen for the first time.
        updated: requests with a new version because a field changed.
        unchanged: requests with a valid entry and without a change in a known field.
        missing: requests newly missing from the list.
        returned: missing requests that were in the list again.
        quarantined: invalid entries of the list.
        duplicates: entries equal to another entry with the same id.
        pages: list responses read, repeated reads included.
        bytes: their size in bytes, decompressed.
        seconds: duration of the run.
        started_at, finished_at: start and end of the run (UTC, local clock).
        error: why the run failed or was refused, or None.
        exit_code: that of a sync of this environment alone.
    """

    run_id: int | None
    environment: str
    outcome: str
    fetched: int
    inserted: int
    updated: int
    unchanged: int
    missing: int
    returned: int
    quarantined: int
    duplicates: int
    pages: int
    bytes: int
    seconds: float
    started_at: datetime
    finished_at: datetime
    error: str | None
    exit_code: int


@contextmanager
def report_output_errors() -> Iterator[None]:
    """Log that a result cannot be written; the exit code remains that of the sync."""
    try:
        yield
        sys.stdout.flush()
    except OutputFailed as error:
        sys.stdout = sys.stderr
        if not error.reader_closed:
            notify(f"the result could not be written ({error.reason})", logging.ERROR)


def write_result(result: Result, *, as_json: bool) -> int:
    """Write the result of a sync; return its exit code."""
    from mirror.cli import output

    fields, code = result_fields(result), _exit_code(result)
    if as_json:
        with report_output_errors():
            click.echo(output.json_line(fields))
    if result.failure is not None:
        level, message = logging.ERROR, str(result.failure)
    elif code == EXIT_NEWLY_QUARANTINED:
        level = logging.WARNING
        message = f"{summary(result)}; `mirror quarantine` shows the records"
    else:
        level, message = logging.INFO, summary(result)
    if result.failure is not None or not as_json:
        notify(message, level, environment=result.environment, run=fields)
    return code


_OUTCOMES = ("applied", "unchanged", "dry_run", "superseded", "failed", "refused")
"""In the order in which a round counts them: what needs somebody comes last."""


def write_round(
    outcomes: Sequence[Outcome], environments: int, seconds: float, exit_code: int
) -> None:
    """Log how the syncs of several environments ended.

    Args:
        outcomes: of those that were begun.
        environments: number of all.
        seconds: duration of the round.
        exit_code: the most serious one.
    """
    counts = {outcome: sum(each == outcome for each in outcomes) for outcome in _OUTCOMES}
    counts["not_begun"] = environments - len(outcomes)
    labels = {"dry_run": "dry run" if counts["dry_run"] == 1 else "dry runs"}
    counted = ", ".join(
        f"{count:,} {labels.get(outcome, outcome.replace('_', ' '))}"
        for outcome, count in counts.items()
        if count
    )
    notify(
        f"{plural(environments, 'environment')}: {counted}; {format_seconds(seconds)}",
        round_fields={
            "environments": environments,
            **counts,
            "seconds": round(seconds, 3),
            "exit_code": exit_code,
        },
    )


def summary(result: Result) -> str:
    """Return one line on what a sync did."""
    duration = format_seconds(result.seconds)
    if result.outcome == "superseded":
        return f"superseded: another sync completed meanwhile, nothing was applied; {duration}"
    outcome = result.outcome.replace("_", " ")
    counted = ", ".join([f"{result.counts.fetched:,} in the list", *counts_of(result.counts)])
    return f"{outcome}: {counted}; {duration}"


def counts_of(run: Counts | SyncRun) -> list[str]:
    """Return what a run did, such as "2 new" and "1 updated"."""
    labelled = {
        "new": run.inserted,
        "updated": run.updated,
        "missing": run.missing,
        "returned": run.returned,
        "quarantined": run.quarantined,
        "duplicates": run.duplicates,
    }
    return [f"{count:,} {label}" for label, count in labelled.items() if count]


def result_fields(result: Result) -> dict[str, Any]:
    """Return the fields of the JSON object of a sync."""
    from mirror.cli import output

    counts = msgspec.structs.asdict(result.counts)
    del counts["newly_quarantined"]
    return output.json_object(
        SyncResult(
            run_id=result.run_id,
            environment=result.environment,
            outcome=result.outcome,
            **counts,
            pages=result.pages,
            bytes=result.bytes,
            seconds=result.seconds,
            started_at=result.started_at,
            finished_at=result.finished_at,
            error=None if result.failure is None else str(result.failure),
            exit_code=_exit_code(result),
        )
    )


def _exit_code(result: Result) -> int:
    if result.failure is not None:
        return exit_code(result.failure)
    is_newly_quarantined = result.outcome == "applied" and result.counts.newly_quarantined
    return EXIT_NEWLY_QUARANTINED if is_newly_quarantined else 0
