"""Guard: what every request must pass before any of our code sees it."""

from __future__ import annotations

import hmac
import ipaddress
import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import urlsplit

from segscope.serve.errors import Refused, ServeError, TooLarge, TooMany, Unauthorised
from segscope.serve.settings import Settings

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

log = logging.getLogger("segscope.serve.access")

LOOPBACK = ("localhost", "127.0.0.1", "[::1]", "::1")
GUARDED = ("/v1/", "/monailabel/", "/nninteractive/")
"""Where a token is needed. The page itself is the same for everybody, and what it shows comes from
there.
"""
OPEN = ("/v1/health", "/v1/login")

HEADERS = {
    "content-security-policy": "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=()",
}
UPLOADS = ("/v1/images", "/monailabel/", "/nninteractive/")


class Guard:
    """Checks host, origin, token and length of requests, and adds headers to answers (ASGI
    middleware).
    """

    def __init__(self, app: App, settings: Settings) -> None:
        self.app = app
        self.settings = settings
        self.failures = Failures(settings.limits.failures)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = _Headers(scope)
        start = time.perf_counter()
        status = 0
        extra = self._answer_headers(headers)
        body = _Body(self._limit(scope), receive)

        async def plainly(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                there = {name for name, _ in message["headers"]}
                added = [(name, value) for name, value in extra if name not in there]
                message["headers"] = [*message["headers"], *added]
            await send(message)

        async def sent(message: Message) -> None:
            if not body.too_large:
                await plainly(message)
            elif not status:  # in the place of what the app makes of a body that was cut off
                await self._refuse(scope, plainly, body.error())

        try:
            if scope["type"] == "http" and self._is_preflight(scope, headers):
                await _say(plainly, 204, b"")
                return
            self._check(scope, headers)
            await self.app(scope, body if scope["type"] == "http" else receive, sent)
        except ServeError as error:
            if status:
                raise
            await self._refuse(scope, plainly, error)
            status = error.status
        finally:
            route = getattr(
                scope.get("route"), "path", "-"
            )  # never the path itself: names may be in it
            took = 1000 * (time.perf_counter() - start)
            log.info("%s %s %d %.1f ms", scope.get("method", "WS"), route, status, took)

    # --- checks ----------------------------------------------------------------------------------

    def _check(self, scope: Scope, headers: _Headers) -> None:
        if not self._known_host(headers.get("host")):
            raise ServeError(
                "this server is not known under that name (see `segscope serve --allow-host`)"
            )
        origin = headers.get("origin")
        if origin is not None and not self._known_origin(origin, headers.get("host")):
            raise Refused(
                "requests from pages of other origins are refused (see `segscope serve --allow-origin`)"
            )
        if (
            origin is None
            and headers.get("sec-fetch-site") == "cross-site"
            and scope.get("method") != "GET"
        ):
            raise Refused(
                "requests from pages of other origins are refused (see `segscope serve --allow-origin`)"
            )
        self._check_token(scope, headers)
        limit = self._limit(scope)
        length = headers.get("content-length")
        if length is not None and (not length.isdecimal() or int(length) > limit):
            raise TooLarge(f"the body of this request may have {limit} bytes")

    def _known_host(self, host: str | None) -> bool:
        name = _host_name(host)
        return name is not None and name in {*LOOPBACK, *self.settings.hosts}

    def _known_origin(self, origin: str, host: str | None) -> bool:
        if origin in self.settings.origins:
            return True
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        return parts.scheme in ("http", "https") and parts.netloc.lower() == (host or "").lower()

    def _check_token(self, scope: Scope, headers: _Headers) -> None:
        path = scope["path"]
        if self.settings.token is None or path in OPEN or not path.startswith(GUARDED):
            return
        if not self.settings.facade_token and path.startswith(("/monailabel/", "/nninteractive/")):
            return
        if path.startswith(
            "/monailabel/auth"
        ):  # where a client asks whether a token is needed, and gets one
            return
        if scope["type"] == "websocket":  # the first message may bring it
            scope["segscope.authorised"] = self.knows(headers.token())
            return
        who = _address(scope)
        self.failures.check(who)
        if not self.knows(headers.token()):
            if headers.token() is not None:
                self.failures.note(who)
            raise Unauthorised(
                "this server wants its token: `Authorization: Bearer TOKEN`. It was printed when the server started."
            )

    def knows(self, token: str | None) -> bool:
        """Whether a token is the right one; takes the same time whatever it is."""
        return is_token(self.settings, token)

    def _limit(self, scope: Scope) -> int:
        limits = self.settings.limits
        if scope["path"].startswith(UPLOADS):
            return limits.upload_bytes
        return limits.body_bytes

    # --- answers ---------------------------------------------------------------------------------

    def _answer_headers(self, headers: _Headers) -> list[tuple[bytes, bytes]]:
        made = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
        made.append((b"cache-control", b"no-store"))
        origin = headers.get("origin")
        if origin is not None and origin in self.settings.origins:
            made = [
                (name, value) for name, value in made if name != b"cross-origin-resource-policy"
            ]
            made += [
                (b"access-control-allow-origin", origin.encode()),
                (b"access-control-allow-credentials", b"true"),
                (b"access-control-allow-methods", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
                (
                    b"access-control-allow-headers",
                    (headers.get("access-control-request-headers") or "*").encode(),
                ),
                (b"access-control-expose-headers", b"*"),
                (b"vary", b"Origin"),
            ]
        return made

    def _is_preflight(self, scope: Scope, headers: _Headers) -> bool:
        asked = (
            scope["method"] == "OPTIONS"
            and headers.get("access-control-request-method") is not None
        )
        return (
            asked
            and headers.get("origin") in self.settings.origins
            and self._known_host(headers.get("host"))
        )

    async def _refuse(self, scope: Scope, send: Send, error: ServeError) -> None:
        if scope["type"] == "websocket":
            await send(
                {"type": "websocket.close", "code": 4000 + error.status, "reason": str(error)[:100]}
            )
            return
        import json

        body = json.dumps({"detail": str(error), "kind": type(error).__name__}).encode()
        if error.retry_after_s:
            extra = [(b"retry-after", str(error.retry_after_s).encode())]
        else:
            extra = []
        if error.status == 401:
            extra.append((b"www-authenticate", b"Bearer"))
        await _say(send, error.status, body, extra)


class _Body:
    """The body of a request, which may be longer than it says, or say nothing."""

    def __init__(self, limit: int, receive: Receive) -> None:
        self.limit = limit
        self._receive = receive
        self.too_large = False
        self._seen = 0

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._seen += len(message.get("body", b""))
            if self._seen > self.limit:
                self.too_large = True
                raise self.error()
        return message

    def error(self) -> TooLarge:
        """What is said of a longer body."""
        return TooLarge(f"the body of this request may have {self.limit} bytes")


class Failures:
    """Wrong tokens by address, so that nobody can try many."""

    def __init__(self, most: int, within_s: float = 60.0) -> None:
        self._most = most
        self._within_s = within_s
        self._seen: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def check(self, who: str) -> None:
        """Raise TooMany for an address that failed too often."""
        with self._lock:
            seen = self._seen.get(who)
            while seen and time.monotonic() - seen[0] > self._within_s:
                seen.popleft()
            if seen and len(seen) >= self._most:
                raise TooMany("too many wrong tokens from this address; wait a minute")

    def note(self, who: str) -> None:
        """Count a failure."""
        with self._lock:
            self._seen.setdefault(who, deque()).append(time.monotonic())
            self._seen.move_to_end(who)
            while len(self._seen) > 1000:
                self._seen.popitem(last=False)


class _Headers:
    def __init__(self, scope: Scope) -> None:
        self._pairs: Iterable[tuple[bytes, bytes]] = scope.get("headers", ())

    def get(self, name: str) -> str | None:
        wanted = name.encode()
        return next((value.decode("latin-1") for key, value in self._pairs if key == wanted), None)

    def token(self) -> str | None:
        """The token that a request shows, from its header or its cookie."""
        said = self.get("authorization") or ""
        if said.lower().startswith("bearer "):
            return said[7:].strip()
        try:
            cookie = SimpleCookie(self.get("cookie") or "").get(cookie_name(self.get("host")))
        except CookieError:
            return None
        if cookie is None:
            return None
        return cookie.value


def cookie_name(host: str | None) -> str:
    """Browsers share cookies between the ports of a machine; each server has its own."""
    port = (host or "").rpartition(":")[2]
    return f"segscope-{port if port.isdecimal() else 80}"


def is_token(settings: Settings, token: str | None) -> bool:
    """Whether a token is the right one."""
    if settings.token is None:
        return True
    return hmac.compare_digest((token or "").encode(), settings.token.encode())


def is_loopback(host: str) -> bool:
    """Whether only programs on this machine reach an address."""
    if host in LOOPBACK:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host_name(host: str | None) -> str | None:
    if not host:
        return None
    host = host.lower()
    if host.startswith("["):
        if "]" in host:
            return host.partition("]")[0] + "]"
        return None
    return host.partition(":")[0]


def _address(scope: Scope) -> str:
    client = scope.get("client")
    if client:
        return str(client[0])
    return "?"


async def _say(
    send: Send, status: int, body: bytes, extra: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *extra,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
