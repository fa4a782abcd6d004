"""Events reach every subscriber of a session, and nobody else."""

from __future__ import annotations

from segscope.serve.sessions.events import Event, EventBus, OpeningEvent

OPENING: OpeningEvent = {"type": "opening", "done": 1, "total": 2}


def test_only_subscribers_of_the_session_get_an_event() -> None:
    bus = EventBus()
    received: list[tuple[str, Event, bytes | None]] = []
    stop = bus.subscribe("a", lambda event, payload: received.append(("a", event, payload)))
    bus.subscribe("b", lambda event, payload: received.append(("b", event, payload)))
    bus.publish("a", OPENING, b"pixels")
    assert received == [("a", OPENING, b"pixels")]
    stop()
    stop()
    assert not bus.has_listeners("a")
    assert bus.has_listeners("b")
    bus.publish("a", OPENING)
    assert len(received) == 1


def test_a_listener_that_fails_does_not_stop_the_others() -> None:
    bus = EventBus()
    received: list[Event] = []

    def fail(_event: Event, _payload: bytes | None) -> None:
        raise RuntimeError

    bus.subscribe("a", fail)
    bus.subscribe("a", lambda event, _payload: received.append(event))
    bus.publish("a", OPENING)
    assert received == [OPENING]
