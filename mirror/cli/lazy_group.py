"""A click group that imports the module of a command only when that command runs."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import cast

import click


class LazyCommand(click.Command):
    """Placeholder of a command: its name and its line in the help of the group.

    Args:
        name: of the command, and of the attribute of the module that holds it.
        module: full name of the module.
        short_help: first sentence of the command's help.
    """

    def __init__(self, name: str, module: str, short_help: str) -> None:
        super().__init__(name, short_help=short_help)
        self.module = module

    def load(self) -> click.Command:
        """Import the module; return the command itself."""
        return cast(click.Command, getattr(import_module(self.module), self.name or ""))


class LazyGroup(click.Group):
    """click's LazyGroup pattern, with placeholders.

    With these, the help of the group, the completion of its commands and the suggestion for a
    misspelt one import nothing.

    Args:
        lazy_commands: module and short help of each command, by its name.
        options: as for `click.Group`.
    """

    def __init__(self, lazy_commands: Mapping[str, tuple[str, str]], **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type] # (click.group passes them on)
        for name, (module, short_help) in lazy_commands.items():
            self.add_command(LazyCommand(name, module, short_help))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that arguments begin with, and import it."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, LazyCommand) else command, rest
