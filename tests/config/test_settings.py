"""Settings: where they come from, what is refused, and that the token never shows."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING

import platformdirs
import pytest

from mirror.config import settings
from mirror.config.settings import ApiSettings, Secret
from mirror.config.sources import SettingSources
from mirror.errors import UsageError
from tests.support.upstream import TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WITH_TOKEN = {"TALKOVER_TOKEN": TOKEN}


def api_settings(environ: dict[str, str] | None = None, **options: str | None) -> ApiSettings:
    """The settings that come of variables, those of the process if none are given, and options."""
    return settings.api_settings(
        SettingSources(options) if environ is None else SettingSources(options, environ)
    )


def api(environ: dict[str, str] | None = None, /, **options: str) -> ApiSettings:
    """The settings that come of variables and options, where there is a token."""
    return api_settings(environ=WITH_TOKEN | (environ or {}), **options)


def refusal(environ: dict[str, str] | None = None, /, **options: str | None) -> str:
    """What is wrong with variables and options, of which one is a token; empty if nothing is."""
    try:
        api_settings(environ=WITH_TOKEN if environ is None else environ, **options)
    except UsageError as error:
        return str(error)
    return ""


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """A file that holds a token and ends its line, as editors do."""
    file = tmp_path / "token"
    file.write_text("talq_of-the-file\n")
    return file


# Precedence

SETTINGS: list[tuple[str, str, tuple[str, object], tuple[str, object], object]] = [
    (
        "base_url",
        "TALKOVER_BASE_URL",
        ("https://option.example/api/v1", "https://option.example/api/v1"),
        ("https://variable.example/api/v1", "https://variable.example/api/v1"),
        "https://app.talkover.ai/api/v1",
    ),
    ("rate", "MIRROR_RATE", ("7", 7), ("1000", 1000), 100),
    ("timeout", "MIRROR_TIMEOUT", ("7.5", 7.5), ("60", 60.0), 30.0),
    ("deadline", "MIRROR_DEADLINE", ("7.5", 7.5), ("3600", 3600.0), 900.0),
    ("max_bytes", "MIRROR_MAX_BYTES", ("7", 7), ("1000000", 1_000_000), 1 << 30),
]


def test_an_option_wins_over_a_variable_and_that_over_the_default() -> None:
    """Each setting comes from its option, else its variable, else the documented default."""
    for name, variable, option, given, default in SETTINGS:
        both = api({variable: given[0]}, **{name: option[0]})
        assert getattr(both, name) == option[1]
        assert getattr(api({variable: given[0]}), name) == given[1]
        assert getattr(api(), name) == default
        assert getattr(api({variable: ""}, **{name: ""}), name) == default


def test_the_database_comes_from_the_option_or_the_variable_or_the_users_folder() -> None:
    """The database is the option's, else the variable's, else a file in the user's data folder."""
    given = {"MIRROR_DATABASE_URL": "postgresql://variable/mirror"}
    assert settings.database_url("sqlite:///option.db", given) == "sqlite:///option.db"
    assert settings.database_url(None, given) == "postgresql://variable/mirror"
    file = platformdirs.user_data_path("mirror", appauthor=False) / "mirror.db"
    assert settings.database_url(None, {}) == f"sqlite:///{file}"
    assert settings.database_url("", {"MIRROR_DATABASE_URL": ""}) == f"sqlite:///{file}"


def test_the_environment_label_comes_from_the_option_or_the_variable() -> None:
    """The label is the option's, else the variable's, else "default"."""
    given = {"MIRROR_ENVIRONMENT": "staging"}
    assert settings.environment_name("prod", given) == "prod"
    assert settings.environment_name(None, given) == "staging"
    assert settings.environment_name(None, {}) == "default"
    assert settings.environment_name("", {"MIRROR_ENVIRONMENT": ""}) == "default"


