"""The configuration file: what it may hold, and where it is.

It is TOML, and names a database, defaults, and environments with a base URL and a token each. It
never holds a token itself, so that it can be shown, copied and kept under version control.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mirror.errors import UsageError

NAME = "config.toml"

_TOP_KEYS = ("database", "defaults", "environments")
_COMMON_KEYS = ("base_url", "rate", "timeout", "deadline", "max_bytes")
_ENVIRONMENT_KEYS = (*_COMMON_KEYS, "token_file", "token_env")
_LARGEST = 1 << 20  # bytes
_MOST_LINES = 1000
"""Of a file that is read again to find where it is wrong, which takes longer with each line."""
_RELATIVE_SQLITE = re.compile(r"(sqlite(?:\+\w+)?:///)(?![/:])(?![A-Za-z]:)(.+)")
_VARIABLE = re.compile(r"\$(\w+|\{\w+\})")


@dataclass(frozen=True, slots=True)
class Section:
    """A table of the file.

    Attributes:
        name: its heading, such as "environments.prod".
        values: what its keys say, as the text that an option would have.
    """

    name: str = ""
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a configuration file says.

    Attributes:
        path: the file, or None if there is none.
        database: URL of the database, if it names one.
        defaults: what holds for all environments.
        environments: what holds for each, by its name, in the order of the file.
    """

    path: Path | None = None
    database: str | None = None
    defaults: Section = field(default_factory=Section)
    environments: Mapping[str, Section] = field(default_factory=dict)

    def tables(self, environment: str | None) -> Iterable[Section]:
        """Return the tables that say something about an environment, the one that wins first."""
        if table := self.environments.get(environment or ""):
            yield table
        yield self.defaults

    def own(self, environment: str) -> Mapping[str, str]:
        """Return what the table of an environment itself says; nothing if there is none."""
        table = self.environments.get(environment)
        return {} if table is None else table.values


def load(option: str | None = None, environ: Mapping[str, str] = os.environ) -> Configuration:
    """Read the configuration file.

    Args:
        option: the value of `--config`, if it was given.
        environ: the environment variables.

    Returns:
        What it says; nothing if none is named and there is none in the user's configuration folder.

    Raises:
        UsageError: it cannot be read, or says something that is not known.
    """
    if named := option or environ.get("MIRROR_CONFIG"):
        path = Path(named)
    else:
        path = default_path()
        if not os.path.exists(path):  # noqa: PTH110 (pathlib's raises if it may not look)
            return Configuration()
    return _Reader(path.absolute()).configuration()


def default_path() -> Path:
    """Return where the file is looked for if none is named."""
    import platformdirs

    return platformdirs.user_config_path("mirror", appauthor=False) / NAME


def suggest(name: str, known: Iterable[str]) -> str:
    """Say which known name was probably meant, or which there are."""
    from difflib import get_close_matches

    names = list(known)
    if close := get_close_matches(name, names, n=1, cutoff=0.5):
        return f"did you mean {close[0]!r}?"
    return f"there {'is' if len(names) == 1 else 'are'} {', '.join(names)}"


def undefined_variable(path: str) -> str | None:
    """Return the name of a variable in a path of the file that is not set, or None."""
    found = _VARIABLE.search(path)
    return found and found[1].strip("{}")


def _place_of_error(text: str) -> str:
    """Say where a text stops being TOML: after the longest run of its lines that is TOML."""
    import tomllib

    lines = text.split("\n")
    if len(lines) > _MOST_LINES:
        return ""
    for end in range(len(lines) - 1, -1, -1):
        with suppress(ValueError, RecursionError):
            tomllib.loads("\n".join(lines[:end]))
            return f": see line {end + 1}"
    return ""


