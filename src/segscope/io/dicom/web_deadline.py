"""A total time limit for the connections to a DICOMweb archive.

Time limits of sockets count from the last byte: an archive that sends one byte now and then never
exceeds them.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from requests import Session


class Deadlines:
    """The time limits of one archive.

    Attributes:
        query_s: for a query, or for storing objects; None is unlimited.
        fetch_s: for a whole series.
    """

    def __init__(self, query_s: float | None = None, fetch_s: float | None = None) -> None:
        self.query_s = query_s
        self.fetch_s = fetch_s
        self._running: set[Deadline] = set()
        self._lock = threading.Lock()

    @contextmanager
    def start(self, seconds: float | None) -> Iterator[Deadline]:
        """A deadline that ends with the block."""
        deadline = Deadline()
        with self._lock:
            self._running.add(deadline)
        timer = None
        if seconds is not None:
            timer = threading.Timer(seconds, deadline.cut)
            timer.daemon = True
            timer.start()
        try:
            yield deadline
        finally:
            if timer is not None:
                timer.cancel()
            with self._lock:
                self._running.discard(deadline)

    def cut_all(self) -> None:
        """End everything that is in progress."""
        with self._lock:
            running = list(self._running)
        for deadline in running:
            deadline.cut()


class Deadline:
    """Cuts the connections of one session.

    Attributes:
        is_over: whether the connections were cut.
    """

    def __init__(self) -> None:
        self.is_over = False
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()

    def apply(self, session: Session) -> None:
        """Cut every connection that a session opens from now on."""
        from requests.adapters import HTTPAdapter
        from urllib3.connection import HTTPConnection, HTTPSConnection
        from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

        watch = self._watch

        class WatchedConnection(HTTPConnection):
            def connect(self) -> None:
                super().connect()
                watch(self.sock)

        class WatchedSecureConnection(HTTPSConnection):
            def connect(self) -> None:
                super().connect()
                watch(self.sock)

        class WatchedPool(HTTPConnectionPool):
            ConnectionCls = WatchedConnection

        class WatchedSecurePool(HTTPSConnectionPool):
            ConnectionCls = WatchedSecureConnection

        class WatchedAdapter(HTTPAdapter):
            def init_poolmanager(self, *args: Any, **options: Any) -> None:
                super().init_poolmanager(*args, **options)
                self.poolmanager.pool_classes_by_scheme = {
                    "http": WatchedPool,
                    "https": WatchedSecurePool,
                }

        for scheme in ("http://", "https://"):
            session.mount(scheme, WatchedAdapter())

    def cut(self) -> None:
        """Shut the connections down: threads that read from them get an error."""
        with self._lock:
            self.is_over = True
            for connection in self._sockets:
                _shut_down(connection)
            self._sockets.clear()

    def _watch(self, connection: socket.socket | None) -> None:
        if connection is None:
            return
        with self._lock:
            if self.is_over:
                _shut_down(connection)
            else:
                self._sockets.append(connection)


def _shut_down(connection: socket.socket) -> None:
    try:
        # not the method of TLS sockets, which is not safe while another thread reads
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
    except OSError:
        return  # closed already
