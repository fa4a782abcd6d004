"""A running server under attack: schemathesis on its OpenAPI, malformed frames on its socket,
hostile uploads.

    python benchmarks/fuzz_server.py [--schemathesis PROGRAM] [--examples 30] [--frames 300]
                                     [--uploads 200] [--json]

Counts responses by status. Fails if the server responds with 500, terminates, writes outside of its
project, or grows beyond --most-mib. schemathesis may be installed in a separate environment
(`pip install schemathesis`); without it that part is skipped.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import hashlib
import io
import json
import os
import random
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import uuid
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psutil
from PIL import Image
from serving import TOKEN, Server, make_scans

from segscope.client import Client, NotReachable, ServerError

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance"
LEFT_OUT = ("close_session", "logout")  # they would end what the other requests are about


# --- HTTP ----------------------------------------------------------------------------------------


def requests(server: Server, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """schemathesis with a session that is there; its counts, and what it complains of."""
    with server.client() as client:
        image = client.refer("ct.nii.gz")
        opened = client.http.json(
            "POST", "/v1/sessions", {"image_id": image.image_id, "take_over": True}
        )
    known = {
        "session_id": opened["session_id"],
        "image_id": image.image_id,
        "root": 0,
        "case_id": 1,
        "object_id": 1,
    }
    lines = [f"{json.dumps(f'path.{name}')} = {json.dumps(value)}" for name, value in known.items()]
    (folder / "schemathesis.toml").write_text("\n".join(("[parameters]", *lines)))
    report = folder / "report.json"
    left_out = [part for name in LEFT_OUT for part in ("--exclude-operation-id", name)]
    done = subprocess.run(
        [
            options.schemathesis,
            "--config-file",
            str(folder / "schemathesis.toml"),
            "run",
            f"{server.url}v1/openapi.json",
            "-H",
            f"Authorization: Bearer {TOKEN}",
            "-H",
            f"X-Lease: {opened['lease']}",
            "--checks",
            CHECKS,
            "--continue-on-failure",
            "--max-examples",
            str(options.examples),
            "--seed",
            str(options.seed),
            "--no-color",
            "--phases",
            options.phases,
            "--request-timeout",
            "120",
            "--report",
            "ndjson",
            "--report-ndjson-path",
            str(report),
            *left_out,
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        errors="replace",
    )
    (folder / "schemathesis.txt").write_text(done.stdout + done.stderr)
    statuses = Counter(_statuses(report.read_text(errors="replace") if report.exists() else ""))
    if not statuses:
        raise RuntimeError(f"schemathesis did nothing: {(done.stdout + done.stderr)[-2000:]}")
    return {
        "answers": dict(sorted(statuses.items())),
        "passed": done.returncode == 0,
        "said": done.stdout[-6000:],
    }


def _statuses(report: str) -> Iterator[int]:
    """Every status code in a report."""

    def walk(value: Any) -> Iterator[int]:
        if isinstance(value, dict):
            if isinstance(value.get("status_code"), int):
                yield value["status_code"]
            for item in value.values():
                yield from walk(item)
        elif isinstance(value, list):
            for item in value:
                yield from walk(item)

    for line in report.splitlines():
        yield from walk(json.loads(line))


# --- the socket ----------------------------------------------------------------------------------


def frames(server: Server, count: int, chance: random.Random) -> dict[str, int]:
    """Frames that break the protocol, or keep it and make no sense; how connections ended."""
    with server.client() as client:
        image = client.refer("ct.nii.gz")
        opened = client.http.json(
            "POST", "/v1/sessions", {"image_id": image.image_id, "take_over": True}
        )
        ends: Counter[str] = Counter()
        for number in range(count):
            ends[_talk(server, opened, chance)] += 1
            if number % 50 == 49:
                client.health()
    return dict(ends)


def _talk(server: Server, opened: dict[str, Any], chance: random.Random) -> str:
    parts = urlsplit(server.url)
    key = base64.b64encode(chance.randbytes(16)).decode()
    head = (
        f"GET /v1/sessions/{opened['session_id']}/live HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    hello = json.dumps({"type": "hello", "lease": opened["lease"], "token": TOKEN}).encode()
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=60) as line:
        line.sendall(head.encode())
        if b" 101 " not in line.recv(4096):
            return "not let in"
        try:
            if chance.random() < 0.8:
                line.sendall(_frame(1, hello))
            for _ in range(chance.randint(1, 8)):
                line.sendall(_nonsense(chance))
            line.shutdown(socket.SHUT_WR)
            while line.recv(65536):
                pass
        except TimeoutError:
            return "hung"
        except OSError:
            return "cut off"
    return "closed"


def _frame(
    opcode: int, data: bytes, *, final: bool = True, masked: bool = True, length: int | None = None
) -> bytes:
    length = len(data) if length is None else length
    first = bytes([(0x80 if final else 0) | opcode])
    flag = 0x80 if masked else 0
    if length < 126:
        size = bytes([flag | length])
    elif length < 65536:
        size = bytes([flag | 126]) + struct.pack(">H", length)
    else:
        size = bytes([flag | 127]) + struct.pack(">Q", length)
    key = bytes(4) if masked else b""  # a mask of zeros leaves the data as they are
    return first + size + key + data


def _nonsense(chance: random.Random) -> bytes:
    """A frame that no client of ours sends."""
    junk = chance.randbytes(chance.randrange(200))
    kinds = [
        junk,
        _frame(chance.randrange(3, 8), junk),  # reserved
        _frame(chance.randrange(11, 16), junk),
        _frame(1, junk, masked=False),
        _frame(1, b"\xff\xfe" + junk),  # no UTF-8
        _frame(2, junk),
        _frame(0, junk),  # the rest of nothing
        _frame(9, bytes(126)),  # a ping that is too long
        _frame(8, b"\x00"),
        _frame(8, struct.pack(">H", chance.randrange(65536)) + junk[:100]),
        _frame(1, b"{", final=False) + _frame(9, b"", final=False),
        _frame(1, b"", length=chance.choice((2**20, 2**32, 2**63 - 1, 2**64 - 1))),
        _frame(1, b"[" * 5000),
        *(_frame(1, json.dumps(message).encode()) for message in _messages(chance)),
    ]
    return chance.choice(kinds)


def _messages(chance: random.Random) -> list[Any]:
    values = [
        None,
        True,
        -1,
        2**70,
        1e308,
        "",
        "x" * 999,
        [],
        {},
        [[1, 2, 3]],
        [["a"]],
        {"a": {}},
        0,
        3,
    ]
    actions = [
        "predict",
        "paint",
        "replace",
        "choose",
        "clear",
        "accept",
        "undo",
        "redo",
        "propagate",
        "hover",
        "hello",
    ]
    names = [
        "frame",
        "object_id",
        "points",
        "boxes",
        "prompts",
        "strokes",
        "polygon",
        "bits",
        "frames",
        "index",
        "seq",
    ]
    said = {name: chance.choice(values) for name in names if chance.random() < 0.4}
    return [
        chance.choice(values),
        {"type": chance.choice([*actions, *values]), **said},
        {"type": "cancel"},
    ]


# --- uploads -------------------------------------------------------------------------------------


def uploads(server: Server, scans: Path, count: int, chance: random.Random) -> dict[str, int]:
    """Files of all kinds with bytes changed, cut off or under another name; answers by status."""
    good = {
        path.suffix if path.suffix != ".gz" else ".nii.gz": path.read_bytes()
        for path in _good(scans)
    }
    suffixes = [*good, ".avi", ".jpg", ".mha", ".nii", ".npz", ".webp", ".zarr", ".svs", ".exe", ""]
    answers: Counter[str] = Counter()
    with server.client() as client:
        for _ in range(count):
            data = bytearray(chance.choice(list(good.values())))
            for _ in range(chance.choice((0, 0, 1, 3, 20))):
                data[min(int(chance.expovariate(1 / 500)), len(data) - 1)] = chance.randrange(256)
            if chance.random() < 0.2:
                data = data[: chance.randrange(1, len(data))]
            name = chance.choice(
                ["x", "../../evil", "/etc/evil", "a\0b", "évil\u202e"]
            ) + chance.choice(suffixes)
            answers[str(_send(client, name, bytes(data)))] += 1
        for data in _bombs():
            answers[str(_send(client, *data))] += 1
    return dict(answers)


def _send(client: Client, name: str, data: bytes) -> int:
    edge = uuid.uuid4().hex
    name = name.replace('"', "_")
    disposition = f'form-data; name="file"; filename="{name}"'
    head = f"--{edge}\r\nContent-Disposition: {disposition}\r\n\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={edge}"}
    try:
        client.http.request(
            "POST", "/v1/images", head + data + f"\r\n--{edge}--\r\n".encode(), headers
        )
    except NotReachable:
        raise
    except ServerError as error:
        if "Traceback" in str(error):
            raise RuntimeError(f"a traceback in an answer: {error}") from error
        return error.status
    return 201


def _good(scans: Path) -> Iterator[Path]:
    from pydicom.data import get_testdata_file

    from segscope.io.video.writer import write_video

    images = [
        np.asarray(Image.open(path).convert("RGB"))
        for path in sorted((scans / "clip").glob("*.png"))
    ]
    made = scans.parent / "good"
    made.mkdir()
    write_video(made / "clip.mp4", iter(images), 10)
    np.save(made / "a.npy", np.stack(images)[..., 0])
    Image.fromarray(images[0]).save(made / "a.tif")
    (made / "a.nrrd").write_bytes(
        b"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 8 8 8\nencoding: gzip\n\n"
        + gzip.compress(bytes(512))
    )
    with zipfile.ZipFile(made / "a.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for path in (scans / "clip").iterdir():
            packed.write(path, path.name)
    yield from (scans / "ct.nii.gz", scans / "cells.png", *sorted(made.iterdir()))
    dicom = get_testdata_file("CT_small.dcm", download=False)
    if isinstance(dicom, str):
        yield Path(dicom)


def _bombs() -> Iterator[tuple[str, bytes]]:
    yield "a.nii.gz", gzip.compress(bytes(200 * 2**20), 9)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a.png", bytes(200 * 2**20))
        packed.writestr("../../evil.png", b"x")
    yield "a.zip", file.getvalue()
    image = io.BytesIO()
    Image.new("L", (15_000, 15_000)).save(image, "PNG")
    yield "a.png", image.getvalue()


# --- all of it -----------------------------------------------------------------------------------


class Memory(threading.Thread):
    """Keeps the most memory that a process has held."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.process, self.peak, self.over = psutil.Process(pid), 0, threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.2):
            with psutil.Process().oneshot():
                try:
                    self.peak = max(self.peak, self.process.memory_info().rss)
                except psutil.Error:
                    return


