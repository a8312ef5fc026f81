"""Setting names, their environment variables and defaults, and the source of a value."""

from __future__ import annotations

import msgspec

DEFAULT = "default"
"""The source of a built-in default."""

VARIABLES = {
    "config_file": "MIRROR_CONFIG",
    "database": "MIRROR_DATABASE_URL",
    "environment": "MIRROR_ENVIRONMENT",
    "shard": "MIRROR_SHARD",
    "base_url": "TALKOVER_BASE_URL",
    "token": "TALKOVER_TOKEN",  # has no option
    "token_file": "TALKOVER_TOKEN_FILE",
    "rate": "MIRROR_RATE",
    "timeout": "MIRROR_TIMEOUT",
    "deadline": "MIRROR_DEADLINE",
    "max_bytes": "MIRROR_MAX_BYTES",
}
"""The environment variable of each setting."""


class ResolvedSetting(msgspec.Struct, frozen=True):
    """The value of a setting, and where it comes from.

    Attributes:
        name: the setting, as in the configuration file.
        text: its unchecked value. Never a token, but the file or variable that holds it.
        source: the option, the variable, the key and table of the file, or `DEFAULT`.
        in_file: whether it comes from the configuration file.
        unset: a variable that its text there needs and that is not set, or None.
    """

    name: str
    text: str
    source: str
    in_file: bool = False
    unset: str | None = None


API_DEFAULTS = {
    name: ResolvedSetting(name, text, DEFAULT)
    for name, text in {
        "base_url": "https://app.talkover.ai/api/v1",
        "rate": "100",
        "timeout": "30",
        "deadline": "900",
        "max_bytes": str(1 << 30),
    }.items()
}
"""The settings of the API with their built-in defaults, by name."""


def option_name(setting: str) -> str:
    """Return the command line option of a setting, such as `--max-bytes`."""
    return "--config" if setting == "config_file" else f"--{setting.replace('_', '-')}"
