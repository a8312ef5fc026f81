"""The crontab and the systemd units that run an installation of `mirror`.

docs/operations.md explains each line, and has more: hardening, alarms and other schedulers.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

_UNITS_FOLDER = "/etc/systemd/system"


def crontab(program: Sequence[str], config: Path) -> str:
    """Return crontab lines that sync every 15 minutes, and check hourly that this works.

    cron mails what they print: failures that need a person, and a mirror that is stale.

    Args:
        program: the words that start `mirror`.
        config: path of the configuration file.
    """
    # cron takes a % for the end of the command.
    mirror = shlex.join(program).replace("%", r"\%")
    return (
        f"MIRROR_CONFIG={config}\n"
        f"*/15 * * * * output=$({mirror} sync --quiet 2>&1) || "
        '[ $? -eq 75 ] || echo "$output"\n'
        f"7 * * * * {mirror} status --max-age 2h >/dev/null\n"
    )


def systemd_units(program: Sequence[str], config: Path, user: str) -> dict[str, str]:
    """Return system units by their names: a service that syncs, and its timer.

    Args:
        program: the words that start `mirror`.
        config: path of the configuration file.
        user: who owns the files.
    """
    command = " ".join(map(_unit_word, [*program, "sync", "--config", str(config)]))
    service = f"""\
[Unit]
Description=Sync the mirror of release requests
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
User={user.replace("%", "%%")}
ExecStart={command}
SuccessExitStatus=75
TimeoutStartSec=1h
"""
    timer = """\
[Unit]
Description=Sync the mirror every 15 minutes

[Timer]
OnCalendar=*:0/15 UTC
RandomizedDelaySec=1min
Persistent=yes

[Install]
WantedBy=timers.target
"""
    return {"mirror-sync.service": service, "mirror-sync.timer": timer}


def installing(units: dict[str, str], *, as_root: bool) -> str:
    """Return a shell script that installs systemd units, and enables their timers.

    Args:
        units: their contents by name.
        as_root: root runs it; else each command takes `sudo`.
    """
    sudo = "" if as_root else "sudo "
    files = "".join(
        f"{sudo}tee {_UNITS_FOLDER}/{name} >/dev/null <<'EOF'\n{content}EOF\n"
        for name, content in units.items()
    )
    timers = " ".join(name for name in units if name.endswith(".timer"))
    return f"{files}{sudo}systemctl daemon-reload\n{sudo}systemctl enable --now {timers}\n"


def _unit_word(word: str) -> str:
    """Quote a word of a command for a systemd unit."""
    word = word.replace("%", "%%")
    if re.fullmatch(r"[\w@%+=:,./-]+", word):
        return word
    escaped = re.sub(r'(["\\])', r"\\\1", word).replace("$", "$$")
    return f'"{escaped}"'
