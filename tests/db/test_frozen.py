"""The frozen databases: one of each revision, with rows of every kind; released ones stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from mirror.db import revisions, runs
from mirror.db.engine import create_engine, read_transaction
from mirror.version import __version__
from tests.db.frozen import freeze
from tests.support.databases import DATABASES

REVISIONS = revisions.known()
RELEASE = "run: python tests/db/frozen/freeze.py --release"


def test_every_revision_is_frozen() -> None:
    """Each revision has a dump of both databases, and there are no others."""
    expected = {freeze.path_of(revision, kind) for revision in REVISIONS for kind in DATABASES}
    missing = sorted(path.name for path in expected if not path.exists())
    assert not missing, f"run: python tests/db/frozen/freeze.py {missing[0][:4]}"
    assert set(freeze.FOLDER.glob("*.sql")) == expected


def test_released_revisions_never_change() -> None:
    """The files and dumps of a released revision are as they were; a release names its own."""
    if freeze.is_release(__version__):
        assert freeze.released()[0] == __version__, RELEASE
    changed = freeze.changed(__version__)
    assert not changed, (
        f"users have databases of these files: undo the changes of {', '.join(changed)} and of "
        'released.sha256, and add a revision (docs/contributing.md, "Add a revision"); for '
        f"files of a new revision {RELEASE}"
    )


def test_a_release_only_appends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is on record of a release cannot get lost or be replaced without a failing test."""
    now = {revision: {f"{revision}.sql": "now"} for revision in ("0001", "0002")}
    monkeypatch.setattr(revisions, "known", lambda: sorted(now))
    monkeypatch.setattr(freeze, "digests", now.__getitem__)
    monkeypatch.setattr(freeze, "RELEASED", tmp_path / "released.sha256")
    with pytest.raises(SystemExit, match=r"is gone; restore it"):
        freeze.release()
    freeze.RELEASED.write_text("# mirror 0.2.0\n")
    assert freeze.changed("0.2.0.dev0") == ["0001.sql"]
    assert freeze.changed("0.2.0") == ["0001.sql"]
    assert freeze.changed("0.3.0") == ["0001.sql", "0002.sql"]
    freeze.RELEASED.write_text("# mirror 0.1.0\nbefore  0001.sql\n")
    assert freeze.changed("0.2.0.dev0") == ["0001.sql"]
    freeze.release()
    text = f"# mirror {__version__}\nbefore  0001.sql\nnow  0002.sql\n"
    assert freeze.RELEASED.read_text() == text
    assert freeze.changed("0.2.0") == ["0001.sql"]


KINDS = {
    "sync_runs": {
        f"outcome = '{outcome}'"
        for outcome in runs.Outcome
        if outcome != "dry_run"  # which is not on record
    }
    | {"newly_quarantined > 0", "duplicates > 0", "returned > 0", "missing > 0"},
    "release_requests": {
        "missing_since IS NOT NULL",
        "digest IS NULL",
        "phone_number_e164 IS NOT NULL",
        "extra IS NOT NULL",
        "phone_number_id IS NULL",
        "phone_number LIKE 'erased-%'",
        "reason IS NULL",
        "reason = ''",
        "reason LIKE '%\ufffd%\x1b%'",  # NUL is stored as U+FFFD
        "reason LIKE '%\n%漢字 🙂'",
        "status = 'on hold'",
    },
    "release_request_past_versions": {"missing_since IS NOT NULL", "phone_number LIKE 'erased-%'"},
    "quarantined_records": {
        "resolved_at IS NULL",
        "resolved_at IS NOT NULL",
        "request_id IS NULL",
        "raw LIKE '%erased-%'",
    },
    "erasures": {"undone_at IS NULL", "undone_at IS NOT NULL", "cleaned_at IS NOT NULL"},
    "erased_requests": {"true"},
    "change_cursors": {"seen_until IS NULL", "seen_until IS NOT NULL"},
    "phone_number_history": {
        f"time_source = '{source}'" for source in ("unknown", "observed", "reported")
    },
    "release_request_changes": {
        f"kind = '{kind}'" for kind in ("resolved", "reopened", "corrected", "vanished", "returned")
    },
}
"""Conditions by table or view, each met by rows of a frozen database."""


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_frozen_database_has_rows_of_every_kind(revision: str, tmp_path: Path) -> None:
    """Each table has rows in every state that an upgrade must keep."""
    url = f"sqlite:///{tmp_path}/frozen.db"
    freeze.thaw(url, revision)
    with read_transaction(create_engine(url)) as connection:
        assert all(freeze.rows_of(connection).values())
        for table, conditions in KINDS.items():
            for condition in conditions:
                query = f"SELECT 1 FROM {table} WHERE {condition}"
                assert connection.exec_driver_sql(query).first(), query
