"""ASGI messages: bodies with a limit and a deadline, responses with further headers, refusals."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from segscope.serve.errors import ServeError, Stalled, TooLarge

# ASGI's own types: dictionaries whose keys depend on their "type"
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
HeaderList = list[tuple[bytes, bytes]]


class GuardedResponse:
    """Sends a response with further headers, and notes its status (0 before it starts)."""

    def __init__(self, send: Send, headers: HeaderList) -> None:
        self.status = 0
        self._send = send
        self._headers = headers

    def add_header(self, name: str, value: str) -> None:
        """Add a header to a response that has not started."""
        self._headers.append((name.encode(), value.encode()))

    async def send(self, message: Message) -> None:
        """Pass an ASGI message on; headers that the app has set itself stay as they are."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            present = {name for name, _ in message["headers"]}
            missing = [(name, value) for name, value in self._headers if name not in present]
            message["headers"] = [*message["headers"], *missing]
        await self._send(message)


class GuardedBody:
    """The body of a request: of at most `max_bytes`, whatever its header says, and never idle.

    Attributes:
        error: why it was cut off, if it was.
    """

    def __init__(self, receive: Receive, max_bytes: int, idle_s: float) -> None:
        self.error: ServeError | None = None
        self._receive = receive
        self._max_bytes = max_bytes
        self._idle_s = idle_s
        self._received = 0
        self._is_complete = False

    async def __call__(self) -> Message:
        """The next part.

        Raises:
            TooLarge: it is longer than allowed.
            Stalled: nothing arrived for too long.
        """
        if self._is_complete:  # what follows is the end of the connection, whenever that is
            return await self._receive()
        try:
            async with asyncio.timeout(self._idle_s):
                message = await self._receive()
        except TimeoutError:
            self.error = Stalled(
                f"nothing of the body of this request arrived for {self._idle_s:.0f} s; send it "
                "again"
            )
            raise self.error from None
        if message["type"] == "http.request":
            self._received += len(message.get("body", b""))
            self._is_complete = not message.get("more_body", False)
            if self._received > self._max_bytes:
                self.error = too_long(self._max_bytes)
                raise self.error
        return message


def too_long(max_bytes: int) -> TooLarge:
    """The error of a body that exceeds its limit."""
    return TooLarge(f"the body of this request may have at most {max_bytes} bytes")


async def refuse(scope: Scope, send: Send, error: ServeError) -> None:
    """Answer a request with an error, whose message becomes the body."""
    if scope["type"] == "websocket":
        code = 4000 + error.status
        await send({"type": "websocket.close", "code": code, "reason": str(error)[:100]})
        return
    headers: HeaderList = []
    if error.retry_after_s:
        headers.append((b"retry-after", str(error.retry_after_s).encode()))
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if isinstance(error, (Stalled, TooLarge)):  # the rest of the request will not be read
        headers.append((b"connection", b"close"))
    body = json.dumps({"detail": str(error), "kind": type(error).__name__}).encode()
    await send_json(send, error.status, body, headers)


async def send_json(
    send: Send, status: int, body: bytes, extra: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """Send a whole response."""
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *extra,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
