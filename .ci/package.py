"""Build a release, and record what it installs.

Usage: `python .ci/package.py FOLDER`, in an environment that has `.ci/requirements.txt`. It writes

- `dist/`: the sdist and the wheel, built twice with the same bytes, and checked by twine; the
  sdist has the files that git tracks, no more and no fewer;
- `requirements/NAME.txt`: what each extra installs, with versions and the SHA-256 of each file,
  for this Python and platform;
- `sbom/NAME.cdx.json`: the same as a software bill of materials (CycloneDX), with licenses.

NAME is `base`, an extra, or `all`. It fails if a dependency has a license that `ALLOWED` lacks.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
import tempfile
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent

EVERYTHING = "[postgres,report,parquet]"

EXTRAS = {
    "base": "",
    "postgres": "[postgres]",
    "report": "[report]",
    "parquet": "[parquet]",
    "all": EVERYTHING,
}
"""The extras that the users of a release choose from."""

Packages = dict[str, dict[str, Any]]
"""What pip reports of each package that it installs, by its name."""

ALLOWED = {
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "LGPL-3.0-only",  # psycopg: imported, neither changed nor shipped in the wheel
    "MIT",
    "MPL-2.0",  # certifi: likewise
    "PSF-2.0",
    "License :: OSI Approved :: BSD License",  # all that Jinja2 states
}
"""Licenses of dependencies: SPDX identifiers, or classifiers of packages without."""


def run(*command: str | Path) -> None:
    """Run a command; if it fails, print its output and exit."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        sys.exit(f"{done.stdout.decode()}failed: {' '.join(map(str, command))}")


def check_sdist(path: Path) -> None:
    """Exit if an sdist has not exactly the files that git tracks, in a checkout, or one twice."""
    with tarfile.open(path) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    names.remove("PKG-INFO")
    tracked = set(names)
    if (ROOT / ".git").exists():
        listed = subprocess.check_output(("git", "-C", ROOT, "ls-files", "-z"), text=True)
        tracked = set(listed.split("\0")[:-1])
    if wrong := sorted({*(tracked ^ set(names)), *(n for n in names if names.count(n) > 1)}):
        sys.exit(f"the sdist has what git does not track, or lacks or repeats: {', '.join(wrong)}")


def build(folder: Path) -> Path:
    """Build the sdist, and the wheel from it; compare both with a second build.

    The second wheel comes from the checkout, so a file that the sdist lacks is found too.

    Returns:
        The wheel.
    """
    module = (sys.executable, "-m")
    run(*module, "build", "--outdir", folder, ROOT)
    with tempfile.TemporaryDirectory() as again:
        run(*module, "build", "--sdist", "--wheel", "--outdir", again, ROOT)
        first = {path.name: path.read_bytes() for path in folder.iterdir()}
        if first != {path.name: path.read_bytes() for path in Path(again).iterdir()}:
            sys.exit("two builds of the same files differ")
    (sdist,) = folder.glob("*.tar.gz")
    check_sdist(sdist)
    run(*module, "twine", "check", "--strict", *folder.iterdir())
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(wheel: Path, extra: str, environment: Path, *options: str) -> Packages:
    """Install the wheel with an extra into a virtual environment that has no pip."""
    report = environment / "report.json"
    pip = (sys.executable, "-m", "pip", "--python", environment)
    options = ("--quiet", "--no-compile", *options)
    run(*pip, "install", *options, "--report", report, f"{wheel}{extra}")
    installed = json.loads(report.read_text())["install"]
    return {package["metadata"]["name"]: package for package in installed}


def sha256(package: dict[str, Any]) -> str:
    """The SHA-256 of the file that a package was installed from."""
    digest: str = package["download_info"]["archive_info"]["hashes"]["sha256"]
    return digest


def requirements(packages: Packages) -> str:
    """The packages as a requirements file, for `pip install --require-hashes`.

    Another Python or platform may take other packages, and other files of the same ones.
    """
    return "".join(
        f"{name}=={package['metadata']['version']} --hash=sha256:{sha256(package)}\n"
        for name, package in sorted(packages.items())
    )


def materials(environment: Path) -> dict[str, Any]:
    """The bill of materials of an environment."""
    path = environment / "sbom.json"
    tool = Path(sys.executable).with_name("cyclonedx-py")
    options = ("--output-reproducible", "--pyproject", ROOT / "pyproject.toml")
    run(tool, "environment", *options, "--output-file", path, environment)
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def part(document: dict[str, Any], packages: Packages, own: dict[str, Any]) -> dict[str, Any]:
    """The part of a bill of materials for these packages, with their hashes.

    Args:
        document: The bill of materials of all packages.
        packages: The packages that are wanted.
        own: The package that installs them.
    """
    digest = [{"alg": "SHA-256", "content": sha256(own)}]
    root = document["metadata"]["component"]
    root |= {"version": own["metadata"]["version"], "hashes": digest}
    components = [
        component | {"hashes": [{"alg": "SHA-256", "content": sha256(packages[component["name"]])}]}
        for component in document["components"]
        if component["name"] in packages
    ]
    references = {component["bom-ref"] for component in (root, *components)}
    dependencies = [
        {
            "ref": entry["ref"],
            "dependsOn": [ref for ref in entry.get("dependsOn", ()) if ref in references],
        }
        for entry in document["dependencies"]
        if entry["ref"] in references
    ]
    assert len(components) == len(packages)
    return document | {"components": components, "dependencies": dependencies}


def licenses(component: dict[str, Any]) -> set[str]:
    """The licenses of a component: SPDX identifiers (of an expression all), else names."""
    stated = component.get("licenses", [])
    names = {entry["license"]["name"] for entry in stated if "name" in entry.get("license", {})}
    found = {entry["license"]["id"] for entry in stated if "id" in entry.get("license", {})}
    for entry in stated:
        found.update(re.findall(r"[\w.+-]+", entry.get("expression", "")))
    return found - {"AND", "OR", "WITH"} or names


def main(folder: Path) -> None:
    """Build into a folder, and record what each extra installs."""
    for name in ("dist", "requirements", "sbom"):
        (folder / name).mkdir(parents=True)
    wheel = build(folder / "dist")
    with tempfile.TemporaryDirectory() as empty, tempfile.TemporaryDirectory() as full:
        venv.create(empty, with_pip=False)
        venv.create(full, with_pip=False)
        everything = install(wheel, EVERYTHING, Path(full))
        document = materials(Path(full))
        for name, extra in EXTRAS.items():
            needed = extra != EVERYTHING
            packages = install(wheel, extra, Path(empty), "--dry-run") if needed else everything
            own = packages.pop("talkover-mirror")
            (folder / "requirements" / f"{name}.txt").write_text(requirements(packages))
            sbom = json.dumps(part(document, packages, own), indent=2)
            (folder / "sbom" / f"{name}.cdx.json").write_text(f"{sbom}\n")
            print(f"{name}: {len(packages)} dependencies")
    for component in document["components"]:
        found = licenses(component)
        print(f"{component['name']} {component['version']}: {', '.join(sorted(found))}")
        if not found or not found <= ALLOWED:
            sys.exit("its license is not in ALLOWED (.ci/package.py)")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
