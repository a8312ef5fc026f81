"""`mirror doctor`: writes the checks, and their summary with the failures first."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from mirror.cli.exit_codes import exit_code, most_serious
from mirror.cli.log import notify
from mirror.cli.options import (
    api_options,
    database_option,
    environments_option,
    format_option,
    given_settings,
    now,
)
from mirror.config import file as config
from mirror.config.resolver import SettingSources
from mirror.text import plural

if TYPE_CHECKING:
    from mirror.doctor.checks import Check


BEFORE_FIRST_SYNC = "before the first sync"
"""The context's object with which `mirror init` runs the command."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of a check.

    Attributes:
        state: "ok", "warning" or "failed".
        check: what was checked.
        environment: the environment that it concerns, or None.
        found: the finding.
        advice: what to do about it, or None if there is nothing to do.
        exit_code: that with which a sync would fail; 0 unless the check failed.
    """

    state: str
    check: str
    environment: str | None
    found: str
    advice: str | None
    exit_code: int


@click.command(epilog="Example: mirror doctor --environment prod")
@environments_option
@api_options
@format_option
@database_option
def doctor(
    names: tuple[str, ...],
    output_format: str,
    config_file: str | None,
    **_settings: str | None,
) -> int:
    """Check everything that a sync needs.

    Settings and their sources, the database, disk space, the API and its token, the clock, the
    list, the last runs and the quarantine: one line each, with advice. The list is read as a sync
    reads it, so this takes as long. Nothing is changed. The summary at the end repeats failures and
    warnings; in a pipe it is on stderr, if there are any.

    The environments of the configuration file are checked, or those of --environment; without
    either, all that were ever synced are named. The exit code is that of the most serious failure;
    warnings do not count.
    """
    from mirror.cli import output
    from mirror.doctor.run import Doctor

    running = Doctor(
        SettingSources(given_settings(), config.load(config_file)),
        names,
        now,
        before_first_sync=click.get_current_context().obj == BEFORE_FIRST_SYNC,
    )
    checks: list[Check] = []
    if output_format == "table" and sys.stdout.isatty():
        for check in running.checks():
            checks.append(check)
            _write_check(check)
        _write_summary(checks)
    else:
        checks.extend(running.checks())
        output.write_rows(list(map(_result, checks)), CheckResult, output_format, sys.stdout)
        _log_summary(checks)
    return most_serious(exit_code(error) for error in running.failures)


def _result(check: Check) -> CheckResult:
    return CheckResult(
        state=check.state,
        check=check.check,
        environment=check.environment,
        found=check.found,
        advice=check.advice,
        exit_code=0 if check.error is None else exit_code(check.error),
    )


def _write_check(check: Check) -> None:
    """Write a check to the terminal, folded to its width."""
    from mirror.cli import output

    output.wrap(f"{check.state:8} {_line(check)}", sys.stdout, indent=9, state=check.state)


def _write_summary(checks: Sequence[Check]) -> None:
    """Write to the terminal how many checks failed, and again which."""
    click.echo(f"\n{_count(checks)}")
    for check in _unsuccessful(checks):
        _write_check(check)


def _log_summary(checks: Sequence[Check]) -> None:
    """Log how many checks failed, and which, unless all are ok."""
    from mirror.doctor.checks import State

    if unsuccessful := _unsuccessful(checks):
        levels = {State.FAILED: logging.ERROR, State.WARNING: logging.WARNING}
        notify(_count(checks), levels[unsuccessful[0].state])
        for check in unsuccessful:
            notify(f"{check.state}: {_line(check)}", levels[check.state])


def _line(check: Check) -> str:
    prefix = f"{check.environment}: " if check.environment else ""
    advice = f". {check.advice[0].upper()}{check.advice[1:]}" if check.advice else ""
    return f"{prefix}{check.check}: {check.found}{advice}"


def _unsuccessful(checks: Sequence[Check]) -> list[Check]:
    """Return the checks that failed, and then those with a warning."""
    from mirror.doctor.checks import State

    return [
        check for state in (State.FAILED, State.WARNING) for check in checks if check.state is state
    ]


def _count(checks: Sequence[Check]) -> str:
    """Return how many checks have each state, such as "2 failures, 1 warning, 31 ok"."""
    from mirror.doctor.checks import State

    counts = {state: sum(check.state is state for check in checks) for state in State}
    failures, warnings = counts[State.FAILED], counts[State.WARNING]
    parts = [plural(failures, "failure") if failures else "no failures"]
    parts += [plural(warnings, "warning")] if warnings else []
    return ", ".join([*parts, f"{counts[State.OK]:,} ok"])
