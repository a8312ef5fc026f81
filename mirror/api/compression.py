"""Content encodings: which ones are accepted, and gzip decompressed while it is received."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator

from mirror.api.httpx_lite import httpx
from mirror.config.settings import ApiSettings
from mirror.errors import ApiError
from mirror.text import one_line

COMPRESSION = "gzip"
"""The content encoding that is requested."""

UNCOMPRESSED = "identity"

_ALIASES = {"x-gzip": COMPRESSION}  # RFC 9110, 8.4.1.3
_GZIP_FORMAT = zlib.MAX_WBITS | 16
_MAGIC = b"\x1f\x8b"
_STEP = 8 * 1024
"""Bytes decompressed at once. They become at most 8 MiB, as deflate's ratio is 1,032 at most."""


def content_encoding(response: httpx.Response) -> str:
    """Return the compression of a response, `identity` if there is none.

    The header is a list, or several; `identity` and empty items in it mean nothing.
    """
    items = response.headers.get("Content-Encoding", "").lower().split(",")
    names = [_ALIASES.get(item.strip(), item.strip()) for item in items]
    return ", ".join(name for name in names if name not in {"", UNCOMPRESSED}) or UNCOMPRESSED


def iter_decompressed(settings: ApiSettings, response: httpx.Response) -> AsyncIterator[bytes]:
    """Iterate over a body while it is received, decompressed in steps of bounded size.

    The iteration raises `zlib.error` if the body is damaged. If it is cut, its JSON shows that.

    Raises:
        ApiError: the compression is not the requested one, or is applied twice.
    """
    encoding = content_encoding(response)
    if encoding == UNCOMPRESSED:
        return response.aiter_raw()
    if encoding == COMPRESSION:
        return _gunzip(response.aiter_raw())
    raise ApiError(
        f"the response is compressed as {one_line(settings.token.redact(encoding))!r}, "
        f"but {COMPRESSION} was requested",
        hint="report this to the API's operator",
    )


async def _gunzip(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Decompress gzip of one or more members (RFC 1952, 2.2); httpx drops all but the first.

    Zeros between members are padding. Other bytes after a member end the body, as for gzip(1). A
    body that does not begin as gzip was never compressed, whatever its header says.
    """
    decompressor, pending, has_begun = zlib.decompressobj(_GZIP_FORMAT), b"", False
    async for chunk in chunks:
        if not has_begun and not _MAGIC.startswith(chunk[:1]):
            yield chunk
            async for rest in chunks:
                yield rest
            return
        has_begun = has_begun or bool(chunk)
        for start in range(0, len(chunk), _STEP):
            pending += chunk[start : start + _STEP]
            while pending:
                if decompressor.eof:
                    pending = pending.lstrip(b"\0")
                    if not _MAGIC.startswith(pending[:2]):
                        return
                    if len(pending) < len(_MAGIC):
                        break
                    decompressor = zlib.decompressobj(_GZIP_FORMAT)
                yield decompressor.decompress(pending)
                pending = decompressor.unused_data
