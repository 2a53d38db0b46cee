"""Connections that are closed where no request comes: otherwise silent clients could take all that a process has."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from discrepancy.serving.options import Options


class LimitedConnection(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """A connection that is aborted if no complete header arrives within `Options.seconds` to twice as long.

    uvicorn's own limit is for the time between two requests, and begins after the first one.
    """

    def connection_made(self, transport: Any) -> None:
        """Check at regular intervals whether a request is in progress."""
        super().connection_made(transport)
        self._seconds = Options.from_environment().seconds
        # The last request, if the connection was idle at the check before; None: there was none yet.
        self._idle_at: Any = None
        self._next = asyncio.get_running_loop().call_later(self._seconds, self._check)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the checks."""
        self._next.cancel()
        super().connection_lost(exc)

    def _check(self) -> None:
        idle = self.cycle is None or self.cycle.response_complete
        if self.transport.is_closing() or (idle and self.cycle is self._idle_at):  # closing, but its answer is not read
            self.transport.abort()
            return
        self._idle_at = self.cycle if idle else self  # `self` is no request: the connection is not idle
        self._next = asyncio.get_running_loop().call_later(self._seconds, self._check)
