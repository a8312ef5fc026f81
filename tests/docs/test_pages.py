"""All pages: their links, test names, commands and shell lines."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from mirror.version import __version__
from tests.support import ROOT
from tests.support.commands import Ran
from tests.support.pages import (
    OPERATIONS,
    PAGES,
    blocks,
    executable,
    find_command,
    invocations,
    named_in_text,
    options_of,
    run,
)


def anchors(page: Path) -> set[str]:
    """The anchors of the headings of a page."""
    return {
        re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in page.read_text().splitlines()
        if line.startswith("#")
    }


def test_links_have_targets() -> None:
    """Every relative link names an existing file, and every anchor one of its headings."""
    for page in [*PAGES, ROOT / ".github" / "SECURITY.md"]:
        for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
            if target.startswith("https://"):
                continue
            name, _, anchor = target.partition("#")
            file = page.parent / name if name else page
            assert file.exists(), target
            assert not anchor or anchor in anchors(file), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_tests_exist(page: Path) -> None:
    """Every test that a page names exists."""
    names = re.findall(r"`(?:tests/((?:\w+/)?test_\w+\.py))?::(test_\w+)`", page.read_text())
    assert names
    file = ""
    for new_file, name in names:
        file = new_file or file
        assert f"\ndef {name}(" in (ROOT / "tests" / file).read_text()


def test_commands_exist() -> None:
    """The program accepts every command in a code block, and every option in the text."""
    for page in PAGES[1:]:
        commands = list(invocations(page.read_text()))
        assert commands or page.name != "operations.md"
        for words in commands:
            command, arguments = find_command(words)
            assert command.make_context(command.name, list(arguments)), words
        for words in named_in_text(page.read_text()):
            command, arguments = find_command(words)
            options = {word for word in arguments if word.startswith("-")}
            assert options <= options_of(command), words


def test_shell_lines_are_valid() -> None:
    """Bash finds no syntax error in the shell blocks of any page."""
    scripts = [block for page in PAGES for block in blocks(page.read_text(), "sh")]
    assert scripts
    check = 'for block in "$@"; do bash -n -c "$block" || echo "$block"; done'
    assert run("bash", "-c", check, "bash", *scripts) == Ran(0, "", "")


def test_install_lines_are_right_today() -> None:
    """While no index has the package, all lines install a checkout or the wheel of this version."""
    wheel = re.escape(f"./talkover_mirror-{__version__}-py3-none-any.whl")
    lines = [
        line
        for page in PAGES
        for line in re.findall(
            r"(?:pip|pipx|uv tool) install (?!datasette\b|--require)[^`\n]*", page.read_text()
        )
    ]
    assert len(lines) > 5
    assert [
        line
        for line in lines
        if not re.search(rf"(^|[ '])(\.|/src|{wheel})(\[[a-z,]+\])?'?( |$)", line)
    ] == []
    sources = [*PAGES, *(ROOT / "mirror").rglob("*.py")]
    assert [
        path
        for path in sources
        if re.search(r"talkover-mirror\[|install .*talkover-mirror", path.read_text())
    ] == []


def test_completion(tmp_path: Path) -> None:
    """The completion scripts are written for three shells, and bash completes a command."""
    (script,) = (block for block in blocks(OPERATIONS, "sh") if "mirror completion" in block)
    main = "from mirror.__main__ import main; main()"
    executable(tmp_path / "bin" / "mirror", f"exec {sys.executable} -c '{main}' \"$@\"")
    environment = {"HOME": str(tmp_path), "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    assert run("bash", "-euc", script, cwd=None, **environment) == Ran(0, "", "")
    bash = tmp_path / ".local" / "share" / "bash-completion" / "completions" / "mirror"
    complete = (
        f"source {bash}; COMP_WORDS=(mirror his); COMP_CWORD=1; _mirror_completion mirror; "
        'echo "${COMPREPLY[@]}"'
    )
    assert run("bash", "-c", complete, cwd=None, **environment) == Ran(0, "history\n", "")
    assert (tmp_path / ".zfunc" / "_mirror").read_text().startswith("#compdef mirror")
    fish = tmp_path / ".config" / "fish" / "completions" / "mirror.fish"
    assert "--command mirror" in fish.read_text()
