"""The connection to a DICOMweb archive: bounded answers, no redirections, errors with a remedy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from types import ModuleType
from typing import TYPE_CHECKING, Any

from segscope._optional import require
from segscope.errors import SegscopeError
from segscope.io.dicom.web_deadline import Deadline

if TYPE_CHECKING:
    from requests import PreparedRequest, Response, Session

WebClient = Any
"""A dicomweb_client.api.DICOMwebClient; the package is optional."""

ROOT_HINT = (
    "A root looks like https://HOST/dicom-web (Orthanc) or https://HOST/dcm4chee-arc/aets/AET/rs."
)
_CONNECT_S = 10.0
_READ_S = 120.0  # an archive may fetch from tape before it answers
_LONGEST_TAIL = 1024  # bytes at the end of an answer in which its closing boundary must lie


class ArchiveError(SegscopeError):
    """An archive that does not answer, refuses, or does not hold what was requested.

    Attributes:
        missing: whether it answered and does not hold it.
        too_large: whether it sent more than was allowed.
        broke_off: whether its answer ended too early.
        too_slow: whether it did not finish before the deadline.
    """

    def __init__(
        self,
        message: str,
        *,
        missing: bool = False,
        too_large: bool = False,
        broke_off: bool = False,
        too_slow: bool = False,
    ) -> None:
        super().__init__(message)
        self.missing = missing
        self.too_large = too_large
        self.broke_off = broke_off
        self.too_slow = too_slow


@contextmanager
def open_client(
    url: str,
    credentials: tuple[str, str] | None,
    most_bytes: int,
    deadline: Deadline,
) -> Iterator[WebClient]:
    """A client that reads at most `most_bytes` of an answer, follows no redirection and uses no
    proxy: nobody else is contacted.

    Raises:
        ArchiveError: whatever goes wrong on the way.
    """
    try:
        with _open_client(url, credentials, most_bytes, deadline) as client:
            yield client
    except Exception as error:
        if deadline.is_over:
            raise _too_slow(url) from error
        raise
    if deadline.is_over:  # what was cut may look complete
        raise _too_slow(url)


@contextmanager
def _open_client(
    url: str,
    credentials: tuple[str, str] | None,
    most_bytes: int,
    deadline: Deadline,
) -> Iterator[WebClient]:
    requests = require("requests", "serve", "talk to a DICOMweb archive")
    web = require("dicomweb_client.api", "serve", "talk to a DICOMweb archive")
    session = _make_session(requests, credentials)
    deadline.apply(session)
    headers = {}
    if credentials is not None and not credentials[0]:
        headers["Authorization"] = f"Bearer {credentials[1]}"
    responses: list[Response] = []

    def limit_response(response: Response, *_: object, **__: object) -> None:
        responses.append(response)
        content = _CheckedContent(response, most_bytes, requests)
        response.iter_content = content.iter_chunks  # type: ignore[method-assign]

    try:
        with session:
            client = web.DICOMwebClient(
                url,
                session,
                headers=headers,
                callback=limit_response,
                timeout=(_CONNECT_S, _READ_S),
            )
            client.set_http_retry_params(retry=False)
            yield client
    except requests.RequestException as error:
        raise _explain(url, requests, error) from error
    except (SegscopeError, OSError, MemoryError):
        raise
    except Exception as error:  # whatever parsers make of nonsense
        raise _not_dicomweb(url) from error
    finally:
        for response in responses:
            response.close()


def _make_session(requests: ModuleType, credentials: tuple[str, str] | None) -> Session:
    session: Session = requests.Session()
    session.trust_env = False
    session.max_redirects = 0
    session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or True
    if credentials is not None and credentials[0]:
        user, password = credentials
        # texts would be sent as Latin-1
        session.auth = requests.auth.HTTPBasicAuth(user.encode(), password.encode())
    send = session.send

    def send_wildcards(request: PreparedRequest, **options: Any) -> Response:
        # Orthanc does not decode wildcards in URLs
        request.url = (request.url or "").replace("%2A", "*").replace("%3F", "?")
        return send(request, **options)

    session.send = send_wildcards  # type: ignore[method-assign]
    return session


class _CheckedContent:
    """The content of a response, refused where it is too long or ends before its last part."""

    def __init__(self, response: Response, most_bytes: int, requests: ModuleType) -> None:
        self._iter_content = response.iter_content
        self._most_bytes = most_bytes
        errors = requests.exceptions
        self._interruptions = (errors.ChunkedEncodingError, errors.ConnectionError)
        self._end = _closing_boundary(response.headers.get("Content-Type", ""))

    def iter_chunks(self, *args: Any, **options: Any) -> Iterator[bytes]:
        """The chunks as `Response.iter_content` gives them."""
        total = 0
        tail = b""
        try:
            for chunk in self._iter_content(*args, **options):
                total += len(chunk)
                if total > self._most_bytes:
                    raise ArchiveError(
                        f"the archive sends more than {self._most_bytes} bytes", too_large=True
                    )
                tail = (tail + chunk)[-_LONGEST_TAIL:]
                yield chunk
        except self._interruptions as error:
            raise self._broke_off() from error
        if self._end not in tail:
            raise self._broke_off()

    def _broke_off(self) -> ArchiveError:
        return ArchiveError(
            "the answer of the archive broke off before its end; try again", broke_off=True
        )


def _closing_boundary(content_type: str) -> bytes:
    """What ends a multipart answer; empty for other answers."""
    message = Message()
    message["Content-Type"] = content_type
    boundary = message.get_boundary()
    if message.get_content_maintype() != "multipart" or boundary is None:
        return b""
    return f"--{boundary}--".encode()


# --- errors --------------------------------------------------------------------------------------


def _too_slow(url: str) -> ArchiveError:
    return ArchiveError(
        f"the archive {url} did not finish in time; try again later, or ask for less",
        too_slow=True,
    )


def _not_dicomweb(url: str) -> ArchiveError:
    return ArchiveError(f"{url} answers, but not as DICOMweb; is this its root? {ROOT_HINT}")


def _explain(url: str, requests: ModuleType, error: Any) -> ArchiveError:
    """The ArchiveError of an exception of `requests`."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, requests.TooManyRedirects):
        return ArchiveError(
            f"{url} redirects elsewhere, and redirections are not followed. {ROOT_HINT}"
        )
    if status in (401, 403):
        return ArchiveError(
            f"the archive {url} refuses access ({status}); name it with credentials: "
            "https://USER:PASSWORD@HOST/ROOT or https://:TOKEN@HOST/ROOT"
        )
    if status == 404:
        return ArchiveError(
            f"{url} holds nothing of that name, or is not the root. {ROOT_HINT}", missing=True
        )
    if status is not None:
        return ArchiveError(f"the archive {url} refuses with status {status}")
    if isinstance(error, requests.exceptions.SSLError):
        return ArchiveError(
            f"the certificate of {url} is not trusted; name the file of its authority in "
            "REQUESTS_CA_BUNDLE"
        )
    if isinstance(error, requests.Timeout):
        return ArchiveError(f"the archive {url} does not answer in time; try again later")
    if isinstance(error, ValueError):  # of its JSON
        return _not_dicomweb(url)
    return ArchiveError(f"the archive {url} cannot be reached, or broke off; is it up? {ROOT_HINT}")
