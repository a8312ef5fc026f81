"""What `mirror history` and `mirror requests --number` say about the number that was typed."""

from __future__ import annotations

import json
import shlex

from tests.support.commands import run_mirror, run_on_a_terminal
from tests.support.mirrors import Mirror
from tests.support.terminals import drawn, plain
from tests.support.upstream import request

STORED = ["+5540040123", "+555540040123", "+12125550123", "15550100199", "+12345"]

SAID = {
    # Found: how it was read, unless as it stands
    "history '+1 (212) 555-0123'": (0, ""),
    "requests --number +12345": (0, ""),
    "history '(212) 555-0123' --region US": (0, "+12125550123: read as a number of US\n"),
    "requests --number '+1 212 555 0123 x45'": (0, "+12125550123: without 'x45'\n"),
    "history '0011 1 212 555 0123' --region AU": (
        0,
        "+12125550123: read with an international prefix of AU\n",
    ),
    "history +15550100199": (0, "15550100199: another notation of +15550100199\n"),
    # Nothing found: what was looked for
    "history +15550100111": (0, "no release request has the number +15550100111\n"),
    "requests --number '+1 555 010 0111'": (
        0,
        "no release request has the number +15550100111\n",
    ),
    "requests --number +12345 --status pending --since 2024-01-10T15:00": (
        0,
        "no request was submitted at 2024-01-10 15:00:00 UTC or later;",
    ),
    "requests --number +15550100111 --status pending --environment default": (
        0,
        "no release request that these options select in 'default' has the number +15550100111\n",
    ),
    "history '+52 55 1234 5678'": (
        0,
        "no release request has the number +525512345678 or +5215512345678\n",
    ),
    "history 15550100111": (
        0,
        (
            "no release request has the number +15550100111; give the country of a national "
            "number with --region\n"
        ),
    ),
    "query history --param number='1 555 010 0111' --region US": (
        0,
        "no release request has the number +15550100111\n",
    ),
    "db erase-number --dry-run 1-555-010-0111": (
        0,
        (
            "the mirror holds nothing of +15550100111; give the country of a national number with "
            "--region\n"
        ),
    ),
    "db erase-number --dry-run '(555) 010-0111' --region US": (
        0,
        "the mirror holds nothing of +15550100111\n",
    ),
    # Not readable
    "history '(212) 555-0123'": (
        2,
        (
            "'(212) 555-0123' does not tell its country; give it with --region, or write the "
            "number with its country code, such as +2125550123 if that is what it means\n"
        ),
    ),
    "history +1 212 555 0123": (
        2,
        "NUMBER is 4 words here; put a number with spaces into quotes: '+1 212 555 0123'\n",
    ),
    "db erase-number --dry-run (212) 555-0123": (2, "put a number with spaces into quotes: '(212)"),
    "requests --number '+1 212 555 0123 662453'": (2, "read as the 17 digits 12125550123662453"),
    "requests --number '020 7946 0123' --region UK": (2, "'UK' is not a region; its code is GB\n"),
}
"""Command lines, their exit codes and how what they say on stderr begins, or a part of it."""


def fill(mirror: Mirror) -> dict[str, str]:
    """Sync the stored numbers; return the variables of the commands."""
    mirror.sync([request(place, phone_number=number) for place, number in enumerate(STORED)])
    return {"MIRROR_DATABASE_URL": mirror.url}


def test_what_is_said_about_a_number(sqlite_mirror: Mirror) -> None:
    """How it was read, what was looked for, or why it cannot be read, on stderr."""
    database = fill(sqlite_mirror)
    for line, (code, message) in SAID.items():
        output = () if "erase" in line else ("--format", "json")
        ran = run_mirror(*shlex.split(line), *output, **database)
        assert ran.code == code, line
        assert message in ran.err if message else not ran.err, line
        found = json.loads(ran.out or "[]") if not code else []
        nothing = code or ran.err.startswith(("mirror: no ", "mirror: the mirror holds nothing "))
        assert len(found) == (0 if nothing else 1), line


def test_a_request_with_another_number_now(mirror: Mirror) -> None:
    """Where a number was corrected, its request and the present number are named."""
    url = {"MIRROR_DATABASE_URL": mirror.url}
    former, present = "+15550100001", "+15550100002"
    mirror.sync([request(1, phone_number=former)])
    mirror.sync([request(1, phone_number=present)])
    had = f"had the number {former} before, and has {present} now"
    for line in (("history", former), ("requests", "--number", former)):
        ran = run_mirror(*line, **url)
        assert (ran.code, f"no release request has the number {former}\n" in ran.err) == (0, True)
        assert f"the request 'request-1' {had}" in ran.err
    assert had in run_mirror("query", "history", "--param", f"number={former}", **url).err
    mirror.sync([request(1, phone_number=present), request(2, phone_number=former)])
    assert run_mirror("history", former, **url).err.count(had) == 1
    assert run_mirror("requests", "--number", former, **url).err == ""
    assert run_mirror("history", present, **url).err == ""
    assert had not in run_mirror("history", former, "--environment", "prod", **url).err
    mirror.sync([request(number, phone_number=former) for number in range(1, 9)])
    mirror.sync([request(number, phone_number=present) for number in range(1, 9)])
    ran = run_mirror("history", former, **url)
    assert (ran.err.count(had), ran.err.endswith("3 other requests had it before\n")) == (5, True)


def test_two_numbers_are_told_apart(sqlite_mirror: Mirror) -> None:
    """If two readings find different numbers, each row and each event shows its number."""
    database = fill(sqlite_mirror)
    line = ("history", "5540040123", "--region", "BR")
    ran = run_mirror(*line, "--format", "json", **database)
    assert sorted(row["phone_number"] for row in json.loads(ran.out)) == STORED[:2]
    assert ran.err == (
        "mirror: +555540040123: read as a number of BR\n"
        "mirror: +5540040123: read with 55 as its country code\n"
    )
    wide = {"COLUMNS": "100"} | database
    on_terminal, received = run_on_a_terminal("-m", "mirror", *line, merge=False, **wide)
    assert (on_terminal.code, on_terminal.err) == (0, ran.err)
    both = plain(received)
    assert both[0].split() == ["when", "(UTC)", "event", "after", "number", "request", "reason"]
    assert [row.split()[3] for row in both if row[:2] == "20"] == STORED[:2]
    (one,) = drawn((100, "history", "+5540040123"), merge=False, **database)
    assert "number" not in plain(one)[0]


def test_a_number_with_more_requests_than_are_shown(sqlite_mirror: Mirror) -> None:
    """How the number was read is said also if --limit leaves some of its requests out."""
    number = {"phone_number": STORED[2]}
    sqlite_mirror.sync([request(place, **number) for place in range(3)])
    line = ("requests", "--number", "(212) 555-0123", "--region", "US", "--limit", "2")
    ran = run_mirror(*line, MIRROR_DATABASE_URL=sqlite_mirror.url)
    assert ran.err.splitlines() == [
        "mirror: 2 of 3 shown; --limit sets how many",
        "mirror: +12125550123: read as a number of US",
    ]
