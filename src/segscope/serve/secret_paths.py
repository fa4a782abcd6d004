"""Interfaces for clients that cannot send a token: they answer below a path that contains a secret.

A secret is derived from the token of the server, so that it stays the same as long as the token
does.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from segscope.serve.asgi import Scope
from segscope.serve.settings import ServerSettings
from segscope.serve.tokens import RequestHeaders

SECRET_PATHS = {"qupath": "/qupath/", "cvat": "/cvat/"}
"""Path of each interface; the secret is its next part."""
_CVAT_ROOT = "/api/"  # CVAT puts no path before its own, but credentials of its URL into a header
_SECRET_CHARACTERS = 32
_BASIC = "basic "


def secret_of(settings: ServerSettings, name: str) -> str | None:
    """The secret in the path of an interface; None where it admits every client."""
    if settings.token is None or settings.compat_open:
        return None
    digest = hmac.new(settings.token.encode(), name.encode(), hashlib.sha256)
    return digest.hexdigest()[:_SECRET_CHARACTERS]


def base_path(settings: ServerSettings, name: str) -> str:
    """The path that clients of an interface are told, without its first slash."""
    secret = secret_of(settings, name)
    path = SECRET_PATHS[name].removeprefix("/")
    if secret is None:
        return path
    return f"{path}{secret}/"


def interface_at(settings: ServerSettings, path: str) -> str | None:
    """The interface below whose path a request lies, if the server has it."""
    for name in settings.compat:
        if name in SECRET_PATHS and path.startswith(SECRET_PATHS[name]):
            return name
    if "cvat" in settings.compat and path.startswith(_CVAT_ROOT):
        return "cvat"
    return None


def enter(settings: ServerSettings, name: str, scope: Scope, headers: RequestHeaders) -> bool:
    """Take the secret out of the path of a request; False where it is missing or wrong."""
    path: str = scope["path"]
    secret = secret_of(settings, name)
    prefix = SECRET_PATHS[name]
    if path.startswith(prefix):
        rest = path.removeprefix(prefix)
        if secret is None:
            return True
        sent, _, rest = rest.partition("/")
        scope["path"] = prefix + rest
        return _is_equal(sent, secret)
    scope["path"] = prefix + path.removeprefix("/")
    return secret is None or _is_equal(_password(headers), secret)


def _password(headers: RequestHeaders) -> str:
    """The password of the header Authorization; empty where there is none."""
    authorization = headers.get("authorization") or ""
    if not authorization.lower().startswith(_BASIC):
        return ""
    try:
        text = base64.b64decode(authorization[len(_BASIC) :], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return text.partition(":")[2]


def _is_equal(sent: str, secret: str) -> bool:
    return hmac.compare_digest(sent.encode(), secret.encode())
