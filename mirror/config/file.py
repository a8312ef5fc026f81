"""The configuration file: where it is, and which keys and values are valid.

It is TOML, and names a database, defaults, and environments with a base URL and a token each. It
never holds a token itself, so that it can be shown, copied and kept under version control.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from mirror.config.folders import config_folder
from mirror.config.sources import API_DEFAULTS, VARIABLES, ResolvedSetting
from mirror.errors import UsageError

Table = dict[str, ResolvedSetting]
"""The settings of a table of the file, by key."""

_TOP_KEYS = ("database", "defaults", "environments")
_DEFAULTS_KEYS = (*API_DEFAULTS, "max_age")
_ENVIRONMENT_KEYS = (*_DEFAULTS_KEYS, "token_file", "token_env")
_MAX_BYTES = 1 << 20
_MAX_REPARSED_LINES = 1000
"""The search for the line of a syntax error parses the file once for each line."""
_RELATIVE_SQLITE = re.compile(r"(sqlite(?:\+\w+)?:///)(?![/:])(?![A-Za-z]:)(.+)")
_VARIABLE = re.compile(r"\$(\w+|\{\w+\})")


class Configuration(msgspec.Struct, frozen=True):
    """The content of a configuration file.

    Attributes:
        path: the file, or None if there is none.
        database: URL of the database, if the file has one.
        defaults: settings for all environments.
        environments: settings of each environment, by its name, in the order of the file.
    """

    path: Path | None = None
    database: ResolvedSetting | None = None
    defaults: Table = msgspec.field(default_factory=dict)
    environments: Mapping[str, Table] = msgspec.field(default_factory=dict)

    def table(self, environment: str | None) -> Table:
        """Return the settings of an environment; none if the file does not have it."""
        return self.environments.get(environment or "", {})

    def max_age(self, environment: str) -> ResolvedSetting | None:
        """Return the `max_age` of an environment, or None.

        That of `[defaults]` is for all environments, or for those of the file if it lists any:
        others on record are no longer synced.
        """
        listed = not self.environments or environment in self.environments
        default = self.defaults.get("max_age") if listed else None
        return self.table(environment).get("max_age", default)


def load(option: str | None = None, environ: Mapping[str, str] = os.environ) -> Configuration:
    """Read the configuration file.

    Args:
        option: the path from `--config`, if any; else `MIRROR_CONFIG` counts.
        environ: the environment variables.

    Returns:
        Its content; empty if no file is named and there is none in the user's configuration folder.

    Raises:
        UsageError: it cannot be read, is not TOML, or holds an unknown key or an invalid value.
    """
    if named := option or environ.get(VARIABLES["config_file"]):
        path = Path(named)
    else:
        default = default_path()
        if default is None or not os.path.exists(default):  # noqa: PTH110 (pathlib's raises if it may not look)
            return Configuration()
        path = default
    return _Parser(path.absolute()).parse()


def default_path() -> Path | None:
    """Return the path of the file in the user's configuration folder, if there is a home folder."""
    folder = config_folder()
    return folder and folder / "config.toml"


def suggest(name: str, known: Collection[str]) -> str:
    """Return a hint that names the nearest known name, or all of them."""
    if close := nearest(name, known):
        return f"did you mean {close!r}?"
    return f"there {'is' if len(known) == 1 else 'are'} {', '.join(known)}"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is nearest to another one; None if none is near."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(name, list(known), n=1, cutoff=0.6)), None)


def has_variable(path: str) -> bool:
    """Return whether a path of a token in the file is taken to name a variable."""
    return _VARIABLE.search(path) is not None


def _unset_variable(path: str) -> str | None:
    """Return the name of a variable in a path that is not set, or None."""
    names = (match[1].strip("{}") for match in _VARIABLE.finditer(path))
    return next((name for name in names if name not in os.environ), None)


def _error_line(text: str) -> str:
    """Return the line of a syntax error: the one after the longest prefix of lines that is TOML.

    tomllib has the line as an attribute since Python 3.14 only.
    """
    import tomllib

    lines = text.split("\n")
    if len(lines) <= _MAX_REPARSED_LINES:
        for end in range(len(lines) - 1, -1, -1):
            with suppress(ValueError, RecursionError):
                tomllib.loads("\n".join(lines[:end]))
                return f": see line {end + 1}"
    return ""


