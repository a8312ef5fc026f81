"""The proxy of a connection: which variable counts, and that its URL never shows."""

from __future__ import annotations

import re

import pytest

from mirror.api.client import Client
from mirror.api.proxy import find_proxy
from mirror.errors import UsageError
from tests.support.api_client import settings

HOST = "https://api.example.com/api/v1"


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the proxies of the person who runs the tests."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize(
    ("variables", "proxy"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://a:1"}, "http://a:1"),
        ({"https_proxy": "http://a:1"}, "http://a:1"),
        ({"ALL_PROXY": "a:1"}, "http://a:1"),
        ({"ALL_PROXY": "http://a:1", "HTTPS_PROXY": "http://b:2/"}, "http://b:2/"),
        ({"HTTPS_PROXY": "http://a:1", "https_proxy": "http://b:2"}, "http://b:2"),
        ({"HTTPS_PROXY": "https://[::1]:8080"}, "https://[::1]:8080"),
        ({"HTTPS_PROXY": " http://user:pass%40word@a "}, "http://a"),
        ({"HTTPS_PROXY": "http://user:p@ss:100%@a:1"}, "http://a:1"),
        ({"HTTP_PROXY": "http://[::1", "FTP_PROXY": "x"}, None),
        ({"HTTP_PROXY": "http://[::1", "HTTPS_PROXY": "http://a:1"}, "http://a:1"),
        ({"HTTPS_PROXY": "http://[::1", "NO_PROXY": "example.com"}, None),
        ({"ALL_PROXY": "http://[::1", "HTTPS_PROXY": "http://a:1"}, "http://a:1"),
    ],
)  # fmt: skip
def test_only_the_variable_that_is_needed_counts(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], proxy: str | None
) -> None:
    """HTTPS_PROXY, else ALL_PROXY, in small letters first; one that is not needed may be broken."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = find_proxy(HOST)
    assert (found and str(found)) == proxy


@pytest.mark.parametrize("base_url", ["http://127.0.0.1:8000/api/v1", "https://localhost/api/v1"])
def test_this_machine_needs_no_proxy(monkeypatch: pytest.MonkeyPatch, base_url: str) -> None:
    """A broken proxy does not matter for a loopback address."""
    monkeypatch.setenv("ALL_PROXY", "http://[::1")
    assert find_proxy(base_url) is None
    Client(settings(base_url))


def test_httpx_reads_no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """What httpx cannot read does not stop a client that does not need it."""
    monkeypatch.setenv("HTTP_PROXY", "http://[::1")
    monkeypatch.setenv("NO_PROXY", "localhost,fd00:1234::/64,http://[::1")
    Client(settings(HOST))


UNUSABLE = [
    "http://user:gehe#im@a:1", "http://user:1#geheim@a:1", "http://user:gehe/im@a:1",
    "http://user:1/geheim@a:1", "http://user:gehe?im@a:1", "http://user:1?geheim@a:1",
    "http://user:gehe\\im@a:1", "http://user:gehe im@a:1", "http://geheim:a:1", "http://[::1",
    "http://a:99999", "http://a:0", "http://a:port", "http://a:", "http://", "geheim://a:1",
    "http://a:1/geheim", "http://user:geheim@", "http://xn--geheim-\u2100.example", "socks9://a",
]  # fmt: skip


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "ALL_PROXY"])
@pytest.mark.parametrize("url", UNUSABLE)
def test_no_part_of_an_unusable_proxy_is_shown(
    monkeypatch: pytest.MonkeyPatch, variable: str, url: str
) -> None:
    """A sign that ends the host in the middle of the password is refused, not guessed around."""
    monkeypatch.setenv(variable, url)
    with pytest.raises(UsageError) as raised:
        Client(settings(HOST))
    shown = str(raised.value)
    assert shown.startswith(f"the proxy in {variable} cannot be used; set it to http://host:port")
    assert not re.search("gehe|xn--|99999|socks9", shown)


EXCEPTED = {
    "https://api.example.com/": [
        "*", "api.example.com", "API.Example.COM", ".example.com", "example.com", "com",
        "*.example.com", "example.com.", "https://api.example.com", "all://example.com",
        "api.example.com:443", "localhost,fd00:1234::/64,example.com", "a b example.com",
        "a,,\texample.com", "[::1,example.com", "10.0.0.0/99 example.com", "http://[::1, *",
    ],
    "https://api.example.com:8443/": ["example.com:8443", "example.com", "*:8443"],
    "https://10.1.2.3/": ["10.1.2.3", "10.0.0.0/8", "10.1.2.3/8", "10.1.2.3:443"],
    "https://[fd00:1234::5]/": [
        "fd00:1234::5", "[fd00:1234::5]", "fd00:1234::/64", "fd00:1234:0::5", "[fd00:1234::5]:443",
    ],
}  # fmt: skip

NOT_EXCEPTED = {
    "https://api.example.com/": [
        "", ",", " ", "ample.com", "api.example.org", "http://api.example.com", "example.com:80",
        "localhost,fd00:1234::/64", "10.0.0.0/8", "::/0", "0.0.0.0/0", "http://[::1", "[", ":",
        "*.", ".", "example.com:port", "example.com/path", "www.api.example.com", "\u2100", "%zz",
    ],
    "https://10.1.2.3/": ["2.3", ".3", "10.2.0.0/16", "::/0", "10.1.2.3:80", "10.1.2.3/x"],
    "https://[fd00:1234::5]/": ["fd00:1235::/64", "0.0.0.0/0", "fd00:1234::", "[fd00:1234::5]:80"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("url", "entries", "expected"),
    [
        (url, entries, expected)
        for table, expected in ((EXCEPTED, None), (NOT_EXCEPTED, "http://proxy:1"))
        for url, entries in table.items()
    ],
)
def test_no_proxy(
    monkeypatch: pytest.MonkeyPatch, url: str, entries: list[str], expected: str | None
) -> None:
    """Hosts, domains, addresses and networks, with or without port; what is none is passed over."""
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:1")
    for entry in entries:
        monkeypatch.setenv("NO_PROXY", entry)
        found = find_proxy(url)
        assert (found and str(found)) == expected, entry
