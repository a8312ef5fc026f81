"""Where the database and the API are, and the token, out of options and environment variables.

An option wins over an environment variable, which wins over the default. Everything is checked
here, before anything is opened or sent.
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

from mirror.errors import UsageError

DEFAULT_BASE_URL = "https://app.talkover.ai/api/v1"
DEFAULT_ENVIRONMENT = "default"
DEFAULT_RATE = 100
DEFAULT_TIMEOUT = 30.0
DEFAULT_DEADLINE = 900.0
DEFAULT_MAX_BYTES = 1 << 30

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
    rate: int = DEFAULT_RATE
    timeout: float = DEFAULT_TIMEOUT
    deadline: float = DEFAULT_DEADLINE
    max_bytes: int = DEFAULT_MAX_BYTES


def database_url(option: str | None = None, environ: Mapping[str, str] = os.environ) -> str:
    """Return the URL of the mirror's database.

    Args:
        option: the value of `--database`, if it was given.
        environ: the environment variables.

    Returns:
        The option, else `MIRROR_DATABASE_URL`, else a SQLite file in the user's data folder.
    """
    if given := option or environ.get("MIRROR_DATABASE_URL"):
        return given
    import platformdirs

    return sqlite_url(platformdirs.user_data_path("mirror", appauthor=False) / "mirror.db")


def sqlite_url(path: Path) -> str:
    """Return the URL of a SQLite file; in a URL, % begins an escape."""
    return f"sqlite:///{str(path).replace('%', '%25')}"


def environment(option: str | None = None, environ: Mapping[str, str] = os.environ) -> str:
    """Return the label under which the requests of one token are kept.

    Raises:
        UsageError: it is too long, or holds characters that cannot be printed.
    """
    name = option or environ.get("MIRROR_ENVIRONMENT") or DEFAULT_ENVIRONMENT
    if len(name) > _LONGEST_ENVIRONMENT or not name.isprintable() or name != name.strip():
        raise UsageError(
            f"{name!r} cannot be the name of an environment; use up to {_LONGEST_ENVIRONMENT} "
            "printable characters, without spaces around them"
        )
    return name


def api_settings(
    *,
    base_url: str | None = None,
    token_file: str | None = None,
    rate: str | None = None,
    timeout: str | None = None,
    deadline: str | None = None,
    max_bytes: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> ApiSettings:
    """Return how to talk to the API; each argument is an option's text, or None.

    Raises:
        UsageError: something is missing or cannot be used; the message says what and why.
    """
    return ApiSettings(
        base_url=_base_url(base_url or environ.get("TALKOVER_BASE_URL") or DEFAULT_BASE_URL),
        token=_token(token_file, environ),
        rate=int(_number("--rate", rate or environ.get("MIRROR_RATE"), DEFAULT_RATE, whole=True)),
        timeout=_number("--timeout", timeout or environ.get("MIRROR_TIMEOUT"), DEFAULT_TIMEOUT),
        deadline=_number(
            "--deadline", deadline or environ.get("MIRROR_DEADLINE"), DEFAULT_DEADLINE
        ),
        max_bytes=int(
            _number(
                "--max-bytes",
                max_bytes or environ.get("MIRROR_MAX_BYTES"),
                DEFAULT_MAX_BYTES,
                whole=True,
            )
        ),
    )


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address can only mean this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _base_url(text: str) -> str:
    """Check a base URL: the token may travel over https, or to this machine.

    A refused URL is not repeated in the error: somebody may have put the token into it.
    """
    if not text.isprintable() or " " in text:
        raise UsageError(f"the base URL holds spaces or invisible characters; {_ITS_FORM}")
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError("the base URL cannot be read; check --base-url") from error
    if "@" in parts.netloc:
        raise UsageError("the base URL must not hold a user name or password; remove them")
    if parts.scheme not in {"http", "https"} or not host:
        raise UsageError("the base URL is not of the form https://host/api/v1; check --base-url")
    if {"?", "#", "\\"} & set(text):
        raise UsageError(f"the base URL holds more than it may; {_ITS_FORM}")
    if not _HOST_AND_PORT.fullmatch(parts.netloc):
        raise UsageError("the host in the base URL cannot be read; check --base-url")
    if parts.scheme == "http" and not is_loopback(host):
        raise UsageError(
            f"the base URL would send the token unencrypted to {host}; use https:// "
            "(http:// is for loopback addresses alone)"
        )
    return text.rstrip("/")


def _token(token_file: str | None, environ: Mapping[str, str]) -> Secret:
    """Find the token: the file of the option, else the variable, else the variable's file."""
    if not token_file and (given := environ.get("TALKOVER_TOKEN")):
        return _usable_token(given.strip(), "TALKOVER_TOKEN")
    path = token_file or environ.get("TALKOVER_TOKEN_FILE")
    if not path:
        raise UsageError(
            "there is no API token; set TALKOVER_TOKEN, or name a file with --token-file "
            "or TALKOVER_TOKEN_FILE"
        )
    try:
        with Path(path).open("rb") as file:
            content = file.read(_LONGEST_TOKEN + 1)
    except OSError as error:
        raise UsageError(
            f"the token file of --token-file or TALKOVER_TOKEN_FILE cannot be read "
            f"({error.strerror}); check the path and its mode"
        ) from error
    return _usable_token(content.decode("latin-1").strip(), "the token file")


def _usable_token(token: str, source: str) -> Secret:
    """Refuse what cannot be a bearer token, without showing it."""
    if not token:
        raise UsageError(f"{source} is empty; put the API token there")
    if len(token) > _LONGEST_TOKEN or not token.isascii() or not token.isprintable():
        raise UsageError(f"{source} does not hold a token: it is too long, or not plain ASCII")
    if " " in token:
        raise UsageError(f"{source} does not hold a token alone: there is a space in it")
    return Secret(token)


def _number(name: str, text: str | None, default: float, *, whole: bool = False) -> float:
    """Read a positive number, from an option or a variable."""
    if text is None or text == "":
        return default
    try:
        value = int(text) if whole else float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < 1e15:
        kind = "whole number" if whole else "number"
        raise UsageError(f"{name} takes a positive {kind}, not {text!r}")
    return value
