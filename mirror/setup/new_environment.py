"""Adds an environment to the configuration file: the files that `mirror init` writes.

An existing file is only added to, so its comments stay. Secrets have files of their own beside it.
Either all files are written or none.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from tempfile import TemporaryFile

import msgspec

from mirror.config import file
from mirror.config.environments import refuse_shared
from mirror.config.file import Configuration
from mirror.config.resolver import SettingSources
from mirror.config.settings import Secret
from mirror.db import sqlite
from mirror.db.engine import create_engine
from mirror.db.urls import parse_url, same_database, with_passfile, with_password
from mirror.doctor.checks import require_write_access
from mirror.errors import MirrorError, UsageError
from mirror.files import real_path, translated_errors

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_UNUSUAL_IN_FILE_NAMES = re.compile(r"[^A-Za-z0-9_.-]+")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_PRIVATE = 0o600


class NewEnvironment(msgspec.Struct, frozen=True):
    """An environment to add to a configuration file.

    Attributes:
        name: its name.
        token: its token, for which a file is made; or the file that holds it.
        base_url: of its API; None for that of the file's defaults.
        database: URL of the database, without its password; None for that of the file.
        password: of the database, for which a file is made; None if it takes none.
    """

    name: str
    token: Secret | Path
    base_url: str | None = None
    database: str | None = None
    password: Secret | None = None


def read(path: Path) -> Configuration:
    """Return the content of a configuration file; nothing if it is missing.

    Raises:
        UsageError: it cannot be read, or is invalid.
    """
    if os.path.lexists(path):
        if os.path.exists(path) and not path.is_file():  # noqa: PTH110 (pathlib's raises if it may not look)
            raise UsageError(
                f"the configuration file {path} is not a file", hint="name another with --config"
            )
        return file.load(str(path))
    return Configuration()


def require_writable(path: Path) -> None:
    """Check that a file can be made at a path, with the missing folders.

    Raises:
        UsageError: it cannot.
        DiskUnavailable: the disk is full.
    """
    folder = next(folder for folder in path.absolute().parents if os.path.lexists(folder))
    with translated_errors(path), TemporaryFile(dir=folder):
        pass


def is_open(text: str) -> bool:
    """Return whether a database takes a login without a password, as over a Unix socket."""
    try:
        check_database(text, None)
    except UsageError:
        return False
    return True


def check_database(text: str, password: Secret | None) -> None:
    """Check that a sync can write to a database, or create it; nothing is changed.

    Args:
        text: its URL, without its password.
        password: of Postgres.

    Raises:
        UsageError: it cannot. The message is that of the error behind it.
    """
    try:
        url = parse_url(text)
        if url.get_backend_name() == "sqlite" and not os.path.lexists(url.database or ""):
            sqlite.require_creatable(url)
            require_writable(Path(url.database or ""))
        else:
            full = with_password(text, password.reveal()) if password else text
            require_write_access(create_engine(full))
    except MirrorError as error:
        raise UsageError(error.message, hint=error.hint) from error


def is_database_of(configuration: Configuration, text: str) -> bool:
    """Return whether a configuration file has a database, apart from where its password is."""
    return configuration.database is not None and same_database(configuration.database.text, text)


def add_environment(path: Path, new: NewEnvironment) -> list[Path]:
    """Write the configuration file, and files for the secrets.

    Args:
        path: the configuration file. All new files can be read by their owner only; an existing
            configuration file keeps its mode.
        new: the environment, which it must not have yet.

    Returns:
        The files that were written, the configuration file last.

    Raises:
        UsageError: a file cannot be written, or this environment cannot be added.
        DiskUnavailable: the disk is full.
    """
    path = real_path(path)
    draft = path.with_name(f".{path.name[:100]}.new")
    written: list[Path] = []
    with translated_errors(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = path.stat() if path.exists() else None
        try:
            descriptor = _create(draft, owner)
        except FileExistsError as error:
            raise UsageError(
                f"another `mirror init` is writing {path}", hint=f"if none is, delete {draft}"
            ) from error
        try:
            _write(descriptor, _content(path, new, written, owner))
            _check(draft, path, new, written)
            if owner:
                draft.chmod(stat.S_IMODE(owner.st_mode))
            draft.replace(path)
        except BaseException:
            for file_of_secret in written:
                with suppress(OSError):
                    file_of_secret.unlink()
            raise
        finally:
            draft.unlink(missing_ok=True)
    return [*written, path]


def _content(
    path: Path, new: NewEnvironment, written: list[Path], owner: os.stat_result | None
) -> bytes:
    """Write the files of secrets, and return the content of the configuration file.

    `written` gets the path of each file as soon as it exists.
    """
    table = {} if new.base_url is None else {"base_url": new.base_url}
    if isinstance(new.token, Secret):
        stem = _UNUSUAL_IN_FILE_NAMES.sub("-", new.name).strip(".-") or "environment"
        token = f"{new.token.reveal()}\n"
        table["token_file"] = _write_secret(path, f"{stem}.token", token, written, owner).name
    elif file.has_variable(str(new.token)):
        raise UsageError(
            "a path with a $ cannot stand as token_file in a configuration file, where it would be "
            "taken for a variable",
            hint="use another path, or give the token with --token-file - on standard input",
        )
    else:
        table["token_file"] = str(new.token)
    database = new.database
    if database and new.password:
        if {"\n", "\r"} & set(new.password.reveal()):
            raise UsageError("a password with a line break cannot stand in a file of passwords")
        # libpq takes the first line that fits. This one fits all hosts, and only this URL has it.
        line = "*:*:*:*:" + re.sub(r"([\\:])", r"\\\1", new.password.reveal()) + "\n"
        passfile = _write_secret(path, "database.pgpass", line, written, owner)
        database = with_passfile(database, passfile)
    return _added(path.read_bytes() if owner else b"", new.name, database, table)


def _added(before: bytes, name: str, database: str | None, table: Mapping[str, str]) -> bytes:
    """Return the content of a configuration file with an environment added to it."""
    mark = _BYTE_ORDER_MARK if before.startswith(_BYTE_ORDER_MARK) else b""
    before = before.removeprefix(mark)
    # A key of the top stands before all tables.
    top = f"database = {_toml(database)}\n" if database else ""
    if top and before:
        top += "\n"
    key = name if _BARE_KEY.fullmatch(name) else _toml(name)
    lines = [f"[environments.{key}]", *(f"{key} = {_toml(value)}" for key, value in table.items())]
    gap = "" if not before and not top else "\n" if not before or before.endswith(b"\n") else "\n\n"
    bottom = gap + "\n".join(lines) + "\n"
    try:
        return mark + top.encode() + before + bottom.encode()
    except UnicodeEncodeError as error:
        raise UsageError("a path that is not UTF-8 cannot stand in a configuration file") from error


def _toml(text: str) -> str:
    """Return a text as a TOML string, which is one of JSON apart from DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _check(draft: Path, path: Path, new: NewEnvironment, written: list[Path]) -> None:
    """Check that a new configuration file means what it is meant to, and the rest what it did.

    Raises:
        UsageError: it does not, such as if a path has a `$`, or the environments are an inline
            table; or another environment has the same token.
    """
    before = file.load(str(path)) if path.exists() else Configuration()
    try:
        after = file.load(str(draft))
    except UsageError:
        after = Configuration()
    added = _texts(after.environments).get(new.name, {})
    others = {name: table for name, table in after.environments.items() if name != new.name}
    token_file = written[0] if isinstance(new.token, Secret) else new.token
    database = new.database or (before.database and before.database.text)
    if (
        new.name in before.environments
        or added.get("token_file") != str(token_file)
        or added.get("base_url") != new.base_url
        or _texts(others) != _texts(before.environments)
        or _texts({"": after.defaults}) != _texts({"": before.defaults})
        or not (is_database_of(after, database) if database else not after.database)
    ):
        raise UsageError(
            f"the environment {new.name} cannot be added to {path}",
            hint="add it by hand, or name another file with --config",
        )
    refuse_shared(SettingSources({}, after), list(after.environments))


def _texts(tables: Mapping[str, file.Table]) -> dict[str, dict[str, str]]:
    return {
        name: {key: setting.text for key, setting in table.items()}
        for name, table in tables.items()
    }


def _write_secret(
    path: Path, name: str, text: str, written: list[Path], owner: os.stat_result | None
) -> Path:
    """Write a file beside a path, with a number in its name if that is taken."""
    wanted = path.with_name(name)
    for number in count(2):
        try:
            descriptor = _create(wanted, owner)
        except FileExistsError:
            stem, _, suffix = name.rpartition(".")
            wanted = path.with_name(f"{stem}-{number}.{suffix}")
        else:
            written.append(wanted)
            _write(descriptor, text.encode())
            break
    return wanted


def _create(path: Path, owner: os.stat_result | None) -> int:
    """Create a file that only its owner can read: that of another file, if the user may do that."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE)
    if owner and os.name == "posix":
        with suppress(PermissionError):
            os.chown(path, owner.st_uid, owner.st_gid)
    return descriptor


def _write(descriptor: int, content: bytes) -> None:
    """Write a file, store it on the disk, and close it."""
    with open(descriptor, "wb") as new:
        new.write(content)
        new.flush()
        os.fsync(descriptor)
