"""Jobs: work that takes longer than a request, each in its own thread."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from segscope.errors import Cancelled, SegscopeError
from segscope.serve.answers import JobState, JobStatus
from segscope.serve.errors import NotFound, ServerFull
from segscope.serve.sessions.mask_patch import MaskPatch
from segscope.wire import JsonObject

log = logging.getLogger("segscope.serve")

FINISHED_JOBS = 500  # whose status can still be read
BACKLOG = 4096  # patches of a job that a late listener still gets

Work = Callable[["Job"], None]


@dataclass
class Job:
    """One piece of work.

    Attributes:
        kind: "propagate", "embed", "everything" ...
        session_id: of the session that it works on, or "".
        total: steps to do, 0 when unknown.
    """

    kind: str
    session_id: str
    total: int = 0
    job_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    state: JobState = "queued"
    done: int = 0
    detail: str = ""
    result: JsonObject = field(default_factory=dict)
    started: float = field(default_factory=time.time)
    _cancel: threading.Event = field(default_factory=threading.Event)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _patches: deque[MaskPatch] = field(default_factory=lambda: deque(maxlen=BACKLOG))
    _count: int = 0

    @property
    def finished(self) -> bool:
        return self.state in ("done", "cancelled", "failed")

    def cancelled(self) -> bool:
        """Whether it should stop."""
        return self._cancel.is_set()

    def cancel(self) -> None:
        """Tell it to stop."""
        self._cancel.set()

    def step(self, patches: Sequence[MaskPatch] = (), done: int | None = None) -> None:
        """Report progress, and the masks that it computed; `done` counts up by default."""
        with self._changed:
            if done is None:
                done = self.done + 1
            self.done = done
            self._patches.extend(patches)
            self._count += len(patches)
            self._changed.notify_all()

    def end(self, state: JobState, detail: str = "") -> None:
        """Finish it."""
        with self._changed:
            self.state = state
            self.detail = detail
            self._changed.notify_all()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until it is finished; False when the time ran out first."""
        with self._changed:
            return self._changed.wait_for(lambda: self.finished, seconds)

    def patches(self) -> Iterator[MaskPatch]:
        """The masks that it computed so far and will compute, until it is finished."""
        sent = 0
        while True:
            with self._changed:
                while not self.finished and self._count == sent:
                    self._changed.wait(30)
                new = self._count - sent
                patches = list(self._patches)[-new:] if new else []
                sent = self._count
                finished = self.finished
            yield from patches
            if finished:
                return

    def status(self) -> JobStatus:
        """Its status for clients."""
        return JobStatus(
            job_id=self.job_id,
            kind=self.kind,
            session_id=self.session_id,
            state=self.state,
            done=self.done,
            total=self.total,
            detail=self.detail,
            result=self.result,
        )


class Jobs:
    """All jobs of a server."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._threads: dict[str, threading.Thread] = {}
        self._lock = threading.Lock()

    def get(self, job_id: str) -> Job:
        """A job by its id.

        Raises:
            NotFound: no such job, or it finished long ago.
        """
        with self._lock:
            job = self._jobs.get(job_id)
        if job is None:
            raise NotFound("no such job; it never existed, or finished long ago")
        return job

    def of(self, session_id: str) -> list[Job]:
        """Unfinished jobs of a session."""
        with self._lock:
            return [
                job
                for job in self._jobs.values()
                if job.session_id == session_id and not job.finished
            ]

    def start(self, job: Job, work: Work, notify: Work = lambda _: None) -> Job:
        """Do `work` in a thread; `notify` is called at the beginning and at the end.

        Raises:
            ServerFull: the system does not start another thread.
        """
        thread = threading.Thread(
            target=self._run, args=(job, work, notify), name=f"segscope-{job.kind}", daemon=True
        )
        with self._lock:
            self._jobs[job.job_id] = job
            self._forget_old()
            self._threads[job.job_id] = thread
        try:
            thread.start()
        except RuntimeError as error:  # the system has no thread left
            with self._lock:
                del self._jobs[job.job_id], self._threads[job.job_id]
            raise ServerFull("this server cannot start more work; try again later") from error
        return job

    def _forget_old(self) -> None:
        finished = [key for key, item in self._jobs.items() if item.finished]
        excess = max(0, len(self._jobs) - FINISHED_JOBS)
        for key in finished[:excess]:
            del self._jobs[key]

    def _run(self, job: Job, work: Work, notify: Work) -> None:
        try:
            job.state = "running"
            notify(job)
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
                f"unexpected {type(error).__name__}. This is a bug in segscope: please report it.",
            )
        finally:
            try:
                notify(job)
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
