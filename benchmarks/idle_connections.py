"""Do clients that stand still slow an annotator?

    python benchmarks/idle_connections.py [--connections 64] [--clicks 40] [--json]

An annotator clicks while other connections send half a header, half a body, or half a body of an
upload, and while a DICOMweb archive accepts requests without ever answering. Connections that the
server closes are opened again. Rounds with and without them take turns; a round without them shows
what the machine itself varies.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from serving import TOKEN, Server, make_scans

from segscope.client import RemoteSession

ACCESS = f"Host: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
FORM = "Content-Type: multipart/form-data; boundary=x\r\n"
REQUESTS = {
    "headers": f"GET /v1/project HTTP/1.1\r\n{ACCESS}X-Slow: ",
    "bodies": f"PATCH /v1/project HTTP/1.1\r\n{ACCESS}Content-Length: 1000\r\n\r\n{{",
    "uploads": f"POST /v1/images HTTP/1.1\r\n{ACCESS}{FORM}Content-Length: 1000000\r\n\r\n--x\r\n",
    "archive": f"GET /v1/dicomweb/0/studies HTTP/1.1\r\n{ACCESS}\r\n",
}
ROUNDS = 3


@contextmanager
def idle_connections(url: str, request: str, count: int) -> Iterator[None]:
    """`count` connections that send `request` and nothing more, until the block ends."""
    parts = urlsplit(url)
    address = (parts.hostname or "", parts.port or 0)
    stop = threading.Event()
    open_now = threading.Barrier(count + 1)

    def hold() -> None:
        is_first = True
        while not stop.is_set():
            with socket.create_connection(address, timeout=0.2) as connection:
                connection.sendall(request.encode())
                if is_first:
                    open_now.wait()
                    is_first = False
                wait_for_end(connection, stop)

    threads = [threading.Thread(target=hold) for _ in range(count)]
    for thread in threads:
        thread.start()
    open_now.wait()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def wait_for_end(connection: socket.socket, stop: threading.Event) -> None:
    """Until the server closes the connection."""
    while not stop.is_set():
        try:
            if not connection.recv(4096):
                return
        except TimeoutError:
            continue
        except ConnectionResetError:
            return


def click_times(session: RemoteSession, clicks: int, chance: random.Random) -> list[float]:
    """Milliseconds of clicks at random places, a fifth of a second apart."""
    times = []
    for _ in range(clicks):
        point = (chance.uniform(5, 90), chance.uniform(5, 70), 1)
        start = time.perf_counter()
        session.predict(chance.randrange(4), 1, points=[point], force=True)
        times.append(1000 * (time.perf_counter() - start))
        time.sleep(0.2)
    return times


def measure(server: Server, options: argparse.Namespace) -> dict[str, list[float]]:
    """Times of clicks by what the other connections send."""
    times: dict[str, list[float]] = {"none": []}
    chance = random.Random(0)
    with server.client() as client:
        session = client.open(client.refer("ct.nii.gz").image_id)
        click_times(session, 5, chance)  # encodes the frames
        for _ in range(ROUNDS):
            times["none"] += click_times(session, options.clicks, chance)
            for name, request in REQUESTS.items():
                with idle_connections(server.url, request, options.connections):
                    found = click_times(session, options.clicks, chance)
                times.setdefault(name, []).extend(found)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--clicks", type=int, default=40, help="of each round")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=128))
        archive = f"http://127.0.0.1:{silent.getsockname()[1]}/rs"
        scans = make_scans(folder / "scans")
        server = Server(folder / "project", scans, "--dicomweb", archive)
        stack.callback(server.end)
        times = measure(server, options)
    rows = {
        name: {
            "median_ms": round(statistics.median(found), 1),
            "p95_ms": round(statistics.quantiles(found, n=20)[-1], 1),
        }
        for name, found in times.items()
    }
    if options.json:
        print(json.dumps({"connections": options.connections, "clicks": rows}, indent=2))
        return
    print(f"{options.connections} connections that stand still; milliseconds of a click")
    for name, row in rows.items():
        print(f"  {name:8} median {row['median_ms']:7.1f}   p95 {row['p95_ms']:7.1f}")


if __name__ == "__main__":
    main()
