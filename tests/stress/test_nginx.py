"""A real limiter: nginx in front of the API."""

from __future__ import annotations

from pathlib import Path

import pytest
import stamina

from mirror.api.client import Client, FetchedList
from mirror.api.rate_limit import Clock
from mirror.sandbox.server import Sandbox
from tests.support.api_client import settings
from tests.support.nginx import running_nginx
from tests.support.upstream import FakeUpstream, requests

PAGES = 100


@pytest.mark.parametrize("status", [503, 429])
@pytest.mark.parametrize("rate", [100_000, 1000])
def test_a_list_behind_nginx(
    sandbox: Sandbox, upstream: FakeUpstream, tmp_path: Path, status: int, rate: int
) -> None:
    """The list is complete, each page was read once, and few requests were refused.

    nginx refuses with a 503, unless it is told to use 429. At 20 requests a second the pages take
    5 seconds at least.
    """
    sandbox.config.paging = "meta"
    upstream.records = requests(*range(PAGES * 100))
    options = "" if status == 503 else f"limit_req_status {status};"
    with (
        running_nginx(sandbox.base_url, tmp_path, "20r/s", options) as nginx,
        stamina.set_testing(False),
    ):
        client = Client(settings(nginx.base_url, rate=rate, deadline=60), Clock())
        fetched = client.fetch_list()
        statuses = nginx.statuses()
    assert isinstance(fetched, FetchedList)
    assert fetched.scan.count == PAGES * 100
    assert len(sandbox.request_log) == PAGES
    assert set(statuses) == {200, status}
    assert statuses.count(200) == PAGES
    assert statuses[40:].count(status) <= PAGES / 5
