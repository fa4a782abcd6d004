"""Connections that stand still, on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvicorn

from segscope.serve.connections import Connections
from segscope.serve.protocol import ConnectionTimeouts, GuardedServer
from segscope.serve.security import Guard
from segscope.serve.settings import Limits, ServerSettings

BIG = bytes(32 * 2**20)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Reads the body and answers; `/big` with more than sockets buffer."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        return
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    body = BIG if scope["path"] == "/big" else b"hello"
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})


class Running:
    """A server in a thread."""

    def __init__(
        self, connections: Connections, timeouts: ConnectionTimeouts, settings: ServerSettings
    ):
        self.connections = connections
        config = uvicorn.Config(
            Guard(app, settings),
            log_config=None,
            lifespan="off",
            http="h11",
            ws="websockets-sansio",
            loop="asyncio",
            timeout_graceful_shutdown=1,
        )
        self.server = GuardedServer(config, connections, timeouts)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        self.thread = threading.Thread(target=self.server.run, args=([self.listener],))
        self.thread.start()

    def connect(self, first: bytes = b"") -> socket.socket:
        connection = socket.create_connection(self.address, timeout=20)
        connection.sendall(first)
        return connection

    def request(self) -> float:
        """Seconds for one answer."""
        start = time.monotonic()
        request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        with self.connect(request) as mine:
            assert read_all(mine).endswith(b"hello")
        return time.monotonic() - start

    def wait_until_idle(self) -> None:
        end = time.monotonic() + 10
        while len(self.connections):
            assert time.monotonic() < end, len(self.connections)
            time.sleep(0.02)

    def close(self) -> None:
        self.server.should_exit = True
        self.thread.join(20)
        assert not self.thread.is_alive()


def read_all(connection: socket.socket) -> bytes:
    """What arrives until the server closes the connection."""
    chunks = []
    with contextlib.suppress(ConnectionResetError):
        while chunk := connection.recv(2**16):
            chunks.append(chunk)
    return b"".join(chunks)


@pytest.fixture
def run(tmp_path: Any) -> Iterator[Callable[..., Running]]:
    running = []

    def start(per_address: int = 1000, body_idle_s: float = 0.3) -> Running:
        settings = ServerSettings(tmp_path, limits=Limits(body_idle_s=body_idle_s))
        timeouts = ConnectionTimeouts(header_s=0.3, write_s=1.5)
        running.append(Running(Connections(per_address), timeouts, settings))
        running[-1].request()
        return running[-1]

    yield start
    for server in running:
        server.close()


def test_headers_that_never_end(run: Callable[..., Running]) -> None:
    server = run()
    for first in (b"", b"GET / HTTP/1.1\r\nHost: loc", b"POST /x HTTP/1.1\r\n"):
        with server.connect(first) as slow:
            assert read_all(slow).startswith(b"HTTP/1.1 408 ")
    with server.connect(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n") as slow:
        time.sleep(0.1)
        slow.sendall(b"GET / HTT")  # the second request of a connection
        assert b"HTTP/1.1 408 " in read_all(slow)
    with server.connect(b"GET / ") as slow:
        for letter in b"x" * 100:  # trickled
            try:
                slow.sendall(bytes([letter]))
            except OSError:
                break
            time.sleep(0.02)
        else:
            pytest.fail("a trickled header was waited for")
    server.wait_until_idle()


def test_idle_connections_slow_nobody(run: Callable[..., Running]) -> None:
    server = run()
    slow = [server.connect(b"GET / HTTP/1.1\r\nHost: ") for _ in range(64)]
    assert max(server.request() for _ in range(5)) < 2
    for connection in slow:
        assert read_all(connection).startswith(b"HTTP/1.1 408 ")
        connection.close()
    server.wait_until_idle()


def test_bodies_that_stop(run: Callable[..., Running]) -> None:
    server = run()
    head = b"POST /v1/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
    with server.connect(head + b"{") as slow:
        answer = read_all(slow)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in answer
    assert b'"kind": "Stalled"' in answer
    server.wait_until_idle()


def test_a_slow_body_that_goes_on_arriving(run: Callable[..., Running]) -> None:
    server = run()
    head = (
        b"POST /v1/login HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        b"Content-Length: 8\r\n\r\n"
    )
    with server.connect(head) as slow:
        for _ in range(8):
            time.sleep(0.1)
            slow.sendall(b"x")
        assert read_all(slow).endswith(b"hello")


def test_responses_that_nobody_reads(run: Callable[..., Running]) -> None:
    server = run()
    with server.connect(b"GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n"):
        time.sleep(0.2)
        assert len(server.connections) == 1
        server.wait_until_idle()


def test_a_response_that_is_read_slowly(run: Callable[..., Running]) -> None:
    server = run()
    request = b"GET /big HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with server.connect(request) as slow:
        received = 0
        for _ in range(8):
            received += len(slow.recv(2**20))
            time.sleep(0.15)
        received += len(read_all(slow))
    assert received >= len(BIG)


def test_an_address_with_too_many_connections(run: Callable[..., Running]) -> None:
    server = run(per_address=4)
    server.wait_until_idle()
    first = [server.connect() for _ in range(4)]
    with server.connect(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n") as fifth:
        assert read_all(fifth) == b""
    for connection in first:
        connection.close()
    server.wait_until_idle()
    server.request()


def test_websockets_are_counted_until_they_end(run: Callable[..., Running]) -> None:
    server = run()
    hello = (
        b"GET /socket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    with server.connect(hello) as mine:
        assert mine.recv(4096).startswith(b"HTTP/1.1 101 ")
        time.sleep(0.5)  # longer than a header may take
        assert len(server.connections) == 1
    server.wait_until_idle()


def test_running_out_of_descriptors_is_one_line(
    run: Callable[..., Running],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = run()
    server.wait_until_idle()
    accept = socket.socket.accept
    refused = []

    def refuse(listener: socket.socket) -> Any:
        if len(refused) < 300 and listener.getsockname() == server.address:
            refused.append(time.monotonic())
            raise OSError(errno.EMFILE, "Too many open files")
        return accept(listener)

    with caplog.at_level(logging.WARNING):
        monkeypatch.setattr(socket.socket, "accept", refuse)
        server.request()
    assert refused[-1] - refused[0] >= 0.9  # it pauses
    assert len(caplog.records) == 1
    assert "no descriptors are left" in caplog.text


def test_nonsense_does_not_fill_the_log(
    run: Callable[..., Running], caplog: pytest.LogCaptureFixture
) -> None:
    server = run()
    with caplog.at_level(logging.WARNING):
        for _ in range(50):
            with server.connect(b"\x00\xff nonsense\r\n\r\n") as connection:
                assert read_all(connection).startswith(b"HTTP/1.1 400 ")
    assert len(caplog.records) == 1


def test_a_signal_ends_it_without_being_raised_again(tmp_path: Any) -> None:
    config = uvicorn.Config(app, log_config=None, lifespan="off", http="h11", loop="asyncio")
    server = GuardedServer(config, Connections(10))

    async def stop_soon() -> None:
        serving = asyncio.create_task(server.serve([socket.create_server(("127.0.0.1", 0))]))
        while not server.started:
            await asyncio.sleep(0.01)
        server.handle_exit(15, None)
        await serving

    asyncio.run(stop_soon())
    assert server.stop_signal == 15
