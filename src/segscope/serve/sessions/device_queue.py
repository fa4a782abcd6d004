"""DeviceQueue: one thing at a time runs on a device, the most urgent first."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum


class Urgency(IntEnum):
    """Who goes first when a device is free."""

    CLICK = 0
    HOVER = 1
    TRACK = 2
    AHEAD = 3


class DeviceQueue:
    """A lock with a queue: the most urgent thread goes first, and among equals the first to come.

    A thread may enter again while it is inside.
    """

    def __init__(self) -> None:
        self._gate = threading.Condition()
        self._owner: int | None = None
        self._depth = 0
        self._waiting: list[tuple[int, int]] = []
        self._numbers = itertools.count()

    def __enter__(self) -> None:
        self.acquire(Urgency.CLICK)

    def __exit__(self, *_: object) -> None:
        self.release()

    @contextmanager
    def turn(self, urgency: Urgency) -> Iterator[float]:
        """Wait for a turn and hold it inside the block; gives the seconds waited."""
        waited = self.acquire(urgency)
        try:
            yield waited
        finally:
            self.release()

    def acquire(self, urgency: Urgency) -> float:
        """Wait for a turn; the seconds waited."""
        thread = threading.get_ident()
        start = time.perf_counter()
        with self._gate:
            if self._owner != thread:
                place = (int(urgency), next(self._numbers))
                heapq.heappush(self._waiting, place)
                while self._owner is not None or self._waiting[0] != place:
                    self._gate.wait()
                heapq.heappop(self._waiting)
                self._owner = thread
            self._depth += 1
        return time.perf_counter() - start

    def release(self) -> None:
        """End a turn."""
        with self._gate:
            self._depth -= 1
            if not self._depth:
                self._owner = None
                self._gate.notify_all()

    def give_way(self, urgency: Urgency) -> None:
        """Let others go first if any wait; for long work that holds the turn."""
        inside = self._owner == threading.get_ident() and self._depth == 1
        if inside and self._waiting:
            self.release()
            self.acquire(urgency)

    @property
    def waiting(self) -> int:
        """How many threads wait."""
        return len(self._waiting)
