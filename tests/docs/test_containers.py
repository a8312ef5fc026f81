"""docs/container: the image and the compose file name what exists.

tests/stress/test_container.py builds the image and runs it.
"""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

import yaml

from mirror.config.sources import VARIABLES
from mirror.version import __version__
from tests.support import ROOT
from tests.support.pages import find_command

FOLDER = ROOT / "docs" / "container"
CONTAINERFILE = (FOLDER / "Containerfile").read_text()
PAGE = (ROOT / "docs" / "containers.md").read_text()
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
IMAGE = f"mirror:{__version__}"
MIRROR = {name: service for name, service in SERVICES.items() if service["image"] == IMAGE}


def accepts(words: list[str]) -> bool:
    """Whether `mirror` accepts these arguments."""
    command, arguments = find_command(words)
    return bool(command.make_context(command.name, list(arguments)))


def test_the_image() -> None:
    """It has this version, its commands exist, and so does what it copies."""
    assert f'image.version="{__version__}"' in CONTAINERFILE
    (check, command) = map(json.loads, re.findall(r"CMD (\[.*\])$", CONTAINERFILE, re.MULTILINE))
    assert 'ENTRYPOINT ["mirror"]' in CONTAINERFILE
    assert check[0] == "mirror"
    assert accepts(check[1:])
    assert accepts(command)
    for names in re.findall(r"^COPY (?!--from)(.*) \S+$", CONTAINERFILE, re.MULTILINE):
        assert all((ROOT / name).exists() for name in names.split())
    assert {*re.findall(r"mirror:\d[\w.]*", PAGE)} == {IMAGE}


def test_the_build_context() -> None:
    """It is what the image copies, and nothing else."""
    lines = (FOLDER / "Containerfile.dockerignore").read_text().splitlines()
    first, *patterns = [line for line in lines if not line.startswith("#")]
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", CONTAINERFILE, re.MULTILINE)
    assert first == "*"
    assert sorted(patterns) == sorted(
        ["**/__pycache__", *(f"!{name}" for names in copied for name in names.split())]
    )


def test_pins_of_the_image() -> None:
    """Each dependency has a pin with hashes."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    needed = {*project["dependencies"], *extras["postgres"], *extras["report"]}
    pins = (FOLDER / "requirements.txt").read_text()
    pinned = set(re.findall(r"^([\w.-]+)==\S.*\\\n +--hash=sha256:", pins, re.MULTILINE))
    assert {re.split(r"[^\w.-]", one)[0].lower() for one in needed} <= pinned
    assert len(pinned) == len(re.findall(r"^\w", pins, re.MULTILINE)), "a pin without hashes"


def test_the_compose_file() -> None:
    """Its commands, settings, secrets and files exist, and each service has few rights."""
    assert MIRROR.keys() == {"upgrade", "grant", "sync"}
    for service in MIRROR.values():
        assert accepts([str(word) for word in service["command"]])
        assert service["environment"].keys() - VARIABLES.values() == {"PGSERVICEFILE"}
    (check, _) = map(json.loads, re.findall(r"CMD (\[.*\])$", CONTAINERFILE, re.MULTILINE))
    assert SERVICES["sync"]["healthcheck"]["test"] == ["CMD", *check]
    used = set()
    for service in SERVICES.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["mem_limit"]
        assert service["pids_limit"]
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}
        ports = service.get("ports", ())
        assert all(port.startswith("127.0.0.1:") for port in ports)
        # Of services whose networks are all internal, Docker publishes no port.
        outside = {*service["networks"]} - {"database"}
        assert outside == (
            {"published"} if ports else {"api"} if service is SERVICES["sync"] else set()
        )
        # The image's own health check is that of a sync.
        assert ("healthcheck" in service) == (service is not SERVICES["grafana"])
        assert service.get("depends_on", {}).keys() <= SERVICES.keys()
        used |= {*service["secrets"]}
        for volume in service.get("volumes", ()):
            source, *target = volume.split(":")
            if target and source.startswith("."):
                assert (FOLDER / source).is_file()
            else:
                assert not target or source in COMPOSE["volumes"]
    assert COMPOSE["networks"] == {"database": {"internal": True}, "published": None, "api": None}
    assert used == COMPOSE["secrets"].keys()
    (roles,) = re.findall(r"for role in (.*?);", PAGE)
    written = {*re.findall(r"\bsecrets/(\w+)$", PAGE, re.MULTILINE)}
    assert used == {f"{role}_password" for role in roles.split()} | written


def test_what_grafana_loads() -> None:
    """The data source is one that the dashboard takes, as the role that may read."""
    (source,) = yaml.safe_load((FOLDER / "grafana" / "datasources.yaml").read_text())["datasources"]
    dashboard = json.loads((ROOT / "docs" / "grafana" / "mirror.json").read_text())
    assert source["type"] in {each["query"] for each in dashboard["templating"]["list"]}
    assert SERVICES["grant"]["command"] == ["db", "grant-read", source["user"]]
    assert source["url"].removesuffix(":5432") in SERVICES
    (provider,) = yaml.safe_load((FOLDER / "grafana" / "dashboards.yaml").read_text())["providers"]
    places = [volume.split(":")[1] for volume in SERVICES["grafana"]["volumes"]]
    assert f"{provider['options']['path']}/mirror.json" in places
