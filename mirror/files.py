"""Files that commands write: whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mirror.errors import DiskUnavailable, UsageError

DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
"""Error codes of a disk without room."""


def absolute_path(path: str | Path) -> Path:
    """Return an absolute path; unlike that of `pathlib` without `..`."""
    return Path(os.path.abspath(path))  # noqa: PTH100 (as said)


def real_path(path: str | Path) -> Path:
    """Return an absolute path without symbolic links; a loop of them is left as it is."""
    return Path(os.path.realpath(path))  # pathlib's has a RuntimeError for loops


@contextmanager
def translated_errors(path: Path) -> Iterator[None]:
    """Translate errors of the operating system while a file is written.

    Raises:
        DiskUnavailable: the disk is full.
        UsageError: the file cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise (DiskUnavailable if error.errno in DISK_FULL else UsageError)(
            f"{path} cannot be written ({error.strerror})", hint="choose another place for it"
        ) from error


def write_file(path: Path, text: str) -> None:
    """Write a file atomically: a reader sees the old content or the new one, never a part.

    Only its owner can read a new file. One that is replaced keeps its permissions.

    Args:
        path: of the file. A device or pipe is written to directly.
        text: the new content.

    Raises:
        DiskUnavailable: the disk is full.
        UsageError: the file cannot be written.
    """
    path = real_path(path)
    with translated_errors(path):
        if path.exists() and not path.is_file():
            path.write_text(text, encoding="utf-8")
            return
        temporary = path.with_name(f".{path.name[:100]}.{os.getpid()}")
        try:
            temporary.touch(mode=0o600)
            temporary.write_text(text, encoding="utf-8")
            if path.exists():
                temporary.chmod(path.stat().st_mode)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
