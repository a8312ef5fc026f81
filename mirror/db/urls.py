"""URLs of databases: read, and shown without their passwords."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlencode

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, make_url

from mirror.config.resolver import sqlite_url
from mirror.db.errors import redact_url
from mirror.errors import UsageError
from mirror.files import absolute_path

_SCHEME = re.compile(r"[A-Za-z][\w+.-]+:")
_LIBPQ = re.compile(r"(?i)\s*\w+\s*=|.*pass\w*\s*=")
"""A connection string of libpq, such as "host=db password=…"; it may hold a password."""
_HOST_LIST = re.compile(
    r"(?P<before>\w+(?:\+\w+)?://(?:[^:/@]*(?::[^@]*)?@)?)(?P<hosts>[^@/?]*,[^@/?]*)"
    r"(?P<database>/[^@?]*)?(?:\?(?P<query>[^@]*))?"
)
_HOST = re.compile(r"\[?(?P<host>[^][:]*|(?<=\[)[^]]*(?=\]))\]?(?::(?P<port>\d*))?")


def parse_url(text: str) -> URL:
    """Parse a database URL and choose its driver.

    Raises:
        UsageError: the URL is malformed or ambiguous, or names neither SQLite nor Postgres.
    """
    try:
        url = make_url(_with_host_parameters(text))
    except (sa.exc.ArgumentError, ValueError) as error:
        raise UsageError(
            "the database URL cannot be read",
            hint="use sqlite:///PATH or "
            "postgresql://USER@HOST/DATABASE (special characters in a password %-escaped)",
        ) from error
    if "\0" in unquote(text):  # neither a path nor a parameter of libpq can have one
        raise UsageError("the database URL cannot be used: there is a NUL (%00) in it")
    backend = url.get_backend_name()
    if backend == "sqlite":
        is_path = url == URL.create(url.drivername, database=url.database or None)
        if not is_path or url.database in {None, ":memory:"} or "?" in text:
            raise UsageError(
                "the SQLite URL must be of the form sqlite:///PATH",
                hint="write a ? in the path as %3F" if "?" in text else None,
            )
        return url.set(drivername="sqlite")
    if backend not in {"postgresql", "postgres"}:
        raise UsageError(
            f"{backend!r} databases are not supported", hint="use sqlite:/// or postgresql://"
        )
    if text.count("@") > (url.username is not None):
        # A part of the password may be in the host's name, which is shown.
        raise UsageError(
            "the database URL cannot be read: it has an @ besides the one before the host",
            hint="write it as %40 in a user, a password and everywhere else",
        )
    return url.set(drivername="postgresql+psycopg")


def _with_host_parameters(text: str) -> str:
    """Return a URL with its list of hosts (HOST:PORT,HOST:PORT), if it has one, as parameters.

    That is SQLAlchemy's form of it: ?host=HOST,HOST&port=PORT,PORT.
    """
    url = _HOST_LIST.fullmatch(text)
    if url is None:
        return text
    hosts = [_HOST.fullmatch(unquote(host)) for host in url["hosts"].split(",")]
    if not all(hosts):
        raise ValueError("a host or port cannot be read")
    lists = {
        name: ",".join(host[name] or "" for host in hosts if host) for name in ("host", "port")
    }
    return f"{url['before']}{url['database'] or ''}?{urlencode(lists)}&{url['query'] or ''}"


def to_url(text: str) -> str:
    """Return the URL of a database from its URL, or from the path of a SQLite file.

    A relative path begins at the working directory, here and in `sqlite:///PATH`: in the
    configuration file it would begin at the folder of that file.

    Raises:
        UsageError: it is neither.
    """
    if not text or not text.isprintable():
        raise UsageError("the database is empty or holds invisible characters")
    if not _SCHEME.match(text):
        if _LIBPQ.match(text):
            raise UsageError(
                "the database is neither a URL nor the path of a file",
                hint="write host=… of libpq as postgresql://USER@HOST/DATABASE, and a path with = "
                "as sqlite:///PATH",
            )
        return sqlite_url(absolute_path(os.path.expanduser(text)))  # noqa: PTH111 (pathlib's raises)
    url = parse_url(text)
    if url.get_backend_name() == "sqlite":
        return sqlite_url(absolute_path(url.database or ""))
    return text


def shown_url(text: str) -> str:
    """Return a database URL without its passwords."""
    return redact_url(parse_url(text))


def shown_url_of(connection: Connection) -> str:
    """Return the URL of an open database without its passwords."""
    return redact_url(connection.engine.url)


def split_password(text: str) -> tuple[str, str | None]:
    """Return a database URL without its password, and the password.

    Raises:
        UsageError: the URL cannot be used.
    """
    url = parse_url(text)
    in_query = url.query.get("password")
    password = in_query if isinstance(in_query, str) else url.password
    if not password:
        return text, None
    return _text(url._replace(password=None).difference_update_query(["password"])), password


def with_password(text: str, password: str) -> str:
    """Return a database URL with a password."""
    return _text(parse_url(text).set(password=password))


def with_passfile(text: str, path: Path) -> str:
    """Return a database URL with the file that libpq reads its password from."""
    return _text(parse_url(text).update_query_dict({"passfile": str(path)}))


def same_database(one: str, other: str) -> bool:
    """Return whether two URLs differ at most in where the password is."""
    urls = [
        parse_url(split_password(text)[0]).difference_update_query(["passfile"])
        for text in (one, other)
    ]
    return urls[0] == urls[1]


def _text(url: URL) -> str:
    url = url.set(drivername=url.get_backend_name())
    return url.render_as_string(hide_password=False)


def has_secrets(text: str) -> bool:
    """Return whether a database URL holds a password."""
    return "***" in shown_url(text)
