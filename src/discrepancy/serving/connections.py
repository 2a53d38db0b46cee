"""Connections that must not stay open without a request: as many as a process may have would shut everybody out."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from discrepancy.serving.options import Options


class LimitedConnection(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """A connection that is cut where no whole header has come for `Options.seconds`, or up to twice as long.

    uvicorn's own limit, that between two requests, begins after the first one.
    """

    def connection_made(self, transport: Any) -> None:
        """Begin to look, at regular times, whether a request is under way."""
        super().connection_made(transport)
        self._seconds = Options.from_environment().seconds
        self._idle_at: Any = None  # request that was the last one when no request was under way; None: there was none
        self._next = asyncio.get_running_loop().call_later(self._seconds, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Look no more."""
        self._next.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        idle = self.cycle is None or self.cycle.response_complete
        if self.transport.is_closing() or (idle and self.cycle is self._idle_at):  # closing: the rest is not read
            self.transport.abort()
            return
        self._idle_at = self.cycle if idle else self  # a request is under way: not idle now
        self._next = asyncio.get_running_loop().call_later(self._seconds, self._look)
