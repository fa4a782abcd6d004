"""The server's side of a connection: uvicorn's protocols and server with deadlines and limits.

It is the one layer that sees a connection before its request is complete. A body that stops
arriving is the guard's matter (`segscope.serve.security`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from segscope.serve.connections import BACKLOG, Connections, OncePerMinute, RareWarning

_OUT_OF_DESCRIPTORS = "socket.accept() out of system resource"  # asyncio's wording
_TOO_LATE = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


@dataclass(frozen=True)
class Deadlines:
    """Times that a connection may stand still.

    Attributes:
        header_s: from the first byte of a request, or from the connection, to its last header.
        write_s: without the client reading any of a response.
    """

    header_s: float = 10.0
    write_s: float = 120.0


class GuardedHttp(H11Protocol):
    """An HTTP connection that ends when it stands still."""

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        connections: Connections,
        deadlines: Deadlines,
    ) -> None:
        super().__init__(config, server_state, app_state)
        self._register = connections
        self._deadlines = deadlines
        self._address: str | None = None  # while it is counted
        self._header_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self.ws_protocol_class = partial(  # type: ignore[assignment]
            GuardedWebSocket, connections=connections
        )

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        address = address_of(transport)
        if not self._register.admit(address):
            transport.abort()
            return
        self._address = address
        self._start_header_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_header_timer()
        self._stop_write_timer()
        super().connection_lost(exc)
        if self._address is not None:
            self._register.release(self._address)
            self._address = None

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.is_closing() or self.conn.their_state is not h11.IDLE:
            self._stop_header_timer()
        elif self._header_timer is None:
            self._start_header_timer()

    # --- the header of a request ---------------------------------------------------------------

    def _start_header_timer(self) -> None:
        self._header_timer = self.loop.call_later(
            self._deadlines.header_s, self._end_unfinished_request
        )

    def _stop_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _end_unfinished_request(self) -> None:
        self._header_timer = None
        if not self.transport.is_closing():
            self.transport.write(_TOO_LATE)
            self.transport.close()

    # --- responses -------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        super().pause_writing()
        self._start_write_timer()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_write_timer()

    def _start_write_timer(self) -> None:
        unread = self.transport.get_write_buffer_size()
        self._write_timer = self.loop.call_later(
            self._deadlines.write_s, self._end_unread_response, unread
        )

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _end_unread_response(self, unread_before: int) -> None:
        if self.transport.get_write_buffer_size() < unread_before:
            self._start_write_timer()  # slow, but not stuck
        else:
            self._write_timer = None
            self.transport.abort()


class GuardedWebSocket(WebSocketsSansIOProtocol):
    """A WebSocket that took over a counted HTTP connection."""

    def __init__(self, *args: Any, connections: Connections, **options: Any) -> None:
        super().__init__(*args, **options)
        self._register = connections

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._register.release(address_of(self.transport))


class GuardedServer(uvicorn.Server):
    """Accepts guarded connections, and returns when a signal stops it.

    Attributes:
        stop_signal: that signal, once it came.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        connections: Connections,
        deadlines: Deadlines = Deadlines(),
        on_shutdown: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(config)
        self.stop_signal: int | None = None
        self._quiet = OncePerMinute()
        self._register = connections
        self._deadlines = deadlines
        self._on_shutdown = on_shutdown
        self._out_of_descriptors = RareWarning(
            "no descriptors are left for new connections; they have to wait for a second"
        )

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        logger = logging.getLogger("uvicorn.error")
        logger.addFilter(self._quiet)
        try:
            await super().serve(sockets)
        finally:
            logger.removeFilter(self._quiet)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        with super().capture_signals():
            yield
            if self._captured_signals:
                self.stop_signal = self._captured_signals[-1]
            # uvicorn would raise them again, which ends the process before its threads
            self._captured_signals.clear()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=[])
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._handle_exception)
        options: dict[str, Any] = {}
        if self.config.ssl is not None:
            options = {"ssl": self.config.ssl, "ssl_handshake_timeout": self._deadlines.header_s}
        for listener in sockets or []:
            server = await loop.create_server(
                self._make_protocol, sock=listener, backlog=BACKLOG, **options
            )
            self.servers.append(server)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_shutdown()
        await super().shutdown(sockets)

    def _make_protocol(self) -> GuardedHttp:
        return GuardedHttp(
            self.config,
            self.server_state,
            self.lifespan.state,
            self._register,
            self._deadlines,
        )

    def _handle_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        # asyncio stops accepting for a second, but reports every attempt with a traceback
        if context.get("message") == _OUT_OF_DESCRIPTORS:
            self._out_of_descriptors.log()
            return
        loop.default_exception_handler(context)


def address_of(transport: asyncio.BaseTransport) -> str:
    """The address of the client of a connection, without its port."""
    peer = transport.get_extra_info("peername")
    if isinstance(peer, tuple):
        return str(peer[0])
    return "?"
