"""The guard: checks that every request passes before any other code of the server sees it."""

from __future__ import annotations

import ipaddress
import logging
import time
from urllib.parse import urlsplit

from segscope.serve import secret_paths
from segscope.serve.access_log import ACCESS_LOGGER
from segscope.serve.asgi import (
    App,
    GuardedBody,
    GuardedResponse,
    HeaderList,
    Message,
    Receive,
    Scope,
    Send,
    refuse,
    send_json,
    too_long,
)
from segscope.serve.errors import Refused, ServeError, Unauthorised
from segscope.serve.settings import ServerSettings
from segscope.serve.tokens import (
    COOKIE_LIFE_S,
    Failures,
    Logins,
    RequestHeaders,
    cookie_header,
    is_token,
)

log = logging.getLogger(ACCESS_LOGGER)

LOOPBACK = ("localhost", "127.0.0.1", "[::1]", "::1")
COMPAT = ("/monailabel/", "/nninteractive/")
GUARDED = ("/v1/", *COMPAT)
"""Paths that require a token. The page itself is public; everything it shows comes from these."""
OPEN = ("/v1/health", "/v1/login")
LOGIN = "/monailabel/auth"  # where a client asks whether a token is needed, and gets one
UPLOADS = ("/v1/images", *COMPAT)
OPEN_BYTES = 4096  # longest body of a request that needs no token: what a login takes

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
        self.logins = Logins(settings.token)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        start = time.perf_counter()
        headers = RequestHeaders(scope)
        response = GuardedResponse(send, self._response_headers(headers))
        try:
            await self._handle(scope, headers, receive, response)
        except ServeError as error:
            if response.status:
                raise
            await refuse(scope, response.send, error)
            response.status = error.status
        finally:
            duration_ms = 1000 * (time.perf_counter() - start)
            method = scope.get("method", "WS")
            log.info(
                "%s %s %s %d %.1f ms",
                _address(scope),
                method,
                _route(scope),
                response.status,
                duration_ms,
            )

    async def _handle(
        self,
        scope: Scope,
        headers: RequestHeaders,
        receive: Receive,
        response: GuardedResponse,
    ) -> None:
        is_http = scope["type"] == "http"
        if is_http and self._is_preflight(scope, headers):
            await send_json(response.send, 204, b"")
            return
        self._check(scope, headers, response)
        if not is_http:
            await self.app(scope, receive, response.send)
            return
        body = GuardedBody(receive, self._max_bytes(scope), self.settings.limits.body_idle_s)

        async def send(message: Message) -> None:
            if body.error is None:
                await response.send(message)
            elif not response.status:  # replaces what the app makes of a body that was cut off
                await refuse(scope, response.send, body.error)

        await self.app(scope, body, send)

    # --- checks ----------------------------------------------------------------------------------

    def _check(self, scope: Scope, headers: RequestHeaders, response: GuardedResponse) -> None:
        if "\0" in scope["path"]:
            raise ServeError("a path must not contain a null byte")
        if not self._is_known_host(scope, headers):
            raise ServeError(
                "this server does not answer under that host name; add it with "
                "`segscope serve --allow-host`"
            )
        self._check_origin(scope, headers)
        name = secret_paths.interface_at(self.settings, scope["path"])
        if name is None:
            self._check_access(scope, headers, response)
        else:
            self._check_secret(name, scope, headers)
        max_bytes = self._max_bytes(scope)
        length = headers.get("content-length")
        if length is not None and (not length.isdecimal() or int(length) > max_bytes):
            raise too_long(max_bytes)

    def _check_origin(self, scope: Scope, headers: RequestHeaders) -> None:
        origin = headers.get("origin")
        if origin is not None:
            if not self._is_known_origin(origin, headers.get("host")):
                raise Refused(_OTHER_ORIGIN)
            return
        # browsers send no Origin with images and links; another port of a host is the same site
        is_foreign = headers.get("sec-fetch-site") in ("cross-site", "same-site")
        if is_foreign and (scope.get("method") != "GET" or self._is_interface(scope["path"])):
            raise Refused(_OTHER_ORIGIN)

    def _is_interface(self, path: str) -> bool:
        """Whether programs ask there, and not people for the page."""
        if path.startswith(GUARDED):
            return True
        return secret_paths.interface_at(self.settings, path) is not None

    def _is_known_host(self, scope: Scope, headers: RequestHeaders) -> bool:
        name = _host_name(headers.get("host"))
        if name in {*LOOPBACK, *self.settings.hosts}:
            return True
        # an address cannot be rebound to another machine, as a name can
        return _is_own_address(name, scope)

    def _is_known_origin(self, origin: str, host: str | None) -> bool:
        if origin in self.settings.origins:
            return True
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        return parts.scheme in ("http", "https") and parts.netloc.lower() == (host or "").lower()

    def _check_access(
        self, scope: Scope, headers: RequestHeaders, response: GuardedResponse
    ) -> None:
        if not self._requires_token(scope["path"]):
            return
        token = headers.token()
        if token is None:
            is_admitted = self._check_cookie(headers, response)
        else:
            is_admitted = is_token(self.settings, token)
        if scope["type"] == "websocket":  # the first message may bring the token
            scope["segscope.authorised"] = is_admitted
            return
        if is_admitted:
            return
        if token is not None:
            self.failures.count(_address(scope))
        raise Unauthorised(
            "this server requires its token: send `Authorization: Bearer TOKEN`. The token was "
            "printed when the server started."
        )

    def _check_secret(self, name: str, scope: Scope, headers: RequestHeaders) -> None:
        """Check the path of a client that cannot send the token, and take the secret out of it."""
        if secret_paths.enter(self.settings, name, scope, headers):
            return
        self.failures.count(_address(scope))
        raise Unauthorised(
            f"the interface {name} of this server answers below a secret path, which was printed "
            "when the server started"
        )

    def _check_cookie(self, headers: RequestHeaders, response: GuardedResponse) -> bool:
        """Whether the cookie is that of a login; one that is in use is renewed."""
        login = self.logins.find(headers.cookie())
        if login is None:
            return False
        if login.is_half_over():
            value = self.logins.value(self.logins.renew(login))
            cookie = cookie_header(
                headers.get("host"), value, secure=login.secure, life_s=COOKIE_LIFE_S
            )
            response.add_header("set-cookie", cookie)
        return True

    def _requires_token(self, path: str) -> bool:
        if self.settings.token is None or path in OPEN or not path.startswith(GUARDED):
            return False
        if path.startswith(COMPAT) and self.settings.compat_open:
            return False
        return not path.startswith(LOGIN)

    def _max_bytes(self, scope: Scope) -> int:
        path = scope["path"]
        limits = self.settings.limits
        if secret_paths.interface_at(self.settings, path) is not None:
            return min(limits.volume_bytes, limits.upload_bytes)
        if path in OPEN or path.startswith(LOGIN) or not path.startswith(GUARDED):
            return min(OPEN_BYTES, limits.body_bytes)
        if path.startswith(UPLOADS):
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
        return is_known_origin and self._is_known_host(scope, headers)


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


def _route(scope: Scope) -> str:
    """The route of a request: never its path, which may contain names."""
    route: str = getattr(scope.get("route"), "path", "/-")
    for prefix in (*GUARDED, *secret_paths.SECRET_PATHS.values()):
        area = prefix.rstrip("/")
        if scope["path"].startswith(prefix) and not route.startswith(prefix):
            return f"{area}{route}"
    return route


def _address(scope: Scope) -> str:
    client = scope.get("client")
    if client:
        return str(client[0])
    return "?"


def _is_own_address(host: str | None, scope: Scope) -> bool:
    """Whether a host is the address of this machine that a connection came in at."""
    server = scope.get("server")
    if host is None or not server:
        return False
    try:
        return _plain_address(host.strip("[]")) == _plain_address(str(server[0]))
    except ValueError:
        return False


def _plain_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An address without the wrapping that a socket for both versions gives it."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