def test_variables_are_those_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without other variables given, each function reads those of the process, as they are now."""
    monkeypatch.setenv("TALKOVER_TOKEN", TOKEN)
    monkeypatch.setenv("MIRROR_RATE", "7")
    monkeypatch.setenv("MIRROR_ENVIRONMENT", "staging")
    monkeypatch.setenv("MIRROR_DATABASE_URL", "sqlite:///variable.db")
    assert (api_settings().token.reveal(), api_settings().rate) == (TOKEN, 7)
    assert settings.environment_name() == "staging"
    assert settings.database_url() == "sqlite:///variable.db"


# The token


def test_the_token_comes_from_the_option_or_a_variable(token_file: Path, tmp_path: Path) -> None:
    """The option's file wins over TALKOVER_TOKEN, and that over TALKOVER_TOKEN_FILE."""
    other = tmp_path / "other"
    other.write_text("talq_of-the-other-file")
    named = {"TALKOVER_TOKEN_FILE": str(other)}
    option = str(token_file)
    assert api(named, token_file=option).token.reveal() == "talq_of-the-file"
    assert api_settings(token_file=option, environ=named).token.reveal() == "talq_of-the-file"
    assert api(named).token.reveal() == TOKEN
    assert api_settings(environ=named).token.reveal() == "talq_of-the-other-file"
    empty = named | {"TALKOVER_TOKEN": ""}
    assert api_settings(environ=empty).token.reveal() == "talq_of-the-other-file"


def test_space_around_a_token_is_dropped(tmp_path: Path) -> None:
    """Line ends and spaces that come with copying a token are not part of it."""
    file = tmp_path / "token"
    for around in ("\n", "\r\n", " ", "\t", "\n\n"):
        file.write_bytes(f"{around}{TOKEN}{around}".encode())
        assert api(token_file=str(file)).token.reveal() == TOKEN
        given = {"TALKOVER_TOKEN": around + TOKEN + around}
        assert api_settings(environ=given).token.reveal() == TOKEN


def test_without_a_token_the_error_says_where_to_put_one() -> None:
    """A missing token is a mistake of configuration, and each way to give one is named."""
    for environ in ({}, {"TALKOVER_TOKEN": "", "TALKOVER_TOKEN_FILE": ""}):
        for way in ("TALKOVER_TOKEN,", "--token-file", "TALKOVER_TOKEN_FILE"):
            assert way in refusal(environ)


