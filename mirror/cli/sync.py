"""`mirror sync`: which environments to sync, how often, and the options of both."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING

import click
import msgspec

from mirror import errors
from mirror.cli import log
from mirror.cli.exit_codes import exit_code, most_serious
from mirror.cli.log import Verbosity, notify
from mirror.cli.options import (
    DURATION,
    api_options,
    database_option,
    environments_option,
    given_settings,
    options,
    shard_option,
)
from mirror.cli.sync_output import report_output_errors, write_result, write_round
from mirror.config import file as config
from mirror.config import settings
from mirror.config.resolver import SettingSources
from mirror.config.sources import VARIABLES
from mirror.text import format_seconds, plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import Engine

    from mirror.cancellation import CancellationToken
    from mirror.cli.progress_bar import ProgressBars
    from mirror.config.environments import EnvironmentConfig, Shard
    from mirror.config.sources import ResolvedSetting
    from mirror.sync.run import Result

_scheduling_options = options(
    click.option(
        "--jobs",
        type=click.IntRange(1, 64),
        default=1,
        show_default=True,
        metavar="N",
        help="Environments to sync in parallel.",
    ),
    click.option(
        "--every",
        type=DURATION,
        help="Repeat at this interval, such as 15m, until SIGTERM.",
    ),
)
_log_options = options(
    click.option("--quiet", is_flag=True, help="Print only warnings and errors."),
    click.option("-v", "--verbose", is_flag=True, help="Log each HTTP request."),
    click.option(
        "--log-format",
        type=click.Choice(log.FORMATS),
        default=log.FORMATS[0],
        show_default=True,
        help="Log format.",
    ),
)


class _Sync(msgspec.Struct, frozen=True):
    """The options of `mirror sync`.

    Attributes:
        database, config_file: values of these options, or of their variables; None if not given.
        given: settings from options and variables, by name.
        names: environments to sync; if empty, all of the configuration file.
        shard: the share of the file to sync; None for all of it.
        jobs: environments to sync in parallel.
        upgrade, dry_run, accept_missing, accept_base_url: as for `mirror.sync.run.sync`.
        as_json: print each result as JSON.
        on_change: command to run when something has changed.
        log_format: one of `log.FORMATS`.
        verbosity: which lines are logged.
    """

    database: str | None
    config_file: str | None
    given: dict[str, ResolvedSetting]
    names: tuple[str, ...]
    shard: Shard | None
    jobs: int
    upgrade: bool
    dry_run: bool
    accept_missing: bool
    accept_base_url: bool
    as_json: bool
    on_change: str | None
    log_format: str
    verbosity: Verbosity

    def run(self, cancellation: CancellationToken) -> int:
        """Sync all environments once, with the settings of now; return the exit code."""
        from mirror.config.environments import resolve

        file = config.load(self.config_file)
        environments = resolve(SettingSources(self.given, file), self.names, self.shard)
        # A shard is one of several environments by chance, so it is treated like several.
        is_single = len(environments) == 1 and self.shard is None
        if is_single and isinstance(environments[0].api, errors.UsageError):
            raise environments[0].api
        if self.accept_missing and not is_single:
            raise errors.UsageError(
                "--accept-missing is for one environment at a time",
                hint="name it with --environment",
            )
        log.set_up(self.log_format, self.verbosity, with_environment=not is_single)
        if not environments:
            notify(
                f"shard {self.shard} has none of the "
                f"{plural(len(file.environments), 'environment')} of {file.path}"
            )
            return 0
        from mirror.db.engine import create_engine

        url = settings.database_url(self.database, file=file)
        engine = create_engine(url, create=self.upgrade and not self.dry_run)
        began = time.monotonic()
        results, codes = self._sync_all(engine, environments, cancellation)
        changes = [change for result in results for change in result.changes]
        if changes and not self.as_json:
            from mirror.cli.changes import write_changes

            with report_output_errors():
                write_changes(changes, "table")
        if self.on_change and not self.dry_run:
            from mirror.cli import change_hook

            variables = _without_tokens(file, environments)
            change_hook.run(self.on_change, results, engine, variables, cancellation)
        if skipped := len(environments) - len(codes):
            notify(
                f"stopped by SIGTERM; {skipped} of {len(environments)} were not begun",
                logging.ERROR,
            )
            codes.append(exit_code(errors.Stopped()))
        code = most_serious(codes)
        if len(environments) > 1 and not self.as_json:
            outcomes = [result.outcome for result in results]
            write_round(outcomes, len(environments), time.monotonic() - began, code)
        return code

    def _sync_all(
        self,
        engine: Engine,
        environments: Sequence[EnvironmentConfig],
        cancellation: CancellationToken,
    ) -> tuple[list[Result], list[int]]:
        """Sync environments; return the results of those that were begun, and their exit codes."""
        from mirror.db.commands import mirror_options
        from mirror.sync import scheduler
        from mirror.sync.run import Result, utc_now
        from mirror.sync.run import sync as sync_environment

        all_results: list[Result] = []
        codes: list[int] = []
        with self._progress_bars() as bars:

            def sync_one(environment: EnvironmentConfig, cancellation: CancellationToken) -> Result:
                if isinstance(environment.api, errors.UsageError):
                    now = utc_now()
                    return Result.of_failure(environment.environment, environment.api, now, now)
                return sync_environment(
                    engine,
                    environment.api,
                    environment.environment,
                    cancellation=cancellation,
                    progress=bars.add(environment.environment) if bars else None,
                    upgrade=self.upgrade,
                    dry_run=self.dry_run,
                    accept_missing=self.accept_missing,
                    accept_base_url=self.accept_base_url,
                    options=mirror_options(self.given),
                )

            with closing(
                scheduler.sync_all(environments, sync_one, self.jobs, cancellation)
            ) as results:
                for result in results:
                    codes.append(write_result(result, as_json=self.as_json))
                    all_results.append(result)
        return all_results, codes

    def _progress_bars(self) -> AbstractContextManager[ProgressBars | None]:
        """Show progress if stderr is a terminal, and nothing else is written to it meanwhile."""
        if (
            self.log_format != "text"
            or self.verbosity is Verbosity.QUIET
            or not sys.stderr.isatty()
            or (self.as_json and sys.stdout.isatty())
        ):
            return nullcontext()
        from mirror.cli import progress_bar

        return progress_bar.progress_bars(sys.stderr)


@click.command(epilog="Example: TALKOVER_TOKEN=talq_… mirror sync --database sqlite:///mirror.db")
@database_option
@environments_option
@shard_option
@api_options
@_scheduling_options
@click.option("--no-upgrade", is_flag=True, help="Refuse an old schema instead of upgrading it.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Show what a sync would change, and change nothing. Needs a mirror, and the rights of a "
    "sync.",
)
@click.option(
    "--accept-missing",
    is_flag=True,
    help="Apply the list of one environment, whatever is missing or unreadable.",
)
@click.option(
    "--accept-base-url",
    is_flag=True,
    help="Sync although the last complete sync used another base URL: the API has moved.",
)
@click.option(
    "--on-change",
    metavar="COMMAND",
    help="Run this by the shell after a sync that changed something, with the changes as JSON on "
    "its standard input.",
)
@click.option("--json", "as_json", is_flag=True, help="Print each result as a line of JSON.")
@_log_options
def sync(
    database: str | None,
    config_file: str | None,
    names: tuple[str, ...],
    shard: Shard | None,
    jobs: int,
    every: timedelta | None,
    quiet: bool,
    verbose: bool,
    log_format: str,
    on_change: str | None,
    as_json: bool,
    no_upgrade: bool,
    dry_run: bool,
    accept_missing: bool,
    accept_base_url: bool,
    **_api_options: str | None,
) -> int:
    """Fetch the list and update the mirror.

    Each run applies the complete list in one transaction, or changes nothing. It is made for a
    scheduler: overlapping runs do no harm, and a run that finds nothing new takes a fraction of a
    second.

    All environments of the configuration file are synced, those of --environment, or those of
    --shard, for several processes that divide the file; without a file there is one environment. If
    one fails, the others are synced all the same.

    \b
    Exit codes: 0 done; 1 failed, nothing was changed; 2 wrong usage; 3 done, but
    records were newly quarantined; 4 too many requests would go missing or
    became unreadable, or token or base URL are not those of the environment; 75
    failed for now, try again later; 77 the API refused the token.
    Of several environments the most serious counts: 2, 77, 4, 1, 3, 75, 0.
    """
    if quiet and verbose:
        raise errors.UsageError("--quiet and --verbose contradict each other", hint="leave one out")
    for option, given in (
        ("--accept-missing", accept_missing),
        ("--accept-base-url", accept_base_url),
    ):
        if given and every:
            raise errors.UsageError(
                f"{option} with --every would switch the guard off for good",
                hint="run it once alone",
            )
    if dry_run and every:
        raise errors.UsageError(
            "--dry-run with --every would never update the mirror", hint="run it once alone"
        )
    if on_change is not None and not on_change.strip():
        raise errors.UsageError("--on-change is empty", hint="give it a command, or leave it out")
    verbosity = Verbosity.QUIET if quiet else Verbosity.VERBOSE if verbose else Verbosity.NORMAL
    work = _Sync(
        database=database,
        config_file=config_file,
        given=given_settings(),
        names=names,
        shard=shard,
        jobs=jobs,
        upgrade=not no_upgrade,
        dry_run=dry_run,
        accept_missing=accept_missing,
        accept_base_url=accept_base_url,
        as_json=as_json,
        on_change=on_change,
        log_format=log_format,
        verbosity=verbosity,
    )
    log.set_up(log_format, verbosity)
    from mirror.sync import scheduler

    with scheduler.cancelled_by_sigterm() as cancellation:
        return _repeat(work.run, every, cancellation) if every else work.run(cancellation)


def _without_tokens(
    file: config.Configuration, environments: Sequence[EnvironmentConfig]
) -> dict[str, str]:
    """Return the environment variables for a command of the user: those that hold no token."""
    names = {
        table["token_env"].text for table in file.environments.values() if "token_env" in table
    }
    tokens = [
        environment.api.token
        for environment in environments
        if not isinstance(environment.api, errors.UsageError)
    ]
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(VARIABLES["token"])
        and name not in names
        and all(token.redact(value) == value for token in tokens)
    }


def _repeat(
    run: Callable[[CancellationToken], int], every: timedelta, cancellation: CancellationToken
) -> int:
    """Sync at an interval, until SIGTERM or Ctrl-C."""
    from mirror.db import revisions
    from mirror.sync import scheduler

    revisions.known()  # before a newer version can be installed over this process
    interval, is_first = scheduler.Interval(every), True
    try:
        delay = interval.initial_delay()
        notify(f"first sync in {format_seconds(delay)}")
        scheduler.sleep_until(scheduler.since_boot() + delay, cancellation)
        while not cancellation.is_set():
            began = scheduler.since_boot()
            try:
                run(cancellation)
            except errors.MirrorError as error:
                # A usage error ends the first round: the settings have never worked yet.
                if is_first and isinstance(error, errors.UsageError):
                    raise
                notify(str(error), logging.ERROR)
            is_first = False
            scheduler.sleep_until(began + interval.next_delay(), cancellation)
    except KeyboardInterrupt:
        pass
    return 0
