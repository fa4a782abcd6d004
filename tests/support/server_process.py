"""A server in a process of its own, and the volume that tests send to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from segscope.client import Client

TOKEN = "let-me-in"


class ServerProcess:
    """`segscope serve` on a free port."""

    def __init__(self, project: Path, *options: str) -> None:
        self.project = project
        self.argv = [
            sys.executable, "-m", "segscope", "serve", "--project", str(project), "--port", "0",
            "--token", TOKEN, "--device", "cpu", "--compat", "none", "--json", *options,
        ]  # fmt: skip
        self.start()

    def start(self) -> None:
        """Start it, again after `end`, and wait until it listens."""
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            self.argv, stdout=subprocess.PIPE, env=environment, text=True
        )
        assert self.process.stdout is not None
        output = ""
        while not output.endswith("\n}\n"):
            line = self.process.stdout.readline()
            assert line, "the server ended"
            output += line
        self.url = json.loads(output)["url"]

    def client(self) -> Client:
        return Client(self.url, TOKEN, timeout_s=60)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait; the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


@contextmanager
def running_server(project: Path) -> Iterator[str]:
    """The URL of a server that runs until the block ends."""
    server = ServerProcess(project)
    yield server.url
    server.end()


def two_blocks() -> np.ndarray:
    """Two blocks in noise, asymmetric along all axes (7, 60, 80)."""
    voxels = np.random.default_rng(0).integers(-60, 60, (7, 60, 80)).astype(np.int16)
    voxels[1:6, 20:40, 20:40] += 300
    voxels[:, 10:25, 55:70] += 200
    return voxels
