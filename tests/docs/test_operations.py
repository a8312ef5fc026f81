"""docs/operations.md: its metrics, settings and SQL."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import sqlalchemy as sa
import yaml

from mirror.db import models, revisions
from mirror.db.engine import write_transaction
from tests.support.commands import all_commands, run_mirror
from tests.support.mirrors import Mirror
from tests.support.pages import (
    CONFIGURATION,
    FILES,
    OPERATIONS,
    README,
    all_options,
    blocks,
    options_of,
    section,
)
from tests.support.upstream import request

METRICS = {
    name: set(re.findall(r"`(\w+)`", labels))
    for name, labels in re.findall(r"^\| `(mirror_\w+)` \| (.*?) \|", OPERATIONS, re.MULTILINE)
}


def test_metrics_are_complete(sqlite_mirror: Mirror) -> None:
    """The table has exactly the metrics of `mirror status`, with their labels."""
    sqlite_mirror.sync([request(1)])
    options = ("--format", "prometheus", "--max-age", "1000w", "--database", sqlite_mirror.url)
    ran = run_mirror("status", *options)
    assert ran.code == 0
    printed = {
        name: set(re.findall(r'(\w+)="', labels))
        for name, labels in re.findall(r"^(\w+)\{(.*)\} ", ran.out, re.MULTILINE)
    }
    assert printed == METRICS


def test_alerts_use_documented_metrics() -> None:
    """Each alert rule is complete, and uses metrics and labels of the table."""
    (group,) = yaml.safe_load(FILES["alerts.yaml"])["groups"]
    assert len({rule["alert"] for rule in group["rules"]}) == len(group["rules"]) >= 5
    for rule in group["rules"]:
        assert rule.keys() - {"for"} == {"alert", "expr", "labels", "annotations"}
        labels = set(re.findall(r"(\w+)=", rule["expr"]))
        labels |= set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        for metric in re.findall(r"mirror_\w+", rule["expr"]):
            assert labels <= METRICS[metric]


# Configuration


def test_the_example_shows_every_key() -> None:
    """The example file has each key of the table, and no other."""
    table = section(OPERATIONS, "### Settings")
    rows = [row.split("|") for row in re.findall(r"^\|(.*)\|$", table, re.MULTILINE)]
    columns = zip(*rows[2:], strict=True)
    keys = [set(re.findall(r"`(\w+)`", " ".join(column))) for column in columns]
    environments = {key for values in CONFIGURATION["environments"].values() for key in values}
    assert keys[5] == CONFIGURATION.keys() - {"defaults", "environments"}
    assert keys[4] == CONFIGURATION["defaults"].keys()
    assert keys[3] == keys[4] | {"token_file", "token_env"}
    assert {"token_file", "token_env"} <= environments <= keys[3]


@pytest.mark.parametrize("name", ["config.toml", "credentials.toml"])
def test_mirror_reads_the_examples(name: str, tmp_path: Path) -> None:
    """The program accepts each example file, and uses its database."""
    (tmp_path / name).write_text(FILES[name])
    ran = run_mirror("db", "url", "--config", str(tmp_path / name))
    assert ran.code == 0, ran.err
    assert sa.make_url(ran.out.strip()) == sa.make_url(tomllib.loads(FILES[name])["database"])


def test_settings_exist() -> None:
    """Each option of the table is one of `mirror sync`; its variables are those of the README."""
    table = OPERATIONS.split("| setting |")[1].split("\n\n")[0]
    assert set(re.findall(r"`(--[\w-]+)`", table)) <= options_of(all_commands()["sync"])
    variables, documented = (
        set(re.findall(r"`((?:MIRROR|TALKOVER)_\w+)`", text))
        for text in (table, section(README, "### Settings"))
    )
    assert variables == documented - {"MIRROR_CONFIG"}


def test_options_exist() -> None:
    """Each option that the page explains is one of some command."""
    assert set(re.findall(r"`(--?[\w-]+)", OPERATIONS)) <= all_options()


# SQL


def test_the_query_of_failed_runs(mirror: Mirror) -> None:
    """The query of the logs shows only the run that did not complete."""
    (block,) = blocks(section(OPERATIONS, "## Logs"), "sql")
    query = block.rstrip(";\n")
    mirror.sync([request(1)])
    assert mirror.rows(query) == []
    result = mirror.sync([])
    ((_, environment, outcome, _, error),) = mirror.rows(query)
    assert (environment, outcome, error) == ("default", "refused", str(result.failure))


def test_the_message_of_a_newer_schema(sqlite_mirror: Mirror) -> None:
    """The page quotes the message of a program that is older than the schema, as of 0.1.0."""
    with write_transaction(sqlite_mirror.engine, "test") as connection:
        connection.execute(sa.update(models.alembic_version).values(version_num="0099"))
    message = str(sqlite_mirror.sync([request(1)]).failure)
    (quoted,) = re.findall(r'"(the\s+database is at schema revision .*?)"', OPERATIONS, re.DOTALL)
    expected = message.replace(revisions.known()[-1], "0001").replace("0099", "0002")
    assert " ".join(quoted.split()) == expected