class _Reader:
    """Reads one file; its errors say which."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def configuration(self) -> Configuration:
        """Read the file, and check all of it."""
        said = self._parse()
        self._check_keys("", said, _TOP_KEYS)
        tables = self._table("environments", said.get("environments", {}))
        return Configuration(
            path=self._path,
            database=self._database(said.get("database")),
            defaults=self._values("defaults", said.get("defaults", {}), _COMMON_KEYS),
            environments={name: self._environment(name, one) for name, one in tables.items()},
        )

    def _parse(self) -> dict[str, Any]:
        import tomllib

        try:
            with self._path.open("rb") as file:
                content = file.read(_LARGEST + 1)
        except OSError as error:
            raise self._wrong(
                f"cannot be read ({error.strerror}); check --config, MIRROR_CONFIG and its mode"
            ) from error
        if len(content) > _LARGEST:
            raise self._wrong(f"is larger than {_LARGEST:,} bytes; is it the right file?")
        try:
            text = content.decode("utf-8-sig")
            return tomllib.loads(text)
        except UnicodeDecodeError as error:
            raise self._wrong("is not UTF-8; save it as that") from error
        except RecursionError as error:
            raise self._wrong("is nested too deeply to be read") from error
        except ValueError as error:  # also of a number with thousands of digits
            raise self._wrong(f"is not TOML{_place_of_error(text)}") from error

    def _environment(self, name: str, said: object) -> Section:
        heading = f"environments.{name}"
        table = self._values(heading, said, _ENVIRONMENT_KEYS)
        if {"token_file", "token_env"} <= set(table.values):
            raise self._wrong(f"has both token_file and token_env in [{heading}]; keep one")
        return table

    def _values(self, heading: str, said: object, known: tuple[str, ...]) -> Section:
        table = self._table(heading, said)
        self._check_keys(heading, table, known)
        return Section(heading, {key: self._text(heading, key, one) for key, one in table.items()})

    def _table(self, heading: str, said: object) -> dict[str, Any]:
        if not isinstance(said, dict):
            raise self._wrong(f"has a value where the table [{heading}] belongs")
        return said

    def _check_keys(self, heading: str, table: dict[str, Any], known: tuple[str, ...]) -> None:
        for key in table:
            if key in known:
                continue
            where = f" in [{heading}]" if heading else ""
            if key == "token":
                raise self._wrong(
                    f"has a token{where}, where it must not be; put it into a file of its own, "
                    "and name that with token_file (or a variable with token_env)"
                )
            if heading == "defaults" and key in _ENVIRONMENT_KEYS:
                raise self._wrong(
                    f"has {key} in [defaults], but a token belongs to one environment; move it to "
                    "[environments.NAME]"
                )
            raise self._wrong(f"has the unknown key {key!r}{where}; {suggest(key, known)}")

    def _text(self, heading: str, key: str, value: object) -> str:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise self._wrong(f"has something else than a text or number as {key} in [{heading}]")
        if value == "":
            raise self._wrong(f"has an empty {key} in [{heading}]; fill it in, or remove it")
        try:
            text = str(value)
        except ValueError as error:  # Python writes no number of so many digits
            raise self._wrong(f"has too large a number as {key} in [{heading}]") from error
        return self._file(text) if key == "token_file" else text

    def _file(self, text: str) -> str:
        """Return a path with its variables filled in, as seen from the folder of the file."""
        # A variable that is not set stays as it is: whoever needs the file is told of it.
        path = os.path.expanduser(os.path.expandvars(text))  # noqa: PTH111 (pathlib's raises)
        return str(self._path.parent / path)

    def _database(self, said: object) -> str | None:
        if said is None:
            return None
        if not isinstance(said, str) or not said:
            raise self._wrong("does not have a URL as database; write sqlite:///PATH in quotes")
        if found := _RELATIVE_SQLITE.fullmatch(said):
            folder = str(self._path.parent).replace("%", "%25")
            return f"{found[1]}{folder}/{found[2]}"
        return said

    def _wrong(self, what: str) -> UsageError:
        return UsageError(f"the configuration file {self._path} {what}")
