"""docs/contributing.md and what it describes: CI, hooks and the code layout."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import yaml

from mirror.version import __version__
from tests.support import ROOT
from tests.support.commands import run_python
from tests.support.pages import CONTRIBUTING, section

SCRIPT = (ROOT / ".ci" / "run").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_ci_runs_the_script_on_each_python() -> None:
    """The workflow can only read, and runs .ci/run on each push and week, on each Python."""
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    assert workflow[True].keys() == {"push", "pull_request", "schedule"}  # YAML 1.1: `on` is true
    (weekly,) = workflow[True]["schedule"]
    assert re.fullmatch(r"\d+ \d+ \* \* [0-6]", weekly["cron"])
    assert workflow["permissions"] == {"contents": "read"}
    (job,) = workflow["jobs"].values()
    pythons = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert job["strategy"]["matrix"]["python"] == pythons
    assert PROJECT["requires-python"] == f">={pythons[0]}"
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert f"$(interpreters {' '.join(pythons)})" in SCRIPT


def test_what_tests_need_is_on_the_page() -> None:
    """The page names each package that .ci/run installs, and each variable that it sets to 1."""
    page = section(CONTRIBUTING, "## Tests")
    packages = " ".join(re.findall(r"\bpackages\+?=\((.*)\)$", SCRIPT, re.MULTILINE)).split()
    assert len(packages) > 20
    assert [name for name in packages if f"`{name}`" not in page] == []
    (paragraph,) = (text for text in page.split("\n\n") if "turn the skips into failures" in text)
    sets = re.compile(r"(MIRROR_TEST_\w+)=1")
    assert set(sets.findall(paragraph)) == set(sets.findall(SCRIPT))


def test_what_is_built_in_the_checkout_is_ignored() -> None:
    """Git, and with it the sdist, ignores the folders of the page, of .ci/run and of workflows."""
    ignored = (ROOT / ".gitignore").read_text().split("\n")
    workflows = [path.read_text() for path in (ROOT / ".github" / "workflows").iterdir()]
    text = "\n".join([CONTRIBUTING, SCRIPT, *workflows])
    made = set(re.findall(r"(?:python3? -m venv|python \.ci/package\.py) ([\w.]+)(?!\S)", text))
    assert made == {".venv", "release", "tools"}
    assert {f"/{name}/" for name in made} <= set(ignored)


def test_workflows_are_pinned_and_only_read() -> None:
    """Actions are pinned to commits; the audit is weekly, and a tag makes a release."""
    for path in (ROOT / ".github" / "workflows").iterdir():
        text = path.read_text()
        uses = re.findall(r"uses: (.*)", text)
        pinned = re.compile(r"actions/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
        assert uses
        assert [action for action in uses if not pinned.fullmatch(action)] == []
        workflow = yaml.safe_load(text)
        assert workflow["permissions"] == {"contents": "read"}
        assert all("permissions" not in job for job in workflow["jobs"].values())
    assert re.search(r'cron: "\d+ \d+ \* \* [0-6]"', (path.parent / "audit.yml").read_text())
    assert 'tags: ["v*"]' in (path.parent / "release.yml").read_text()


def test_the_version_is_released() -> None:
    """CHANGELOG.md has this version and a day below "Unreleased", and SECURITY.md supports it."""
    headings = re.findall(r"^## (.*)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert re.fullmatch(rf"{re.escape(__version__)} - \d{{4}}-\d\d-\d\d", headings[1])
    minor = __version__.rpartition(".")[0]
    assert f"| {minor} | yes |" in (ROOT / ".github" / "SECURITY.md").read_text()


def test_hooks_use_the_environment() -> None:
    """The hooks are valid, and run tools that the extra dev installs."""
    path = ROOT / ".pre-commit-config.yaml"
    ran = run_python("-m", "pre_commit", "validate-config", str(path))
    assert ran.code == 0, ran.out + ran.err
    (repository,) = yaml.safe_load(path.read_text())["repos"]
    assert repository["repo"] == "local"
    dev = PROJECT["optional-dependencies"]["dev"]
    for hook in repository["hooks"]:
        assert hook["language"] == "system"
        assert any(package.startswith(hook["entry"].split()[0]) for package in dev)


def module_name(path: Path) -> str:
    """The name of a module, as in the code layout."""
    name = ".".join(path.relative_to(ROOT / "mirror").with_suffix("").parts)
    return name.removesuffix(".__init__") if "." in name else name


MODULES = {module_name(path): path for path in (ROOT / "mirror").rglob("*.py")}


def imported_by(path: Path) -> set[str]:
    """The modules of the package that a module imports anywhere."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith("mirror."):
            package = str(node.module).removeprefix("mirror").removeprefix(".")
            names |= {package} | {f"{package}.{name.name}".lstrip(".") for name in node.names}
    return names & MODULES.keys()


def test_imports_run_down_the_page() -> None:
    """The code layout has every module once, and none imports from a section above its own."""
    sections = section(CONTRIBUTING, "## Code layout").split("\n### ")[1:]
    names = [re.findall(r"^\| `([\w.]+)` \|", text, re.MULTILINE) for text in sections]
    level = {name: place for place, group in enumerate(names) for name in group}
    assert len(level) == sum(map(len, names))
    assert level.keys() == MODULES.keys()
    for name, path in MODULES.items():
        assert {other for other in imported_by(path) if level[other] < level[name]} == set(), name
    sandbox = set(names[-1])
    assert all(imported_by(MODULES[name]) <= sandbox for name in sandbox)
