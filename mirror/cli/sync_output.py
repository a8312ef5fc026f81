"""The output of a sync: a line for a person on stderr, JSON for programs on stdout."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
import msgspec

from mirror.cli.exit_codes import EXIT_NEWLY_QUARANTINED, exit_code
from mirror.cli.log import notify
from mirror.cli.stdout import OutputFailed
from mirror.text import plural

if TYPE_CHECKING:
    from mirror.db.runs import Outcome
    from mirror.sync.run import Result


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

    fields = _fields(result)
    if as_json:
        with report_output_errors():
            click.echo(output.json_line(fields))
    if result.failure is not None:
        code, level, message = exit_code(result.failure), logging.ERROR, str(result.failure)
    elif result.outcome == "applied" and result.counts.newly_quarantined:
        code, level = EXIT_NEWLY_QUARANTINED, logging.WARNING
        message = f"{summary(result)}; `mirror quarantine` shows the records"
    else:
        code, level, message = 0, logging.INFO, summary(result)
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
        f"{plural(environments, 'environment')}: {counted}; {_duration(seconds)}",
        round_fields={
            "environments": environments,
            **counts,
            "seconds": round(seconds, 3),
            "exit_code": exit_code,
        },
    )


def _duration(seconds: float) -> str:
    text = f"{seconds:.1f}"
    return "< 0.1 s" if text == "0.0" else f"{text} s"


def summary(result: Result) -> str:
    """Return one line on what a sync did."""
    duration = _duration(result.seconds)
    if result.outcome == "superseded":
        return f"superseded: another sync completed meanwhile, nothing was applied; {duration}"
    counts = result.counts
    labelled = {
        "new": counts.inserted,
        "updated": counts.updated,
        "missing": counts.missing,
        "returned": counts.returned,
        "quarantined": counts.quarantined,
        "duplicates": counts.duplicates,
    }
    changed = "".join(f", {count:,} {label}" for label, count in labelled.items() if count)
    outcome = result.outcome.replace("_", " ")
    return f"{outcome}: {counts.fetched:,} in the list{changed}; {duration}"


def _fields(result: Result) -> dict[str, Any]:
    """Return the fields of the JSON object of a sync."""
    from mirror.cli import output

    counts = msgspec.structs.asdict(result.counts)
    del counts["newly_quarantined"]
    return {
        "run_id": result.run_id,
        "environment": result.environment,
        "outcome": result.outcome,
        **counts,
        "pages": result.pages,
        "bytes": result.bytes,
        "seconds": result.seconds,
        "started_at": output.to_text(result.started_at),
        "finished_at": output.to_text(result.finished_at),
        "error": None if result.failure is None else str(result.failure),
    }
