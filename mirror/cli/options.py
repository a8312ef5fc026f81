"""Options that commands share, types of parameters, and opening the mirror."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from mirror.arguments import parse_duration, parse_positive_duration, parse_time
from mirror.cli.completion import complete_environment
from mirror.cli.pager import no_pager_option
from mirror.config import file, settings
from mirror.config.environments import Shard
from mirror.config.sources import API_DEFAULTS, VARIABLES, ResolvedSetting, option_name
from mirror.errors import UsageError

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

FORMATS = ("table", "json", "csv", "spreadsheet")
"""Formats of the rows of a command."""

_F = TypeVar("_F", bound=Callable[..., Any])


def now() -> datetime:
    """Return the time of this machine's clock (UTC)."""
    return datetime.now(UTC)


class Time(click.ParamType):  # type: ignore[type-arg] # (not generic in click 8.1)
    """A point in time: an ISO 8601 date or time, UTC without an offset, or "7d" for 7 days ago."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Return the time in UTC."""
        try:
            if (ago := parse_duration(value)) is not None:
                return now() - ago
            return parse_time(value)
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
        try:
            return parse_positive_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Shard(click.ParamType):  # type: ignore[type-arg] # (likewise)
    """A share of the environments: its index, from 0, and the number of shards, such as "0/4"."""

    name = "shard"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Shard:
        """Return the shard."""
        try:
            return Shard.parse(value)
        except UsageError as error:
            self.fail(str(error), param, ctx)


TIME = Time()
DURATION = Duration()


def options(*decorators: Callable[[_F], _F]) -> Callable[[_F], _F]:
    """Bundle options that several commands share."""

    def decorate(function: _F) -> _F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


class _SettingOption(click.Option):
    """An option of a setting, with its environment variable; an empty value counts as not given."""

    def consume_value(
        self, ctx: click.Context, opts: Mapping[str, Any]
    ) -> tuple[Any, ParameterSource]:
        """Return the value and its source."""
        name = self.name or ""
        value, variable = opts.get(name), self.resolve_envvar_value(ctx)
        if variable and value == "":
            opts = {}
        elif variable and isinstance(value, list):
            opts = {name: [each or variable for each in value]} if any(value) else {}
        return super().consume_value(ctx, opts)


class _EnvironmentName(click.types.StringParamType):
    """The name of an environment. Its variable holds one, which may contain spaces."""

    envvar_list_splitter = "\0"


def _setting_option(setting: str, *names: str, **attributes: Any) -> Callable[[_F], _F]:
    return click.option(
        *(names or [option_name(setting)]),
        cls=_SettingOption,
        envvar=VARIABLES[setting],
        show_envvar=True,
        **attributes,
    )


def _api_option(setting: str, metavar: str, help_text: str) -> Callable[[_F], _F]:
    return _setting_option(
        setting,
        metavar=metavar,
        help=help_text,
        default=API_DEFAULTS[setting].text,
        show_default=True,
    )


config_option = _setting_option(
    "config_file",
    "--config",
    "config_file",
    type=click.Path(),
    metavar="PATH",
    help="Configuration file (TOML).",
    show_default="config.toml in your configuration folder, if there is one",
)
database_option = options(
    _setting_option(
        "database",
        metavar="URL",
        help="sqlite:///PATH or postgresql://USER@HOST/NAME.",
        show_default="mirror.db in your data folder",
    ),
    config_option,
)
base_url_option = _api_option("base_url", "URL", "Base URL of the API.")
token_file_option = _setting_option(
    "token_file",
    type=click.Path(),
    metavar="PATH",
    help="File that contains the API token. TALKOVER_TOKEN can hold the token itself.",
)
api_options = options(
    base_url_option,
    token_file_option,
    _api_option("rate", "N", "Requests allowed per minute."),
    _api_option("timeout", "SECONDS", "Give up a request after this time without a byte."),
    _api_option("deadline", "SECONDS", "Time limit for the whole pull, waits included."),
    _api_option("max_bytes", "N", "Size limit for the whole list, decompressed."),
)
environment_option = _setting_option(
    "environment",
    type=_EnvironmentName(),
    shell_complete=complete_environment,
    metavar="NAME",
    help="Only this environment.",
    show_default="all",
)
environment_name_option = _setting_option(
    "environment",
    type=_EnvironmentName(),
    shell_complete=complete_environment,
    metavar="NAME",
    help="Name of the environment.",
    show_default=settings.DEFAULT_ENVIRONMENT,
)
environments_option = _setting_option(
    "environment",
    "--environment",
    "names",
    type=_EnvironmentName(),
    shell_complete=complete_environment,
    metavar="NAME",
    multiple=True,
    help="Only this environment; may be repeated.",
    show_default="all of the configuration file",
)
shard_option = _setting_option(
    "shard",
    type=_Shard(),
    metavar="I/N",
    help="Only the share I of N of the environments; I counts from 0.",
    show_default="all",
)
format_option = options(
    click.option(
        "--format",
        "output_format",
        type=click.Choice(FORMATS),
        default="table",
        show_default=True,
        help="In a pipe, table is tab-separated. spreadsheet is CSV to open in Excel and others.",
    ),
    no_pager_option,
)
region_option = click.option(
    "--region", metavar="CODE", help="Country of a national number, such as BR."
)


def _in_one_word(
    _context: click.Context, _parameter: click.Parameter, words: tuple[str, ...]
) -> str:
    if len(words) > 1:
        raise UsageError(
            f"NUMBER is {len(words)} words here",
            hint=f"put a number with spaces into quotes: {shlex.quote(' '.join(words))}",
        )
    return words[0]


number_argument = click.argument(
    "number", nargs=-1, required=True, metavar="NUMBER", callback=_in_one_word
)
reading_options = options(environment_option, format_option, database_option)


def given_settings() -> dict[str, ResolvedSetting]:
    """Return the settings of the running command that options or variables give, by name."""
    context = click.get_current_context()
    given = {}
    for name in ("config_file", "database", "token_file", *API_DEFAULTS):
        sources: dict[ParameterSource | None, str] = {
            ParameterSource.COMMANDLINE: option_name(name),
            ParameterSource.ENVIRONMENT: VARIABLES[name],
        }
        source = sources.get(context.get_parameter_source(name))
        if source and context.params[name]:
            given[name] = ResolvedSetting(name, context.params[name], source)
    # TALKOVER_TOKEN holds the token itself: it comes after --token-file, before its variable.
    variable, file = VARIABLES["token"], given.get("token_file")
    if os.environ.get(variable) and (file is None or file.source == VARIABLES["token_file"]):
        given.pop("token_file", None)
        given["token_env"] = ResolvedSetting("token_env", variable, variable)
    return given


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
    return settings.environment_name(environment) if environment else None
