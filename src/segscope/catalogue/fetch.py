"""Asking other people's servers politely: one at a time, slowly, not again for what is known, and
saying who asks.
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
from typing import Any
from urllib.parse import urlsplit

from segscope.catalogue.store import write
from segscope.errors import SegscopeError

MOST_BYTES = 64 * 2**20
TIMEOUT_S = 30.0
TRIES = 4
LONGEST_WAIT_S = 120.0
BUSY = (429, 500, 502, 503, 504)


class FetchError(SegscopeError):
    """A server that could not be asked, or did not answer as wanted."""


class Offline(FetchError):
    """It would have needed the network, which is switched off."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never from https to http."""

    max_redirections = 5

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        if not newurl.startswith(("http://", "https://")) or (
            req.full_url.startswith("https://") and not newurl.startswith("https://")
        ):
            fp.close()
            raise FetchError(f"{req.full_url} leads to {newurl}, which is not safe to follow")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@dataclass
class Fetcher:
    """One polite client.

    Attributes:
        cache: folder of answers, asked again with their ETag or date; None keeps nothing.
        contact: an e-mail address for the header, for servers that answer known people better.
        offline: take everything from the cache, ask nobody.
        fresh_s: answers younger than this are not asked for again.
        sleep, clock: for tests.
    """

    cache: Path | None = None
    contact: str = ""
    offline: bool = False
    fresh_s: float = 0.0
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    asked: int = 0
    _last: dict[str, float] = field(default_factory=dict)

    def get(self, url: str, *, every_s: float = 1.0, accept: str = "*/*") -> bytes:
        """The body at an address.

        Args:
            every_s: least seconds between two requests of this host.

        Raises:
            FetchError: not reachable, an error status after all tries, too large.
        """
        body, facts = self._cached(url)
        if body is not None and (self.offline or time.time() - facts.get("at", 0) < self.fresh_s):
            return body
        if self.offline:
            raise Offline(f"{url} is not in the cache, and the network is switched off")
        headers = {"Accept": accept}
        if body is not None:
            headers |= {name: facts[key] for name, key in _CONDITIONS if facts.get(key)}
        status, answered, fresh = self._ask(url, "GET", headers, every_s)
        if status == 304 and body is not None:
            fresh = body
            answered = {"etag": facts.get("etag", ""), "last-modified": facts.get("modified", "")}
        self._keep(url, fresh, answered)
        return fresh

    def alive(self, url: str, *, every_s: float = 1.0) -> str:
        """Why a link is dead; "" when it is not, or when the server does not let programs know."""
        if self.offline:
            raise Offline("links are not looked at while the network is switched off")
        try:
            self._ask(url, "HEAD", {}, every_s, tries=2)
        except FetchError as error:
            status = getattr(error, "status", 0)
            if status in (404, 410):
                return f"status {status}"
            if status:
                return ""
            return str(error)
        return ""

    def _ask(
        self, url: str, method: str, headers: Mapping[str, str], every_s: float, tries: int = TRIES
    ) -> tuple[int, Mapping[str, str], bytes]:
        opener = urllib.request.build_opener(_Redirects)
        request = urllib.request.Request(
            url, method=method, headers={**headers, "User-Agent": self._agent()}
        )
        why: FetchError = FetchError(f"{url} was not asked")
        for attempt in range(tries):
            self._wait(urlsplit(url).netloc, every_s)
            pause = 2.0**attempt
            self.asked += 1
            try:
                with opener.open(request, timeout=TIMEOUT_S) as answer:
                    body = answer.read(MOST_BYTES + 1)
                    if len(body) > MOST_BYTES:
                        raise FetchError(
                            f"{url} sent more than {MOST_BYTES >> 20} MiB; it was left"
                        )
                    return (
                        answer.status,
                        {key.lower(): value for key, value in answer.headers.items()},
                        body,
                    )
            except urllib.error.HTTPError as error:
                error.close()
                if error.code == 304:
                    return 304, {}, b""
                why = FetchError(f"{url} answered with status {error.code} ({error.reason})")
                why.status = error.code  # type: ignore[attr-defined]
                if error.code not in BUSY:
                    raise why from error
                pause = max(pause, _retry_after(error.headers.get("Retry-After")))
            except (OSError, HTTPException, ValueError) as error:
                why = FetchError(
                    f"{url} cannot be reached ({getattr(error, 'reason', None) or error})"
                )
            if pause > LONGEST_WAIT_S:
                raise FetchError(
                    f"{why}; it asks to wait {pause:.0f} s, so it was left for another time"
                )
            if attempt + 1 < tries:
                self.sleep(pause)
        raise why

    def _wait(self, host: str, every_s: float) -> None:
        last = self._last.get(host)
        if last is not None and (left := last + every_s - self.clock()) > 0:
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

    def _cached(self, url: str) -> tuple[bytes | None, dict[str, Any]]:
        paths = self._paths(url)
        if not paths:
            return None, {}
        with contextlib.suppress(OSError, ValueError):
            facts = json.loads(paths[1].read_text("utf-8"))
            body = paths[0].read_bytes()
            if facts["sha256"] == hashlib.sha256(body).hexdigest():
                return body, facts
        return None, {}

    def _keep(self, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        paths = self._paths(url)
        if not paths:
            return
        facts = {
            "url": url,
            "at": time.time(),
            "etag": headers.get("etag", ""),
            "modified": headers.get("last-modified", ""),
            "sha256": hashlib.sha256(body).hexdigest(),
        }
        paths[0].parent.mkdir(parents=True, exist_ok=True)
        part = paths[0].with_suffix(".part")
        part.write_bytes(body)
        part.replace(paths[0])  # a body without its facts is not believed
        write(paths[1], json.dumps(facts))

    def forget(self, url: str) -> None:
        """Drop an answer that turned out to be unusable."""
        for path in self._paths(url) or ():
            path.unlink(missing_ok=True)


_CONDITIONS = (("If-None-Match", "etag"), ("If-Modified-Since", "modified"))


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
