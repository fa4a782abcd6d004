"""The guard: checks that every request passes before any other code of the server sees it."""

from __future__ import annotations

import ipaddress
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from segscope.serve.errors import Refused, ServeError, TooLarge, Unauthorised
from segscope.serve.settings import ServerSettings
from segscope.serve.tokens import Failures, RequestHeaders, is_token

# ASGI's own types: dictionaries whose keys depend on their "type"
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
HeaderList = list[tuple[bytes, bytes]]

log = logging.getLogger("segscope.serve.access")

LOOPBACK = ("localhost", "127.0.0.1", "[::1]", "::1")
COMPAT = ("/monailabel/", "/nninteractive/")
GUARDED = ("/v1/", *COMPAT)
"""Paths that require a token. The page itself is public; everything it shows comes from these."""
OPEN = ("/v1/health", "/v1/login")
LOGIN = "/monailabel/auth"  # where a client asks whether a token is needed, and gets one
UPLOADS = ("/v1/images", *COMPAT)

HEADERS = {
    "content-security-policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=()",
}
_OTHER_ORIGIN = (
    "requests from web pages of other origins are refused; allow an origin with "
    "`segscope serve --allow-origin`"
)


class Guard:
    """Checks host, origin, token and length of requests, and adds headers to responses.

    It is ASGI middleware.
    """

    def __init__(self, app: App, settings: ServerSettings) -> None:
        self.app = app
        self.settings = settings
        self.failures = Failures(settings.limits.failures)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        start = time.perf_counter()
        headers = RequestHeaders(scope)
        response = _Response(send, self._response_headers(headers))
        try:
            await self._handle(scope, headers, receive, response)
        except ServeError as error:
            if response.status:
                raise
            await _refuse(scope, response.send, error)
            response.status = error.status
        finally:
            # never the path itself, which may contain names
            route = getattr(scope.get("route"), "path", "-")
            duration_ms = 1000 * (time.perf_counter() - start)
            method = scope.get("method", "WS")
            log.info("%s %s %d %.1f ms", method, route, response.status, duration_ms)

    async def _handle(
        self,
        scope: Scope,
        headers: RequestHeaders,
        receive: Receive,
        response: _Response,
    ) -> None:
        is_http = scope["type"] == "http"
        if is_http and self._is_preflight(scope, headers):
            await _send_json(response.send, 204, b"")
            return
        self._check(scope, headers)
        if not is_http:
            await self.app(scope, receive, response.send)
            return
        body = _Body(self._max_bytes(scope), receive)

        async def send(message: Message) -> None:
            if not body.too_large:
                await response.send(message)
            elif not response.status:  # replaces what the app makes of a body that was cut off
                await _refuse(scope, response.send, _too_long(body.max_bytes))

        await self.app(scope, body, send)

    # --- checks ----------------------------------------------------------------------------------

    def _check(self, scope: Scope, headers: RequestHeaders) -> None:
        if not self._is_known_host(headers.get("host")):
            raise ServeError(
                "this server does not answer under that host name; add it with "
                "`segscope serve --allow-host`"
            )
        self._check_origin(scope, headers)
        self._check_token(scope, headers)
        max_bytes = self._max_bytes(scope)
        length = headers.get("content-length")
        if length is not None and (not length.isdecimal() or int(length) > max_bytes):
            raise _too_long(max_bytes)

    def _check_origin(self, scope: Scope, headers: RequestHeaders) -> None:
        origin = headers.get("origin")
        if origin is not None:
            if not self._is_known_origin(origin, headers.get("host")):
                raise Refused(_OTHER_ORIGIN)
            return
        is_cross_site = headers.get("sec-fetch-site") == "cross-site"
        if is_cross_site and scope.get("method") != "GET":
            raise Refused(_OTHER_ORIGIN)

    def _is_known_host(self, host: str | None) -> bool:
        return _host_name(host) in {*LOOPBACK, *self.settings.hosts}

    def _is_known_origin(self, origin: str, host: str | None) -> bool:
        if origin in self.settings.origins:
            return True
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        return parts.scheme in ("http", "https") and parts.netloc.lower() == (host or "").lower()

    def _check_token(self, scope: Scope, headers: RequestHeaders) -> None:
        if not self._requires_token(scope["path"]):
            return
        token = headers.token()
        is_right = is_token(self.settings, token)
        if scope["type"] == "websocket":  # the first message may bring it
            scope["segscope.authorised"] = is_right
            return
        if is_right:
            return
        if token is not None:
            self.failures.count(_address(scope))
        raise Unauthorised(
            "this server requires its token: send `Authorization: Bearer TOKEN`. The token was "
            "printed when the server started."
        )

    def _requires_token(self, path: str) -> bool:
        if self.settings.token is None or path in OPEN or not path.startswith(GUARDED):
            return False
        if path.startswith(COMPAT) and self.settings.compat_open:
            return False
        return not path.startswith(LOGIN)

    def _max_bytes(self, scope: Scope) -> int:
        limits = self.settings.limits
        if scope["path"].startswith(UPLOADS):
            return limits.upload_bytes
        return limits.body_bytes

    # --- other origins ---------------------------------------------------------------------------

    def _response_headers(self, headers: RequestHeaders) -> HeaderList:
        values = dict(HEADERS)
        values["cache-control"] = "no-store"
        origin = headers.get("origin")
        if origin is not None and origin in self.settings.origins:
            del values["cross-origin-resource-policy"]
            values |= {
                "access-control-allow-origin": origin,
                "access-control-allow-credentials": "true",
                "access-control-allow-methods": "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
                "access-control-allow-headers": (
                    headers.get("access-control-request-headers") or "*"
                ),
                "access-control-expose-headers": "*",
                "vary": "Origin",
            }
        return [(name.encode(), value.encode()) for name, value in values.items()]

    def _is_preflight(self, scope: Scope, headers: RequestHeaders) -> bool:
        if scope["method"] != "OPTIONS":
            return False
        if headers.get("access-control-request-method") is None:
            return False
        is_known_origin = headers.get("origin") in self.settings.origins
        return is_known_origin and self._is_known_host(headers.get("host"))


