"""Where the database and the API are, and the token: what was given, and what it comes to.

An option wins over an environment variable, which wins over the configuration file, which wins over
the default. Everything is checked here, before anything is opened or sent.
"""

from __future__ import annotations

import ipaddress
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from mirror.config import file as config
from mirror.config.file import Configuration
from mirror.config.sources import (
    API_SETTINGS,
    ResolvedSetting,
    SettingSources,
    find_database,
    option_of,
)
from mirror.errors import UsageError

DEFAULT_ENVIRONMENT = "default"
DEFAULT_BASE_URL = API_SETTINGS["base_url"].default

_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:]+)(:\d+)?")
_ITS_FORM = "it must end with its path, as in https://host/api/v1"
_LONGEST_ENVIRONMENT = 100
_LONGEST_TOKEN = 4096


class Secret:
    """A text that does not show itself in representations, logs or tracebacks."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the text itself, for the one place that needs it."""
        return self._value

    def redact(self, text: str) -> str:
        """Return `text` without the secret in it, also where it was escaped for a URL or JSON."""
        quoted = json.dumps(self._value)[1:-1]
        for form in (self._value, quote(self._value, safe=""), quote(self._value), quoted):
            text = re.sub(re.escape(form), "[token]", text, flags=re.IGNORECASE)
        return text

    def __repr__(self) -> str:
        return "Secret('…')"


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """How to talk to the API.

    Attributes:
        base_url: https, or http to a loopback address; without a slash at the end.
        token: sent as bearer token, to `base_url` alone.
        rate: requests allowed in any 60 seconds; what the API says may only lower it.
        timeout: seconds without a byte after which a request is given up.
        deadline: seconds for the whole pull, waits and retries included.
        max_bytes: bytes accepted for the whole list, decompressed.
    """

    base_url: str
    token: Secret
    rate: int = int(API_SETTINGS["rate"].default)
    timeout: float = float(API_SETTINGS["timeout"].default)
    deadline: float = float(API_SETTINGS["deadline"].default)
    max_bytes: int = int(API_SETTINGS["max_bytes"].default)


def database_url(
    given: str | None = None,
    environ: Mapping[str, str] = os.environ,
    file: Configuration | None = None,
) -> str:
    """Return the URL of the mirror's database.

    Args:
        given: the value of `--database`, if it was given.
        environ: the environment variables.
        file: the configuration file; None for the one that `environ` names, or the user's.

    Returns:
        The option, else `MIRROR_DATABASE_URL`, else what the file says, else a SQLite file in the
        user's data folder.
    """
    return find_database(given, environ, file).text


def environment_name(option: str | None = None, environ: Mapping[str, str] = os.environ) -> str:
    """Return the label under which the requests of one token are kept.

    Raises:
        UsageError: it is too long, or holds characters that cannot be printed.
    """
    name = option or environ.get("MIRROR_ENVIRONMENT") or DEFAULT_ENVIRONMENT
    if len(name) > _LONGEST_ENVIRONMENT or not name.isprintable() or name != name.strip():
        raise UsageError(
            f"{name!r} cannot be the name of an environment",
            hint=f"use up to {_LONGEST_ENVIRONMENT} "
            "printable characters, without spaces around them",
        )
    return name


def api_settings(given: SettingSources, environment: str | None = None) -> ApiSettings:
    """Return how to talk to the API.

    Args:
        given: options, variables and the configuration file.
        environment: whose table of the file counts.

    Raises:
        UsageError: something is missing or cannot be used; the message says what and why.
    """

    def number(name: str, *, whole: bool = False) -> float:
        return _number(given.find(name, environment), whole=whole)

    return ApiSettings(
        base_url=usable_base_url(given.find("base_url", environment).text),
        token=read_token(given, environment),
        rate=int(number("rate", whole=True)),
        timeout=number("timeout"),
        deadline=number("deadline"),
        max_bytes=int(number("max_bytes", whole=True)),
    )


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address can only mean this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def usable_base_url(text: str) -> str:
    """Return a base URL as it is used: the token may travel over https, or to this machine.

    Raises:
        UsageError: it cannot be used. The error does not repeat it: somebody may have put the token
            into it.
    """
    if not text.isprintable() or " " in text:
        raise UsageError("the base URL holds spaces or invisible characters", hint=f"{_ITS_FORM}")
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError("the base URL cannot be read", hint="check --base-url") from error
    if "@" in parts.netloc:
        raise UsageError("the base URL must not hold a user name or password", hint="remove them")
    if parts.scheme not in {"http", "https"} or not host:
        raise UsageError(
            "the base URL is not of the form https://host/api/v1", hint="check --base-url"
        )
    if {"?", "#", "\\"} & set(text):
        raise UsageError("the base URL holds more than it may", hint=f"{_ITS_FORM}")
    if not _HOST_AND_PORT.fullmatch(parts.netloc):
        raise UsageError("the host in the base URL cannot be read", hint="check --base-url")
    if parts.scheme == "http" and not is_loopback(host):
        raise UsageError(
            f"the base URL would send the token unencrypted to {host}",
            hint="use https:// (http:// is for loopback addresses alone)",
        )
    return text.rstrip("/")


def read_token(given: SettingSources, environment: str | None = None) -> Secret:
    """Return the token, from where the settings say that it is.

    Raises:
        UsageError: there is none, or what is there cannot be one.
    """
    found = given.find_token(environment)
    if found.name == "token_env":
        if text := given.environ.get(found.text):
            return _usable_token(text.strip(), found.text)
        raise UsageError(
            f"the variable {found.text} is not set, which is to hold the token ({found.source})"
        )
    return _usable_token(_read(found), f"the token file of {found.source}")


def _read(found: ResolvedSetting) -> str:
    """Read a token's file. Its path is not shown: somebody may have put the token in its place."""
    if found.in_file and (name := config.undefined_variable(found.text)):
        raise UsageError(f"the variable {name} is not set, which is part of {found.source}")
    try:
        with Path(found.text).open("rb") as file:
            return file.read(_LONGEST_TOKEN + 1).decode("latin-1").strip()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "no file can have such a name"
        raise UsageError(
            f"the token file of {found.source} cannot be read ({why})",
            hint="check the path and its mode",
        ) from error


def _usable_token(token: str, source: str) -> Secret:
    """Refuse what cannot be a bearer token, without showing it."""
    if not token:
        raise UsageError(f"{source} is empty", hint="put the API token there")
    if len(token) > _LONGEST_TOKEN or not token.isascii() or not token.isprintable():
        raise UsageError(f"{source} does not hold a token: it is too long, or not plain ASCII")
    if " " in token:
        raise UsageError(f"{source} does not hold a token alone: there is a space in it")
    return Secret(token)


def _number(found: ResolvedSetting, *, whole: bool = False) -> float:
    """Read a positive number."""
    try:
        value = int(found.text) if whole else float(found.text)
    except ValueError:
        value = math.nan
    if not 0 < value < 1e15:
        kind = "whole number" if whole else "number"
        option = option_of(found.name)
        where = "" if found.source == option else f" ({found.source})"
        raise UsageError(f"{option} takes a positive {kind}, not {found.text!r}{where}")
    return value
