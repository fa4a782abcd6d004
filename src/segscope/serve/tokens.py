"""Tokens of requests: where they are sent, whether they are right, how often they were wrong."""

from __future__ import annotations

import hmac
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any

from starlette.requests import HTTPConnection

from segscope.serve.errors import TooMany, Unauthorised
from segscope.serve.settings import ServerSettings

_MAX_ADDRESSES = 1000  # whose failures are remembered
_BEARER = "bearer "


class RequestHeaders:
    """The headers of an ASGI request."""

    def __init__(self, scope: MutableMapping[str, Any]) -> None:
        self._pairs: Iterable[tuple[bytes, bytes]] = scope.get("headers", ())

    def get(self, name: str) -> str | None:
        """The first header of that name, which has to be in lower case."""
        encoded = name.encode()
        for key, value in self._pairs:
            if key == encoded:
                return value.decode("latin-1")
        return None

    def token(self) -> str | None:
        """The token that a request carries in its header or its cookie."""
        authorization = self.get("authorization") or ""
        if authorization.lower().startswith(_BEARER):
            return authorization[len(_BEARER) :].strip()
        try:
            cookies = SimpleCookie(self.get("cookie") or "")
        except CookieError:
            return None
        cookie = cookies.get(cookie_name(self.get("host")))
        if cookie is None:
            return None
        return cookie.value


class Failures:
    """Wrong tokens by address, so that nobody can try many."""

    def __init__(self, limit: int, within_s: float = 60.0) -> None:
        self._limit = limit
        self._within_s = within_s
        self._times: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def count(self, address: str) -> None:
        """Count a failure.

        Right tokens are never refused for the failures of others: behind a proxy all clients share
        an address.

        Raises:
            TooMany: the address failed too often.
        """
        now = time.monotonic()
        with self._lock:
            times = self._times.setdefault(address, deque(maxlen=self._limit))
            while times and now - times[0] > self._within_s:
                times.popleft()
            is_locked_out = len(times) == self._limit
            times.append(now)
            self._times.move_to_end(address)
            while len(self._times) > _MAX_ADDRESSES:
                self._times.popitem(last=False)
        if is_locked_out:
            raise TooMany("too many wrong tokens from this address; wait a minute")


def require_token(
    connection: HTTPConnection, settings: ServerSettings, token: str | None, message: str
) -> None:
    """Check a token that a client sends after the guard let it pass: at login, or on a socket.

    Raises:
        TooMany: the address sent too many wrong ones.
        Unauthorised: it is wrong; with that message.
    """
    if is_token(settings, token):
        return
    address = "?"
    if connection.client:
        address = connection.client.host
    failures: Failures = connection.app.state.failures
    failures.count(address)
    raise Unauthorised(message)


def cookie_name(host: str | None) -> str:
    """The name of a server's cookie; browsers share cookies between the ports of a machine."""
    port = (host or "").rpartition(":")[2]
    if not port.isdecimal():
        port = "80"
    return f"segscope-{port}"


def is_token(settings: ServerSettings, token: str | None) -> bool:
    """Whether a token is the right one; takes the same time for every token."""
    if settings.token is None:
        return True
    return hmac.compare_digest((token or "").encode(), settings.token.encode())
