"""The proxy of a connection, by the environment variables that curl and other programs use.

httpx would read all of them for each client, and fail on an entry that it does not need or know.
"""

from __future__ import annotations

import ipaddress
import re
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies

from mirror.api.httpx_lite import httpx
from mirror.config.settings import is_loopback
from mirror.errors import UsageError

_MAX_PORT = 65_535
_HTTPS_PORT = 443
_PROXY_URL = re.compile(
    r"(?:[a-z][a-z0-9]*://)?"
    r"(?:[^/?#\\\s]*@)?"  # these signs would end the host in the middle of the password
    r"(?:\[[0-9a-f:.]+\]|[^/?#\\\s:@\[\]]+)(?::([0-9]{1,5}))?/?",
    re.IGNORECASE,
)
_HOST_AND_PORT = re.compile(r"(\[[^\]]*\]|[^:]*)(?::([0-9]+))?")


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy.

    Attributes:
        variable: the name of its environment variable.
        server: its URL, and apart from that its user and password.
    """

    variable: str
    server: httpx.Proxy

    def __str__(self) -> str:
        return str(self.server.url)

    def unusable(self) -> UsageError:
        """Return the error for a proxy of an unsupported kind."""
        return _unusable(self.variable)


def find_proxy(base_url: str) -> Proxy | None:
    """Return the proxy for a base URL, or None if the connection is direct.

    It may carry https, which hides the token from it, but never plain http.

    Raises:
        UsageError: it cannot be used. The error shows no part of its URL, as any may be a password.
    """
    url = urlsplit(base_url)
    if url.scheme != "https" or is_loopback(url.hostname or ""):
        return None
    proxies = getproxies()
    name = next((name for name in ("https", "all") if proxies.get(name)), None)
    if name is None or _is_excepted(url, proxies.get("no", "")):
        return None
    variable, text = f"{name.upper()}_PROXY", proxies[name].strip()
    match = _PROXY_URL.fullmatch(text)
    if match is None or not 0 < int(match[1] or _HTTPS_PORT) <= _MAX_PORT:
        raise _unusable(variable)
    try:
        return Proxy(variable, httpx.Proxy(text if "://" in text else f"http://{text}"))
    except (ValueError, httpx.InvalidURL) as error:
        raise _unusable(variable) from error


def _unusable(variable: str) -> UsageError:
    return UsageError(
        f"the proxy in {variable} cannot be used",
        hint="set it to http://host:port or http://user:password@host:port, with special "
        "characters of the password %-escaped, or unset the variable",
    )


def _is_excepted(url: SplitResult, no_proxy: str) -> bool:
    """Return whether an entry of NO_PROXY is for a URL; one that cannot be read is for none."""
    return any(_matches(entry, url) for entry in re.split(r"[\s,]+", no_proxy))


def _matches(entry: str, url: SplitResult) -> bool:
    """Return whether an entry of NO_PROXY is for a URL.

    It is `*`, a network, an address, or a host name, which stands for its subdomains too. A scheme
    and a port may restrict it.
    """
    scheme, _, rest = entry.lower().rpartition("://")
    match = _HOST_AND_PORT.fullmatch(rest.rstrip("/"))
    name, port = (match[1].strip("[]"), match[2]) if match else (rest, None)
    if scheme not in {"", "all", url.scheme} or port not in {None, str(url.port or _HTTPS_PORT)}:
        return False
    host = (url.hostname or "").rstrip(".")
    if name in {"*", host}:
        return True
    with suppress(ValueError):
        return ipaddress.ip_address(host) in ipaddress.ip_network(name, strict=False)
    domain = name.lstrip("*").strip(".")
    return bool(domain) and not _is_address(host) and f".{host}".endswith(f".{domain}")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
