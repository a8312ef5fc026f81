"""Fixtures of the tests of hostile content."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support.cli_mirror import CliMirror
from tests.support.databases import DATABASES
from tests.support.mirrors import mirrors_by_kind
from tests.support.upstream import TOKEN


@pytest.fixture(scope="module")
def cli_mirrors(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], CliMirror]]:
    """Gives the mirror in a kind of database, created at its first use."""
    token_file = tmp_path_factory.mktemp("hostile") / "token"
    token_file.write_text(TOKEN)
    with mirrors_by_kind(request, lambda mirror: CliMirror(mirror, token_file)) as get:
        yield get


@pytest.fixture(params=DATABASES)
def cli_mirror(
    request: pytest.FixtureRequest, cli_mirrors: Callable[[str], CliMirror]
) -> CliMirror:
    """A mirror that has synced the hostile lists, in each kind of database."""
    return cli_mirrors(request.param)
