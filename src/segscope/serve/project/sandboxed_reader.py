"""Reading of uploaded files in a separate process, with bounds on memory and time.

The process runs `sandbox_worker`.
"""

from __future__ import annotations

import base64
import contextlib
import io
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from segscope.arrays import Pixels, PixelType
from segscope.errors import ReadError
from segscope.geometry import Geometry
from segscope.serve.project.worker_process import Answer, WorkerDied, WorkerProcess
from segscope.serve.settings import Limits
from segscope.stack import Stack

_WORKER = "segscope.serve.project.sandbox_worker"


class SandboxedFrames:
    """Frames that a worker process decodes (a FrameSource).

    A worker that dies is replaced once per frame.

    Attributes:
        description: what the worker reported about the stack.
    """

    def __init__(self, path: Path, options: Mapping[str, object], limits: Limits) -> None:
        self._request = {"path": str(path), "options": dict(options)}
        self._limits = limits
        self._lock = threading.Lock()
        self._worker: WorkerProcess | None = None
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
    def worker(self) -> WorkerProcess | None:
        """The worker, if one is running."""
        return self._worker

    def __len__(self) -> int:
        return self._shape[0]

    def __getitem__(self, index: int, /) -> Pixels:
        with self._lock:
            with contextlib.suppress(WorkerDied):
                return self._decode(index)
            try:
                return self._decode(index)
            except WorkerDied:
                raise ReadError(
                    f"frame {index} of the uploaded file cannot be decoded within the bounds"
                ) from None

    def close(self) -> None:
        """End the worker."""
        with self._lock:
            self._end()

    def _decode(self, index: int) -> Pixels:
        if self._worker is None:
            self._start()
        assert self._worker is not None
        try:
            answer, data = self._worker.exchange({"frame": index})
        except WorkerDied:
            self._worker = None
            raise
        frame_shape = self._shape[1:]
        expected_bytes = int(np.prod(frame_shape, dtype=np.int64)) * self._dtype.itemsize
        if list(answer.get("shape", ())) != list(frame_shape) or len(data) != expected_bytes:
            raise ReadError(f"frame {index} of the uploaded file differs in size from the others")
        return np.frombuffer(data, self._dtype).reshape(frame_shape)

    def _start(self) -> Answer:
        worker = WorkerProcess(_WORKER, self._limits)
        description, _ = worker.begin(self._request)
        self._worker = worker
        return description

    def _end(self) -> None:
        if self._worker is not None:
            self._worker.end()
            self._worker = None


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
