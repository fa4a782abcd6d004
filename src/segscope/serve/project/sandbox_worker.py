"""The worker process of `sandboxed_reader`: reads one file and sends its frames."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from segscope.serve.project.worker_answers import Pipe, Reply
from segscope.stack import Stack


def main() -> None:
    """Serve one file until the parent closes the pipe."""
    pipe = Pipe()
    path = Path(pipe.request["path"])
    stack: Stack

    def open_file() -> Reply:
        nonlocal stack
        stack = _open(path, pipe.request["options"])
        return _describe(stack), b""

    if not pipe.answer(open_file, path):
        return
    for line in pipe.requests():
        pipe.answer(partial(_decode_frame, stack, line), path)


def _decode_frame(stack: Stack, request: bytes) -> Reply:
    frame = np.ascontiguousarray(stack[int(json.loads(request)["frame"])])
    return {"shape": list(frame.shape)}, frame.tobytes()


def _open(path: Path, options: Mapping[str, Any]) -> Stack:
    """Read a file and decode some of its frames, so that damage is reported at once."""
    from segscope.io import read  # after the limits apply: readers are loaded with it

    stack = read(path, **options)
    for index in sorted({0, len(stack) // 2, len(stack) - 1}):
        _ = stack[index]
    return stack


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


if __name__ == "__main__":
    main()
