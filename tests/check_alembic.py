"""Runs `alembic check` as a developer would, on a SQLite file and on a real Postgres."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

from tests.support import postgres

ROOT = Path(__file__).parent.parent


def check(url: str) -> None:
    """Upgrade a database and compare it with the models; raises if they differ."""
    environment = os.environ | {"MIRROR_DATABASE_URL": url}
    for words in (("upgrade", "head"), ("check",)):
        subprocess.run(
            [sys.executable, "-m", "alembic", *words], cwd=ROOT, env=environment, check=True
        )


def main() -> None:
    """Check both databases."""
    with tempfile.TemporaryDirectory() as folder:
        check(f"sqlite:///{folder}/mirror.db")
    given = os.environ.get("MIRROR_TEST_POSTGRES_URL")
    with (
        nullcontext(given) if given else postgres.server() as server,
        postgres.empty_database(server) as url,
    ):
        check(url)


if __name__ == "__main__":
    main()
