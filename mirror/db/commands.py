"""The commands that messages name to rename or forget an environment.

Each sync imports this module, so it imports none with SQL.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from mirror.config.sources import ResolvedSetting, option_name
from mirror.db.urls import shown_url
from mirror.files import absolute_path


def mirror_options(given: Mapping[str, ResolvedSetting]) -> Sequence[str]:
    """Return the options of the running command that name the mirror, as messages may show them.

    Args:
        given: the settings that options and variables give, by name.
    """
    options = []
    for name, shown in (("config_file", absolute_path), ("database", shown_url)):
        setting = given.get(name)
        if setting and setting.source == option_name(name):
            options += [setting.source, str(shown(setting.text))]
    return options


def rename_command(old: str, new: str, options: Sequence[str] = ()) -> str:
    """Return the command that renames an environment, as a shell takes it.

    Args:
        old: its name.
        new: another one.
        options: those of `mirror_options`.
    """
    return _command("rename-environment", old, new, options=options)


def forget_command(name: str, options: Sequence[str] = ()) -> str:
    """Return the command that forgets an environment; `options` as in `rename_command`."""
    return _command("forget-environment", name, options=options)


def _command(command: str, *names: str, options: Sequence[str]) -> str:
    separator = ["--"] if any(name.startswith("-") for name in names) else []
    return shlex.join(["mirror", "db", command, *options, *separator, *names])
