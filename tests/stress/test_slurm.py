"""The array of docs/shards.md, run by a real Slurm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.support.pages import FILES, run
from tests.support.shards import MAINTENANCE, UNAUTHORIZED, Account, localize, outcomes
from tests.support.slurm import running_slurm


def test_an_array(tmp_path: Path, make_database: Callable[[str], str]) -> None:
    """Each environment is synced once; a failure is mailed, but not a temporary one."""
    account = Account(tmp_path, [f"customer-{number}" for number in range(12)])
    database_url = make_database("sqlite")
    (tmp_path / "mirror-sync.sbatch").write_text(localize(FILES["mirror-sync.sbatch"], tmp_path))
    command = FILES["slurm.crontab"].split(maxsplit=5)[5]
    with running_slurm(tmp_path / "slurm") as slurm, account.serving(database_url):

        def submit() -> tuple[int, int]:
            """Run the line of the crontab; return its exit code, and the mails so far."""
            variables = slurm.variables | {"HOME": str(tmp_path)}
            ran = run("/bin/sh", "-c", command, cwd=tmp_path, **variables)
            assert (ran.out, ran.err) == ("", "")
            return ran.code, slurm.mails()

        assert submit() == (0, 0)
        logs = [path.read_text() for path in sorted(tmp_path.glob("mirror-sync.*.log"))]
        assert [log.count(": applied: ") for log in logs].count(0) == 0
        assert outcomes(database_url) == {name: ["applied"] for name in account.names}
        account.failures["customer-7"] = MAINTENANCE
        assert submit() == (0, 0)
        account.failures["customer-7"] = UNAUTHORIZED
        assert submit() == (1, 1)
        runs = outcomes(database_url)
        assert runs.pop("customer-7") == ["applied", "failed", "failed"]
        assert set(map(tuple, runs.values())) == {("applied", "unchanged", "unchanged")}
