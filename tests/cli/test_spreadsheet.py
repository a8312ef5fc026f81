"""`--format spreadsheet`: CSV whose texts a spreadsheet takes for no number, date or formula.

tests/stress/readers/test_spreadsheets.py opens it in spreadsheets.
"""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.cli import output
from mirror.queries.results import Change, ReleaseRequest
from tests.support.commands import run_mirror

WRITTEN = {
    "+15551234567": '="+15551234567"',
    "15551234567": '="15551234567"',
    "+1 (555) 123-4567": '="+1 (555) 123-4567"',
    "00123": '="00123"',
    "12e3": '="12e3"',
    "-5": '="-5"',
    "3/4": '="3/4"',
    "50%": '="50%"',
    "1\u202f555 €": '="1\u202f555 €"',
    "=1+1": "'=1+1",
    "\u3000=1+1": "'\u3000=1+1",
    "+1+A1": "'+1+A1",
    "@SUM(A1)": "'@SUM(A1)",
    "\t=1+1": "'\t'=1+1",
    "gone;=1+1": "gone;'=1+1",
    "gone\t @SUM(A1)": "gone\t' @SUM(A1)",
    "gone\n-1": "gone\n'-1",
    "gone; 1 left": "gone; 1 left",
    '=HYPERLINK("http://x.example")': '\'=HYPERLINK("http://x.example")',
    "-" * 9: "'" + "-" * 9,
    "1" * 255: '="' + "1" * 255 + '"',
    "1" * 256: "1" * 256,
    "Ümläut, 1": "Ümläut, 1",
    "SEPT1": "SEPT1",
    "3 Mar": "3 Mar",
    "10 pm": "10 pm",
    "TRUE": "TRUE",
    "343e57eb-3465": "343e57eb-3465",
    "request-1": "request-1",
    "": "",
}


def request_with(text: str) -> ReleaseRequest:
    """A request that has a text in each field that the API fills."""
    now = datetime(2024, 1, 10, 14, 30, tzinfo=UTC)
    return ReleaseRequest(text, text, text, text, text, text, text, now, None, None, now, now, text)


def written(row: Any) -> str:
    """The output for a row."""
    out = io.StringIO(newline="")
    output.write_rows([row], type(row), "spreadsheet", out)
    return out.getvalue()


def cells(row: Any) -> list[str]:
    """The cells of a row in the output, as any reader of CSV reads them."""
    return list(csv.reader(io.StringIO(written(row), newline=""), strict=True))[1]


@pytest.mark.parametrize("text", WRITTEN)
def test_texts(text: str) -> None:
    """What is like a number is the value of a formula; what is like a formula has an apostrophe."""
    row = cells(request_with(text))
    assert set(row[:7]) | {row[-1]} == {WRITTEN[text]}


def test_numbers_and_times() -> None:
    """Numbers and times stay what they are."""
    now = datetime(2024, 1, 10, 14, 30, tzinfo=UTC)
    change = Change(
        now, "resolved", "prod", "+1", "1", "pending", "approved", None, now, 7, ("status",)
    )
    time = "2024-01-10T14:30:00Z"
    row = [
        time,
        "resolved",
        "prod",
        '="+1"',
        '="1"',
        "pending",
        "approved",
        "",
        time,
        "7",
        "status",
    ]
    assert cells(change) == row


@given(st.text(st.sampled_from("=+-@\t\r\n \"',;0123456789.eE()%x\uff1dé"), max_size=12))
def test_no_text_becomes_a_formula(text: str) -> None:
    """A cell is a string in a formula that nothing can end, or no part of it begins like one."""
    cell = cells(request_with(text))[5]
    if re.fullmatch(r'="[^"]*"', cell):
        assert cell == f'="{text}"'
        return
    assert cell[:1] not in {*"\t\r\n"}
    for part in re.split(r"[;\t\r\n]", cell):
        assert part.strip()[:1] not in {*"=+-@\uff1d"}
    assert cell.replace("'", "") == text.replace("'", "")


def test_a_command() -> None:
    """The output begins with the mark of UTF-8, which a program that opens a file needs."""
    command = run_mirror("db", "describe", "phone_numbers", "--format", "spreadsheet")
    assert command.out.startswith('\ufeff"relation",')
