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


@pytest.fixture
def high(sqlite_mirror: Mirror) -> Mirror:
    """A mirror whose table of requests is higher than the terminal."""
    sqlite_mirror.sync(requests(*range(LINES)))
    return sqlite_mirror


def paged(
    mirror: Mirror, *cases: tuple[dict[str, str], tuple[str, ...]], typed: str = ""
) -> tuple[list[str], str]:
    """Return what the terminal received of each command, and stderr; all must succeed.

    Args:
        mirror: the mirror.
        cases: environment variables, and arguments of a command.
        typed: what somebody types there.
    """
    ran, received = run_on_a_terminal(
        "-c",
        _RUN_ALL,
        json.dumps([[variables, *words] for variables, words in cases]),
        typed=typed,
        MIRROR_DATABASE_URL=mirror.url,
        LINES=str(LINES),
        COLUMNS="80",
    )
    parts = received.split("\x1d")
    assert (ran.code, parts[1::2]) == (0, ["0"] * len(cases)), (ran.err, received)
    return parts[:-1:2], ran.err


def test_when_there_is_a_pager(high: Mirror, tmp_path: Path) -> None:
    """Only what is higher than the terminal goes through the pager, unless it is switched off."""
    less = tmp_path / "less"
    less.write_text('#!/bin/sh\necho "LESS=$LESS"\nexec /bin/cat\n')
    less.chmod(0o755)
    path = {"PATH": str(tmp_path)}
    wide = ("requests", "--format", "json", "--limit", "5")  # two lines of the terminal each
    (all_rows, few, wide_rows, mine, own, default, with_less, *without), err = paged(
        high,
        (MARK, HIGH),
        (MARK, LOW),
        (MARK, wide),
        (MARK | {"MIRROR_PAGER": "sed s/^/!/"}, HIGH),
        ({"MIRROR_PAGER": "sed s/^/:/", "PAGER": ""}, ("runs", "--columns", "id")),
        (path, HIGH),
        (path | {"LESS": "x"}, HIGH),
        (path | {"PATH": "/nonexistent"}, HIGH),
        ({"PAGER": ""}, HIGH),
        ({"PAGER": " cat "}, HIGH),
        (MARK | {"MIRROR_PAGER": ""}, HIGH),
        (MARK, (*HIGH, "--no-pager")),
        (MARK | {"TERM": "dumb"}, HIGH),
    )
    assert all(line.startswith(">") for line in all_rows.splitlines())
    assert "\x1b[34mpending" in all_rows
    assert len(all_rows.splitlines()) > LINES
    assert ">" not in few
    assert wide_rows.startswith(">")
    assert mine.startswith("!")
    assert ":" not in own
    assert default.startswith("LESS=FRX\r\n")
    assert with_less.startswith("LESS=x\r\n")
    plain = [re.sub(r"\x1b\[[0-9;]*m", "", text) for text in without]
    assert set(plain) == {re.sub(r"\x1b\[[0-9;]*m|(?m:^>)", "", all_rows)}
    few_shown, wide_shown = (f"mirror: {count} of 12 shown" for count in (3, 5))
    assert (err.count("mirror:"), few_shown in err, wide_shown in err) == (2, True, True)


def test_no_pager_makes_a_command_fail(high: Mirror) -> None:
    """One that ends early, cannot be started or is interrupted leaves exit code 0."""
    interrupt = "sh -c 'kill -INT $PPID; sed s/^/:/'"
    (first, failing, missing, folder, quotes, interrupted, _), err = paged(
        high,
        ({"PAGER": "head -n 1"}, HIGH),
        ({"PAGER": "false"}, HIGH),
        ({"PAGER": "nonexistent-pager -x"}, HIGH),
        ({"PAGER": "/"}, HIGH),
        ({"PAGER": "less 'x"}, HIGH),
        ({"PAGER": interrupt}, HIGH),
        ({"PAGER": ""}, LOW),
    )
    assert len(first.splitlines()) == 1
    assert failing == ""
    assert missing == folder == quotes != ""
    assert interrupted.startswith(":")
    assert "Traceback" not in err
    assert "the pager 'nonexistent-pager -x' of PAGER cannot be started" in err
    assert err.count("cannot be started") == 3


def test_there_is_none_in_a_pipe(high: Mirror) -> None:
    """A program that reads the output gets it as it is."""
    ran = run_mirror(*HIGH, MIRROR_DATABASE_URL=high.url, LINES="2", **MARK)
    assert (ran.code, ran.out.count("\n")) == (0, LINES + 1)
    assert ">" not in ran.out