def state_of(folder: Path, but: Path) -> dict[str, str]:
    """Files below a folder and what is in them."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_relative_to(but))
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(files)
    }


def fire(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Everything; figures, and what went wrong."""
    scans = make_scans(folder / "area" / "scans", (8, 48, 64))
    project, chance = folder / "area" / "project", random.Random(options.seed)
    server = Server(project, scans)
    memory = Memory(server.process.pid)
    memory.start()
    figures: dict[str, Any] = {}
    start = time.monotonic()
    try:
        figures["uploads"] = uploads(server, scans, options.uploads, chance)
        figures["sockets"] = frames(server, options.frames, chance)
        before = state_of(folder / "area", project)
        if options.schemathesis:
            figures["requests"] = requests(server, options, folder)
        with server.client() as client:
            client.health()
        figures["written elsewhere"] = [
            name for name, mark in state_of(folder / "area", project).items()
            if before.get(name) != mark and not name.endswith(".stderr")
        ]  # fmt: skip
        figures["evil files"] = [
            str(path) for path in folder.rglob("*evil*") if not path.is_relative_to(project)
        ]
    finally:
        memory.over.set()
        server.end()
    said = server.log.read_text(errors="replace")
    figures |= {
        "peak_mib": round(memory.peak / 2**20),
        "seconds": round(time.monotonic() - start),
        # uvicorn logs text frames that are no UTF-8 with a traceback, and closes the socket as it
        # should
        "tracebacks": said.count("Traceback")
        - said.count("Invalid UTF-8 sequence received from client"),
        "stderr": said[-3000:],
    }
    return figures