class _Response:
    """Sends a response with further headers, and notes its status (0 before it starts)."""

    def __init__(self, send: Send, headers: HeaderList) -> None:
        self.status = 0
        self._send = send
        self._headers = headers

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            present = {name for name, _ in message["headers"]}
            missing = [(name, value) for name, value in self._headers if name not in present]
            message["headers"] = [*message["headers"], *missing]
        await self._send(message)


class _Body:
    """The body of a request, which may be longer than its header says, or have no length there."""

    def __init__(self, max_bytes: int, receive: Receive) -> None:
        self.max_bytes = max_bytes
        self.too_large = False
        self._receive = receive
        self._received = 0

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._received += len(message.get("body", b""))
            if self._received > self.max_bytes:
                self.too_large = True
                raise _too_long(self.max_bytes)
        return message


def _too_long(max_bytes: int) -> TooLarge:
    return TooLarge(f"the body of this request may have at most {max_bytes} bytes")


def is_loopback(host: str) -> bool:
    """Whether only programs on this machine reach an address."""
    if host in LOOPBACK:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host_name(host: str | None) -> str | None:
    """The name or address in a Host header, without the port; None if there is none."""
    if not host:
        return None
    host = host.lower()
    if not host.startswith("["):
        return host.partition(":")[0]
    if "]" not in host:
        return None
    return host.partition("]")[0] + "]"


def _address(scope: Scope) -> str:
    client = scope.get("client")
    if client:
        return str(client[0])
    return "?"


async def _refuse(scope: Scope, send: Send, error: ServeError) -> None:
    if scope["type"] == "websocket":
        code = 4000 + error.status
        await send({"type": "websocket.close", "code": code, "reason": str(error)[:100]})
        return
    headers: HeaderList = []
    if error.retry_after_s:
        headers.append((b"retry-after", str(error.retry_after_s).encode()))
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    body = json.dumps({"detail": str(error), "kind": type(error).__name__}).encode()
    await _send_json(send, error.status, body, headers)


async def _send_json(
    send: Send, status: int, body: bytes, extra: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *extra,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
