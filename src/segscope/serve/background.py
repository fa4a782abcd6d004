"""Threads that do what may be needed soon; they end before the process does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class BackgroundThreads:
    """Threads whose work can be given up at any time.

    A thread that is still inside a network when Python ends would abort the process.
    """

    def __init__(self, name: str) -> None:
        self._is_closed = False
        self._name = name
        self._threads: set[threading.Thread] = set()
        self._lock = threading.Lock()

    def start(self, work: Callable[[], None]) -> None:
        """Do `work` in a thread.

        Raises:
            RuntimeError: the system does not start another thread.
        """

        def run() -> None:
            try:
                work()
            finally:
                with self._lock:
                    self._threads.discard(threading.current_thread())

        thread = threading.Thread(target=run, name=self._name, daemon=True)
        with self._lock:
            if self._is_closed:
                return
            self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:  # the system has no thread left
            with self._lock:
                self._threads.discard(thread)
            raise

    def close(self, seconds: float = 10.0) -> None:
        """Start nothing more, and wait for what runs."""
        end = time.monotonic() + seconds
        with self._lock:
            self._is_closed = True
            threads = list(self._threads)
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
