"""Settings: which values are valid, and that the token never shows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec
import pytest

from mirror.config import settings
from mirror.config.settings import ApiSettings, Secret
from mirror.errors import UsageError
from tests.support.settings import sources
from tests.support.upstream import TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WITH_TOKEN = {"TALKOVER_TOKEN": TOKEN}


def api_settings(environ: dict[str, str], **options: str) -> ApiSettings:
    """The settings from variables and options."""
    return settings.api_settings(sources(environ, **options))


def api(environ: dict[str, str] | None = None, /, **options: str) -> ApiSettings:
    """The settings from variables, a token among them, and options."""
    return api_settings(WITH_TOKEN | (environ or {}), **options)


def error(environ: dict[str, str] = WITH_TOKEN, /, **options: str) -> str:
    """The error in variables and options; empty if they are valid."""
    try:
        api_settings(environ, **options)
    except UsageError as raised:
        return str(raised)
    return ""


@pytest.mark.parametrize(
    ("name", "variable", "text", "value", "default"),
    [
        (
            "base_url",
            "TALKOVER_BASE_URL",
            "https://voice.example/api/v1",
            "https://voice.example/api/v1",
            "https://app.talkover.ai/api/v1",
        ),
        ("rate", "MIRROR_RATE", "7", 7, 100),
        ("timeout", "MIRROR_TIMEOUT", "7.5", 7.5, 30.0),
        ("deadline", "MIRROR_DEADLINE", "3600", 3600.0, 900.0),
        ("max_bytes", "MIRROR_MAX_BYTES", "1000000", 1_000_000, 1 << 30),
    ],
)
def test_names_types_and_defaults(
    name: str, variable: str, text: str, value: object, default: object
) -> None:
    """Each setting has its option, its variable and the documented default."""
    assert getattr(api(**{name: text}), name) == value
    assert getattr(api({variable: text}), name) == value
    assert getattr(api(), name) == default


# The token


def test_space_around_a_token_is_dropped(tmp_path: Path) -> None:
    """Line ends and spaces that come with copying a token are not part of it."""
    file = tmp_path / "token"
    for around in ("\n", "\r\n", " ", "\t", "\n\n"):
        file.write_bytes(f"{around}{TOKEN}{around}".encode())
        assert api(token_file=str(file)).token.reveal() == TOKEN
        given = {"TALKOVER_TOKEN": around + TOKEN + around}
        assert api_settings(given).token.reveal() == TOKEN


def test_a_token_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    """Editors on Windows write one, and space may follow; only one, and only of UTF-8."""
    file, mark = tmp_path / "token", b"\xef\xbb\xbf"
    longest = "x" * 4096
    for token in (TOKEN, longest):
        for content in (mark + token.encode(), mark + f" {token}\r\n".encode()):
            file.write_bytes(content)
            assert api(token_file=str(file)).token.reveal() == token
    for content, reason in [
        (mark, "is empty"),
        (mark + b"\r\n", "is empty"),
        (mark + mark + TOKEN.encode(), "not plain ASCII"),
        (b" " + mark + TOKEN.encode(), "not plain ASCII"),
        (mark[:2] + TOKEN.encode(), "not plain ASCII"),
        (mark + longest.encode() + b"x", "too long"),
    ]:
        file.write_bytes(content)
        assert reason in error({}, token_file=str(file))
    assert "not plain ASCII" in error({"TALKOVER_TOKEN": f"\ufeff{TOKEN}"})


def test_without_a_token_the_error_says_where_to_put_one() -> None:
    """The error names each way to give a token."""
    for environ in ({}, {"TALKOVER_TOKEN": "", "TALKOVER_TOKEN_FILE": ""}):
        for way in ("TALKOVER_TOKEN,", "--token-file", "TALKOVER_TOKEN_FILE", "`mirror init`"):
            assert way in error(environ)


def test_an_unreadable_token_file(tmp_path: Path) -> None:
    """The error gives the reason, but not the path: a token may have been given in its place."""
    for path, reason in (
        (str(tmp_path / "missing"), "No such file"),
        (str(tmp_path), "directory"),
        (TOKEN, "No such file"),
    ):
        for message in (error({"TALKOVER_TOKEN_FILE": path}), error({}, token_file=path)):
            assert re.search(rf"token file.* cannot be read .*{reason}.*check the path", message)
            assert TOKEN not in message


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (" \n", "is empty"),
        (f"Bearer {TOKEN}", "space in it"),
        (f"{TOKEN}\nsecond", "not plain ASCII"),
        (f"{TOKEN}\tsecond", "not plain ASCII"),
        (f"{TOKEN}\x07", "not plain ASCII"),
        (f"{TOKEN}é", "not plain ASCII"),
        (f"{TOKEN}\u00a0x", "not plain ASCII"),
        (f"{TOKEN}\u200b", "not plain ASCII"),
        (f"\u200b{TOKEN}", "not plain ASCII"),
        (TOKEN + "x" * 5000, "too long"),
    ],
    ids=ascii,
)
def test_invalid_tokens(text: str, reason: str, tmp_path: Path) -> None:
    """A text that cannot go into a header is refused before anything is sent, and is not shown."""
    file = tmp_path / "file"
    file.write_bytes(text.encode())
    for message, source in [
        (error({"TALKOVER_TOKEN": text}), "TALKOVER_TOKEN "),
        (error({"TALKOVER_TOKEN_FILE": str(file)}), "token file"),
        (error({}, token_file=str(file)), "token file"),
    ]:
        assert source in message
        assert reason in message
        assert TOKEN not in message


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfet\0a\0l\0q\0", b"\0" * 40, b"\xe9" * 40], ids=ascii
)
def test_token_files_without_text(content: bytes, tmp_path: Path) -> None:
    """A token file that is empty, binary or UTF-16 is refused."""
    file = tmp_path / "file"
    file.write_bytes(content)
    assert re.search("is empty|not plain ASCII", error({}, token_file=str(file)))


def test_the_longest_token() -> None:
    """4,096 characters are a token; one more is not."""
    assert len(api({"TALKOVER_TOKEN": "x" * 4096}).token.reveal()) == 4096
    with pytest.raises(UsageError, match="too long"):
        api({"TALKOVER_TOKEN": "x" * 4097})


def test_the_token_does_not_show() -> None:
    """However settings are printed, the token is not in it."""
    shows: list[Callable[[object], str]] = [repr, str, format, lambda one: f"{one!r:>40} {[one]}"]
    for thing in (api().token, api(), msgspec.structs.asdict(api())):
        assert [one for show in shows if TOKEN in (one := show(thing))] == []


def test_the_token_is_not_an_attribute() -> None:
    """Debuggers and error reporters, which print the attributes of an object, do not find it."""
    assert not hasattr(Secret(TOKEN), "__dict__")


def test_redact() -> None:
    """Each occurrence of a token is replaced, and the rest stays."""
    assert Secret(TOKEN).redact(f"no {TOKEN}, {TOKEN}!") == "no [token], [token]!"


def test_a_base_url_with_the_token_in_it_is_not_shown() -> None:
    """The error for a base URL with the token in it does not print it."""
    for base_url in (
        f"https://host.example/api/v1?token={TOKEN}",
        f"https://host.example/api/v1#{TOKEN}",
        f"https://{TOKEN}@host.example/api/v1",
        f"https://user:{TOKEN}@host.example/api/v1",
        f"http://user:{TOKEN}@127.0.0.1/api/v1",
        f"https://user:{TOKEN}/x@host.example/api/v1",
        f"https://user:{TOKEN}\u2100@host.example/api/v1",
    ):
        message = error(base_url=base_url)
        assert message
        assert TOKEN not in message


# The base URL


VALID_URLS = [
    "https://app.talkover.ai/api/v1", "https://voice.example.com/api/v1/",
    "https://voice.example.com/api/v1//", "https://voice.example.com",
    "https://voice.example.com:8443/x", "HTTPS://voice.example.com/x",
    "https://192.0.2.1/api/v1", "https://[2001:db8::1]/api/v1", "http://localhost:8000/api/v1",
    "http://LOCALHOST/api/v1", "http://127.0.0.1/api/v1/", "http://127.255.0.7:80/api/v1",
    "http://[::1]/api/v1", "http://[::1]:8000/api/v1",
]  # fmt: skip


def test_valid_base_urls() -> None:
    """Any host over https, and loopback over http; a slash at the end is dropped."""
    for url in VALID_URLS:
        assert api(base_url=url).base_url == url.rstrip("/")
        assert api({"TALKOVER_BASE_URL": url}).base_url == url.rstrip("/")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://voice.example.com./api/v1", "https://voice.example.com/api/v1"),
        ("https://voice.example.com.:8443/x./", "https://voice.example.com:8443/x."),
        ("http://localhost.:8000/api/v1", "http://localhost:8000/api/v1"),
        ("https://voice.example.com../x", "https://voice.example.com../x"),
    ],
)
def test_a_final_dot_of_the_host_is_dropped(url: str, expected: str) -> None:
    """It is no other host, but certificates are for the name without it."""
    assert api(base_url=url).base_url == expected


INVALID_URLS = {
    "unencrypted": [
        "http://app.talkover.ai/api/v1", "HTTP://app.talkover.ai/api/v1",
        "http://localhost.evil.example/api/v1", "http://localhost../api/v1",
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


def test_invalid_base_urls() -> None:
    """The token goes over https or to this machine alone, and the error says what is wrong."""
    for reason, urls in INVALID_URLS.items():
        for url in urls:
            assert re.search(reason, error(base_url=url)), url
            assert re.search(reason, error(WITH_TOKEN | {"TALKOVER_BASE_URL": url})), url


def test_loopback() -> None:
    """Only what can mean nothing but this machine is loopback."""
    ours = ["localhost", "127.0.0.1", "127.1.2.3", "::1", "0:0:0:0:0:0:0:1"]
    others = ["", "0.0.0.0", "::", "128.0.0.1", "127.0.0.1.example", "localhost.example"]  # noqa: S104 (nothing is bound here)
    assert [host for host in [*ours, *others, "xlocalhost"] if settings.is_loopback(host)] == ours


# Numbers


@pytest.mark.parametrize("name", ["rate", "timeout", "deadline", "max_bytes"])
def test_numbers_must_be_positive_and_finite(name: str) -> None:
    """The error names the option and the invalid value.

    Requests and bytes are whole numbers, and are not rounded; seconds may have a fraction.
    """
    option = f"--{name.replace('_', '-')} takes a positive"
    for text in ("0", "-1", "-0", "nan", "inf", "-inf", "text", "1,5", "0x10", " ", "1e15", "1 0"):
        message = error(**{name: text})
        assert option in message, text
        assert repr(text) in message
        assert option in error(WITH_TOKEN | {f"MIRROR_{name.upper()}": text})
    if name in {"rate", "max_bytes"}:
        for text in ("1.5", "1.0", "1e3", "0.1"):
            assert "takes a positive whole number" in error(**{name: text})
    else:
        for text, seconds in (("0.5", 0.5), ("1e3", 1000.0), ("45", 45.0)):
            assert getattr(api(**{name: text}), name) == seconds


# Names of environments


@pytest.mark.parametrize(
    "name", ["prod", "EU prod 2", "produção", "北京", "a" * 100, "x-1_2.3/4"], ids=ascii
)
def test_valid_names_of_environments(name: str) -> None:
    """A name is any short text that can be printed."""
    assert settings.environment_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["a" * 101, " prod", "prod ", " ", "a\nb", "a\tb", "\x1b[31mred", "a\u202eb", "a\u200bb", "\0"],
    ids=ascii,
)
def test_invalid_names_of_environments(name: str) -> None:
    """A name that is long or invisible is refused, and shown in a form that can be printed."""
    with pytest.raises(UsageError, match=r"environment.*100 printable characters") as raised:
        settings.environment_name(name)
    assert str(raised.value).isprintable()
