"""Settings as the command line reads them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import click

from mirror.cli.options import api_options, database_option, environments_option, given_settings
from mirror.config.file import Configuration, load
from mirror.config.resolver import SettingSources
from mirror.config.sources import option_name


@click.command()
@environments_option
@api_options
@database_option
def _command(**_: Any) -> None:
    """Take all settings."""


def parse(environ: Mapping[str, str], *arguments: str) -> click.Context:
    """The context of a command with these variables, and no others, and arguments."""
    with mock.patch.dict(os.environ, environ, clear=True):
        return _command.make_context("mirror", list(arguments))


def sources(
    environ: Mapping[str, str], file: Path | None = None, /, **options: str
) -> SettingSources:
    """The settings of a command with these variables, and no others, configuration and options."""
    context = parse(environ, *(f"{option_name(name)}={text}" for name, text in options.items()))
    with mock.patch.dict(os.environ, environ, clear=True), context:
        given = given_settings()
    return SettingSources(given, load(str(file)) if file else Configuration(), environ)


def environments(environ: Mapping[str, str], *arguments: str) -> tuple[str, ...]:
    """The environments that these variables, and no others, or arguments name."""
    names: tuple[str, ...] = parse(environ, *arguments).params["names"]
    return names
