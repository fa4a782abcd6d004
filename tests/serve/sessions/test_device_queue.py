"""The queue of a device: the most urgent first, and long work gives way."""

from __future__ import annotations

import threading
import time

from segscope.serve.sessions.device_queue import DeviceQueue, Urgency


def wait_for(queue: DeviceQueue, count: int) -> None:
    while queue.waiting < count:
        time.sleep(0.001)


def test_the_most_urgent_goes_first_and_equals_in_order() -> None:
    queue, order = DeviceQueue(), []

    def work(name: str, urgency: Urgency) -> None:
        with queue.turn(urgency):
            order.append(name)

    threads = []
    with queue:
        for number, (name, urgency) in enumerate(
            [
                ("ahead", Urgency.AHEAD),
                ("track", Urgency.TRACK),
                ("one", Urgency.CLICK),
                ("two", Urgency.CLICK),
            ],
            1,
        ):
            threads.append(threading.Thread(target=work, args=(name, urgency)))
            threads[-1].start()
            wait_for(queue, number)
        assert queue.waiting
        with queue.turn(Urgency.AHEAD) as waited:  # who is in may enter again
            assert waited < 0.1
    for thread in threads:
        thread.join(10)
    assert order == ["one", "two", "track", "ahead"]
    assert not queue.waiting


def test_long_work_gives_way() -> None:
    queue, order = DeviceQueue(), []

    def click() -> None:
        with queue.turn(Urgency.CLICK):
            order.append("click")

    thread = threading.Thread(target=click)
    with queue.turn(Urgency.TRACK):
        queue.give_way(Urgency.TRACK)  # nobody waits
        thread.start()
        wait_for(queue, 1)
        queue.give_way(Urgency.TRACK)
        order.append("track")
    thread.join(10)
    assert order == ["click", "track"]
