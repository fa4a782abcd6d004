"""Jobs: work that takes longer than a request, in threads of its own, and the wires on which news
travel to clients.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from segscope.errors import Cancelled, SegscopeError
from segscope.serve.errors import NotFound
from segscope.serve.sessions.mask_patch import Piece

log = logging.getLogger("segscope.serve")

State = Literal["queued", "running", "done", "cancelled", "failed"]
KEPT = 500  # finished jobs that can still be asked for
BACKLOG = 4096  # pieces of a job that a late listener still gets


@dataclass
class Job:
    """One piece of work.

    Attributes:
        kind: "propagate", "embed", "everything" ...
        session_id: whose, or "".
        total: steps to do, 0 when unknown.
    """

    kind: str
    session_id: str
    total: int = 0
    job_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    state: State = "queued"
    done: int = 0
    detail: str = ""
    result: dict[str, Any] = field(default_factory=dict)
    started: float = field(default_factory=time.time)
    _cancel: threading.Event = field(default_factory=threading.Event)
    _news: threading.Condition = field(default_factory=threading.Condition)
    _pieces: deque[Piece] = field(default_factory=lambda: deque(maxlen=BACKLOG))
    _count: int = 0

    @property
    def over(self) -> bool:
        return self.state in ("done", "cancelled", "failed")

    def cancelled(self) -> bool:
        """Whether somebody asked it to stop."""
        return self._cancel.is_set()

    def cancel(self) -> None:
        """Ask it to stop."""
        self._cancel.set()

    def step(self, pieces: list[Piece] | None = None, done: int | None = None) -> None:
        """Note progress, and what it brought."""
        with self._news:
            self.done = self.done + 1 if done is None else done
            for piece in pieces or ():
                self._pieces.append(piece)
                self._count += 1
            self._news.notify_all()

    def end(self, state: State, detail: str = "") -> None:
        with self._news:
            self.state = state
            self.detail = detail
            self._news.notify_all()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for the end; whether it came."""
        with self._news:
            return self._news.wait_for(lambda: self.over, seconds)

    def pieces(self) -> Iterator[Piece]:
        """What it brought so far and will bring, until it is over."""
        at = 0
        while True:
            with self._news:
                while not self.over and self._count == at:
                    self._news.wait(30)
                new = list(self._pieces)[max(0, len(self._pieces) - (self._count - at)) :]
                at = self._count
                over = self.over
            yield from new
            if over:
                return

    def to_json(self) -> dict[str, Any]:
        """What clients are told."""
        return {
            "job_id": self.job_id,
            "kind": self.kind,
            "session_id": self.session_id,
            "state": self.state,
            "done": self.done,
            "total": self.total,
            "detail": self.detail,
            "result": self.result,
        }


class Jobs:
    """All jobs of a server."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._threads: dict[str, threading.Thread] = {}
        self._lock = threading.Lock()

    def get(self, job_id: str) -> Job:
        """A job by its id.

        Raises:
            NotFound: none of that id, or long over.
        """
        with self._lock:
            job = self._jobs.get(job_id)
        if job is None:
            raise NotFound("no such job; it never was, or ended long ago")
        return job

    def of(self, session_id: str) -> list[Job]:
        """Jobs of a session that are not over."""
        with self._lock:
            return [
                job for job in self._jobs.values() if job.session_id == session_id and not job.over
            ]

    def start(
        self, job: Job, work: Callable[[Job], None], told: Callable[[Job], None] = lambda _: None
    ) -> Job:
        """Do `work` in a thread; `told` is called at the beginning and at the end."""
        with self._lock:
            self._jobs[job.job_id] = job
            for old in [key for key, item in self._jobs.items() if item.over][
                : max(0, len(self._jobs) - KEPT)
            ]:
                del self._jobs[old]
        thread = threading.Thread(
            target=self._run, args=(job, work, told), name=f"segscope-{job.kind}", daemon=True
        )
        with self._lock:
            self._threads[job.job_id] = thread
        thread.start()
        return job

    def _run(self, job: Job, work: Callable[[Job], None], told: Callable[[Job], None]) -> None:
        try:
            job.state = "running"
            told(job)
            work(job)
            job.end("cancelled" if job.cancelled() else "done", job.detail)
        except Cancelled:
            job.end("cancelled")
        except SegscopeError as error:
            job.end("failed", str(error))
        except Exception as error:
            log.exception("a %s job failed", job.kind)
            job.end(
                "failed",
                f"unexpected {type(error).__name__}. This is a fault of segscope: please report it.",
            )
        finally:
            try:
                told(job)
            finally:
                with self._lock:
                    self._threads.pop(job.job_id, None)

    def close(self, seconds: float = 10.0) -> None:
        """Cancel everything and wait a while."""
        with self._lock:
            jobs = list(self._jobs.values())
            threads = list(self._threads.values())
        for job in jobs:
            job.cancel()
        for thread in threads:
            thread.join(seconds)


class Wires:
    """Listeners by session: functions that are handed a message from whatever thread has news."""

    def __init__(self) -> None:
        self._listeners: dict[str, list[Callable[[dict[str, Any], bytes | None], None]]] = {}
        self._lock = threading.Lock()

    def listen(
        self, session_id: str, listener: Callable[[dict[str, Any], bytes | None], None]
    ) -> Callable[[], None]:
        """Hear of a session; gives what ends it."""
        with self._lock:
            self._listeners.setdefault(session_id, []).append(listener)

        def stop() -> None:
            with self._lock:
                found = self._listeners.get(session_id, [])
                if listener in found:
                    found.remove(listener)
                if not found:
                    self._listeners.pop(session_id, None)

        return stop

    def heard(self, session_id: str) -> bool:
        """Whether anyone listens."""
        return session_id in self._listeners

    def tell(self, session_id: str, message: dict[str, Any], payload: bytes | None = None) -> None:
        """Hand a message to everyone who listens; a listener that fails is its own concern."""
        with self._lock:
            listeners = list(self._listeners.get(session_id, ()))
        for listener in listeners:
            try:
                listener(message, payload)
            except Exception:
                log.debug("a listener went away")
