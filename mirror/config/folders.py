"""The folders of the user for configuration and data, which a container may not have."""

from __future__ import annotations

import os
from pathlib import Path


def config_folder() -> Path | None:
    """Return the user's folder for the configuration; None if there is no home folder."""
    return _mirror_folder("user_config_path")


def data_folder() -> Path | None:
    """Return the user's folder for data; None if there is no home folder."""
    return _mirror_folder("user_data_path")


def _mirror_folder(kind: str) -> Path | None:
    import platformdirs

    try:
        folder: Path = getattr(platformdirs, kind)("mirror", appauthor=False)
    except RuntimeError:  # HOME is not set, and the user has no entry in passwd
        return None
    return folder if folder.is_absolute() else None  # older releases return "~/…" then


def is_creatable(path: Path) -> bool:
    """Return whether a file can be created, with its missing folders."""
    folder = next(folder for folder in path.parents if os.path.exists(folder))  # noqa: PTH110 (pathlib's raises if it may not look)
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
