"""Stop signal: Ctrl-C and SIGTERM as a request to end a run after the current step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM)


class StopSignal:
    """Notes the first signal; a second one interrupts at once.

    Attributes:
        number: of the signal that arrived, 0 without one.
    """

    def __init__(self) -> None:
        self.number = 0

    @contextmanager
    def catch(self) -> Iterator[None]:
        """Note signals while the block runs; only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def note(number: int, _frame: FrameType | None) -> None:
            if self.number:
                signal.signal(number, previous[signal.Signals(number)])
                raise KeyboardInterrupt
            self.number = number

        previous = {number: signal.signal(number, note) for number in STOPPING}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
