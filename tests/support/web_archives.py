"""Archives for tests."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from segscope.io.dicom.web import ArchiveSeries

STUDY, SERIES = "1.2.3.1", "1.2.3.2"  # as write_series makes them


MANY = {"most_bytes": 2**24, "most_files": 100}


def series_named(uid: str, instances: int | None = None) -> ArchiveSeries:
    """A series as an archive describes it in answers to queries."""
    return ArchiveSeries(uid, "CT", "made", instances)


class SlowArchive:
    """An archive that accepts connections and never finishes an answer.

    Attributes:
        url: its root.
        requests: connections that it got.
    """

    def __init__(self, *, trickles: bool) -> None:
        self.requests = 0
        self._trickles = trickles
        self._stop = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/rs"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.requests += 1
            thread = threading.Thread(target=self._answer, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            content_type = b"application/dicom+json"
            if b"multipart/related" in connection.recv(2**16):
                content_type = b'multipart/related; type="application/dicom"; boundary=x'
            if self._trickles:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\n\r\n" % content_type)
            while not self._stop.wait(0.02):
                if self._trickles:
                    connection.sendall(b" ")

    def close(self) -> None:
        self._stop.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()


@contextmanager
def slow_archive(*, trickles: bool = False) -> Iterator[SlowArchive]:
    """A `SlowArchive` until the block ends; `trickles`: it sends a byte now and then."""
    archive = SlowArchive(trickles=trickles)
    try:
        yield archive
    finally:
        archive.close()
