"""httpx without its command line, whose import takes as long as all the rest of it.

httpx works where `httpx._main` cannot be imported. A later import of `httpx._main` works as usual.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["httpx"]


@contextmanager
def _unimportable(name: str) -> Iterator[None]:
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # makes the import fail
    try:
        yield
    finally:
        del sys.modules[name]


with _unimportable("httpx._main"):
    import httpx
