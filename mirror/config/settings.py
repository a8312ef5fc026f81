"""Checked settings of the API, the token and the database.

Everything is checked here, before anything is opened or sent.
"""

from __future__ import annotations

import ipaddress
import json
import math
import os
import re
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from functools import partial
from urllib.parse import quote, urlsplit

import msgspec

from mirror.arguments import parse_positive_duration
from mirror.config.file import Configuration, load
from mirror.config.resolver import SettingSources
from mirror.config.sources import API_DEFAULTS, VARIABLES, ResolvedSetting, option_name
from mirror.errors import UsageError

DEFAULT_ENVIRONMENT = "default"

_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:]+)(:\d+)?")
_FINAL_DOT = re.compile(r"(?<=[^.])\.(?=(:\d+)?$)")
_BASE_URL_HINT = "it must end with its path, as in https://host/api/v1"
_DEFAULT_PORTS = {"http": 80, "https": 443}
_MAX_ENVIRONMENT_LENGTH = 100
_MAX_TOKEN_LENGTH = 4096
_read_pipes: dict[tuple[int, int], bytes] = {}
"""What pipes held, by device and inode."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Secret:
    """A text that does not show itself in representations, logs or tracebacks."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the text itself, for the one place that needs it."""
        return self._value

    def redact(self, text: str) -> str:
        """Replace the secret in `text`, also where it was escaped for a URL or JSON."""
        as_json = json.dumps(self._value)[1:-1]
        for form in (self._value, quote(self._value, safe=""), quote(self._value), as_json):
            text = re.sub(re.escape(form), "[token]", text, flags=re.IGNORECASE)
        return text

    def __repr__(self) -> str:
        return "Secret('…')"


class ApiSettings(msgspec.Struct, frozen=True):
    """Checked settings of the API.

    Attributes:
        base_url: https, or http to a loopback address; without a slash at the end.
        token: sent as bearer token, to `base_url` alone.
        rate: requests allowed in any 60 seconds; headers of the API can only lower it.
        timeout: seconds without a byte after which a request is given up.
        deadline: seconds for the whole pull, waits and retries included.
        max_bytes: bytes accepted for the whole list, decompressed.
    """

    base_url: str
    token: Secret
    rate: int = int(API_DEFAULTS["rate"].text)
    timeout: float = float(API_DEFAULTS["timeout"].text)
    deadline: float = float(API_DEFAULTS["deadline"].text)
    max_bytes: int = int(API_DEFAULTS["max_bytes"].text)


def database_url(
    option: str | None = None,
    environ: Mapping[str, str] = os.environ,
    file: Configuration | None = None,
) -> str:
    """Return the URL of the mirror's database.

    Args:
        option: the value of `--database`, if any; else `MIRROR_DATABASE_URL` counts, else the file.
        environ: the environment variables.
        file: the configuration file; None for the one that `environ` names, or the user's.
    """
    if url := option or environ.get(VARIABLES["database"]):
        return url
    return SettingSources(file=file or load(environ=environ)).resolve_database().text


def environment_name(name: str | None = None) -> str:
    """Return a usable name of an environment, by default "default".

    Raises:
        UsageError: it is too long, or holds characters that cannot be printed.
    """
    name = name or DEFAULT_ENVIRONMENT
    if len(name) > _MAX_ENVIRONMENT_LENGTH or not name.isprintable() or name != name.strip():
        raise UsageError(
            f"{name!r} cannot be the name of an environment",
            hint=f"use up to {_MAX_ENVIRONMENT_LENGTH} "
            "printable characters, without spaces around them",
        )
    return name


def api_settings(sources: SettingSources, environment: str | None = None) -> ApiSettings:
    """Return how to talk to the API.

    Args:
        sources: options, variables and the configuration file.
        environment: whose table of the file counts.

    Raises:
        UsageError: a setting is missing or invalid; the message says which and why.
    """
    setting = partial(sources.resolve, environment=environment)
    return ApiSettings(
        base_url=usable_base_url(setting("base_url").text),
        token=read_token(sources, environment),
        rate=_whole_number(setting("rate")),
        timeout=_number(setting("timeout")),
        deadline=_number(setting("deadline")),
        max_bytes=_whole_number(setting("max_bytes")),
    )


