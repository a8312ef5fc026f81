"""Many environments of one API in one configuration file, and processes that divide them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import hcl2
import sqlalchemy as sa
import yaml

from mirror.db.engine import create_engine, read_transaction
from tests.support.commands import Ran
from tests.support.http_servers import HttpRequest, ScriptedServer, http, whole
from tests.support.pages import FILES, PROGRAM, executable
from tests.support.upstream import requests

PER_ENVIRONMENT = 3
CONFIGURATION = "/etc/mirror/config.toml"
"""The path of the configuration file in docs/shards.md."""

UNAUTHORIZED = http(401, b'{"success": false, "code": "UNAUTHORIZED"}')
MAINTENANCE = http(503, b"", "Retry-After: 100000")


@dataclass
class Account:
    """Environments with a token and a list each, at one base URL.

    Attributes:
        folder: of the configuration file and the tokens.
        names: of the environments.
        pulls: how often the list of each was requested.
        failures: responses of environments that fail.
    """

    folder: Path
    names: Sequence[str]
    pulls: Counter[str] = field(default_factory=Counter)
    failures: dict[str, bytes] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """The configuration file."""
        return self.folder / "config.toml"

    @contextmanager
    def serving(self, database: str, base_url: str | None = None) -> Iterator[str]:
        """Serve the lists, and write the configuration file.

        Args:
            database: URL for the file.
            base_url: that of a proxy, if there is one.

        Yields:
            The base URL of the API.
        """
        with ScriptedServer([self._respond]).running() as server:
            self.configure(database, base_url or server.base_url)
            yield server.base_url

    def configure(self, database: str, base_url: str) -> None:
        """Write the configuration file and the tokens."""
        lines = [f'database = "{database}"', "[defaults]", f'base_url = "{base_url}"']
        for name in self.names:
            (self.folder / f"{name}.token").write_text(f"talq_{name}")
            lines += [f"[environments.{name}]", f'token_file = "{name}.token"']
        self.path.write_text("\n".join(lines))

    def _respond(self, request: HttpRequest) -> bytes:
        name = request.headers["authorization"].removeprefix("Bearer talq_")
        self.pulls[name] += 1
        first = PER_ENVIRONMENT * self.names.index(name)
        records = requests(*range(first, first + PER_ENVIRONMENT))
        return self.failures.get(name) or whole(records)


def outcomes(database: str) -> dict[str, list[str]]:
    """The outcomes of the runs of each environment, in their order."""
    found: dict[str, list[str]] = {}
    query = sa.text("SELECT environment, outcome FROM sync_runs ORDER BY id")
    with read_transaction(create_engine(database)) as connection:
        for environment, outcome in connection.execute(query):
            found.setdefault(environment, []).append(outcome)
    return found


def rows(database: str) -> dict[str, int]:
    """The number of requests of each environment."""
    query = sa.text("SELECT environment, count(*) FROM release_requests GROUP BY environment")
    with read_transaction(create_engine(database)) as connection:
        return dict(tuple(row) for row in connection.execute(query))


@dataclass(frozen=True)
class Command:
    """A command line, and the variables that its scheduler sets."""

    words: Sequence[str]
    variables: dict[str, str] = field(default_factory=dict)


def run_side_by_side(commands: Sequence[Command]) -> list[Ran]:
    """Run commands as processes at once, and wait for all."""
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    command.words,
                    env=os.environ | command.variables,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            for command in commands
        ]
        outputs = [process.communicate(timeout=300) for process in processes]
    return [
        Ran(process.returncode, *output) for process, output in zip(processes, outputs, strict=True)
    ]


def program(folder: Path) -> Path:
    """An executable that is `mirror`."""
    return executable(folder / "bin" / "mirror", f'exec {sys.executable} -m mirror "$@"')


def localize(text: str, folder: Path) -> str:
    """Replace the paths of docs/shards.md by the program and the configuration of a folder."""
    return text.replace(PROGRAM, str(program(folder))).replace(
        CONFIGURATION, str(folder / "config.toml")
    )


# What each scheduler makes of its file: the command of a shard.


def _kubernetes(folder: Path, index: int) -> Command:
    """`$(NAME)` is expanded in the arguments, by the container's variables."""
    job = yaml.safe_load(FILES["shards.yaml"])["spec"]["jobTemplate"]["spec"]
    (container,) = job["template"]["spec"]["containers"]
    variables = {one["name"]: localize(one["value"], folder) for one in container["env"]}
    known = variables | {"JOB_COMPLETION_INDEX": str(index)}
    words = [
        re.sub(r"\$\((\w+)\)", lambda name: known[name[1]], each) for each in container["args"]
    ]
    return Command([str(program(folder)), *words], known)


def _nomad(folder: Path, index: int) -> Command:
    """`${NAME}` is expanded in the driver's configuration."""
    options = hcl2.SerializationOptions(strip_string_quotes=True)
    (job,) = hcl2.loads(FILES["mirror-sync.nomad.hcl"], serialization_options=options)["job"]
    (group,) = job["mirror-sync"]["group"]
    (task,) = group["sync"]["task"]
    (config,), (env,) = task["sync"]["config"], task["sync"]["env"]
    words = [word.replace("${NOMAD_ALLOC_INDEX}", str(index)) for word in config["args"]]
    variables = {"MIRROR_CONFIG": localize(env["MIRROR_CONFIG"], folder)}
    return Command([str(program(folder)), *words], variables | {"NOMAD_ALLOC_INDEX": str(index)})


def _slurm(folder: Path, index: int) -> Command:
    """The script is run by its interpreter."""
    script = folder / "mirror-sync.sbatch"
    script.write_text(localize(FILES[script.name], folder))
    return Command(["bash", str(script)], {"SLURM_ARRAY_TASK_ID": str(index)})


def _systemd(folder: Path, index: int) -> Command:
    """`%i` is the instance; a credential is a file in a folder."""
    (line,) = re.findall(r"^ExecStart=(.*)$", FILES["mirror-sync@.service"], re.MULTILINE)
    line = localize(line, folder).replace("%i", str(index))
    line = line.replace("${CREDENTIALS_DIRECTORY}", str(folder))
    return Command(shlex.split(line), {"CREDENTIALS_DIRECTORY": str(folder)})


SCHEDULERS: dict[str, Callable[[Path, int], Command]] = {
    "Kubernetes": _kubernetes,
    "Nomad": _nomad,
    "Slurm": _slurm,
    "systemd": _systemd,
}
