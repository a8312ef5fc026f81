"""The command `mirror sync`: which environments, how often, and what is told of it."""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from mirror import errors
from mirror.cli import log
from mirror.cli.exit_codes import exit_code, most_serious
from mirror.cli.options import (
    api_options,
    database_option,
    echo_status,
    environments_option,
    given_settings,
    options,
    parse_duration,
)
from mirror.cli.sync_output import output_errors_reported, write_result
from mirror.config import file as config
from mirror.config import settings
from mirror.config.resolver import SettingSources
from mirror.db.engine import create_engine

if TYPE_CHECKING:
    from mirror.cancellation import CancellationToken
    from mirror.cli.progress_bar import Board
    from mirror.config.environments import EnvironmentConfig
    from mirror.queries.results import Change
    from mirror.sync.run import Result

_round_options = options(
    click.option(
        "--jobs",
        type=click.IntRange(1, 64),
        default=1,
        show_default=True,
        metavar="N",
        help="Environments to sync at once.",
    ),
    click.option(
        "--every",
        type=parse_duration,
        metavar="TIME",
        help="Do it again and again, such as every 15m, until SIGTERM.",
    ),
)
_log_options = options(
    click.option("--quiet", is_flag=True, help="Say nothing when all is well."),
    click.option("-v", "--verbose", is_flag=True, help="Tell of each request and its time."),
    click.option(
        "--log-format",
        type=click.Choice(log.FORMATS),
        default=log.FORMATS[0],
        show_default=True,
        help="How lines on stderr are written.",
    ),
)


@dataclass(slots=True)
class _Round:
    """A round over environments, and what it came to.

    Attributes:
        jobs: environments to sync at once.
        upgrade, dry_run, accept_missing: as for `mirror.sync.run.sync`.
        as_json: print each result as JSON.
        drawn: show progress on the terminal.
        codes: the exit codes so far.
        changes: in a dry run, what the syncs would have changed.
    """

    jobs: int
    upgrade: bool
    dry_run: bool
    accept_missing: bool
    as_json: bool
    drawn: bool
    codes: list[int] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)


@click.command(epilog="Example: TALKOVER_TOKEN=talq_… mirror sync --database sqlite:///mirror.db")
@database_option
@environments_option
@api_options
@_round_options
@click.option("--no-upgrade", is_flag=True, help="Refuse an old schema instead of upgrading it.")
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@click.option(
    "--accept-missing",
    is_flag=True,
    help="Apply the list of one environment however many requests it lacks.",
)
@click.option("--json", "as_json", is_flag=True, help="Print each result as a line of JSON.")
@_log_options
def sync(
    database: str | None,
    config_file: str | None,
    names: tuple[str, ...],
    jobs: int,
    every: timedelta | None,
    quiet: bool,
    verbose: bool,
    log_format: str,
    as_json: bool,
    no_upgrade: bool,
    dry_run: bool,
    accept_missing: bool,
    **_api_options: str | None,
) -> int:
    """Make the mirror equal to the list of the API.

    Either the whole list is applied, in one transaction, or nothing is. Made for a scheduler:
    overlapping runs do no harm, and a run that finds nothing new costs next to nothing.

    All environments of the configuration file are synced, or those that are named; without a file
    it is one. One that fails does not stop the others.

    \b
    Exit codes: 0 done; 1 failed, nothing was changed; 2 wrong usage; 3 done, but
    records were newly quarantined; 4 too many requests would go missing;
    75 failed for now, try again later; 77 the API refused the token.
    Of several environments the most serious counts: 2, 77, 4, 1, 3, 75, 0.
    """
    if quiet and verbose:
        raise errors.UsageError("--quiet and --verbose contradict each other", hint="leave one out")
    if accept_missing and every:
        raise errors.UsageError(
            "--accept-missing with --every would switch the guard off for good",
            hint="run it once alone",
        )
    detail = (
        log.Verbosity.QUIET if quiet else log.Verbosity.VERBOSE if verbose else log.Verbosity.NORMAL
    )

    given = given_settings()

    def do(stopping: CancellationToken) -> int:
        """Do a round, with the settings as they are now."""
        from mirror.config.environments import resolve

        file = config.load(config_file)
        found = resolve(SettingSources(given, file), names)
        if len(found) == 1 and isinstance(found[0].api, errors.UsageError):
            raise found[0].api
        if accept_missing and len(found) > 1:
            raise errors.UsageError(
                "--accept-missing is for one environment at a time",
                hint="name it with --environment",
            )
        log.set_up(log_format, detail, with_environment=len(found) > 1)
        work = _Round(
            jobs=jobs,
            upgrade=not no_upgrade,
            dry_run=dry_run,
            accept_missing=accept_missing,
            as_json=as_json,
            drawn=log_format == "text" and not quiet and _may_draw(as_json=as_json),
        )
        return _do(work, settings.database_url(database, file=file), found, stopping)

    log.set_up(log_format, detail)
    from mirror.sync import scheduler

    with scheduler.cancelled_by_sigterm() as stopping:
        return _repeat(do, every, stopping) if every else do(stopping)


