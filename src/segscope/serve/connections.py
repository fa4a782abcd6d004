"""Open connections: how many an address and the whole server may have."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import Counter

log = logging.getLogger("segscope.serve")

BACKLOG = 128  # connections that wait to be accepted
MOST_DESCRIPTORS = 65_536  # a process asks for no more, whatever its hard limit is
_RESERVED_DESCRIPTORS = 100  # for files, databases, child processes and archives
_FEWEST_CONNECTIONS = 16
_LOG_PAUSE_S = 60.0


def raise_descriptor_limit() -> int:
    """Raise this process's limit of open files to its hard limit; the limit in force."""
    try:
        import resource
    except ImportError:  # Windows has no such limit for sockets
        return MOST_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_DESCRIPTORS
    if hard != resource.RLIM_INFINITY:
        wanted = min(hard, MOST_DESCRIPTORS)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return MOST_DESCRIPTORS if soft == resource.RLIM_INFINITY else soft
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


class Connections:
    """Counts open connections by address.

    Attributes:
        limit: of all addresses together; leaves descriptors for the files of the project.
        limit_per_address: of one address, never more than half of `limit`.
    """

    def __init__(self, limit_per_address: int, descriptors: int = MOST_DESCRIPTORS) -> None:
        self.limit = max(descriptors - _RESERVED_DESCRIPTORS, _FEWEST_CONNECTIONS)
        self.limit_per_address = min(limit_per_address, self.limit // 2)
        self._counts: Counter[str] = Counter()
        self._refusals = RareWarning("a connection was refused: too many are open")

    def __len__(self) -> int:
        return self._counts.total()

    def admit(self, address: str) -> bool:
        """Count a new connection, unless there are too many."""
        is_full = len(self) >= self.limit or self._counts[address] >= self.limit_per_address
        if is_full:
            self._refusals.log()
            return False
        self._counts[address] += 1
        return True

    def release(self, address: str) -> None:
        """A connection has ended."""
        self._counts[address] -= 1
        if self._counts[address] <= 0:
            del self._counts[address]


class OncePerMinute(logging.Filter):
    """Passes each warning of a logger once a minute, and all errors.

    Anybody can cause the warnings of a protocol.
    """

    def __init__(self) -> None:
        super().__init__()
        self._logged: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno >= logging.ERROR:
            return True
        now = time.monotonic()
        before = self._logged.get(str(record.msg))
        if before is not None and now - before < _LOG_PAUSE_S:
            return False
        self._logged[str(record.msg)] = now
        return True


class RareWarning:
    """A warning that is logged once a minute at most, with the number of times it applied."""

    def __init__(self, message: str) -> None:
        self._message = message
        self._count = 0
        self._logged: float | None = None
        self._lock = threading.Lock()

    def log(self) -> None:
        """Log the warning, or count it."""
        now = time.monotonic()
        with self._lock:
            self._count += 1
            if self._logged is not None and now - self._logged < _LOG_PAUSE_S:
                return
            count = self._count
            self._count = 0
            self._logged = now
        log.warning("%s (%d since the last such line)", self._message, count)
