"""EventBus: messages about a session to every client that is connected to it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Literal, NotRequired, TypedDict

from segscope.serve.answers import JobStatus, PatchHeader
from segscope.wire import JsonObject

log = logging.getLogger("segscope.serve")


class MaskEvent(PatchHeader):
    """A part of a mask changed; its pixels follow."""

    type: Literal["mask"]
    reason: str
    seq: int | None
    job_id: NotRequired[str]


class OpeningEvent(TypedDict):
    """A session is being opened: commands done, commands to do."""

    type: Literal["opening"]
    done: int
    total: int


class ExamplesEvent(TypedDict):
    """The examples of a session's model have changed, or are about to."""

    type: Literal["examples"]
    updating: bool
    labels: list[JsonObject]


Event = MaskEvent | OpeningEvent | ExamplesEvent | JobStatus
Listener = Callable[[Event, bytes | None], None]


class EventBus:
    """Listeners by session; each is called on the thread that publishes."""

    def __init__(self) -> None:
        self._listeners: dict[str, list[Listener]] = {}
        self._lock = threading.Lock()

    def subscribe(self, session_id: str, listener: Listener) -> Callable[[], None]:
        """Subscribe to a session's events; returns a function that unsubscribes."""
        with self._lock:
            self._listeners.setdefault(session_id, []).append(listener)

        def unsubscribe() -> None:
            with self._lock:
                listeners = self._listeners.get(session_id, [])
                if listener in listeners:
                    listeners.remove(listener)
                if not listeners:
                    self._listeners.pop(session_id, None)

        return unsubscribe

    def has_listeners(self, session_id: str) -> bool:
        """Whether anyone is subscribed to a session."""
        return session_id in self._listeners

    def publish(self, session_id: str, event: Event, payload: bytes | None = None) -> None:
        """Send an event to all listeners of a session; one that fails does not stop the others."""
        with self._lock:
            listeners = list(self._listeners.get(session_id, ()))
        for listener in listeners:
            try:
                listener(event, payload)
            except Exception:
                log.debug("a listener has disconnected")
