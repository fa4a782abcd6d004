"""Talking to a server by HTTP."""

from __future__ import annotations

import http.client
import json
import ssl
import struct
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self
from urllib.parse import quote, urlencode, urlsplit

import numpy as np
from numpy.typing import NDArray

from .types import Image

if TYPE_CHECKING:
    from .session import Session

_CHUNK = 2**20
_REST_S = 3.0  # servers close connections that lay idle for some seconds


class ServerError(Exception):
    """The server did not do what was asked.

    Attributes:
        status: HTTP status; 0 when there was no answer.
        kind: name of the error on the server.
    """

    def __init__(self, status: int, detail: str, kind: str = "") -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind


class LeaseExpired(ServerError):
    """The lease on the session has ended; open the session again. Nothing is lost."""


class NotReachable(ServerError):
    """No server answers at the address."""


class Client:
    """A server. May be used by several threads; each keeps a connection of its own.

    Args:
        url: such as "http://127.0.0.1:8484".
        token: that the server printed when it started; None where it wants none.
        timeout_s: longest wait for an answer.
    """

    def __init__(self, url: str, token: str | None = None, *, timeout_s: float = 300.0) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"the address of a server is http://HOST:PORT, got {url!r}")
        self._secure = parts.scheme == "https"
        self._host = parts.hostname
        self._port = parts.port or (443 if self._secure else 80)
        self._base = parts.path.rstrip("/")
        self._token = token
        self._timeout_s = timeout_s
        self._local = threading.local()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection of this thread."""
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None

    # --- what the server has ---------------------------------------------------------------------

    def health(self) -> dict[str, Any]:
        """Whether it is up; needs no token."""
        return self.json("GET", "/v1/health")

    def project(self) -> dict[str, Any]:
        return self.json("GET", "/v1/project")

    def models(self) -> list[dict[str, Any]]:
        return self.json("GET", "/v1/models")

    def images(self) -> list[Image]:
        return [Image.of(row) for row in self.json("GET", "/v1/images")]

    def image(self, image_id: str) -> Image:
        return Image.of(self.json("GET", f"/v1/images/{quote(image_id)}"))

    def refer(self, path: str, root: int = 0, **choice: Any) -> Image:
        """An image below a root of the server, by its path relative to that."""
        return Image.of(
            self.json("POST", "/v1/images/reference", {"root": root, "path": path, **choice})
        )

    def studies(self, root: int = 0, **filters: str) -> list[dict[str, Any]]:
        """Studies of a DICOMweb archive of the server; filters: patient_id, patient_name, date,
        modality, limit.
        """
        return self.json("GET", f"/v1/dicomweb/{root}/studies?{urlencode(filters)}")

    def fetch(self, study: str, series: str | None = None, root: int = 0) -> Image:
        """An image of a DICOMweb archive of the server, by its UIDs."""
        if series is None:
            named = study
        else:
            named = f"{study}/{series}"
        return Image.of(
            self.json("POST", "/v1/images/reference", {"root": root, "dicomweb": named})
        )

    def upload(self, *paths: str | Path) -> Image:
        """Send files: one, or those of a series. The same content gives the same `image_id`."""
        body = _Form([Path(path) for path in paths])
        headers = {
            "Content-Type": f"multipart/form-data; boundary={body.boundary}",
            "Content-Length": str(len(body)),
        }
        return Image.of(json.loads(self.ask("POST", "/v1/images", body, headers)[1]))

    def upload_array(
        self,
        array: NDArray[Any],
        *,
        spacing_zyx_mm: Sequence[float] | None = None,
        affine: NDArray[Any] | None = None,
        name: str = "image",
    ) -> Image:
        """Send an array (row, column[, colour]) or (frame, row, column[, colour]).

        Args:
            array: numbers; colours are the last axis, three or four of them.
            spacing_zyx_mm: of a volume; without it, and without an affine, several frames are a
                video.
            affine: (4, 4) from voxel index (x, y, frame) to RAS+ millimetres.
            name: what the image is called in the work list.
        """
        if spacing_zyx_mm is None:
            more = {}
        else:
            more = {"spacing": np.array(spacing_zyx_mm, np.float64)[::-1]}
        more |= {} if affine is None else {"affine": np.asarray(affine, np.float64)}
        with tempfile.TemporaryDirectory(prefix="segscope-") as folder:
            kept = "".join(
                letter if letter.isalnum() or letter in "-_ " else "_" for letter in name
            )[:100]
            path = Path(folder) / f"{kept.strip() or 'image'}.npz"
            np.savez_compressed(path, allow_pickle=False, imgs=array, **more)
            return self.upload(path)

    def frame(self, image_id: str, frame: int, axis: int = 0) -> NDArray[Any]:
        """Stored numbers of a frame."""
        return self.array(f"/v1/images/{quote(image_id)}/raw/{frame}?axis={axis}")

    def volume(self, image_id: str, step: int = 1) -> NDArray[Any]:
        """Stored numbers of the whole stack, every `step`-th along each axis."""
        return self.array(f"/v1/images/{quote(image_id)}/volume?step={step}")

    def cases(self, state: str | None = None) -> list[dict[str, Any]]:
        """The work list."""
        return self.json("GET", "/v1/cases" + ("" if state is None else f"?state={quote(state)}"))

    def open(
        self, image_id: str, *, annotator: str = "", take_over: bool = False, **options: Any
    ) -> Session:
        """Open the annotator's session on an image; see docs/annotate.md for the options."""
        from .session import Session

        body = {"image_id": image_id, "annotator": annotator, "take_over": take_over, **options}
        return Session(self, self.json("POST", "/v1/sessions", body))

    # --- talking ---------------------------------------------------------------------------------

    def json(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        """A request with a JSON body and a JSON answer."""
        data = None
        if body is not None:
            data = json.dumps(body).encode()
        said = {**(headers or {}), **({} if data is None else {"Content-Type": "application/json"})}
        answer = self.ask(method, path, data, said)[1]
        if answer:
            return json.loads(answer)
        return None

    def array(self, path: str) -> NDArray[Any]:
        """A request whose answer is an array."""
        headers, data = self.ask("GET", path, None, {})
        about = json.loads(headers["X-Array"])
        return np.frombuffer(data, np.dtype(about["dtype"]).newbyteorder("<")).reshape(
            about["shape"]
        )

    def stream(self, path: str) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Packets of an answer that comes bit by bit, on a connection of its own."""
        connection = self._connect()
        try:
            connection.request("GET", self._base + path, headers=self._headers({}))
            answer = connection.getresponse()
            if answer.status >= 400:
                _fail(answer.status, answer.read())
            while length := answer.read(4):
                packet = answer.read(struct.unpack(">I", length)[0])
                size = struct.unpack(">I", packet[:4])[0]
                yield json.loads(packet[4 : 4 + size]), packet[4 + size :]
        except (OSError, http.client.HTTPException, struct.error) as error:
            raise NotReachable(0, f"the connection to the server broke: {error}") from error
        finally:
            connection.close()

    def ask(
        self, method: str, path: str, body: Any, headers: Mapping[str, str]
    ) -> tuple[http.client.HTTPMessage, bytes]:
        """Headers and body of an answer.

        Raises:
            ServerError: the server refused.
            NotReachable: there was no answer.
        """
        for attempt in (1, 2):
            connection = getattr(self._local, "connection", None)
            if connection is not None and time.monotonic() - self._local.used > _REST_S:
                self.close()
                connection = None
            kept = connection is not None
            sent = False
            if connection is None:
                connection = self._local.connection = self._connect()
            try:
                connection.request(
                    method, self._base + path, body=body, headers=self._headers(headers)
                )
                sent = True
                answer = connection.getresponse()
                data = answer.read()
                self._local.used = time.monotonic()
            except (OSError, http.client.HTTPException) as error:
                self.close()
                # a connection that lay idle may be closed by the server: what it never saw may be
                # sent again
                unseen = not sent or isinstance(error, http.client.RemoteDisconnected)
                if kept and attempt == 1 and (method == "GET" or unseen):
                    continue
                raise NotReachable(
                    0, f"no answer from {self._host} port {self._port}: {error}"
                ) from error
            if answer.status >= 400:
                _fail(answer.status, data)
            return answer.headers, data
        raise AssertionError

    def _connect(self) -> http.client.HTTPConnection:
        if self._secure:
            return http.client.HTTPSConnection(
                self._host,
                self._port,
                timeout=self._timeout_s,
                context=ssl.create_default_context(),
            )
        return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)

    def _headers(self, more: Mapping[str, str]) -> dict[str, str]:
        if self._token is None:
            token = {}
        else:
            token = {"Authorization": f"Bearer {self._token}"}
        return {"Accept": "*/*", **token, **more}


class _Form:
    """Files as a multipart body that is read from disk while it is sent."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.boundary = uuid.uuid4().hex
        self._parts: list[tuple[bytes, Path]] = []
        for path in paths:
            name = path.name.replace('"', "_").replace("\r", "_").replace("\n", "_")
            head = (
                f'--{self.boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
                "Content-Type: application/octet-stream\r\n\r\n"
            )
            self._parts.append((head.encode(), path))
        self._end = f"--{self.boundary}--\r\n".encode()

    def __len__(self) -> int:
        return sum(len(head) + path.stat().st_size + 2 for head, path in self._parts) + len(
            self._end
        )

    def __iter__(self) -> Iterator[bytes]:
        for head, path in self._parts:
            yield head
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    yield chunk
            yield b"\r\n"
        yield self._end


def _fail(status: int, data: bytes) -> NoReturn:
    try:
        said = json.loads(data)
        detail = str(said["detail"])
        kind = str(said.get("kind", ""))
    except (ValueError, KeyError, TypeError):
        detail = data[:300].decode(errors="replace")
        kind = ""
    raise (LeaseExpired if status == 410 else ServerError)(status, detail, kind)
