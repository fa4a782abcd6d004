"""The worker's end of the pipe: one request in, one answer out, within bounds of memory."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from segscope.errors import SegscopeError, UsageError

_STANDARD_OUTPUT = 1
_STANDARD_ERROR = 2

Request = dict[str, Any]
Reply = tuple[Mapping[str, Any], bytes]
"""What a worker sends: the fields of its answer, and the bytes that follow."""


class Pipe:
    """The pipes of a worker process.

    Attributes:
        request: the first request.
    """

    def __init__(self) -> None:
        """Read the first request and apply the bounds that it brings."""
        self._answers: IO[bytes] = os.fdopen(os.dup(_STANDARD_OUTPUT), "wb")
        # what libraries print must not mix with answers
        os.dup2(_STANDARD_ERROR, _STANDARD_OUTPUT)
        self.request: Request = json.loads(sys.stdin.buffer.readline())
        _limit_resources(int(self.request["memory_bytes"]), int(self.request["file_bytes"]))

    def requests(self) -> IO[bytes]:
        """The lines of later requests."""
        return sys.stdin.buffer

    def answer(self, work: Callable[[], Reply], path: Path) -> bool:
        """Send what `work` returns, or why it failed; whether it succeeded.

        Args:
            work: reads the file.
            path: of the file; its folder is removed from messages.
        """
        try:
            answer, data = work()
            self._send(answer, data)
        except Exception as error:
            self._send(_error_answer(error, path))
            return False
        return True

    def _send(self, answer: Mapping[str, Any], data: bytes = b"") -> None:
        header = {**answer, "bytes": len(data)}
        self._answers.write(json.dumps(header).encode() + b"\n")
        self._answers.write(data)
        self._answers.flush()


def _limit_resources(memory_bytes: int, file_bytes: int) -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limits; the parent limits time everywhere
        return
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _error_answer(error: Exception, path: Path) -> dict[str, str | bool]:
    """Why the file cannot be read, without the path of the upload folder."""
    if isinstance(error, SegscopeError):
        message = str(error).replace(f"{path.parent}{os.sep}", "")
        return {"error": message, "usage": isinstance(error, UsageError)}
    if isinstance(error, MemoryError):
        return {"error": "the uploaded file needs more memory than uploads may use"}
    return {"error": f"the uploaded file is damaged ({type(error).__name__})"}
