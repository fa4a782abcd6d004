"""Reading of uploaded files in a separate process, with bounds on memory and time.

The process runs `sandbox_worker`. It receives requests on its standard input, one JSON object a
line, and answers with a line of JSON that may be followed by as many raw bytes as it announces.
Nothing that it sends is unpickled or evaluated.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from segscope.arrays import Pixels, PixelType
from segscope.errors import ReadError, SegscopeError, UsageError
from segscope.geometry import Geometry
from segscope.serve.settings import GIB, Limits
from segscope.stack import Stack

_LONGEST_LINE = 2**26
_WORKER = "segscope.serve.project.sandbox_worker"
_TOKEN_PREFIX = "SEGSCOPE_TOKEN"
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

Answer = dict[str, Any]
"""A JSON object from the worker; its fields are checked where they are used."""


class SandboxedFrames:
    """Frames that a worker process decodes (a FrameSource).

    A worker that dies is replaced once per frame.

    Attributes:
        description: what the worker reported about the stack.
    """

    def __init__(self, path: Path, options: Mapping[str, object], limits: Limits) -> None:
        self._request = {
            "path": str(path),
            "options": dict(options),
            "memory_bytes": limits.decoder_bytes,
            "file_bytes": limits.unpacked_bytes,
        }
        self._limits = limits
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self.description = self._start()
        self._shape = tuple(map(int, self.description["shape"]))
        self._dtype = np.dtype(str(self.description["dtype"]))

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    def dtype(self) -> PixelType:
        return self._dtype

    @property
    def process(self) -> subprocess.Popen[bytes] | None:
        """The worker process, if one is running."""
        return self._process

    def __len__(self) -> int:
        return self._shape[0]

    def __getitem__(self, index: int, /) -> Pixels:
        with self._lock:
            with contextlib.suppress(_WorkerDied):
                return self._decode(index)
            try:
                return self._decode(index)
            except _WorkerDied:
                raise ReadError(
                    f"frame {index} of the uploaded file cannot be decoded within the bounds"
                ) from None

    def close(self) -> None:
        """End the worker."""
        with self._lock:
            self._end()

    def _decode(self, index: int) -> Pixels:
        if self._process is None:
            self._start()
        answer, data = self._exchange({"frame": index})
        frame_shape = self._shape[1:]
        expected_bytes = int(np.prod(frame_shape, dtype=np.int64)) * self._dtype.itemsize
        if list(answer.get("shape", ())) != list(frame_shape) or len(data) != expected_bytes:
            raise ReadError(f"frame {index} of the uploaded file differs in size from the others")
        return np.frombuffer(data, self._dtype).reshape(frame_shape)

    def _start(self) -> Answer:
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(_TOKEN_PREFIX)
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", _WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment | _ONE_THREAD,
        )
        weakref.finalize(self, _stop, self._process)
        try:
            description, _ = self._exchange(self._request)
        except _WorkerDied:
            raise ReadError(
                "the uploaded file cannot be read within the bounds of memory and time for uploads "
                f"({self._limits.decoder_bytes / GIB:.1f} GiB, {self._limits.decoder_s:g} s)"
            ) from None
        except SegscopeError:
            self._end()
            raise
        return description

    def _exchange(self, request: Mapping[str, object]) -> tuple[Answer, bytes]:
        """Send a request to the worker; its answer, and the bytes that follow it.

        Raises:
            _WorkerDied: it ended, took too long, or did not follow the protocol.
            ReadError, UsageError: the worker reports that the file cannot be read.
        """
        worker = self._process
        assert worker is not None
        timer = threading.Timer(self._limits.decoder_s, worker.kill)
        timer.daemon = True
        timer.start()
        try:
            answer, data = _send(worker, request)
        except (OSError, ValueError):
            self._end()
            raise _WorkerDied from None
        finally:
            timer.cancel()
        if "error" in answer:
            message = str(answer["error"])
            if answer.get("usage"):
                raise UsageError(message)
            raise ReadError(message)
        return answer, data

    def _end(self) -> None:
        if self._process is not None:
            _stop(self._process)
            self._process = None


class _WorkerDied(Exception):
    """The worker ended, took too long, or did not follow the protocol."""


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


def read_sandboxed(path: Path, options: Mapping[str, object], limits: Limits) -> Stack:
    """The stack of an uploaded file, read by a worker process.

    Raises:
        ReadError: the file is damaged, or needs more than the limits allow.
        UsageError: it is of no known kind, or holds several images and none was chosen.
    """
    frames = SandboxedFrames(path, options, limits)
    description = frames.description
    geometry = None
    if description["affine"] is not None:
        affine = np.array(description["affine"], np.float64)
        geometry = Geometry(affine, has_place=description["has_place"])
    times = None
    if description["times_s"] is not None:
        times = np.array(description["times_s"], np.float64)
    meta = _decode_meta(description["meta"])
    kind = description["kind"]
    return Stack(frames, kind, description["modality"], geometry, times, path, meta=meta)


def _decode_meta(values: Mapping[str, Any]) -> dict[str, Any]:
    meta = {key: _lists_to_tuples(value) for key, value in values.items()}
    header = values.get("source_header")
    if header is not None:
        meta["source_header"] = _decode_header(header)
    return meta


def _decode_header(packed: Mapping[str, str]) -> object:
    """A NIfTI header from the bytes that the worker sent."""
    import nibabel

    classes = {"Nifti1Header": nibabel.Nifti1Header, "Nifti2Header": nibabel.Nifti2Header}
    block = io.BytesIO(base64.b64decode(packed["block"]))
    return classes[packed["class"]].from_fileobj(block, check=False)


def _lists_to_tuples(value: Any) -> Any:
    """A JSON value with tuples for lists, as readers leave them in `Stack.meta`."""
    if isinstance(value, list):
        return tuple(map(_lists_to_tuples, value))
    return value
