"""What is told of a sync: to a person on stderr, to a program on stdout."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from mirror.cli import log
from mirror.cli.exit_codes import EXIT_NEWLY_QUARANTINED, exit_code
from mirror.cli.options import echo_status
from mirror.cli.stdout import OutputFailed

if TYPE_CHECKING:
    from mirror.sync.run import Result


@contextmanager
def output_errors_reported() -> Iterator[None]:
    """Write results. What was done is done: if they cannot be written, its exit code stands."""
    try:
        yield
        sys.stdout.flush()
    except OutputFailed as error:
        sys.stdout = sys.stderr
        if not error.unread:
            echo_status(f"the result could not be written ({error.reason})", logging.ERROR)


def write_result(result: Result, *, as_json: bool) -> int:
    """Tell what a sync did: on stdout what was asked for, on stderr what is for the person."""
    from mirror.cli import output

    fields = _fields(result)
    if as_json:
        with output_errors_reported():
            click.echo(output.json_line(fields))
    if result.failure is not None:
        code, level, sentence = exit_code(result.failure), logging.ERROR, str(result.failure)
    elif result.outcome == "applied" and result.counts.newly_quarantined:
        code, level = EXIT_NEWLY_QUARANTINED, logging.WARNING
        sentence = f"{summary(result)}; `mirror quarantine` shows what could not be understood"
    else:
        code, level, sentence = 0, logging.INFO, summary(result)
    if result.failure is not None or not as_json:
        log.notify(sentence, level, environment=result.environment, run=fields)
    return code


def summary(result: Result) -> str:
    """Say in one line what a sync did."""
    counts = result.counts
    did = {
        "new": counts.inserted,
        "updated": counts.updated,
        "missing": counts.missing,
        "returned": counts.returned,
        "quarantined": counts.quarantined,
        "duplicates": counts.duplicates,
    }
    told = ", ".join(f"{number:,} {what}" for what, number in did.items() if number)
    head = f"{result.outcome.replace('_', ' ')}: {counts.fetched:,} in the list"
    return f"{head}{', ' + told if told else ''}; {result.seconds:.1f} s"


def _fields(result: Result) -> dict[str, Any]:
    """Return what programs are told of a sync."""
    from mirror.cli import output

    counts = asdict(result.counts)
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
