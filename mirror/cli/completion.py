"""Completion in shells: what is offered for a word, and `mirror completion`.

A completion reads what is there within a moment, or offers less: it never creates a database, and
prints no error.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem, get_completion_class

from mirror.cli.log import notify
from mirror.config import file, settings
from mirror.errors import MirrorError

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_PATIENCE = 2.0
"""Seconds that a database may take, connecting included."""

_MAX_OFFERED = 50
"""Values from a table with many rows."""

_PLACES = {
    "bash": "~/.local/share/bash-completion/completions/mirror, with the package bash-completion",
    "zsh": "~/.zfunc/_mirror, if ~/.zshrc has fpath+=(~/.zfunc) before compinit",
    "fish": "~/.config/fish/completions/mirror.fish",
}
"""Where each shell looks for its script."""


def complete_environment_of_file(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[str]:
    """Complete the environments of the configuration file."""
    try:
        environments = file.load(context.params.get("config_file")).environments
    except MirrorError:
        return []
    return _beginning(environments, incomplete)


def complete_environment(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[str]:
    """Complete the environments of the configuration file, or those on record if it has none."""
    if complete_environment_of_file(context, parameter, ""):
        return complete_environment_of_file(context, parameter, incomplete)
    return complete_environment_on_record(context, parameter, incomplete)


def complete_environment_on_record(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[str]:
    """Complete the names of the environments that the database has on record."""

    def on_record(connection: Connection) -> list[str]:
        from mirror.db import environments

        return list(environments.on_record(connection))

    return _beginning(_from_database(context, on_record), incomplete)


def complete_status(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[str]:
    """Complete the documented statuses, and those that requests in the database have."""

    def statuses(connection: Connection) -> list[str]:
        import sqlalchemy as sa

        from mirror.db.models import release_requests

        column = release_requests.c.status
        found: list[str] = []
        while len(found) < _MAX_OFFERED:  # each is one look into the index
            later = sa.select(sa.func.min(column)).where(column > (found[-1] if found else ""))
            status = connection.scalar(later)
            if status is None:
                break
            found.append(status)
        return found

    from mirror.queries.status import DOCUMENTED_STATUSES

    known = dict.fromkeys((*DOCUMENTED_STATUSES, *_from_database(context, statuses)))
    return _beginning(known, incomplete)


def complete_id(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Complete the ids of requests, a limited number of them."""

    def ids(connection: Connection) -> Sequence[str]:
        import sqlalchemy as sa

        from mirror.db.models import release_requests

        column = release_requests.c.id
        query = sa.select(column).where(column >= incomplete).order_by(column).limit(_MAX_OFFERED)
        return connection.scalars(query).all()

    return _beginning(_from_database(context, ids), incomplete)


def complete_cursor(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[str]:
    """Complete the names of the cursors of `mirror changes`."""

    def names(connection: Connection) -> Sequence[str]:
        import sqlalchemy as sa

        from mirror.db.models import change_cursors

        name = change_cursors.c.name
        return connection.scalars(sa.select(name).distinct().order_by(name)).all()

    return _beginning(_from_database(context, names), incomplete)


def complete_relation(
    _context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[str]:
    """Complete the names of tables and views."""
    from mirror.db import dictionary

    names = [entry.relation for entry in dictionary.entries() if entry.column is None]
    return _beginning(names, incomplete)


def complete_question(
    _context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the names of the cookbook's questions."""
    from mirror.db.cookbook import RECIPES

    return [
        CompletionItem(recipe.name, help=recipe.question)
        for recipe in RECIPES
        if recipe.name.startswith(incomplete)
    ]


def complete_parameter(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[str]:
    """Complete the parameters of the question, or of the SQL, that is there."""
    from mirror.db.cookbook import find_recipe
    from mirror.db.parameters import tokens

    # click does not get as far as the argument if the last option has no value yet.
    statement = context.params.get("statement") or next(iter(context.args), "")
    recipe = find_recipe(statement)
    sql = recipe.sql if recipe else statement
    names = dict.fromkeys(t.text for t in tokens(sql, "sqlite") if t.kind == "parameter")
    return _beginning([f"{name}=" for name in names], incomplete)


def complete_fault(
    _context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[str]:
    """Complete the faults of the sandbox."""
    from mirror.sandbox.faults import FAULTS

    return _beginning(FAULTS, incomplete)


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _from_database(
    context: click.Context, read: Callable[[Connection], Sequence[str]]
) -> Sequence[str]:
    """Return what the database has; nothing if there is none, or if it takes too long."""
    from mirror.queries import helpers  # imports take no part in the time that is allowed

    found: list[str] = []

    def run() -> None:
        try:
            option, config_file = (context.params.get(n) for n in ("database", "config_file"))
            url = settings.database_url(option, file=file.load(config_file))
            with helpers.connect(url) as connection:
                found.extend(read(connection))
        except Exception:  # noqa: BLE001 (whatever it is, nobody has asked a question)
            return

    thread = threading.Thread(target=run, daemon=True)  # the process ends without it
    thread.start()
    thread.join(_PATIENCE)
    return [] if thread.is_alive() else found


@click.command(epilog="Example: mirror completion zsh > ~/.zfunc/_mirror")
@click.argument("shell", type=click.Choice(list(_PLACES)))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash reads it from ~/.local/share/bash-completion/completions/mirror
    zsh from ~/.zfunc/_mirror; ~/.zshrc needs fpath+=(~/.zfunc) before compinit
    fish from ~/.config/fish/completions/mirror.fish
    """
    from mirror.cli import cli

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(cli, {}, "mirror", "_MIRROR_COMPLETE").source())
    if sys.stdout.isatty():
        notify(f"{shell} reads it from {_PLACES[shell]}")