class _Parser:
    """Parses and checks one file; its errors name the file, and the key or line."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def parse(self) -> Configuration:
        document = self._decode()
        self._check_keys("", document, _TOP_KEYS)
        environments = self._require_table("environments", document.get("environments", {}))
        return Configuration(
            path=self._path,
            database=self._database(document["database"]) if "database" in document else None,
            defaults=self._table("defaults", document.get("defaults", {}), _DEFAULTS_KEYS),
            environments={
                name: self._table(f"environments.{name}", table, _ENVIRONMENT_KEYS)
                for name, table in environments.items()
            },
        )

    def _decode(self) -> dict[str, Any]:
        import tomllib

        try:
            with self._path.open("rb") as file:
                content = file.read(_MAX_BYTES + 1)
        except OSError as error:
            raise self._error(
                f"cannot be read ({error.strerror}); check --config, MIRROR_CONFIG and its mode"
            ) from error
        if len(content) > _MAX_BYTES:
            raise self._error(f"is larger than {_MAX_BYTES:,} bytes; is it the right file?")
        try:
            text = content.decode("utf-8-sig")
            return tomllib.loads(text)
        except UnicodeDecodeError as error:
            raise self._error("is not UTF-8; save it as that") from error
        except RecursionError as error:
            raise self._error("is nested too deeply to be read") from error
        except ValueError as error:  # also of a number with thousands of digits
            raise self._error(f"is not TOML{_error_line(text)}") from error

    def _table(self, heading: str, value: object, known: tuple[str, ...]) -> Table:
        table = self._require_table(heading, value)
        self._check_keys(heading, table, known)
        if {"token_file", "token_env"} <= table.keys():
            raise self._error(f"has both token_file and token_env in [{heading}]; keep one")
        return {
            key: self._setting(key, self._text(heading, key, item), f"in [{heading}] of")
            for key, item in table.items()
        }

    def _require_table(self, heading: str, value: object) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self._error(f"has a value where the table [{heading}] belongs")
        return value

    def _check_keys(self, heading: str, table: dict[str, Any], known: tuple[str, ...]) -> None:
        for key in table:
            if key in known:
                continue
            location = f" in [{heading}]" if heading else ""
            if key == "token":
                raise self._error(
                    f"contains a token{location}",
                    hint="move it to a file of its own and name that in token_file",
                )
            if heading == "defaults" and key in _ENVIRONMENT_KEYS:
                raise self._error(
                    f"has {key} in [defaults], but a token belongs to one environment; move it to "
                    "[environments.NAME]"
                )
            raise self._error(f"has the unknown key {key!r}{location}; {suggest(key, known)}")

    def _text(self, heading: str, key: str, value: object) -> str:
        """Return a value as the text that an option would have."""
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise self._error(f"has something else than a text or number as {key} in [{heading}]")
        if value == "":
            raise self._error(f"has an empty {key} in [{heading}]; fill it in, or remove it")
        try:
            text = str(value)
        except ValueError as error:  # Python refuses to write a number of so many digits
            raise self._error(f"has too large a number as {key} in [{heading}]") from error
        return text

    def _database(self, value: object) -> ResolvedSetting:
        if not isinstance(value, str) or not value:
            raise self._error("does not have a URL as database; write sqlite:///PATH in quotes")
        if match := _RELATIVE_SQLITE.fullmatch(value):
            folder = str(self._path.parent).replace("%", "%25")
            value = f"{match[1]}{folder}/{match[2]}"
        return self._setting("database", value, "in")

    def _setting(self, key: str, text: str, place: str) -> ResolvedSetting:
        unset = None
        if key == "token_file":
            # A variable that is not set stays as it is: reading the token reports it.
            unset = _unset_variable(text)
            path = os.path.expanduser(os.path.expandvars(text))  # noqa: PTH111 (pathlib's raises)
            text = str(self._path.parent / path)  # a relative path begins at the folder of the file
        source = f"{key} {place} {self._path}"
        return ResolvedSetting(key, text, source, in_file=True, unset=unset)

    def _error(self, problem: str, *, hint: str | None = None) -> UsageError:
        return UsageError(f"the configuration file {self._path} {problem}", hint=hint)