def is_loopback(host: str) -> bool:
    """Return whether a host name or address can only mean this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def usable_base_url(text: str) -> str:
    """Return a base URL without a slash at its end: https, or http to this machine.

    A dot at the end of its host is left out: in DNS it means the same host, but certificates and
    TLS have host names without it (RFC 6066, section 3).

    Raises:
        UsageError: it is invalid. The error does not repeat it, as it may hold the token.
    """
    if not text.isprintable() or " " in text:
        raise UsageError("the base URL holds spaces or invisible characters", hint=_BASE_URL_HINT)
    try:
        netloc = urlsplit(text).netloc
        text = text.replace(netloc, _FINAL_DOT.sub("", netloc), 1)
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
        raise UsageError("the base URL holds more than it may", hint=_BASE_URL_HINT)
    if not _HOST_AND_PORT.fullmatch(parts.netloc):
        raise UsageError("the host in the base URL cannot be read", hint="check --base-url")
    if parts.scheme == "http" and not is_loopback(host):
        raise UsageError(
            f"the base URL would send the token unencrypted to {host}",
            hint="use https:// (http:// is for loopback addresses alone)",
        )
    return text.rstrip("/")


def same_base_url(one: str, other: str) -> bool:
    """Return whether two base URLs are written differently at most.

    Scheme and host are the same in upper case, and a default port or a slash at the end changes
    nothing (RFC 3986, section 6.2), nor do zeros that an IPv6 address may have (RFC 5952), a dot at
    the end of the host, or the form of an internationalized name.
    """
    return normalized_base_url(one) == normalized_base_url(other)


def normalized_base_url(text: str) -> str:
    """Return the same text for all spellings of a base URL."""
    try:
        parts = urlsplit(text)
        host, port = (parts.hostname or "").removesuffix("."), parts.port
    except ValueError:  # not one that `usable_base_url` returned
        return text
    with suppress(ValueError):
        host = host.encode("ascii").decode("idna")
    with suppress(ValueError):
        host = ipaddress.ip_address(host).compressed
    port = _DEFAULT_PORTS.get(parts.scheme) if port is None else port
    return f"{parts.scheme}://{host}:{port}{parts.path.rstrip('/')}"


def read_token(sources: SettingSources, environment: str | None = None) -> Secret:
    """Return the token of an environment, read from its file or variable.

    Raises:
        UsageError: there is none, or the content cannot be a token.
    """
    setting = sources.resolve_token(environment)
    if setting.name == "token_file":
        return usable_token(_read_token_file(setting), f"the token file of {setting.source}")
    if text := sources.environ.get(setting.text):
        return usable_token(text.strip(), setting.text)
    raise UsageError(
        f"the variable {setting.text} is not set, which is to hold the token ({setting.source})"
    )


def _read_token_file(setting: ResolvedSetting) -> str:
    """Read a token file. Errors do not show its path, in whose place the token may stand."""
    if setting.unset:
        raise UsageError(
            f"the variable {setting.unset} is not set, which is part of {setting.source}"
        )
    is_pipe = False
    try:
        with open(setting.text, "rb", opener=_open_at_once) as file:
            status = os.fstat(file.fileno())
            is_pipe = stat.S_ISFIFO(status.st_mode)
            content = file.read(len(_BYTE_ORDER_MARK) + _MAX_TOKEN_LENGTH + 1)
            if is_pipe:  # several checks read the token
                key = status.st_dev, status.st_ino
                content = content or _read_pipes.get(key, b"")
                _read_pipes[key] = content
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no file can have such a name"
        raise UsageError(
            f"the token file of {setting.source} cannot be read ({reason})",
            hint="check the path and its mode",
        ) from error
    if is_pipe and not content:
        raise UsageError(
            f"the token file of {setting.source} is a pipe that nobody writes to",
            hint="start its writer first, or store the token in a file",
        )
    return content.removeprefix(_BYTE_ORDER_MARK).decode("latin-1").strip()


def _open_at_once(path: str, flags: int) -> int:
    """Open a file; unlike `os.open` it does not wait for somebody who opens a pipe to write."""
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    if hasattr(os, "O_NONBLOCK"):
        os.set_blocking(descriptor, True)  # a writer may take its time
    return descriptor


def usable_token(token: str, source: str) -> Secret:
    """Refuse a text that cannot be a bearer token, without showing it."""
    if not token:
        raise UsageError(f"{source} is empty", hint="put the API token there")
    if len(token) > _MAX_TOKEN_LENGTH or not token.isascii() or not token.isprintable():
        raise UsageError(f"{source} does not hold a token: it is too long, or not plain ASCII")
    if " " in token:
        raise UsageError(f"{source} does not hold a token alone: there is a space in it")
    return Secret(token)


def max_age(file: Configuration, environment: str) -> timedelta | None:
    """Return the age at which an environment is stale by the configuration file, or None.

    Raises:
        UsageError: it is not a duration.
    """
    setting = file.max_age(environment)
    if setting is None:
        return None
    try:
        return parse_positive_duration(setting.text)
    except ValueError as error:
        raise UsageError(f"{setting.source} cannot be used: {error}") from error


def _whole_number(setting: ResolvedSetting) -> int:
    return int(_number(setting, int, "whole number"))


def _number(
    setting: ResolvedSetting, convert: Callable[[str], float] = float, kind: str = "number"
) -> float:
    """Parse a positive number."""
    try:
        value = convert(setting.text)
    except ValueError:
        value = math.nan
    if not 0 < value < 1e15:
        option = option_name(setting.name)
        location = "" if setting.source == option else f" ({setting.source})"
        raise UsageError(f"{option} takes a positive {kind}, not {setting.text!r}{location}")
    return value
