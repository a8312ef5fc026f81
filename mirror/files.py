"""Files that commands write: whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mirror.errors import DiskUnavailable, UsageError

DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
"""Error codes of a disk without room."""

_MAX_LINKS = 40
"""Links that lead on from a path; more are a loop, as for Linux."""


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
        path: of the file. A device, a pipe or an open file of a process (/dev/stdout, /dev/fd/3) is
            written to directly; what is in it stays.
        text: the new content.

    Raises:
        DiskUnavailable: the disk is full.
        UsageError: the file cannot be written.
    """
    path = absolute_path(path)
    with translated_errors(path):
        if (stream := _stream(path)) is not None:
            is_own = isinstance(stream, int)
            mode = "w" if is_own else "a"  # of a descriptor "w" truncates nothing
            with (
                suppress(BrokenPipeError),  # a reader that has enough is no failure
                open(stream, mode, encoding="utf-8", closefd=not is_own) as file,
            ):
                file.write(text)
            return
        path = real_path(path)
        temporary = path.with_name(f".{path.name[:100]}.{os.getpid()}")
        try:
            temporary.touch(mode=0o600)
            temporary.write_text(text, encoding="utf-8")
            if path.exists():
                temporary.chmod(path.stat().st_mode)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def _stream(path: Path) -> Path | int | None:
    """Return what to open if a path is no file that can be replaced, else None.

    A link to an open file of a process is not resolved further: it leads to a pipe without a name,
    or to a regular file that the process appends to. One of this process is its descriptor, which
    keeps its place in the file when it is written to.
    """
    for _ in range(_MAX_LINKS):
        folder = real_path(path.parent)
        path = folder / path.name
        own = Path(f"/proc/{os.getpid()}/fd"), Path("/dev/fd")
        if folder in own or (folder.name == "fd" and folder.is_relative_to("/proc")):
            return int(path.name) if folder in own and path.name.isdecimal() else path
        if not path.is_symlink():
            return path if path.exists() and not path.is_file() else None
        path = folder / path.readlink()
    return None
