"""DeviceQueue: one thing at a time runs on a device, the most urgent first, annotators in turn."""

from __future__ import annotations

import heapq
import itertools
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

from segscope.serve.errors import ServerFull

SMOOTHING = 0.1  # least weight of the latest click in the mean duration of clicks
REFUSED = 1  # urgencies up to this one are refused where the wait would be too long


class Urgency(IntEnum):
    """Who goes first when a device is free."""

    CLICK = 0
    HOVER = 1
    TRACK = 2
    AHEAD = 3


class DeviceQueue:
    """A lock with a queue: the most urgent thread goes first; equally urgent ones take turns.

    Each annotator gets the same share of the device's time: whoever used less of it goes first, and
    a newcomer does not get the time of the past. A thread may enter again while it is inside.

    Args:
        longest_wait_s: clicks that would have to wait for longer are refused; None for no limit.
    """

    def __init__(self, longest_wait_s: float | None = None) -> None:
        self._longest_wait_s = longest_wait_s
        self._gate = threading.Condition()
        self._thread: int | None = None
        self._annotator = ""
        self._entered = 0.0
        self._depth = 0
        self._waiting: list[tuple[int, float, int]] = []
        self._numbers = itertools.count()
        self._used_s: dict[str, float] = {}  # of those who were served since the queue was empty
        self._level_s = 0.0  # what whoever was served last had used before
        self._clicks = 0
        self._click_s = 0.0  # mean duration of clicks

    def __enter__(self) -> None:
        self.acquire(Urgency.CLICK)

    def __exit__(self, *_: object) -> None:
        self.release()

    @contextmanager
    def turn(self, urgency: Urgency, annotator: str = "") -> Iterator[float]:
        """Wait for a turn and hold it inside the block; gives the seconds waited.

        Raises:
            ServerFull: it is a click or a preview, and would have to wait for too long.
        """
        self._refuse_long_wait(urgency)
        waited = self.acquire(urgency, annotator)
        try:
            yield waited
        finally:
            self.release(urgency)

    def acquire(self, urgency: Urgency, annotator: str = "") -> float:
        """Wait for a turn; the seconds waited."""
        thread = threading.get_ident()
        start = time.perf_counter()
        with self._gate:
            if self._thread != thread:
                self._wait(urgency, annotator)
                self._thread = thread
                self._annotator = annotator
                self._entered = time.perf_counter()
            self._depth += 1
        return time.perf_counter() - start

    def _wait(self, urgency: Urgency, annotator: str) -> None:
        used = max(self._used_s.get(annotator, 0.0), self._level_s)
        # further requests of the annotator that wait already come after this one
        self._used_s[annotator] = used + self._click_s
        place = (int(urgency), used, next(self._numbers))
        heapq.heappush(self._waiting, place)
        while self._thread is not None or self._waiting[0] != place:
            self._gate.wait()
        heapq.heappop(self._waiting)
        self._level_s = max(self._level_s, used)
        self._used_s[annotator] -= self._click_s

    def release(self, urgency: Urgency | None = None) -> None:
        """End a turn."""
        with self._gate:
            self._depth -= 1
            if self._depth:
                return
            duration = time.perf_counter() - self._entered
            used = self._used_s.get(self._annotator, self._level_s)
            self._used_s[self._annotator] = used + duration
            if urgency is Urgency.CLICK:
                self._clicks += 1
                weight = max(SMOOTHING, 1 / self._clicks)
                self._click_s += weight * (duration - self._click_s)
            if not self._waiting:
                self._used_s.clear()
                self._level_s = 0.0
            self._thread = None
            self._gate.notify_all()

    def give_way(self, urgency: Urgency, annotator: str = "") -> None:
        """Let others go first if any wait; for long work that holds the turn."""
        inside = self._thread == threading.get_ident() and self._depth == 1
        if inside and self._waiting:
            self.release()
            self.acquire(urgency, annotator)

    @property
    def waiting(self) -> int:
        """How many threads wait."""
        return len(self._waiting)

    def _refuse_long_wait(self, urgency: Urgency) -> None:
        if self._longest_wait_s is None or urgency > REFUSED:
            return
        if self._thread == threading.get_ident():
            return
        with self._gate:
            ahead = sum(place[0] <= urgency for place in self._waiting)
            ahead += self._thread is not None
            expected_s = ahead * self._click_s
        if expected_s > self._longest_wait_s:
            error = ServerFull(
                f"clicks of other annotators keep the device busy for about {expected_s:.0f} s; "
                "nothing was changed, try again in a moment"
            )
            error.retry_after_s = max(1, math.ceil(expected_s - self._longest_wait_s / 2))
            raise error
