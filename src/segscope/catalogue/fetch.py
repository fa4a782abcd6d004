"""Polite requests to other people's servers: one at a time, with pauses, never twice for the same
content, and with a name.
"""

from __future__ import annotations

import contextlib
import email.utils
import hashlib
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any, TypedDict
from urllib.parse import urlsplit

from segscope.catalogue.store import write
from segscope.errors import SegscopeError

MAX_BYTES = 64 * 2**20
TIMEOUT_S = 30.0
MAX_ATTEMPTS = 4
MAX_WAIT_S = 120.0
MAX_SHOWN = 100
"""Characters of an address in messages."""

NOT_MODIFIED = 304
BUSY = (429, 500, 502, 503, 504)


def shorten(url: str) -> str:
    """An address for messages, without the end of a long query."""
    if len(url) <= MAX_SHOWN:
        return url
    return f"{url[:MAX_SHOWN]}..."


class FetchError(SegscopeError):
    """A server that cannot be reached, or answers with an error.

    Attributes:
        status: of the response; 0 without one.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Offline(FetchError):
    """A request that needs the network, which is switched off."""


@dataclass(frozen=True, slots=True)
class _Response:
    """Status, headers by lower-case name, and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _CacheEntry(TypedDict):
    """Facts about a body in the cache: when it came, and how to ask whether it has changed."""

    url: str
    at: float
    etag: str
    modified: str
    sha256: str


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never from https to http."""

    max_redirections = 5

    def redirect_request(
        self,
        req: Any,
        fp: Any,
        code: int,
        msg: str,
        headers: Any,
        newurl: str,
    ) -> Any:
        if not newurl.startswith(("http://", "https://")) or (
            req.full_url.startswith("https://") and not newurl.startswith("https://")
        ):
            fp.close()
            raise FetchError(
                f"{shorten(req.full_url)} redirects to {shorten(newurl)}, which is not safe to "
                "follow"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@dataclass
class Fetcher:
    """One polite client.

    Attributes:
        cache: folder of responses, which are validated by their ETag or date; None for no cache.
        contact: an e-mail address for the header; some servers prefer identified clients.
        offline: use the cache only, contact no server.
        fresh_s: responses younger than this are not requested again.
        sleep, clock: for tests.
        requests: number of requests sent.
    """

    cache: Path | None = None
    contact: str = ""
    offline: bool = False
    fresh_s: float = 0.0
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    requests: int = 0
    _last: dict[str, float] = field(default_factory=dict)

    def get(self, url: str, *, every_s: float = 1.0, accept: str = "*/*") -> bytes:
        """The body at an address.

        Args:
            every_s: minimum seconds between two requests to this host.

        Raises:
            FetchError: not reachable, an error status after all attempts, too large.
        """
        body, entry = self._read_cache(url)
        if body is not None and (self.offline or self._is_fresh(entry)):
            return body
        if self.offline:
            raise Offline(f"{shorten(url)} is not in the cache, and the network is switched off")
        headers = {"Accept": accept, **_conditions(entry)}
        response = self._request(url, "GET", headers, every_s)
        if response.status == NOT_MODIFIED and body is not None and entry is not None:
            unchanged = {"etag": entry["etag"], "last-modified": entry["modified"]}
            response = _Response(response.status, unchanged, body)
        self._write_cache(url, response)
        return response.body

    def alive(self, url: str, *, every_s: float = 1.0) -> str:
        """Why a link is dead; "" if it is not, or if the server does not tell programs."""
        if self.offline:
            raise Offline("links cannot be checked while the network is switched off")
        try:
            self._request(url, "HEAD", {}, every_s, attempts=2)
        except FetchError as error:
            if error.status in (404, 410):
                return f"status {error.status}"
            if error.status:
                return ""
            return str(error)
        return ""

    def _request(
        self,
        url: str,
        method: str,
        headers: Mapping[str, str],
        every_s: float,
        attempts: int = MAX_ATTEMPTS,
    ) -> _Response:
        """The response, after several attempts if the server is busy."""
        headers = {**headers, "User-Agent": self._agent()}
        request = urllib.request.Request(url, method=method, headers=headers)
        error = FetchError(f"{shorten(url)} was not requested")
        for attempt in range(attempts):
            self._wait(urlsplit(url).netloc, every_s)
            pause = 2.0**attempt
            self.requests += 1
            try:
                return _send(request)
            except urllib.error.HTTPError as refusal:
                refusal.close()
                if refusal.code == NOT_MODIFIED:
                    return _Response(NOT_MODIFIED, {}, b"")
                message = f"{shorten(url)} answered with status {refusal.code} ({refusal.reason})"
                error = FetchError(message, refusal.code)
                if refusal.code not in BUSY:
                    raise error from refusal
                pause = max(pause, _retry_after(refusal.headers.get("Retry-After")))
            except (OSError, HTTPException, ValueError) as failure:
                error = FetchError(f"{shorten(url)} cannot be reached ({_reason(failure)})")
            if pause > MAX_WAIT_S:
                raise FetchError(f"{error}; it asks clients to wait {pause:.0f} s, try again later")
            if attempt + 1 < attempts:
                self.sleep(pause)
        raise error

    def _is_fresh(self, entry: _CacheEntry | None) -> bool:
        return entry is not None and time.time() - entry["at"] < self.fresh_s

    def _wait(self, host: str, every_s: float) -> None:
        if host in self._last:
            left = self._last[host] + every_s - self.clock()
            if left > 0:
                self.sleep(left)
        self._last[host] = self.clock()

    def _agent(self) -> str:
        from segscope._version import __version__

        contact = ""
        if self.contact:
            contact = f"; mailto:{self.contact}"
        return f"segscope/{__version__} (papers of an open-source segmentation tool{contact})"

    def _paths(self, url: str) -> tuple[Path, Path] | None:
        if self.cache is None:
            return None
        name = hashlib.sha256(url.encode()).hexdigest()[:32]
        return self.cache / f"{name}.body", self.cache / f"{name}.json"

    def _read_cache(self, url: str) -> tuple[bytes | None, _CacheEntry | None]:
        paths = self._paths(url)
        if not paths:
            return None, None
        body_path, entry_path = paths
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            entry = _read_entry(entry_path)
            body = body_path.read_bytes()
            if entry["sha256"] == hashlib.sha256(body).hexdigest():
                return body, entry
        return None, None

    def _write_cache(self, url: str, response: _Response) -> None:
        paths = self._paths(url)
        if not paths:
            return
        body_path, entry_path = paths
        entry: _CacheEntry = {
            "url": url,
            "at": time.time(),
            "etag": response.headers.get("etag", ""),
            "modified": response.headers.get("last-modified", ""),
            "sha256": hashlib.sha256(response.body).hexdigest(),
        }
        body_path.parent.mkdir(parents=True, exist_ok=True)
        part = body_path.with_suffix(".part")
        part.write_bytes(response.body)
        part.replace(body_path)  # a body that does not fit its entry is not used
        write(entry_path, json.dumps(entry))

    def forget(self, url: str) -> None:
        """Delete a response that turned out to be unusable."""
        for path in self._paths(url) or ():
            path.unlink(missing_ok=True)


def _send(request: urllib.request.Request) -> _Response:
    opener = urllib.request.build_opener(_Redirects)
    with opener.open(request, timeout=TIMEOUT_S) as answer:
        body = answer.read(MAX_BYTES + 1)
        if len(body) > MAX_BYTES:
            raise FetchError(f"{shorten(request.full_url)} sent more than {MAX_BYTES >> 20} MiB")
        headers = {key.lower(): value for key, value in answer.headers.items()}
        return _Response(answer.status, headers, body)


def _reason(error: Exception) -> object:
    if isinstance(error, urllib.error.URLError):
        return error.reason
    return error


def _conditions(entry: _CacheEntry | None) -> dict[str, str]:
    """Headers that ask for a body only if it has changed."""
    if entry is None:
        return {}
    conditions = {"If-None-Match": entry["etag"], "If-Modified-Since": entry["modified"]}
    return {name: value for name, value in conditions.items() if value}


def _read_entry(path: Path) -> _CacheEntry:
    facts = json.loads(path.read_text("utf-8"))
    return {
        "url": str(facts["url"]),
        "at": float(facts["at"]),
        "etag": str(facts["etag"]),
        "modified": str(facts["modified"]),
        "sha256": str(facts["sha256"]),
    }


def _retry_after(text: str | None) -> float:
    """Seconds of a Retry-After header, which holds seconds or a date; 0 without one."""
    if not text:
        return 0.0
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError):
        return 0.0
