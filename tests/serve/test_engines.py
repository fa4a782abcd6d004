"""The turnstile in front of a device: the most urgent first, and long work gives way."""

from __future__ import annotations

import threading
import time

from segscope.serve.sessions.model_pool import Turnstile, Urgency


def wait_for(turnstile: Turnstile, count: int) -> None:
    while len(turnstile._waiting) < count:
        time.sleep(0.001)


def test_the_most_urgent_goes_first_and_equals_in_order() -> None:
    turnstile, order = Turnstile(), []

    def work(name: str, urgency: Urgency) -> None:
        with turnstile.pass_through(urgency):
            order.append(name)

    threads = []
    with turnstile:
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
            wait_for(turnstile, number)
        assert turnstile.wanted
        with turnstile.pass_through(Urgency.AHEAD) as waited:  # who is in may enter again
            assert waited < 0.1
    for thread in threads:
        thread.join(10)
    assert order == ["one", "two", "track", "ahead"]
    assert not turnstile.wanted


def test_long_work_gives_way() -> None:
    turnstile, order = Turnstile(), []

    def click() -> None:
        with turnstile.pass_through(Urgency.CLICK):
            order.append("click")

    thread = threading.Thread(target=click)
    with turnstile.pass_through(Urgency.TRACK):
        turnstile.give_way(Urgency.TRACK)  # nobody waits
        thread.start()
        wait_for(turnstile, 1)
        turnstile.give_way(Urgency.TRACK)
        order.append("track")
    thread.join(10)
    assert order == ["click", "track"]
