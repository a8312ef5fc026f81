"""Options that commands share, types of parameters, and opening the mirror."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mirror.config import file, settings
from mirror.errors import MirrorError

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_MAX_DURATION = timedelta(days=365 * 1000)
_F = TypeVar("_F", bound=Callable[..., Any])


def now() -> datetime:
    """Return the time of this machine's clock (UTC)."""
    return datetime.now(UTC)


def _parse_duration(text: str) -> timedelta | None:
    match = re.fullmatch(r"([0-9]{1,6})([smhdw])", text)
    return timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else None


class Time(click.ParamType):  # type: ignore[type-arg] # (not generic in click 8.1)
    """A point in time: an ISO 8601 date or time, UTC without an offset, or "7d" for 7 days ago."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Return the time in UTC."""
        try:
            if (ago := _parse_duration(value)) is not None:
                return now() - ago
            time = datetime.fromisoformat(value)
            return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(
                f"{value!r} is not a time; write 2024-01-31, 2024-01-31T14:30:00Z, or a time ago "
                "such as 24h or 7d",
                param,
                ctx,
            )


class Duration(click.ParamType):  # type: ignore[type-arg] # (likewise)
    """A positive duration: a whole number and a unit, such as "90s", "15m", "2h", "7d" or "4w"."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        """Return the duration, of at most 1,000 years."""
        duration = _parse_duration(value)
        if not duration or duration > _MAX_DURATION:
            self.fail(
                f"{value!r} is not a duration; write a whole number and its unit, such as 90s, "
                "15m, 2h, 7d or 4w",
                param,
                ctx,
            )
        return duration


TIME = Time()
DURATION = Duration()


def options(*decorators: Callable[[_F], _F]) -> Callable[[_F], _F]:
    """Bundle options that several commands share."""

    def decorate(function: _F) -> _F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def _complete_environment(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[str]:
    """Complete the names of the environments of the configuration file."""
    try:
        environments = file.load(context.params.get("config_file")).environments
    except MirrorError:
        return []
    return [name for name in environments if name.startswith(incomplete)]


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
    "names",
    metavar="NAME",
    multiple=True,
    shell_complete=_complete_environment,
    help="Only this environment; may be repeated.  [MIRROR_ENVIRONMENT; default: all of the "
    "configuration file]",
)
format_option = click.option(
    "--format",
    "output_format",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="In a pipe, table is tab-separated.",
)
region_option = click.option(
    "--region", metavar="CODE", help="Country of a national number, such as BR."
)
reading_options = options(environment_option, format_option, database_option)


def database_url(database: str | None, config_file: str | None) -> str:
    """Return the URL of the database, from the option, the variable or the file."""
    return settings.database_url(database, file=file.load(config_file))


def open_database(database: str | None, config_file: str | None, *, create: bool = False) -> Engine:
    """Return an engine for the database."""
    from mirror.db.engine import create_engine

    return create_engine(database_url(database, config_file), create=create)


@contextmanager
def open_mirror(database: str | None, config_file: str | None) -> Iterator[Connection]:
    """Open the mirror for reading."""
    from mirror.queries import helpers

    with helpers.connect(database_url(database, config_file)) as connection:
        yield connection


def environment_filter(environment: str | None) -> str | None:
    """Return the name of the environment to read, or None for all."""
    if environment or os.environ.get("MIRROR_ENVIRONMENT"):
        return settings.environment_name(environment)
    return None
