"""The worker process of `sandboxed_reader`: reads one file and sends its frames."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from segscope.errors import SegscopeError, UsageError
from segscope.stack import Stack

_STANDARD_OUTPUT = 1
_STANDARD_ERROR = 2


def main() -> None:
    """Serve one file until the parent closes the pipe."""
    answers = os.fdopen(os.dup(_STANDARD_OUTPUT), "wb")
    os.dup2(_STANDARD_ERROR, _STANDARD_OUTPUT)  # what libraries print must not mix with answers
    requests = sys.stdin.buffer
    request = json.loads(requests.readline())
    path = Path(request["path"])
    _limit_resources(int(request["memory_bytes"]), int(request["file_bytes"]))
    try:
        stack = _open(path, request["options"])
        _send(answers, _describe(stack))
    except Exception as error:
        _send(answers, _error_answer(error, path))
        return
    for line in requests:
        try:
            frame = np.ascontiguousarray(stack[int(json.loads(line)["frame"])])
            _send(answers, {"shape": list(frame.shape)}, frame.tobytes())
        except Exception as error:
            _send(answers, _error_answer(error, path))


def _open(path: Path, options: Mapping[str, Any]) -> Stack:
    """Read a file and decode some of its frames, so that damage is reported at once."""
    from segscope.io import read  # after the limits apply: readers are loaded with it

    stack = read(path, **options)
    for index in sorted({0, len(stack) // 2, len(stack) - 1}):
        _ = stack[index]
    return stack


def _limit_resources(memory_bytes: int, file_bytes: int) -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limits; the parent limits time everywhere
        return
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _describe(stack: Stack) -> dict[str, Any]:
    affine = None
    if stack.geometry is not None:
        affine = stack.geometry.affine.tolist()
    times = None
    if stack.times_s is not None:
        times = stack.times_s.tolist()
    return {
        "shape": list(stack.source.shape),
        "dtype": np.dtype(stack.source.dtype).str,
        "kind": stack.kind,
        "modality": stack.modality,
        "affine": affine,
        "has_place": stack.geometry is None or stack.geometry.has_place,
        "times_s": times,
        "meta": _encode_meta(stack.meta),
    }


def _encode_meta(meta: Mapping[str, Any]) -> dict[str, Any]:
    """The entries that JSON can hold, and a NIfTI header as bytes."""
    encoded: dict[str, Any] = {}
    for key, value in meta.items():
        if hasattr(value, "binaryblock"):
            block = base64.b64encode(value.as_byteswapped("<").binaryblock).decode()
            encoded[key] = {"class": type(value).__name__, "block": block}
            continue
        with contextlib.suppress(TypeError, ValueError):
            encoded[key] = json.loads(json.dumps(value, default=_to_json))
    return encoded


def _to_json(value: Any) -> object:
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError


def _error_answer(error: Exception, path: Path) -> dict[str, str | bool]:
    """Why the file cannot be read, without the path of the upload folder."""
    if isinstance(error, SegscopeError):
        message = str(error).replace(f"{path.parent}{os.sep}", "")
        return {"error": message, "usage": isinstance(error, UsageError)}
    if isinstance(error, MemoryError):
        return {"error": "the uploaded file needs more memory than uploads may use"}
    return {"error": f"the uploaded file is damaged ({type(error).__name__})"}


def _send(answers: IO[bytes], answer: Mapping[str, Any], data: bytes = b"") -> None:
    header = {**answer, "bytes": len(data)}
    answers.write(json.dumps(header).encode() + b"\n")
    answers.write(data)
    answers.flush()


if __name__ == "__main__":
    main()