def test_a_token_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A file that is not there, or is no file, is a mistake of configuration.

    Who gives the token where the path of its file belongs does not find it in a log.
    """
    for path, why in (
        (str(tmp_path / "missing"), "No such file"),
        (str(tmp_path), "directory"),
        (TOKEN, "No such file"),
    ):
        for said in (refusal({"TALKOVER_TOKEN_FILE": path}), refusal({}, token_file=path)):
            assert re.search(rf"token file.* cannot be read .*{why}.*check the path", said)
            assert TOKEN not in said


UNUSABLE = {
    "blank": (" \n", "is empty"),
    "space-inside": (f"Bearer {TOKEN}", "space in it"),
    "two-lines": (f"{TOKEN}\nsecond", "not plain ASCII"),
    "tab-inside": (f"{TOKEN}\tsecond", "not plain ASCII"),
    "control": (f"{TOKEN}\x07", "not plain ASCII"),
    "non-ascii": (f"{TOKEN}é", "not plain ASCII"),
    "no-break-space-inside": (f"{TOKEN}\u00a0x", "not plain ASCII"),
    "zero-width": (f"{TOKEN}\u200b", "not plain ASCII"),
    "byte-order-mark": (f"\ufeff{TOKEN}", "not plain ASCII"),
    "too-long": (TOKEN + "x" * 5000, "too long"),
}


def test_what_is_no_token_is_refused_without_showing_it(tmp_path: Path) -> None:
    """What cannot go into a header is refused before anything is sent, and is not shown."""
    file = tmp_path / "file"
    for text, why in UNUSABLE.values():
        file.write_bytes(text.encode())
        by_variable = refusal({"TALKOVER_TOKEN": text})
        by_file = [refusal({}, token_file=str(file)), refusal({"TALKOVER_TOKEN_FILE": str(file)})]
        assert "TALKOVER_TOKEN " in by_variable
        assert all("token file" in said for said in by_file)
        for said in (by_variable, *by_file):
            assert why in said
            assert TOKEN not in said
    for content in (b"", b"\xff\xfet\0a\0l\0q\0", b"\0" * 40, b"\xe9" * 40):
        file.write_bytes(content)
        assert re.search("is empty|not plain ASCII", refusal({}, token_file=str(file)))


def test_the_longest_token_is_taken() -> None:
    """4,096 characters are a token; one more is not."""
    assert len(api({"TALKOVER_TOKEN": "x" * 4096}).token.reveal()) == 4096
    with pytest.raises(UsageError, match="too long"):
        api({"TALKOVER_TOKEN": "x" * 4097})


def test_the_token_does_not_show() -> None:
    """However settings are printed, the token is not in it."""
    shows: list[Callable[[object], str]] = [repr, str, format, lambda one: f"{one!r:>40} {[one]}"]
    for thing in (api().token, api(), dataclasses.asdict(api())):
        assert [one for show in shows if TOKEN in (one := show(thing))] == []


def test_the_token_cannot_be_found_by_looking_at_attributes() -> None:
    """What prints the attributes of an object, as debuggers and error reporters do, finds none."""
    assert not hasattr(Secret(TOKEN), "__dict__")


def test_redact_takes_the_token_out_of_a_text() -> None:
    """Each occurrence of a token is replaced, and the rest stays."""
    said = Secret(TOKEN).redact(f"no {TOKEN}, {TOKEN}!")
    assert said == "no [token], [token]!"


def test_a_base_url_with_the_token_in_it_is_not_shown() -> None:
    """Who puts the token into the URL is told so, without printing it."""
    for base_url in (
        f"https://host.example/api/v1?token={TOKEN}",
        f"https://host.example/api/v1#{TOKEN}",
        f"https://{TOKEN}@host.example/api/v1",
        f"https://user:{TOKEN}@host.example/api/v1",
        f"http://user:{TOKEN}@127.0.0.1/api/v1",
        f"https://user:{TOKEN}/x@host.example/api/v1",
        f"https://user:{TOKEN}\u2100@host.example/api/v1",
    ):
        said = refusal(base_url=base_url)
        assert said
        assert TOKEN not in said


# The base URL


TAKEN = [
    "https://app.talkover.ai/api/v1", "https://voice.example.com/api/v1/",
    "https://voice.example.com/api/v1//", "https://voice.example.com",
    "https://voice.example.com:8443/x", "HTTPS://voice.example.com/x",
    "https://192.0.2.1/api/v1", "https://[2001:db8::1]/api/v1", "http://localhost:8000/api/v1",
    "http://LOCALHOST/api/v1", "http://127.0.0.1/api/v1/", "http://127.255.0.7:80/api/v1",
    "http://[::1]/api/v1", "http://[::1]:8000/api/v1",
]  # fmt: skip


def test_base_urls_that_are_taken() -> None:
    """Any host over https, and loopback over http; a slash at the end is dropped."""
    for given in TAKEN:
        assert api(base_url=given).base_url == given.rstrip("/")
        assert api({"TALKOVER_BASE_URL": given}).base_url == given.rstrip("/")


REFUSED = {
    "unencrypted": [
        "http://app.talkover.ai/api/v1", "HTTP://app.talkover.ai/api/v1",
        "http://localhost.evil.example/api/v1", "http://localhost./api/v1",
        "http://127.0.0.1.evil.example/api/v1", "http://127.0.0.1%2eevil.example/api/v1",
        "http://evil.example:127/api/v1", "http://0.0.0.0/api/v1", "http://10.0.0.1/api/v1",
        "http://192.168.0.1/api/v1", "http://169.254.169.254/api/v1", "http://[2001:db8::1]/api/v1",
        "http://2130706433/api/v1",
    ],
    "user name": [
        "http://127.0.0.1@evil.example/api/v1", "http://127.0.0.1:80@evil.example/api/v1",
        "http://[::1]@evil.example/api/v1", "http://localhost:pass@evil.example/api/v1",
        "https://user@host.example/api/v1", "https://user:pass@host.example/api/v1",
        "https://@host.example/api/v1", "http://evil.example\\@127.0.0.1/api/v1",
    ],
    "not of the form": [
        "app.talkover.ai/api/v1", "//app.talkover.ai/api/v1", "localhost:8000/api/v1",
        "ftp://app.talkover.ai/api/v1", "file:///etc/passwd", "https://", "https:///api/v1",
        "https:app.talkover.ai/api/v1", "https://:443/api/v1",
    ],
    "must end with its path": [
        "https://host.example/api/v1?page=1", "https://host.example/api/v1#top",
        "https://host.example/api/v1?", "https://host.example/api/v1#",
        "http://127.0.0.1#@evil.example/", "http://127.0.0.1?@evil.example/",
        "https://host.example\\api\\v1", "https://host.example/api v1",
        " https://host.example/api/v1", "https://host.example/api/v1\n",
        "https://host.example/api/v1\r\nX-Header: 1", "https://host\t.example/api/v1",
        "https://host.example/\u200bapi/v1",
    ],
    "--base-url|base URL": [
        "https://host.example:port/api/v1", "https://host.example:99999/api/v1",
        "https://[::1/api/v1", "https://[host.example]/api/v1", "https://host.example\u2100/api/v1",
        "http://[::1].evil.example/api/v1", "http://[::1]evil.example/api/v1",
        "http://evil.example[::1]/api/v1",
    ],
}  # fmt: skip


def test_base_urls_that_are_refused() -> None:
    """The token goes over https or to this machine alone, and the error says what is wrong."""
    for why, urls in REFUSED.items():
        for url in urls:
            assert re.search(why, refusal(base_url=url)), url
            assert re.search(why, refusal(WITH_TOKEN | {"TALKOVER_BASE_URL": url})), url


def test_loopback() -> None:
    """Only what can mean nothing but this machine is loopback."""
    ours = ["localhost", "127.0.0.1", "127.1.2.3", "::1", "0:0:0:0:0:0:0:1"]
    others = ["", "0.0.0.0", "::", "128.0.0.1", "127.0.0.1.example", "localhost.example"]  # noqa: S104 (nothing is bound here)
    assert [host for host in [*ours, *others, "xlocalhost"] if settings.is_loopback(host)] == ours


# Numbers


@pytest.mark.parametrize("name", ["rate", "timeout", "deadline", "max_bytes"])
def test_numbers_must_be_positive_and_finite(name: str) -> None:
    """What is no positive number is refused, and the error names the option and what was given.

    Requests and bytes are counted, where a fraction is refused, not rounded; seconds may have one.
    """
    option = f"--{name.replace('_', '-')} takes a positive"
    for text in ("0", "-1", "-0", "nan", "inf", "-inf", "text", "1,5", "0x10", " ", "1e15", "1 0"):
        said = refusal(**{name: text})
        assert option in said, text
        assert repr(text) in said
        assert option in refusal(WITH_TOKEN | {f"MIRROR_{name.upper()}": text})
    if name in {"rate", "max_bytes"}:
        for text in ("1.5", "1.0", "1e3", "0.1"):
            assert "takes a positive whole number" in refusal(**{name: text})
    else:
        for text, seconds in (("0.5", 0.5), ("1e3", 1000.0), ("45", 45.0)):
            assert getattr(api(**{name: text}), name) == seconds


# Environment labels


def test_labels_that_are_taken() -> None:
    """A label is any short text that can be printed."""
    for label in ("prod", "EU prod 2", "produção", "北京", "a" * 100, "x-1_2.3/4"):
        assert settings.environment_name(label, {}) == label


@pytest.mark.parametrize(
    "label",
    ["a" * 101, " prod", "prod ", " ", "a\nb", "a\tb", "\x1b[31mred", "a\u202eb", "a\u200bb", "\0"],
)
def test_labels_that_are_refused(label: str) -> None:
    """A label that is long or cannot be seen is refused, and shown in a form that can be."""
    with pytest.raises(UsageError, match="environment") as raised:
        settings.environment_name(label, {})
    assert str(raised.value).isprintable()
    with pytest.raises(UsageError, match="100 printable characters"):
        settings.environment_name(None, {"MIRROR_ENVIRONMENT": label})
