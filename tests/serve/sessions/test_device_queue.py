"""The queue of a device: the most urgent first, annotators in turn, and long work gives way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from segscope.serve.errors import ServerFull
from segscope.serve.sessions.device_queue import DeviceQueue, Urgency

from ..conftest import Server


def wait_for(queue: DeviceQueue, count: int) -> None:
    while queue.waiting < count:
        time.sleep(0.001)


class Crowd:
    """Threads that wait for a queue; `order` has their names as they were served."""

    def __init__(self, queue: DeviceQueue) -> None:
        self.queue = queue
        self.order: list[str] = []
        self.threads: list[threading.Thread] = []

    def join_queue(
        self, name: str, urgency: Urgency, annotator: str = "", seconds: float = 0.0
    ) -> None:
        def work() -> None:
            with self.queue.turn(urgency, annotator):
                self.order.append(name)
                time.sleep(seconds)

        count = self.queue.waiting
        self.threads.append(threading.Thread(target=work))
        self.threads[-1].start()
        wait_for(self.queue, count + 1)

    def wait(self) -> list[str]:
        for thread in self.threads:
            thread.join(10)
        assert not self.queue.waiting
        return self.order


def test_the_most_urgent_goes_first_and_equals_in_order() -> None:
    queue = DeviceQueue()
    crowd = Crowd(queue)
    with queue:
        crowd.join_queue("ahead", Urgency.AHEAD)
        crowd.join_queue("track", Urgency.TRACK)
        crowd.join_queue("one", Urgency.CLICK)
        crowd.join_queue("two", Urgency.CLICK)
        with queue.turn(Urgency.AHEAD) as waited:  # who is in may enter again
            assert waited < 0.1
    assert crowd.wait() == ["one", "two", "track", "ahead"]


def test_long_work_gives_way() -> None:
    queue = DeviceQueue()
    order: list[str] = []

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


def test_annotators_take_turns() -> None:
    queue = DeviceQueue()
    with queue.turn(Urgency.CLICK):
        time.sleep(0.02)  # so that the queue knows how long a click takes
    crowd = Crowd(queue)
    with queue:
        for number in range(3):
            crowd.join_queue(f"anna {number}", Urgency.CLICK, "anna")
        crowd.join_queue("ben 0", Urgency.CLICK, "ben")
        crowd.join_queue("ben 1", Urgency.CLICK, "ben")
        crowd.join_queue("cleo 0", Urgency.CLICK, "cleo")
    assert crowd.wait() == ["anna 0", "ben 0", "cleo 0", "anna 1", "ben 1", "anna 2"]


def test_whoever_used_more_time_waits() -> None:
    queue = DeviceQueue()
    crowd = Crowd(queue)
    with queue.turn(Urgency.TRACK, "zoe"):
        queue._used_s.update(anna=0.05, ben=0.01)
        crowd.join_queue("anna", Urgency.CLICK, "anna")
        crowd.join_queue("ben", Urgency.CLICK, "ben")
    assert crowd.wait() == ["ben", "anna"]


def test_a_newcomer_gets_no_time_of_the_past() -> None:
    queue = DeviceQueue()
    crowd = Crowd(queue)
    with queue:
        crowd.join_queue("anna 0", Urgency.CLICK, "anna", seconds=0.05)
        crowd.join_queue("anna 1", Urgency.CLICK, "anna", seconds=0.05)
        crowd.join_queue("ben 0", Urgency.CLICK, "ben")
    crowd.wait()
    assert not queue._used_s  # nobody waits: all begin anew


def test_clicks_are_refused_instead_of_a_long_wait() -> None:
    queue = DeviceQueue(longest_wait_s=0.5)
    queue._click_s = 0.2
    crowd = Crowd(queue)
    with queue:
        crowd.join_queue("one", Urgency.CLICK, "anna")
        crowd.join_queue("two", Urgency.CLICK, "ben")

        refused: list[ServerFull] = []

        def click() -> None:
            try:
                with queue.turn(Urgency.CLICK, "cleo"):
                    raise AssertionError("it was not refused")
            except ServerFull as error:
                refused.append(error)

        thread = threading.Thread(target=click)
        thread.start()
        thread.join(10)
        assert refused[0].status == 503
        assert refused[0].retry_after_s == 1
        assert "nothing was changed" in str(refused[0])
        crowd.join_queue("track", Urgency.TRACK, "cleo")  # jobs wait
        with queue.turn(Urgency.CLICK):  # who is in may enter again
            pass
    assert crowd.wait() == ["one", "two", "track"]


def test_the_first_clicks_tell_how_long_the_wait_is() -> None:
    queue = DeviceQueue(longest_wait_s=0.15)
    for seconds in (0.2, 0.0):
        with queue.turn(Urgency.CLICK):
            time.sleep(seconds)
    assert queue._click_s == pytest.approx(0.1, abs=0.05)
    served = Crowd(queue)
    refused: list[ServerFull] = []

    def click() -> None:
        try:
            with queue.turn(Urgency.CLICK):
                raise AssertionError("it was not refused")
        except ServerFull as error:
            refused.append(error)

    with queue:
        served.join_queue("one", Urgency.CLICK)
        thread = threading.Thread(target=click)
        thread.start()
        thread.join(10)
    assert served.wait() == ["one"]
    assert len(refused) == 1


def test_without_a_limit_nobody_is_refused() -> None:
    queue = DeviceQueue()
    queue._click_s = 1e6
    crowd = Crowd(queue)
    with queue:
        crowd.join_queue("one", Urgency.CLICK)
        crowd.join_queue("two", Urgency.CLICK)
    assert crowd.wait() == ["one", "two"]


@pytest.mark.parametrize("urgency", list(Urgency))
def test_a_free_queue_lets_everybody_in(urgency: Urgency) -> None:
    queue = DeviceQueue(longest_wait_s=0.0)
    with queue.turn(urgency) as waited:
        assert waited < 1


def test_a_refused_click_is_503_and_changes_nothing(serve: Callable[..., Server]) -> None:
    server = serve(longest_wait_s=90)
    busy = server.open("cells.png", annotator="anna", new=True)
    busy_lease = dict(server.headers)
    session_id = server.open("cells.png", annotator="ben", new=True)
    queue = server.workspace.engines.device_queue(server.workspace.engines.get(None))
    queue._click_s = 60.0
    body = {"points": [[30, 20, 1]]}
    path = "/v1/sessions/{}/predict"
    answers: list[int] = []

    def click() -> None:
        answer = server.http.post(path.format(busy), json=body, headers=busy_lease)
        answers.append(answer.status_code)

    thread = threading.Thread(target=click)
    with queue:
        thread.start()
        wait_for(queue, 1)
        refused = server.http.post(path.format(session_id), json=body, headers=server.headers)
    thread.join(60)
    assert answers == [200]
    assert refused.status_code == 503
    assert int(refused.headers["Retry-After"]) == 75
    assert "try again in a moment" in refused.json()["detail"]
    assert server.ask("GET", "/state")["can_undo"] == 0
    server.do("predict", **body)
