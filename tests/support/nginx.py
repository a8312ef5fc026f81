"""nginx with a rate limit, in front of a fake API.

Without nginx its tests are skipped, or fail if MIRROR_TEST_NGINX is set.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

_CONFIGURATION = """
daemon off;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
  log_format status $status;
  access_log {folder}/access.log status;
  proxy_temp_path {folder}/proxy;
  client_body_temp_path {folder}/body;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  proxy_max_temp_file_size 0;
  limit_req_zone $binary_remote_addr zone=api:1m rate={rate};
  {options}
  server {{
    listen {address};
    location / {{
      limit_req zone=api burst=1 nodelay;
      proxy_pass http://{upstream};
    }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Nginx:
    """A running nginx.

    Attributes:
        base_url: of the API behind it.
    """

    base_url: str
    _log: Path

    def statuses(self) -> list[int]:
        """Return the status of each response so far."""
        return [int(line) for line in self._log.read_text().split()]


@contextmanager
def running_nginx(base_url: str, folder: Path, rate: str, options: str = "") -> Iterator[Nginx]:
    """Start nginx, or skip or fail the test.

    Args:
        base_url: of the fake API.
        folder: for its files.
        rate: of `limit_req_zone`; the burst is 1.
        options: further lines of the configuration.
    """
    # Debian's nginx is in /usr/sbin, which is not in the path of every user.
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        reason = "nginx is not tested: install nginx-light"
        if os.environ.get("MIRROR_TEST_NGINX"):
            pytest.fail(reason)
        pytest.skip(reason)
    upstream = urlsplit(base_url)
    # nginx takes over a socket that listens already, so there is no port to guess, and no start to
    # wait for.
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        configuration = folder / "nginx.conf"
        configuration.write_text(
            _CONFIGURATION.format(
                folder=folder, rate=rate, options=options, address=address, upstream=upstream.netloc
            )
        )
        process = subprocess.Popen(
            [program, "-p", folder, "-e", "stderr", "-c", configuration],
            env={**os.environ, "NGINX": f"{listening.fileno()};"},
            pass_fds=[listening.fileno()],
        )
    try:
        yield Nginx(urlunsplit(upstream._replace(netloc=address)), folder / "access.log")
    finally:
        process.terminate()
        process.wait()
