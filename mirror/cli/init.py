"""`mirror init`: writes the settings of an environment, checks them, and prints a schedule."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from mirror.cli.doctor import BEFORE_FIRST_SYNC
from mirror.cli.log import notify
from mirror.cli.options import (
    base_url_option,
    database_option,
    environment_name_option,
    token_file_option,
)
from mirror.cli.questions import Questions
from mirror.config import file, settings
from mirror.config.sources import VARIABLES
from mirror.errors import UsageError
from mirror.files import absolute_path
from mirror.setup.installation import command_line, program

_OF_THE_SESSION = (
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)
"""Variables that change a sync, and that a scheduler does not have."""


@click.command(epilog="Example: mirror init --environment prod --token-file prod.token --yes")
@environment_name_option
@base_url_option
@token_file_option
@click.option(
    "--scheduler",
    type=click.Choice(["cron", "systemd"]),
    default="cron",
    show_default=True,
    help="Print lines for crontab -e, or a script that installs systemd units.",
)
@click.option("--yes", is_flag=True, help="Ask nothing: take the default of what is not given.")
@database_option
def init(
    environment: str | None,
    scheduler: str,
    yes: bool,
    config_file: str | None,
    **_given: str | None,
) -> int:
    """Set up an environment: write its settings, check them, schedule its syncs.

    Asks for each setting that is not given, and writes a configuration file, and files for the
    token and the password of Postgres, all of mode 600. An existing configuration file gets the
    environment added, and keeps all else. Then runs `mirror doctor`, and prints how to run
    `mirror sync` from a scheduler.

    The token is read from --token-file (which stays where it is; - is standard input), from
    TALKOVER_TOKEN, or from the terminal. --database also takes the path of a SQLite file.

    If the environment is in the file already, nothing is asked or written: it is only checked, and
    the schedule printed.
    """
    path = _config_path(config_file)
    configuration = _read(path)
    questions = Questions(path, configuration, defaults=yes)
    questions.require()
    name = questions.environment(environment)
    if name in configuration.environments:
        questions.require_same(name)
        notify(f"{name} is in {path} already, so nothing is written")
    else:
        from mirror.setup import new_environment

        new_environment.require_writable(path)
        for written in new_environment.add_environment(path, questions.new(name)):
            notify(f"wrote {written}")
    code = _check(path, name)
    if not code:
        _print_schedule(path, name, scheduler)
    return code


def _read(path: Path) -> file.Configuration:
    """Return the content of the configuration file.

    Raises:
        UsageError: it cannot be used; a variable that named it is named too.
    """
    from mirror.setup import new_environment

    try:
        return new_environment.read(path)
    except UsageError as error:
        source = click.get_current_context().get_parameter_source("config_file")
        if source is not ParameterSource.ENVIRONMENT:
            raise
        variable = VARIABLES["config_file"]
        raise UsageError(
            f"{error.message} (from the variable {variable}, which `mirror sandbox` and others "
            "set)",
            hint=f"unset it with `unset {variable}`, or name another file with --config",
        ) from error


def _config_path(option: str | None) -> Path:
    """Return the absolute path of the configuration file, which need not exist."""
    path = Path(option) if option else file.default_path()
    if path is None:
        raise UsageError(
            "there is no home folder for the configuration file",
            hint=f"name one with --config or {VARIABLES['config_file']}",
        )
    if not str(path).isprintable():  # a crontab has no escapes
        raise UsageError("the path of the configuration file holds invisible characters")
    return absolute_path(path)


def _check(path: Path, environment: str) -> int:
    """Run `mirror doctor` as a scheduler would see the settings; return its exit code."""
    root: Any = click.get_current_context().find_root().command
    notify(f"checking {environment}")
    with _without_settings(), redirect_stdout(sys.stderr):
        arguments = ["doctor", "--config", str(path), "--environment", environment]
        code = root.main(
            arguments, prog_name="mirror", standalone_mode=False, obj=BEFORE_FIRST_SYNC
        )
    if code:
        notify(
            "all is written, but a check failed; correct what it names, and run "
            + _again(path, environment),
            logging.ERROR,
        )
    return int(code or 0)


@contextmanager
def _without_settings() -> Iterator[None]:
    """Unset all variables of settings within the context: a scheduler does not have them."""
    unset = {name: os.environ.pop(name) for name in VARIABLES.values() if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(unset)


def _print_schedule(path: Path, environment: str, scheduler: str) -> None:
    """Print how to run syncs from a scheduler; on stdout only what it reads."""
    from mirror.setup import schedule

    words = program()
    notify(f"all is set; to sync now: {command_line('sync', *_config_option(path))}")
    if names := _of_the_session(path):
        notify(
            f"a scheduler does not have {', '.join(names)} of this session; if a sync takes them, "
            "set them there too",
            logging.WARNING,
        )
    if scheduler == "systemd":
        notify("to sync every 15 minutes, run these lines in a shell:")
        units = schedule.systemd_units(words, path, _user())
        click.echo(schedule.installing(units, as_root=not os.getuid()), nl=False)
        notify(
            'these units raise no alarm; docs/operations.md, "systemd", has a second service that '
            "fails if the mirror is stale, and an alarm for both"
        )
    else:
        notify("to sync every 15 minutes, add these lines with `crontab -e`:")
        click.echo(schedule.crontab(words, path), nl=False)
        notify(f"for systemd: {_again(path, environment)} --scheduler systemd")


def _of_the_session(path: Path) -> list[str]:
    """Return the variables of this session that may make a sync succeed here only."""
    from mirror.db.urls import parse_url

    database = parse_url(settings.database_url(file=file.load(str(path)), environ={}))
    is_postgres = database.get_backend_name() != "sqlite"
    return sorted(
        name
        for name in os.environ
        if name.upper() in _OF_THE_SESSION or (is_postgres and name.startswith("PG"))
    )


def _again(path: Path, environment: str) -> str:
    """Return the command that checks an environment again, and prints the schedule."""
    return command_line("init", *_config_option(path), "--environment", environment)


def _config_option(path: Path) -> list[str]:
    """Return the option that names the configuration file, unless all commands find it."""
    named = os.environ.get(VARIABLES["config_file"])
    is_found = path == (absolute_path(named) if named else file.default_path())
    return [] if is_found else ["--config", str(path)]


def _user() -> str:
    """Return the name of the user, or the number if it has no name."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
