"""A worker process that handles untrusted data, with bounds on memory and time.

A worker receives requests on its standard input, one JSON object a line, and answers with a line of
JSON that may be followed by as many raw bytes as it announces. Nothing that it sends is unpickled
or evaluated.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping
from typing import Any

from segscope.errors import ReadError, SegscopeError, UsageError
from segscope.serve.settings import GIB, Limits

_LONGEST_LINE = 2**26
_TOKEN_PREFIX = "SEGSCOPE_TOKEN"
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

Answer = dict[str, Any]
"""A JSON object from a worker; its fields are checked where they are used."""


class WorkerDied(Exception):
    """The worker ended, took too long, or did not follow the protocol."""


class WorkerProcess:
    """One running worker.

    Attributes:
        process: the process.
    """

    def __init__(self, module: str, limits: Limits) -> None:
        """Start the worker whose code is a module's."""
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(_TOKEN_PREFIX)
        }
        self._limits = limits
        self.process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment | _ONE_THREAD,
        )
        weakref.finalize(self, _stop, self.process)

    def begin(self, request: Mapping[str, object]) -> tuple[Answer, bytes]:
        """Send the first request, which brings the bounds on memory and on written files.

        Raises:
            ReadError, UsageError: the worker reports that the file cannot be read, or the bounds do
                not suffice; the worker is ended.
        """
        limits = self._limits
        bounds = {"memory_bytes": limits.decoder_bytes, "file_bytes": limits.unpacked_bytes}
        try:
            return self.exchange({**request, **bounds})
        except WorkerDied:
            raise ReadError(
                "the uploaded file cannot be read within the bounds of memory and time for uploads "
                f"({limits.decoder_bytes / GIB:.1f} GiB, {limits.decoder_s:g} s)"
            ) from None
        except SegscopeError:
            self.end()
            raise

    def exchange(self, request: Mapping[str, object]) -> tuple[Answer, bytes]:
        """Send a request; the answer, and the bytes that follow it.

        Raises:
            WorkerDied: the worker ended, took too long, or did not follow the protocol.
            ReadError, UsageError: it reports that the file cannot be read.
        """
        timer = threading.Timer(self._limits.decoder_s, self.process.kill)
        timer.daemon = True
        timer.start()
        try:
            answer, data = _send(self.process, request)
        except (OSError, ValueError):
            self.end()
            raise WorkerDied from None
        finally:
            timer.cancel()
        if "error" in answer:
            message = str(answer["error"])
            if answer.get("usage"):
                raise UsageError(message)
            raise ReadError(message)
        return answer, data

    def end(self) -> None:
        """End the process."""
        _stop(self.process)


def _send(worker: subprocess.Popen[bytes], request: Mapping[str, object]) -> tuple[Answer, bytes]:
    """One request and its answer; ValueError for answers that do not follow the protocol."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(json.dumps(request).encode() + b"\n")
    worker.stdin.flush()
    line = worker.stdout.readline(_LONGEST_LINE)
    if not line.endswith(b"\n"):
        raise ValueError("the answer is cut off")
    answer = json.loads(line)
    if not isinstance(answer, dict):
        raise ValueError("the answer is not an object")
    announced_bytes = int(answer.get("bytes", 0))
    data = worker.stdout.read(announced_bytes)
    if len(data) != announced_bytes:
        raise ValueError("the data are cut off")
    return answer, data


def _stop(worker: subprocess.Popen[bytes]) -> None:
    worker.kill()
    worker.wait()
    for pipe in (worker.stdin, worker.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def run_once(module: str, request: Mapping[str, object], limits: Limits) -> tuple[Answer, bytes]:
    """The answer of a worker that serves a single request.

    Raises:
        ReadError, UsageError: as `WorkerProcess.begin`.
    """
    worker = WorkerProcess(module, limits)
    try:
        return worker.begin(request)
    finally:
        worker.end()
