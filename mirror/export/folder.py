"""A folder whose contents are replaced as a whole.

    DIR/.mirror-export      marks the folder as that of an export; its lock is the writer's
    DIR/.export-…/          the files of one export
    DIR/.current            symbolic link to the files of the last complete one
    DIR/release_requests    symbolic link to .current/release_requests, and so on

The rename that replaces `.current` is the only step that readers see (Kubernetes updates the files
of its volumes in the same way). What a killed export leaves is removed by the next one.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from mirror.errors import DiskUnavailable, ExportRunning, MirrorError, UsageError
from mirror.files import DISK_FULL, real_path

_MARKER = ".mirror-export"
_CURRENT = ".current"
_NEW_LINK = ".current-new"
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_UNSUITABLE = {errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ENOTDIR}
"""Of the path itself: no folder can be there."""

_GENERATION = re.compile(r"\.export-\d{8}T\d{6}Z-[0-9a-f]{8}")


@contextmanager
def replacing(folder: Path, names: Collection[str], now: datetime) -> Iterator[Path]:
    """Yield a new folder for the contents, which become visible when the context ends.

    Args:
        folder: a new or empty folder, or one that was filled by this function.
        names: files and folders of the contents.
        now: the present time (UTC), for the name of the new folder.

    Raises:
        UsageError: the folder cannot be written, or holds something else.
        ExportRunning: another process fills it.
        DiskUnavailable: the disk is full.
        MirrorError: the file system failed.
    """
    with _translated_errors(folder):
        folder = _prepare(folder)
        with _lock(folder):
            _check_names(folder, names)
            _remove_generations(folder)
            new = folder / f".export-{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
            new.mkdir()
            try:
                yield new
                _flush(new, folder)
                _publish(folder, names, new)
            except BaseException:
                with suppress(OSError):
                    _remove_generations(folder)
                raise


@contextmanager
def _translated_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        kind: type[MirrorError] = MirrorError
        hint = "see whether its file system works, or choose another folder"
        if error.errno in DISK_FULL:
            kind = DiskUnavailable
            hint = "make room, and try again; the export before is still there"
        elif error.errno in _FORBIDDEN:
            kind, hint = UsageError, "check its permissions, or choose another folder"
        elif error.errno in _UNSUITABLE:
            kind, hint = UsageError, "choose another folder"
        raise kind(f"{folder} cannot be written ({error.strerror})", hint=hint) from error


def _prepare(folder: Path) -> Path:
    """Create the folder if it is missing, readable by its owner alone; return its real path."""
    folder = real_path(folder)
    for path in (folder, *folder.parents):
        if path.is_symlink():
            raise UsageError(f"{path} is in a loop of links", hint="choose another folder")
        if path != folder and os.path.lexists(path / _MARKER):
            raise UsageError(
                f"{folder} is in {path}, the folder of another export, which would delete it",
                hint="choose a folder outside",
            )
    if not folder.parent.is_dir():
        raise UsageError(f"there is no folder {folder.parent}", hint="make it")
    folder.mkdir(mode=0o700, exist_ok=True)
    others = {entry.name for entry in folder.iterdir()} - {"lost+found"}
    if others and _MARKER not in others:
        raise UsageError(
            f"{folder} holds other files, which an export would not replace",
            hint="name a new or an empty folder",
        )
    return folder


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Hold the lock of the folder; the operating system releases it if the process dies."""
    with (folder / _MARKER).open("a") as marker:
        try:
            fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ExportRunning(
                f"another export writes to {folder}", hint="try again when it has ended"
            ) from error
        yield


def _check_names(folder: Path, names: Collection[str]) -> None:
    """Check that nothing of somebody else has a name that an export uses."""
    for entry in folder.iterdir():
        target = str(entry.readlink()) if entry.is_symlink() else None
        if entry.name in names:
            is_ours = target == f"{_CURRENT}/{entry.name}"
        elif entry.name in {_CURRENT, _NEW_LINK}:
            is_ours = target is not None and bool(_GENERATION.fullmatch(target))
        elif _GENERATION.fullmatch(entry.name):
            is_ours = target is None and entry.is_dir()
        else:
            continue
        if not is_ours:
            raise UsageError(
                f"{entry} is not of an export", hint="move it away, or choose another folder"
            )


def _remove_generations(folder: Path) -> None:
    """Remove what killed exports left, and the export before the last one."""
    current = folder / _CURRENT
    kept = current.readlink().name if current.is_symlink() else None
    for entry in folder.iterdir():
        if _GENERATION.fullmatch(entry.name) and entry.name != kept:
            shutil.rmtree(entry)


def _flush(new: Path, folder: Path) -> None:
    """Have the disk store all files: after a power failure none must be half there."""
    for path in (*new.rglob("*"), new, folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _publish(folder: Path, names: Collection[str], new: Path) -> None:
    for name in names:
        link = folder / name
        if not link.is_symlink():
            link.symlink_to(f"{_CURRENT}/{name}")
    new_link = folder / _NEW_LINK
    new_link.unlink(missing_ok=True)
    new_link.symlink_to(new.name)
    new_link.replace(folder / _CURRENT)
