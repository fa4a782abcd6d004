"""The log of FFmpeg's decoders, which is the only place where some of their errors appear."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_log_lock = threading.Lock()


@contextmanager
def counting_errors() -> Iterator[list[int]]:
    """Count the errors that FFmpeg logs inside, in the first item of the list.

    Its log is one for the whole process; nothing of it is emitted.
    """
    from av import logging

    count = [0]
    with _log_lock:
        previous_level = logging.get_level()
        logging.set_level(logging.PANIC)
        before, _ = logging.get_last_error()
        try:
            yield count
        finally:
            after, _ = logging.get_last_error()
            count[0] = after - before
            logging.set_level(previous_level)