def wrong(figures: dict[str, Any], most_mib: int) -> list[str]:
    """What must not be."""
    found = [
        f"{part}: status 500"
        for part in ("uploads", "requests")
        if any(
            str(key) == "500" for key in figures.get(part, {}).get("answers", figures.get(part, {}))
        )
    ]
    found += [name for name in ("written elsewhere", "evil files", "tracebacks") if figures[name]]
    found += ["a socket hung"] if "hung" in figures["sockets"] else []
    found += ["memory"] if figures["peak_mib"] > most_mib else []
    if not figures.get("requests", {"passed": True})["passed"]:
        found.append("schemathesis complains")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--schemathesis", default=shutil.which("schemathesis"), help="program; default on the PATH"
    )
    parser.add_argument("--examples", type=int, default=30, help="requests of each kind")
    parser.add_argument("--phases", default="coverage,fuzzing,stateful", help="of schemathesis")
    parser.add_argument("--frames", type=int, default=300, help="socket connections")
    parser.add_argument("--uploads", type=int, default=200)
    parser.add_argument("--most-mib", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.schemathesis:
        options.schemathesis = os.path.abspath(options.schemathesis)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        figures = fire(options, Path(folder))
    problems = wrong(figures, options.most_mib)
    said = figures.get("requests", {}).pop("said", "")
    if problems:
        print(said, figures["stderr"], sep="\n", file=sys.stderr)
    del figures["stderr"]
    print(json.dumps({**figures, "wrong": problems}, indent=2 if options.json else None))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
