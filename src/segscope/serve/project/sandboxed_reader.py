"""Decoding of uploaded files in a process of its own, with bounds on memory and time.

The child reads requests from its standard input, one JSON object a line, and answers with a line of
JSON that may be followed by as many raw bytes as it names. Nothing that it says is unpickled or
evaluated.
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
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from segscope.errors import ReadError, SegscopeError, UsageError
from segscope.geometry import Geometry
from segscope.serve.settings import Limits
from segscope.stack import Stack

_LONGEST_LINE = 2**26


class ForeignFrames:
    """Frames that a child process decodes (a FrameSource). A child that fails is replaced once a
    frame.
    """

    def __init__(self, path: Path, options: Mapping[str, Any], limits: Limits) -> None:
        self._request = {
            "path": str(path),
            "options": dict(options),
            "memory_bytes": limits.decoder_bytes,
            "file_bytes": limits.unpacked_bytes,
        }
        self._limits = limits
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self.described = self._start()
        self._shape = tuple(int(length) for length in self.described["shape"])
        self._dtype = np.dtype(str(self.described["dtype"]))

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._dtype

    def __len__(self) -> int:
        return self._shape[0]

    def __getitem__(self, index: int, /) -> NDArray[Any]:
        with self._lock:
            for attempt in (1, 2):
                if self._child is None:
                    self._start()
                try:
                    return self._frame(index)
                except _Died:
                    if attempt == 2:
                        raise ReadError(
                            f"frame {index} of the uploaded file cannot be decoded within bounds"
                        ) from None
        raise AssertionError

    def close(self) -> None:
        """End the child."""
        with self._lock:
            self._end()

    def _frame(self, index: int) -> NDArray[Any]:
        answer, data = self._ask({"frame": index})
        expected = int(np.prod(self._shape[1:], dtype=np.int64)) * self._dtype.itemsize
        if list(answer.get("shape", ())) != list(self._shape[1:]) or len(data) != expected:
            raise ReadError(f"frame {index} of the uploaded file is of another size than the rest")
        return np.frombuffer(data, self._dtype).reshape(self._shape[1:])

    def _start(self) -> dict[str, Any]:
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith("SEGSCOPE_TOKEN")
        }
        self._child = subprocess.Popen(
            [sys.executable, "-m", "segscope.serve.project.sandboxed_reader"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={**environment, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )  # fmt: skip
        weakref.finalize(self, _stop, self._child)
        try:
            described, _ = self._ask(self._request)
        except _Died:
            raise ReadError(
                "the uploaded file cannot be read within the bounds of memory and time for uploads "
                f"({self._limits.decoder_bytes / 2**30:.1f} GiB, {self._limits.decoder_s:g} s)"
            ) from None
        except SegscopeError:
            self._end()
            raise
        return described

    def _ask(self, request: Mapping[str, Any]) -> tuple[dict[str, Any], bytes]:
        child = self._child
        assert child is not None
        assert child.stdin is not None
        assert child.stdout is not None
        timer = threading.Timer(self._limits.decoder_s, child.kill)
        timer.daemon = True
        timer.start()
        try:
            child.stdin.write(json.dumps(request).encode() + b"\n")
            child.stdin.flush()
            line = child.stdout.readline(_LONGEST_LINE)
            answer = json.loads(line) if line.endswith(b"\n") else None
            data = (
                child.stdout.read(int(answer.get("bytes", 0))) if isinstance(answer, dict) else b""
            )
        except (OSError, ValueError):
            answer = None
        finally:
            timer.cancel()
        if not isinstance(answer, dict) or len(data) != int(answer.get("bytes", 0)):
            self._end()
            raise _Died
        if "error" in answer:
            kind = UsageError if answer.get("usage") else ReadError
            raise kind(str(answer["error"]))
        return answer, data

    def _end(self) -> None:
        if self._child is not None:
            _stop(self._child)
            self._child = None


class _Died(Exception):
    """The child ended, hung, or spoke nonsense."""


def _stop(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def foreign_stack(path: Path, options: Mapping[str, Any], limits: Limits) -> Stack:
    """The stack of an uploaded file, read by a child process.

    Raises:
        ReadError: damaged, or more than the bounds allow.
        UsageError: of no known kind, or a choice is missing.
    """
    frames = ForeignFrames(path, options, limits)
    told = frames.described
    geometry = None if told["affine"] is None else Geometry(np.array(told["affine"], np.float64))
    times = None if told["times_s"] is None else np.array(told["times_s"], np.float64)
    return Stack(
        frames, told["kind"], told["modality"], geometry, times, path, meta=_meta_of(told["meta"])
    )


def _meta_of(told: Mapping[str, Any]) -> dict[str, Any]:
    meta = {key: _tuples(value) for key, value in told.items() if key != "source_header"}
    packed = told.get("source_header")
    if packed is not None:
        import nibabel

        header = {"Nifti1Header": nibabel.Nifti1Header, "Nifti2Header": nibabel.Nifti2Header}[
            packed["class"]
        ]
        meta["source_header"] = header.from_fileobj(
            io.BytesIO(base64.b64decode(packed["block"])), check=False
        )
    return meta


def _tuples(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    return value


# --- the child -----------------------------------------------------------------------------------


def main() -> None:
    """Serve one file until the parent goes away."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not end among the answers
    requests = sys.stdin.buffer
    first = json.loads(requests.readline())
    _bound(int(first["memory_bytes"]), int(first["file_bytes"]))
    stack = None
    try:
        from segscope.io import read

        stack = read(Path(first["path"]), **first["options"])
        middle = len(stack) // 2
        for index in sorted({0, middle, len(stack) - 1}):
            _ = stack[index]
        _say(answers, _described(stack))
    except Exception as error:
        _say(answers, _complaint(error, Path(first["path"])))
        return
    for line in requests:
        try:
            frame = np.ascontiguousarray(stack[int(json.loads(line)["frame"])])
            _say(answers, {"shape": list(frame.shape)}, frame.tobytes())
        except Exception as error:
            _say(answers, _complaint(error, Path(first["path"])))


