"""The pager: when there is one, which, and that none of them can make a command fail."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.support.commands import run_mirror, run_on_a_terminal
from tests.support.mirrors import Mirror
from tests.support.upstream import requests

_RUN_ALL = r"""
import json, os, sys
from mirror import cli
before = dict(os.environ, MIRROR_PAGER="", PAGER="", LESS="")
for variables, *sys.argv[1:] in json.loads(sys.argv[1]):
    os.environ.update(before)
    for name in ("MIRROR_PAGER", "PAGER", "LESS"):
        del os.environ[name]
    os.environ.update(variables)
    print(f"\x1d{cli.main()}\x1d", end="", flush=True)
"""
LINES = 12
HIGH, LOW = ("requests",), ("requests", "--limit", "3")
MARK = {"PAGER": "sed s/^/>/"}


Case = tuple[dict[str, str], tuple[str, ...]]
"""Environment variables, and arguments of a command."""


@pytest.fixture
def high(sqlite_mirror: Mirror) -> Mirror:
    """A mirror whose table of requests is higher than the terminal."""
    records = requests(*range(LINES))
    sqlite_mirror.sync([record | {"reason": "Another"} for record in records])
    sqlite_mirror.sync(records)  # as many changes
    return sqlite_mirror


def on_a_terminal(mirror: Mirror, cases: dict[str, Case]) -> tuple[dict[str, str], str]:
    """Return what the terminal received in each case, and stderr; all commands must succeed."""
    ran, received = run_on_a_terminal(
        "-c",
        _RUN_ALL,
        json.dumps([[variables, *words] for variables, words in cases.values()]),
        MIRROR_DATABASE_URL=mirror.url,
        LINES=str(LINES),
        COLUMNS="80",
    )
    parts = received.split("\x1d")
    assert (ran.code, parts[1::2]) == (0, ["0"] * len(cases)), (ran.err, received)
    return dict(zip(cases, parts[:-1:2], strict=True)), ran.err


def test_pagers(high: Mirror, tmp_path: Path) -> None:
    """What is higher than the terminal goes through the pager, unless it is switched off.

    One that ends early, cannot be started or is interrupted leaves exit code 0.
    """
    less = tmp_path / "less"
    less.write_text('#!/bin/sh\necho "LESS=$LESS"\nexec /bin/cat\n')
    less.chmod(0o755)
    paged: dict[str, Case] = {
        "table": (MARK, HIGH),
        # Each row takes more than two lines of the terminal.
        "json": (MARK, ("requests", "--format", "json", "--limit", "5")),
        "own": (MARK | {"MIRROR_PAGER": "sed s/^/!/"}, HIGH),
        "less": ({"PATH": str(tmp_path)}, HIGH),
        "ends early": ({"PAGER": "head -n 1"}, HIGH),
        "interrupts": ({"PAGER": "sh -c 'kill -INT $PPID; sed s/^/:/'"}, HIGH),
    }
    plain: dict[str, Case] = {
        "no less": ({"PATH": "/nonexistent"}, HIGH),
        "cat": ({"PAGER": " cat "}, HIGH),
        "empty": (MARK | {"MIRROR_PAGER": ""}, HIGH),
        "option": (MARK, (*HIGH, "--no-pager")),
        "dumb": (MARK | {"TERM": "dumb"}, HIGH),
        "fails": ({"PAGER": "false"}, HIGH),
        "missing": ({"PAGER": "nonexistent-pager -x"}, HIGH),
        "folder": ({"PAGER": "/"}, HIGH),
        "quotes": ({"PAGER": "less 'x"}, HIGH),
    }
    # Of what is new nothing may stay unread.
    others: dict[str, Case] = {"low": (MARK, LOW), "new": (MARK, ("changes", "--new"))}
    received, err = on_a_terminal(high, paged | plain | others)
    table = received["table"]
    assert all(line.startswith(">") for line in table.splitlines())
    assert "\x1b[34mpending" in table
    assert len(table.splitlines()) > LINES
    starts = {"json": ">[", "own": "!", "less": "LESS=FRX\r\n", "interrupts": ":"}
    assert [name for name, start in starts.items() if not received[name].startswith(start)] == []
    assert len(received["ends early"].splitlines()) == 1
    assert "\x1b" not in received["dumb"]
    without_colours = {name: re.sub(r"\x1b\[[0-9;]*m", "", received[name]) for name in plain}
    expected = re.sub(r"\x1b\[[0-9;]*m|(?m:^>)", "", table)
    assert without_colours == dict.fromkeys(plain, expected)
    assert ">" not in received["low"] + received["new"]
    assert received["new"].count("\n") > LINES
    assert "the pager 'nonexistent-pager -x' of PAGER cannot be started" in err
    assert err.count("cannot be started") == 3
    assert "the pager 'false' of PAGER failed (exit code 1)" in err
    assert err.count("of 12 shown") == err.count("mirror:") - 4 == 2


def test_there_is_none_in_a_pipe(high: Mirror) -> None:
    """A program that reads the output gets it as it is."""
    ran = run_mirror(*HIGH, MIRROR_DATABASE_URL=high.url, LINES="2", **MARK)
    assert (ran.code, ran.out.count("\n")) == (0, LINES + 1)
    assert ">" not in ran.out
