"""HTTP to a server: one connection per thread, JSON, arrays, streams of packets, and errors."""

from __future__ import annotations

import http.client
import json
import ssl
import struct
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import numpy as np

from .types import Array, JsonObject

Headers = Mapping[str, str]
MAX_IDLE_S = 3.0
"""Connections idle for longer are replaced, since servers close them after some seconds."""
_CHUNK = 2**20
_GONE = 410


class ServerError(Exception):
    """The server refused a request.

    Attributes:
        status: HTTP status; 0 when there was no response.
        kind: name of the error on the server.
    """

    def __init__(self, status: int, detail: str, kind: str = "") -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind


class LeaseExpired(ServerError):
    """The lease on the session has ended. Open the session again; no work is lost."""


class NotReachable(ServerError):
    """No server answers at the address."""


class Http:
    """Requests to one server. May be used by several threads; each has its own connection.

    Args:
        url: such as "http://127.0.0.1:8484".
        token: that the server printed when it started; None if it requires none.
        timeout_s: longest wait for a response.
        max_idle_s: age at which an idle connection is replaced.
    """

    def __init__(
        self,
        url: str,
        token: str | None,
        *,
        timeout_s: float,
        max_idle_s: float = MAX_IDLE_S,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"the address of a server must be http://HOST:PORT, got {url!r}")
        default_port = 80
        if parts.scheme == "https":
            default_port = 443
        self._secure = parts.scheme == "https"
        self._host = parts.hostname
        self._port = parts.port or default_port
        self._base = parts.path.rstrip("/")
        self._token = token
        self._timeout_s = timeout_s
        self._max_idle_s = max_idle_s
        self._local = _ThreadState()

    @property
    def connection(self) -> http.client.HTTPConnection | None:
        """The open connection of this thread, if it has one."""
        return self._local.connection

    def close(self) -> None:
        """Close the connection of this thread."""
        connection = self._local.connection
        if connection is not None:
            connection.close()
            self._local.connection = None

    # --- requests --------------------------------------------------------------------------------

    def json(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Headers | None = None,
    ) -> Any:
        """Send a JSON body, if any; the JSON of the response, or None if it is empty."""
        request_headers = dict(headers or {})
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            request_headers["Content-Type"] = "application/json"
        _, content = self.request(method, path, data, request_headers)
        if not content:
            return None
        return json.loads(content)

    def upload(self, path: str, files: Sequence[Path]) -> Any:
        """Send files as a form; the JSON of the response."""
        form = _MultipartForm(files)
        headers = {
            "Content-Type": f"multipart/form-data; boundary={form.boundary}",
            "Content-Length": str(len(form)),
        }
        _, content = self.request("POST", path, form, headers)
        return json.loads(content)

    def array(self, path: str) -> Array:
        """The array of a response."""
        headers, data = self.request("GET", path)
        description = json.loads(headers["X-Array"])
        dtype = np.dtype(description["dtype"]).newbyteorder("<")
        return np.frombuffer(data, dtype).reshape(description["shape"])

    def stream(self, path: str) -> Iterator[tuple[JsonObject, bytes]]:
        """Packets (header, payload) of a response that arrives in parts, on its own connection."""
        connection = self._connect()
        try:
            connection.request("GET", self._base + path, headers=self._headers({}))
            response = connection.getresponse()
            if response.status >= 400:
                _raise_error(response.status, response.read())
            while length := response.read(4):
                packet = response.read(struct.unpack(">I", length)[0])
                header_end = 4 + struct.unpack(">I", packet[:4])[0]
                yield json.loads(packet[4:header_end]), packet[header_end:]
        except (OSError, http.client.HTTPException, struct.error) as error:
            raise NotReachable(0, f"lost the connection to the server: {error}") from error
        finally:
            connection.close()

    def request(
        self,
        method: str,
        path: str,
        body: bytes | _MultipartForm | None = None,
        headers: Headers | None = None,
    ) -> tuple[http.client.HTTPMessage, bytes]:
        """Headers and body of a response.

        Raises:
            ServerError: the server refused.
            NotReachable: there was no response.
        """
        connection = self._idle_connection()
        if connection is not None:
            try:
                return self._exchange(connection, method, path, body, headers or {})
            except _Unanswered as failure:
                # an idle connection may have been closed by the server: a request that never
                # arrived may be sent again, and so may one that changes nothing
                if not failure.is_unseen and method != "GET":
                    raise self._not_reachable(failure) from failure.error
        connection = self._connect()
        self._local.connection = connection
        try:
            return self._exchange(connection, method, path, body, headers or {})
        except _Unanswered as failure:
            raise self._not_reachable(failure) from failure.error

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes | _MultipartForm | None,
        headers: Headers,
    ) -> tuple[http.client.HTTPMessage, bytes]:
        is_sent = False
        try:
            connection.request(method, self._base + path, body, self._headers(headers))
            is_sent = True
            response = connection.getresponse()
            data = response.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            is_unseen = not is_sent or isinstance(error, http.client.RemoteDisconnected)
            raise _Unanswered(error, is_unseen) from error
        self._local.last_used = time.monotonic()
        if response.status >= 400:
            _raise_error(response.status, data)
        return response.headers, data

    # --- connections -----------------------------------------------------------------------------

    def _idle_connection(self) -> http.client.HTTPConnection | None:
        """The connection of this thread, unless it was idle for too long."""
        connection = self._local.connection
        if connection is None:
            return None
        if time.monotonic() - self._local.last_used > self._max_idle_s:
            self.close()
            return None
        return connection

    def _connect(self) -> http.client.HTTPConnection:
        if not self._secure:
            return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(
            self._host, self._port, timeout=self._timeout_s, context=context
        )

    def _headers(self, more: Headers) -> dict[str, str]:
        headers = {"Accept": "*/*"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        return {**headers, **more}

    def _not_reachable(self, failure: _Unanswered) -> NotReachable:
        place = f"{self._host} port {self._port}"
        return NotReachable(0, f"no response from {place}: {failure.error}")


class _ThreadState(threading.local):
    """The connection of a thread."""

    connection: http.client.HTTPConnection | None = None
    last_used: float = 0.0


class _Unanswered(Exception):
    """A request got no response; `is_unseen` if the server cannot have processed it."""

    def __init__(self, error: Exception, is_unseen: bool) -> None:
        super().__init__(str(error))
        self.error = error
        self.is_unseen = is_unseen


class _MultipartForm:
    """Files as a multipart body that is read from disk while it is sent."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.boundary = uuid.uuid4().hex
        self._parts = [(self._head(path), path) for path in files]
        self._end = f"--{self.boundary}--\r\n".encode()

    def _head(self, path: Path) -> bytes:
        name = path.name.replace('"', "_").replace("\r", "_").replace("\n", "_")
        return (
            f"--{self.boundary}\r\n"
            f'Content-Disposition: form-data; name="file"; filename="{name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()

    def __len__(self) -> int:
        lengths = [len(head) + path.stat().st_size + len(b"\r\n") for head, path in self._parts]
        return sum(lengths) + len(self._end)

    def __iter__(self) -> Iterator[bytes]:
        for head, path in self._parts:
            yield head
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    yield chunk
            yield b"\r\n"
        yield self._end


def _raise_error(status: int, data: bytes) -> NoReturn:
    try:
        answer = json.loads(data)
        detail = str(answer["detail"])
        kind = str(answer.get("kind", ""))
    except (ValueError, KeyError, TypeError):
        detail = data[:300].decode(errors="replace")
        kind = ""
    if status == _GONE:
        raise LeaseExpired(status, detail, kind)
    raise ServerError(status, detail, kind)
