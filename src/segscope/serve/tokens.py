"""Tokens and cookies of requests: where they are sent, whether they are right."""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Any

from segscope.serve.errors import TooMany, Unauthorised
from segscope.serve.settings import ServerSettings

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

_MAX_ADDRESSES = 1000  # whose failures are remembered
_BEARER = "bearer "
COOKIE_LIFE_S = 12 * 3600
_SIGNATURE_ALGORITHM = "sha256"


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
        """The token in the header Authorization."""
        authorization = self.get("authorization") or ""
        if authorization.lower().startswith(_BEARER):
            return authorization[len(_BEARER) :].strip()
        return None

    def cookie(self) -> str | None:
        """This server's cookie."""
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


def is_token(settings: ServerSettings, token: str | None) -> bool:
    """Whether a token is the right one; takes the same time for every token."""
    if settings.token is None:
        return True
    return hmac.compare_digest((token or "").encode(), settings.token.encode())


# --- cookies -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Login:
    """A browser that presented the token once.

    Attributes:
        login_id: random.
        expires: seconds since 1970.
        secure: whether its cookie is sent over HTTPS only.
    """

    login_id: str
    expires: int
    secure: bool

    def is_half_over(self) -> bool:
        """Whether its cookie is due to be renewed."""
        return self.expires - time.time() < COOKIE_LIFE_S / 2


class Logins:
    """The cookies of browsers: a random id with an end, signed with the token.

    They stay valid when a server restarts with the same token, and end with a new one.
    """

    def __init__(self, token: str | None) -> None:
        self._key = (token or secrets.token_urlsafe()).encode()
        self._closed: dict[str, int] = {}  # when logins that were ended would have expired
        self._lock = threading.Lock()

    def open(self, *, secure: bool) -> Login:
        """A new login."""
        return Login(secrets.token_urlsafe(16), _new_expiry(), secure)

    def renew(self, login: Login) -> Login:
        """The same login with a new end."""
        return Login(login.login_id, _new_expiry(), login.secure)

    def value(self, login: Login) -> str:
        """What the cookie of a login contains."""
        content = f"{login.login_id}.{login.expires}.{int(login.secure)}"
        return f"{content}.{self._sign(content)}"

    def find(self, value: str | None) -> Login | None:
        """The login of a cookie; None if it is wrong, expired or was closed."""
        content, _, signature = (value or "").rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._sign(content).encode()):
            return None
        login_id, expires, secure = content.split(".")
        login = Login(login_id, int(expires), secure == "1")
        with self._lock:
            is_closed = login_id in self._closed
        if is_closed or login.expires <= time.time():
            return None
        return login

    def close(self, login: Login) -> None:
        """End a login."""
        now = time.time()
        with self._lock:
            self._closed = {key: end for key, end in self._closed.items() if end > now}
            self._closed[login.login_id] = _new_expiry()

    def _sign(self, content: str) -> str:
        return hmac.new(self._key, f"cookie {content}".encode(), _SIGNATURE_ALGORITHM).hexdigest()


def _new_expiry() -> int:
    return int(time.time()) + COOKIE_LIFE_S


def cookie_name(host: str | None) -> str:
    """The name of a server's cookie; browsers share cookies between the ports of a machine."""
    port = (host or "").rpartition(":")[2]
    if not port.isdecimal():
        port = "80"
    return f"segscope-{port}"


def cookie_header(host: str | None, value: str, *, secure: bool, life_s: int) -> str:
    """A Set-Cookie header: not for scripts, nor for requests from other sites."""
    header = f"{cookie_name(host)}={value}; Path=/; Max-Age={life_s}; HttpOnly; SameSite=Strict"
    if secure:
        return f"{header}; Secure"
    return header


def is_https(scheme: str, origin: str | None) -> bool:
    """Whether a browser uses HTTPS, though a proxy between may talk HTTP to the server."""
    return scheme in ("https", "wss") or (origin or "").startswith("https://")