def _repeat(
    do: Callable[[CancellationToken], int], every: timedelta, stopping: CancellationToken
) -> int:
    """Do a round again and again, until somebody ends it."""
    from mirror.sync import scheduler

    interval, first = scheduler.Interval(every), True
    try:
        scheduler.sleep_until(scheduler.since_boot() + interval.initial_delay(), stopping)
        while not stopping.is_set():
            began = scheduler.since_boot()
            try:
                do(stopping)
            except errors.UsageError as error:
                if first:  # nobody has seen yet that it works
                    raise
                echo_status(str(error), logging.ERROR)
            except errors.MirrorError as error:
                echo_status(str(error), logging.ERROR)
            first = False
            gc.collect()  # it is put off for commands, which end soon
            scheduler.sleep_until(began + interval.next_delay(), stopping)
    except KeyboardInterrupt:
        pass
    return 0


def _do(
    work: _Round, url: str, targets: list[EnvironmentConfig], stopping: CancellationToken
) -> int:
    """Do a round; return its exit code."""
    from mirror.sync import scheduler
    from mirror.sync.run import Result, utc_now
    from mirror.sync.run import sync as run_sync

    engine = create_engine(url, create=work.upgrade)
    with _board(work) as board:

        def one(target: EnvironmentConfig, stopping: CancellationToken) -> Result:
            if isinstance(target.api, errors.UsageError):
                now = utc_now()
                return Result.of_failure(target.environment, target.api, now, now)
            return run_sync(
                engine,
                target.api,
                target.environment,
                cancellation=stopping,
                progress=board.begin(target.environment) if board else None,
                upgrade=work.upgrade,
                dry_run=work.dry_run,
                accept_missing=work.accept_missing,
            )

        with closing(scheduler.sync_all(targets, one, work.jobs, stopping)) as results:
            for result in results:
                work.codes.append(write_result(result, as_json=work.as_json))
                work.changes += result.changes
    if work.changes and not work.as_json:
        from mirror.cli.queries import write_changes

        with output_errors_reported():
            write_changes(work.changes, "table")
    if left_out := len(targets) - len(work.codes):
        echo_status(
            f"stopped by SIGTERM; {left_out} of {len(targets)} were not begun", logging.ERROR
        )
        work.codes.append(exit_code(errors.Stopped()))
    return most_serious(work.codes)


def _may_draw(*, as_json: bool) -> bool:
    """Tell whether stderr is a terminal, and nothing else is written to it meanwhile."""
    return sys.stderr.isatty() and not (as_json and sys.stdout.isatty())


def _board(work: _Round) -> AbstractContextManager[Board | None]:
    """Show progress, on a terminal."""
    if not work.drawn:
        return nullcontext()
    from mirror.cli.progress_bar import board

    return board(sys.stderr)
