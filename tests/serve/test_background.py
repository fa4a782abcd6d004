"""Threads that end before the process does."""

from __future__ import annotations

import threading
import time

from segscope.serve.background import BackgroundThreads


def test_closing_waits_for_what_runs_and_starts_nothing_more() -> None:
    threads = BackgroundThreads("test")
    started = threading.Event()
    done = []

    def work() -> None:
        started.set()
        time.sleep(0.1)
        done.append(1)

    threads.start(work)
    started.wait()
    threads.close()
    assert done == [1]
    threads.start(lambda: done.append(2))
    time.sleep(0.05)
    assert done == [1]


def test_closing_waits_no_longer_than_it_should() -> None:
    threads = BackgroundThreads("test")
    stop = threading.Event()
    threads.start(lambda: print(stop.wait(10)))
    start = time.monotonic()
    threads.close(0.1)
    assert time.monotonic() - start < 5
    stop.set()
