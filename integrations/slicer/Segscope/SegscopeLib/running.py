"""Long work in a thread, for programs whose scene only their main thread may touch: that one asks now and then."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable
from typing import Any


class Running:
    """An iterable that is run through in a thread; `poll` gives what it has yielded since.

    Attributes:
        over: whether it has ended and everything was polled.
        error: what it ended with, if not well.
    """

    def __init__(self, make: Callable[[], Iterable[Any]]) -> None:
        self.over, self.error = False, None
        self._make, self._stop = make, threading.Event()
        self._items: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="segscope", daemon=True)
        self._thread.start()

    def cancel(self) -> None:
        """Stop before the next item; what was yielded stays."""
        self._stop.set()

    def join(self, seconds: float) -> None:
        """Wait for the thread."""
        self._thread.join(seconds)

    def poll(self) -> list[Any]:
        """What was yielded since the last call."""
        found = []
        while True:
            try:
                kind, item = self._items.get_nowait()
            except queue.Empty:
                return found
            if kind == "item":
                found.append(item)
            else:
                self.over, self.error = True, item

    def _run(self) -> None:
        error = None
        try:
            items = self._make()
            try:
                for item in items:
                    self._items.put(("item", item))
                    if self._stop.is_set():
                        break
            finally:
                close = getattr(items, "close", None)
                if close is not None:
                    close()
        except Exception as found:
            error = found
        self._items.put(("end", error))
