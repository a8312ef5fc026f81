"""Hostile content in output: complete in a pipe, harmless on a terminal."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import combinations

import pytest
from rich.cells import cell_len

from mirror.cli import output
from mirror.text import escape_unsafe
from tests.support.cli_mirror import (
    FORMATS,
    READS,
    CliMirror,
    as_csv,
    as_json,
    from_csv,
    from_json,
    unsafe,
)
from tests.support.commands import run_on_a_terminal
from tests.support.hostile import NUMBER, TEXTS, listing
from tests.support.hostile_failures import FAILURES
from tests.support.http_servers import HttpResponse, ScriptedServer, http

IGNORABLE = [
    0x00AD, 0x034F, 0x061C, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810),
    *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070), 0x3164,
    *range(0xFE00, 0xFE0F), 0xFEFF, 0xFFA0, *range(0xFFF0, 0xFFF9), *range(0x1BCA0, 0x1BCA4),
    *range(0x1D173, 0x1D17B), *range(0xE0000, 0xE1000),
]  # fmt: skip
"""Default_Ignorable_Code_Point of Unicode, without U+FE0F, which makes a sign an emoji."""

PARTS = "|".join(
    {state[i:j] for state in output.STYLES for i, j in combinations(range(len(state) + 1), 2)}
)
OWN_CODES = re.compile(f"\x1b\\[(?:[01]m|(?:2|3[1-4])m(?=(?:{PARTS}) *\x1b))")
"""The escape codes of tables on a terminal: bold titles, and coloured states, or parts of them."""

COMMANDS = """
import functools, json, os, sys
from mirror import cli
from mirror.cli import progress_bar
# A slow sync would draw a progress bar, which has tests of its own.
progress_bar.progress_bars = functools.partial(progress_bar.progress_bars, delay=3600)
for columns, arguments in json.loads(sys.argv[1]):
    os.environ["COLUMNS"] = str(columns)
    sys.argv = ["mirror", *arguments]
    print(f"<<{cli.main()}>>", flush=True)
