"""A server on loopback that plays the list and the feeds, and whatever goes wrong with them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from support.catalogue_server import Served

from segscope.catalogue.fetch import Fetcher
from segscope.catalogue.rows import Row
from segscope.catalogue.snapshot import rows_of
from segscope.catalogue.update import UpdateReport, UpdateSettings, update

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def rows() -> list[Row]:
    """The 425 rows of SAM4MIS at the commit of the snapshot."""
    return rows_of(DATA / "rows.jsonl")


@pytest.fixture(scope="session")
def more_rows() -> list[Row]:
    """Rows of Awesome-Segment-Anything whose titles have a word of medicine or biology."""
    return rows_of(DATA / "rows_2.jsonl")


@pytest.fixture
def served() -> Iterator[Served]:
    state = Served()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            state.asked.append((self.command, self.path, dict(self.headers)))
            found: Any = (
                state.answers.get(parts.path)
                or state.below(parts.path)
                or (404, {}, b"nothing here")
            )
            status, headers, body = found(parse_qs(parts.query)) if callable(found) else found
            if headers.get("ETag") and self.headers.get("If-None-Match") == headers["ETag"]:
                status, body = 304, b""
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.root = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
    )
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def run(served: Served, tmp_path: Path) -> Callable[..., UpdateReport]:
    """One update from the server; waits are counted instead of waited."""

    class Near(Fetcher):
        """Looks at links of the server only."""

        def alive(self, url: str, *, every_s: float = 1.0) -> str:
            return super().alive(url, every_s=every_s) if url.startswith(served.root) else ""

    def once(
        *which: str, day: str = "2026-05-02", offline: bool = False, **more: Any
    ) -> UpdateReport:
        fetcher = Near(tmp_path / "cache", offline=offline, sleep=lambda _seconds: None)
        settings = UpdateSettings(
            tmp_path / "papers", day, which or ("sam4mis",), served.addresses(), **more
        )
        return update(settings, fetcher)

    return once
