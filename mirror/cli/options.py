"""What commands share: options, the forms of times, and how the mirror is opened."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mirror.cli import log
from mirror.config import file, settings
from mirror.db.engine import create_engine
from mirror.errors import MirrorError

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_LONGEST = timedelta(days=365 * 1000)
_F = TypeVar("_F", bound=Callable[..., Any])


def echo_status(sentence: str, level: int = logging.INFO) -> None:
    """Tell something to the person, on stderr."""
    log.notify(sentence, level)


def now() -> datetime:
    """Return the time of this machine's clock (UTC)."""
    return datetime.now(UTC)


def parse_time(text: str) -> datetime:
    """Read a point in time: an ISO 8601 date or time, in UTC unless it says so, or "7d" ago."""
    try:
        if (ago := _length(text)) is not None:
            return now() - ago
        time = datetime.fromisoformat(text)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(
            f"{text!r} is not a time; write 2024-01-31, 2024-01-31T14:30:00Z, or a time ago such "
            "as 24h or 7d"
        ) from error


def parse_duration(text: str) -> timedelta:
    """Read a length of time, such as "90s", "15m", "2h", "7d" or "4w"."""
    length = _length(text)
    if not length or length > _LONGEST:
        raise click.BadParameter(
            f"{text!r} is not a length of time; write a whole number and its unit, such as 90s, "
            "15m, 2h, 7d or 4w"
        )
    return length


def _length(text: str) -> timedelta | None:
    found = re.fullmatch(r"([0-9]{1,6})([smhdw])", text)
    return timedelta(**{_UNITS[found[2]]: int(found[1])}) if found else None


def options(*given: Callable[[_F], _F]) -> Callable[[_F], _F]:
    """Bundle options that several commands share."""

    def decorate(function: _F) -> _F:
        for one in reversed(given):
            function = one(function)
        return function

    return decorate


def _complete_environment(
    context: click.Context, _parameter: click.Parameter, begun: str
) -> list[str]:
    """Offer the environments of the configuration file."""
    try:
        known = file.load(context.params.get("config_file")).environments
    except MirrorError:
        return []
    return [name for name in known if name.startswith(begun)]


config_option = click.option(
    "--config",
    "config_file",
    type=click.Path(),
    metavar="PATH",
    help="Configuration file (TOML).  [MIRROR_CONFIG; default: config.toml in your configuration "
    "folder, if there is one]",
)
database_option = options(
    click.option(
        "--database",
        metavar="URL",
        help="sqlite:///PATH or postgresql://USER@HOST/NAME.  [MIRROR_DATABASE_URL; "
        "default: mirror.db in your data folder]",
    ),
    config_option,
)
api_options = options(
    click.option(
        "--base-url",
        metavar="URL",
        help=f"Base URL of the API.  [TALKOVER_BASE_URL; default: {settings.DEFAULT_BASE_URL}]",
    ),
    click.option(
        "--token-file",
        type=click.Path(),
        metavar="PATH",
        help="File that holds the API token.  [TALKOVER_TOKEN, TALKOVER_TOKEN_FILE]",
    ),
    click.option(
        "--rate", metavar="N", help="Requests allowed a minute.  [MIRROR_RATE; default: 100]"
    ),
    click.option(
        "--timeout",
        metavar="SECONDS",
        help="Silence allowed before a request is given up.  [MIRROR_TIMEOUT; default: 30]",
    ),
    click.option(
        "--deadline",
        metavar="SECONDS",
        help="Time allowed for the whole pull, waits included.  [MIRROR_DEADLINE; default: 900]",
    ),
    click.option(
        "--max-bytes",
        metavar="N",
        help="Size allowed for the whole list.  [MIRROR_MAX_BYTES; default: 1 GiB]",
    ),
)
environment_option = click.option(
    "--environment",
    metavar="NAME",
    shell_complete=_complete_environment,
    help="Only what belongs to this environment.  [MIRROR_ENVIRONMENT; default: all]",
)
environments_option = click.option(
    "--environment",
    "named",
    metavar="NAME",
    multiple=True,
    shell_complete=_complete_environment,
    help="Only this environment; may be repeated.  [MIRROR_ENVIRONMENT; default: all of the "
    "configuration file]",
)
format_option = click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="table is drawn on a terminal, and tab-separated in a pipe.",
)
region_option = click.option(
    "--region", metavar="CODE", help="Country of a national number, such as BR."
)
reading_options = options(environment_option, format_option, database_option)


def database_url(database: str | None, config_file: str | None) -> str:
    """Return the URL of the database that options, variables and the file name."""
    return settings.database_url(database, file=file.load(config_file))


def engine_of(database: str | None, config_file: str | None, *, create: bool = False) -> Engine:
    """Open the database."""
    return create_engine(database_url(database, config_file), create=create)


@contextmanager
def open_mirror(database: str | None, config_file: str | None) -> Iterator[Connection]:
    """Open the mirror for reading."""
    from mirror.queries import helpers

    with helpers.connect(database_url(database, config_file)) as connection:
        yield connection


def environment_filter(environment: str | None) -> str | None:
    """Return the environment to look at, or None for all."""
    if environment or os.environ.get("MIRROR_ENVIRONMENT"):
        return settings.environment_name(environment)
    return None
