"""findings/: the form of the scripts, and their index. None of them is run."""

from __future__ import annotations

import os
import re

from tests.support import ROOT

FINDINGS = ROOT / "findings"
INDEX = (FINDINGS / "README.md").read_text()
ROW = re.compile(r"^\| \[(.+)\]\((\w+\.sh)\) \| [^|]+ \| [^|]+ \|$", re.MULTILINE)
PARTS = ("What a good engineer expects:", "What happens:", "Whom it hurts:", "What helps:")


def test_each_finding_has_its_form_and_its_row() -> None:
    """A script is executable, its head has all parts in order, and a row has its first sentence."""
    rows = {file: title for title, file in ROW.findall(INDEX)}
    scripts = {script.name: script for script in FINDINGS.glob("*.sh")}
    assert len(rows) == INDEX.count(".sh) |")
    assert rows.keys() == scripts.keys()
    for name, script in scripts.items():
        shebang, title, *head = script.read_text().split("\nset -", 1)[0].split("\n")
        assert shebang == "#!/usr/bin/env bash", name
        assert title == f"# {rows[name]}.", name
        starts = [line.removeprefix("# ") for line in head]
        places = [
            next(place for place, line in enumerate(starts) if line.startswith(part))
            for part in (*PARTS, "Seen with:")
        ]
        assert places == sorted(places), name
        assert all(line.startswith("#") for line in head), name
        assert os.access(script, os.X_OK), name
    assert os.access(FINDINGS / "run-all", os.X_OK)


def test_links_of_the_index_have_targets() -> None:
    """The index links to files of the repository only."""
    for target in re.findall(r"\]\(([^)#]+)", INDEX):
        assert (FINDINGS / target).exists(), target
