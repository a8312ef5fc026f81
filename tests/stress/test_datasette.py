"""Datasette with the metadata that `mirror db describe` prints for it."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from mirror import demo
from mirror.db.cookbook import RECIPES
from mirror.db.engine import create_engine
from tests.db.test_dictionary import ENTRIES, RELATIONS
from tests.support.commands import run_mirror


@contextmanager
def datasette(path: Path, metadata: Path) -> Iterator[str]:
    """Serve a database with Datasette on a free port; yield the URL."""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "datasette", path, "-m", metadata, "-p", "0"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        lines = iter(process.stderr.readline, "")
        yield next(found[0] for line in lines if (found := re.search(r"http://127[^ ]+", line)))
    finally:
        process.terminate()
        process.wait(timeout=30)
        process.stderr.close()


def test_datasette_shows_the_dictionary_and_the_cookbook(tmp_path: Path) -> None:
    """Datasette shows the descriptions on each page, and each query returns rows.

    A page has the newest rows first, facets, and links that lead somewhere.
    """
    path = tmp_path / "my-mirror.db"
    url = f"sqlite:///{path}"
    demo.run(create_engine(url, create=True), lambda *_: None)
    ran = run_mirror("db", "describe", "--format", "datasette", MIRROR_DATABASE_URL=url)
    metadata = tmp_path / "metadata.json"
    metadata.write_text(ran.out)
    with datasette(path, metadata) as address, httpx.Client(base_url=address) as client:
        page = client.get("/my-mirror").text
        for recipe in RECIPES:
            assert recipe.question in page
        for relation in RELATIONS:
            page = html.unescape(client.get(f"/my-mirror/{relation}").text)
            assert all(entry.comment in page for entry in ENTRIES if entry.relation == relation)
        for relation, facets, newest in (
            ("release_requests", ["status", "rejection_reason", "environment"], "requested_at"),
            ("release_request_changes", ["kind", "environment"], "changed_at"),
            ("phone_number_history", ["event", "time_source", "environment"], "observed_at"),
        ):
            shown = client.get(f"/my-mirror/{relation}.json", params={"_shape": "objects"}).json()
            times = [row[newest] for row in shown["rows"]]
            assert times == sorted(times, reverse=True)
            assert list(shown["facet_results"]) == facets
        page = client.get("/my-mirror/release_requests").text
        links = re.findall(r"<li>the same .*?</li>", page)
        assert len(links) == 3
        for target in re.findall(r'href="([^"]+)"', "".join(links)):
            assert client.get(target).status_code == 200, target
        page = client.get("/my-mirror/history").text
        assert "mirror query history --param number=" in page
        assert 'name="number"' in page
        for recipe in RECIPES:
            filled_in = dict.fromkeys(re.findall(r":(\w+)", recipe.sql), "2026")
            answer: dict[str, Any] = client.get(
                f"/my-mirror/{recipe.name}.json", params={"_shape": "objects"} | filled_in
            ).json()
            assert answer["ok"], answer
            assert answer["rows"] or filled_in, recipe.name
