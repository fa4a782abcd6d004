"""Long work in a thread, for programs whose scene only their main thread may touch."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any


class BackgroundRun:
    """Runs through an iterable in a thread; `poll` returns what it has yielded since the last call.

    Attributes:
        finished: whether the iterable has ended and all its items were polled.
        error: the exception that ended it, or None.
    """

    def __init__(self, start: Callable[[], Iterable[Any]]) -> None:
        self.finished = False
        self.error: Exception | None = None
        self._start = start
        self._stop = threading.Event()
        self._end: Exception | None = None
        self._items: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="segscope", daemon=True)
        self._thread.start()

    def cancel(self) -> None:
        """Stop before the next item; items yielded so far can still be polled."""
        self._stop.set()

    def join(self, seconds: float) -> None:
        """Wait for the thread."""
        self._thread.join(seconds)

    def poll(self) -> list[Any]:
        """The items yielded since the last call."""
        items = []
        while True:
            try:
                item = self._items.get_nowait()
            except queue.Empty:
                return items
            if item is _END:
                self.finished = True
                self.error = self._end
            else:
                items.append(item)

    def _run(self) -> None:
        try:
            iterable = self._start()
            try:
                self._collect(iter(iterable))
            finally:
                close = getattr(iterable, "close", None)  # of a generator
                if close is not None:
                    close()
        except Exception as error:
            self._end = error
        self._items.put(_END)

    def _collect(self, iterator: Iterator[Any]) -> None:
        for item in iterator:
            self._items.put(item)
            if self._stop.is_set():
                return


_END = object()