"""


@pytest.mark.parametrize("command", READS)
def test_json_in_a_pipe_is_what_is_stored(cli_mirror: CliMirror, command: str) -> None:
    """JSON output has exactly the stored values, numbers digit for digit."""
    text = cli_mirror.output_of(*READS[command][0], "--format", "json")
    assert from_json(text) == as_json(cli_mirror.rows_of(command))


@pytest.mark.parametrize("command", READS)
def test_csv_in_a_pipe_is_what_is_stored(cli_mirror: CliMirror, command: str) -> None:
    """CSV output has exactly the stored values."""
    text = cli_mirror.output_of(*READS[command][0], "--format", "csv")
    assert from_csv(text) == as_csv(cli_mirror.rows_of(command))


@pytest.mark.parametrize("command", READS)
def test_each_row_is_one_line_in_a_pipe(cli_mirror: CliMirror, command: str) -> None:
    """Tab-separated output has a line per row and a cell per column, without unsafe characters."""
    rows = cli_mirror.rows_of(command)
    lines = cli_mirror.output_of(*READS[command][0]).removesuffix("\n").split("\n")
    cells = [line.split("\t") for line in lines]
    assert len(lines) == len(rows) + 1
    assert {len(line) for line in cells} == {len(rows[0])}
    assert not unsafe("".join(map("".join, cells)))


def test_line_breaks_within_a_record_are_kept_in_a_pipe(cli_mirror: CliMirror) -> None:
    """An unknown field can be indented JSON; a carriage return alone ends no row of CSV."""
    rows = cli_mirror.rows_of("requests", "odd")
    text = {
        name: cli_mirror.output_of("requests", "--format", name, environment="odd")
        for name in FORMATS
    }
    assert from_json(text["json"]) == as_json(rows)
    assert from_csv(text["csv"]) == as_csv(rows)


@dataclass(frozen=True)
class TerminalOutput:
    """What a terminal received from a command, and the exit code."""

    code: int
    text: str

    @property
    def plain(self) -> str:
        """The text, without the escape codes of tables."""
        return OWN_CODES.sub("", self.text)


def on_terminals(commands: Sequence[tuple[int, list[str]]]) -> list[TerminalOutput]:
    """Run commands in one process, each on a terminal of so many columns."""
    ran, received = run_on_a_terminal(
        "-c", COMMANDS, json.dumps(commands), merge=True, PYTHONUTF8="1"
    )
    assert ran.code == 0, received
    parts = re.split(r"<<(\d+)>>\n", received.replace("\r\n", "\n"))
    assert (len(parts), parts[-1]) == (2 * len(commands) + 1, "")
    pairs = zip(parts[::2], parts[1::2], strict=False)
    return [TerminalOutput(int(code), text) for text, code in pairs]


def test_no_command_that_reads_harms_a_terminal(cli_mirrors: Callable[[str], CliMirror]) -> None:
    """A terminal, wide or narrow, receives no control, bidi or invisible character of the data."""
    formats = (("table", 40), ("table", 80), ("json", 80), ("csv", 80), ("spreadsheet", 80))
    cases = [("sqlite", command, *item) for command in READS for item in formats]
    cases += [("postgresql", command, "table", 80) for command in READS]
    outputs = on_terminals(
        [
            (columns, cli_mirrors(kind).read_arguments(*READS[command][0], "--format", name))
            for kind, command, name, columns in cases
        ]
    )
    for (kind, command, name, columns), shown in zip(cases, outputs, strict=True):
        assert shown.code == 0
        rows = cli_mirrors(kind).rows_of(command)
        if name == "table":
            assert not unsafe(shown.plain), (command, columns)
            assert max(map(cell_len, shown.plain.splitlines())) <= columns
        else:
            assert not unsafe(shown.text), (command, name)
        if name in {"csv", "spreadsheet"}:
            assert len(from_csv(shown.text)) == len(rows) == shown.text.count("\n") - 1
        if name == "json":
            assert from_json(shown.text) == as_json(rows)


def test_no_sync_harms_a_terminal(cli_mirrors: Callable[[str], CliMirror]) -> None:
    """Changes of a dry run and errors of the API are harmless; Rich's markup is not interpreted."""
    cli_mirror, text = cli_mirrors("sqlite"), TEXTS["markup"]
    failures = [
        FAILURES[name]
        for name in ("422 nasty flat", "200 nasty nested", "401 nasty", "302 away", "compressed")
    ]
    with ExitStack() as stack:

        def serve(response: HttpResponse) -> str:
            return stack.enter_context(ScriptedServer([response]).running()).base_url

        same, other = serve(http(200, listing(2))), serve(http(200, listing(1)))
        commands = [
            (80, cli_mirror.sync_arguments(same)),
            (40, cli_mirror.sync_arguments(other, "--dry-run")),
            (80, cli_mirror.sync_arguments(other, "--dry-run")),
            (80, cli_mirrors("postgresql").sync_arguments(other, "--dry-run")),
            (80, cli_mirror.sync_arguments(other, "--dry-run", "--json")),
            *((80, cli_mirror.sync_arguments(serve(failure.response))) for failure in failures),
            (40, cli_mirror.read_arguments("runs")),
            (40, cli_mirror.read_arguments("quarantine", "--all")),
            (40, cli_mirror.read_arguments("show", cli_mirror.rows_of("requests")[0]["id"])),
            (1000, cli_mirror.read_arguments("requests", "--status", f"2{text}")),
            (1000, cli_mirror.read_arguments("requests", "--missing", "--status", text)),
            (1000, cli_mirror.read_arguments("history", NUMBER)),
            (1000, cli_mirror.read_arguments("changes")),
        ]
        before = cli_mirror.rows_and_versions()
        outputs = on_terminals(commands)
    for dry_run in outputs[1:4]:
        assert f"{2 * len(TEXTS)} updated" in dry_run.text
        assert len(dry_run.plain.splitlines()) > 3 * len(TEXTS)
    for (_, arguments), shown in zip(commands, outputs, strict=True):
        assert not unsafe(shown.plain), arguments
        assert "Traceback" not in shown.text
    assert all(text in shown.text for shown in outputs[-4:])
    codes = [failure.code for failure in failures]
    assert [shown.code for shown in outputs] == [0] * 5 + codes + [0] * 7
    assert cli_mirror.rows_and_versions() == before


@pytest.mark.parametrize(
    "characters",
    [
        [code for code in range(0x110000) if unicodedata.category(chr(code)) in {"Cc", "Zl", "Zp"}],
        [*range(0xD800, 0xE000)],
        [0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)],
        [*range(0xE0000, 0xE0080)],
        IGNORABLE,
    ],
    ids=["controls", "halves", "bidi", "tags", "ignorable"],
)
def test_unsafe_characters_are_escaped(characters: list[int]) -> None:
    """A character that controls a terminal or is invisible is escaped, also in JSON."""
    text = "".join(map(chr, characters))
    assert escape_unsafe(text).isascii()
    if not 0xD800 <= characters[0] < 0xE000:
        assert output.json_line({"a": text}).isascii()
        assert json.loads(output.json_line({"a": text})) == {"a": text}