def _bound(memory_bytes: int, file_bytes: int) -> None:
    try:
        import resource
    except ImportError:  # Windows has no such bounds; time is bounded by the parent
        return
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _described(stack: Stack) -> dict[str, Any]:
    meta = {}
    for key, value in stack.meta.items():
        if hasattr(value, "binaryblock"):
            block = base64.b64encode(value.as_byteswapped("<").binaryblock).decode()
            meta[key] = {"class": type(value).__name__, "block": block}
            continue
        with contextlib.suppress(TypeError, ValueError):
            meta[key] = json.loads(json.dumps(value, default=_plain))
    return {
        "shape": list(stack.source.shape),
        "dtype": np.dtype(stack.source.dtype).str,
        "kind": stack.kind,
        "modality": stack.modality,
        "affine": None if stack.geometry is None else stack.geometry.affine.tolist(),
        "times_s": None if stack.times_s is None else stack.times_s.tolist(),
        "meta": meta,
    }


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError


def _complaint(error: Exception, path: Path) -> dict[str, Any]:
    """What went wrong, without the name of the folder of uploads."""
    if isinstance(error, SegscopeError):
        text = str(error).replace(f"{path.parent}{os.sep}", "")
        return {"error": text, "usage": isinstance(error, UsageError)}
    if isinstance(error, MemoryError):
        return {"error": "the uploaded file needs more memory than uploads may take"}
    return {"error": f"the uploaded file is damaged ({type(error).__name__})"}


def _say(answers: IO[bytes], answer: Mapping[str, Any], data: bytes = b"") -> None:
    answers.write(json.dumps({**answer, "bytes": len(data)}).encode() + b"\n")
    answers.write(data)
    answers.flush()


if __name__ == "__main__":
    main()
