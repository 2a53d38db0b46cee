"""The photograph in a request: the body itself, or a file in a form; neither too large nor too slow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final, NamedTuple

from fastapi import HTTPException, Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from discrepancy.serving.options import Options

CLOSE: Final = {"Connection": "close"}
"""Header of answers to requests whose body was not read: the connection cannot be used again."""


class Upload(NamedTuple):
    """A file that a client has sent, and its name."""

    content: bytes
    name: str


async def read_upload(request: Request, options: Options) -> Upload:
    """Return the photograph in a request.

    Raises:
        HTTPException: 400 for a broken form, or one without a file, 408 for a slow client, 413 for a large body.
    """
    try:
        async with asyncio.timeout(options.seconds):
            body = await _read(request, options.max_bytes)
    except TimeoutError:
        raise HTTPException(408, f"the body took longer than {options.seconds:g} s", CLOSE) from None
    except ClientDisconnect:
        raise HTTPException(400, "the client has gone") from None
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        return Upload(body, "photograph")
    return await _file_in_form(request, body)


async def _read(request: Request, most: int) -> bytes:
    said = request.headers.get("content-length", "0")
    if said.isdecimal() and int(said) > most:
        raise _too_large(most)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise _too_large(most)
    return bytes(body)


def _too_large(most: int) -> HTTPException:
    return HTTPException(413, f"the body is too large; expected at most {most:,} bytes", CLOSE)


async def _file_in_form(request: Request, body: bytes) -> Upload:
    async def whole() -> AsyncIterator[bytes]:
        yield body

    try:
        form = await MultiPartParser(request.headers, whole(), max_files=1, max_fields=20).parse()  # type: ignore[arg-type]
    except (MultiPartException, KeyError, ValueError) as error:
        raise HTTPException(400, f"the form cannot be read ({getattr(error, 'message', error)})") from error
    try:
        for value in form.values():
            if isinstance(value, UploadFile):
                return Upload(await value.read(), value.filename or "photograph")
    finally:
        await form.close()
    raise HTTPException(400, "the form has no file; expected one, such as -F file=@part.png")
