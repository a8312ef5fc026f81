"""Small disks that tests fill and remount."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


@contextmanager
def small_disk(options: str) -> Iterator[Path]:
    """Mount a tmpfs with some options; skip the test where that is not allowed."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small disk")
    folder = Path(tempfile.mkdtemp(prefix="mirror-disk-"))
    try:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
        if done.returncode:
            pytest.skip(f"needs the right to mount a small disk: {done.stderr}")
        try:
            yield folder
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=30)
    finally:
        folder.rmdir()


def remount(disk: Path, options: str) -> None:
    """Change the options of a small disk."""
    subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True, timeout=30)


def fill(disk: Path, left: int = 0) -> Path:
    """Fill a disk up to some blocks of 4 KiB; return the file to delete afterwards."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
    os.truncate(filler, filler.stat().st_size - left * 4096)
    assert shutil.disk_usage(disk).free == left * 4096
    return filler


@contextmanager
def filled(disk: Path, left: int = 0) -> Iterator[None]:
    """Fill a disk up to some blocks of 4 KiB while the context lasts."""
    filler = fill(disk, left)
    yield
    filler.unlink()
