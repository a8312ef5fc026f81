"""The documentation pages: their code blocks, and the commands that they name."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import yaml

from tests.support import ROOT
from tests.support.commands import Ran, all_commands

README = (ROOT / "README.md").read_text()
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
SHARDS = (ROOT / "docs" / "shards.md").read_text()
SQL = (ROOT / "docs" / "sql.md").read_text()
PARQUET = (ROOT / "docs" / "parquet.md").read_text()
CONTRIBUTING = (ROOT / "docs" / "contributing.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

FILES = dict(
    re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?\n)```\n", OPERATIONS + SHARDS, re.DOTALL)
)
"""The files that docs/operations.md and docs/shards.md contain, by name."""

CONFIGURATION = tomllib.loads(FILES["config.toml"])
PROGRAM = "/opt/mirror/bin/mirror"
"""The path of the program in these files."""


def run(*command: str, cwd: str | Path | None = None, **environment: str) -> Ran:
    """Run a command as a process."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def executable(path: Path, script: str) -> Path:
    """Create an executable shell script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def section(page: str, title: str) -> str:
    """The text under a heading, up to the next heading of its level or a higher one."""
    level = len(title) - len(title.lstrip("#"))
    return re.split(rf"^#{{1,{level}}} ", page.split(f"\n{title}\n")[1], flags=re.MULTILINE)[0]


def blocks(page: str, *languages: str) -> list[str]:
    """The code blocks of a page in some languages."""
    fenced = rf"^( *)```(?:{'|'.join(languages)})\n(.*?)^ *```$"
    found = re.findall(fenced, page, re.DOTALL | re.MULTILINE)
    return [re.sub(rf"^{indent}", "", code, flags=re.MULTILINE) for indent, code in found]


def invocations(page: str) -> Iterator[list[str]]:
    """The arguments of each `mirror` in the shells, units, crontabs and manifests of a page."""
    for block in blocks(page, "sh", "ini", "cron"):
        script = re.sub(r"\$\{(?:since|until)\}", "7", block).replace("%i", "0")
        for line in script.splitlines():
            for command in re.findall(r"(?:^ *|^ExecStart=\S*|[ (]\S*/bin/)mirror (.*)", line):
                yield shlex.split(re.split(r" (?:>|\||&&|2>)|\)", command)[0], comments=True)
    for block in blocks(page, "yaml"):
        for items in re.findall(r"(?:args|command): (\[.*\])", block):
            words = yaml.safe_load(items.replace("$(JOB_COMPLETION_INDEX)", "0"))
            yield words[1:] if words[0] == "mirror" else words


def named_in_text(page: str) -> Iterator[list[str]]:
    """The words of each command that is named outside of code blocks."""
    text = re.sub("```.*?```", "", page, flags=re.DOTALL)
    for words in re.findall(r"`mirror ([a-z][^`\n…]*)`", text):
        yield words.split()


def find_command(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command at the start of some words, and the other words."""
    known = all_commands()
    count = max(count for count in (1, 2) if " ".join(words[:count]) in known) if words else 0
    command, rest = known[" ".join(words[:count])], words[count:]
    assert not (isinstance(command, click.Group) and rest), words
    return command, rest


def options_of(*commands: click.Command) -> set[str]:
    """The options of commands."""
    parameters = (parameter for command in commands for parameter in command.params)
    return {option for parameter in parameters for option in parameter.opts}


def all_options() -> set[str]:
    """The options of all commands."""
    return options_of(*all_commands().values())
