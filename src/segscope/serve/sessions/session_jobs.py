"""SessionJobs: work on sessions that takes longer than a request, or comes before one."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

from segscope.errors import UsageError
from segscope.masks import Masks
from segscope.models.engine import Engine
from segscope.models.segmenter import Segmenter
from segscope.predict import everything
from segscope.serve.background import BackgroundThreads
from segscope.serve.errors import Busy
from segscope.serve.sessions.device_queue import Urgency
from segscope.serve.sessions.events import EventBus, MaskEvent
from segscope.serve.sessions.find_all import Search, SuggestionFinder
from segscope.serve.sessions.jobs import Job, Jobs
from segscope.serve.sessions.mask_patch import MaskPatch
from segscope.serve.sessions.model_pool import ModelPool
from segscope.serve.sessions.open_session import FrameChanges, OpenSession
from segscope.serve.sessions.propagation import PropagateRequest
from segscope.serve.sessions.proposals import add_classes, add_proposals
from segscope.serve.sessions.registry import SessionRegistry
from segscope.serve.sessions.result import CommandResult
from segscope.stack import Stack

log = logging.getLogger("segscope.serve")

FRAMES_AHEAD = 2  # neighbours of the frame in view that are encoded in the background, each way

Progress = Callable[[int, int], None]


class SessionJobs:
    """Starts and cancels the jobs of sessions, and publishes what they do."""

    def __init__(
        self,
        sessions: SessionRegistry,
        engines: ModelPool,
        jobs: Jobs,
        events: EventBus,
        finder: SuggestionFinder,
    ) -> None:
        self._finder = finder
        self._sessions = sessions
        self._engines = engines
        self._jobs = jobs
        self._events = events
        self._ahead: dict[str, threading.Event] = {}
        self._background = BackgroundThreads("segscope-ahead")

    def close(self) -> None:
        """Stop looking ahead."""
        for stop in list(self._ahead.values()):
            stop.set()
        self._background.close()

    def cancel(self, session_id: str) -> int:
        """Cancel the jobs of a session; how many there were."""
        jobs = self._jobs.of(session_id)
        for job in jobs:
            job.cancel()
        return len(jobs)

    # --- propagation -----------------------------------------------------------------------------

    def propagate(self, session_id: str, request: PropagateRequest) -> Job:
        """Start a propagation.

        Raises:
            Busy: one is running.
            PromptError, UsageError: nothing to track, or frames that do not exist.
        """
        if any(job.kind == "propagate" for job in self._jobs.of(session_id)):
            raise Busy(
                "a propagation is running; wait until it ends, or cancel it, before the next one"
            )
        with self._sessions.use(session_id) as session:
            stack = session.work.stack
            job = Job("propagate", session_id, total=request.frame_count(stack))
            frames = session.propagate(request.resolve(stack), request.objects, job.cancelled)
            # stays in the database if the server is killed, so that the page can offer to repeat it
            self._sessions.rows.note(session_id, {"pending": request.model_dump()})
            try:
                return self._jobs.start(
                    job, lambda job: self._follow(job, session, frames), self._publish_job
                )
            except BaseException:
                session.end_propagation()
                raise

    def _follow(self, job: Job, session: OpenSession, frames: Iterator[FrameChanges]) -> None:
        """Propagate to the end."""
        try:
            done: set[int] = set()
            for changes in frames:
                done.add(changes.frame)
                job.step(changes.patches, done=len(done))
                self._publish_patches(job, changes.patches)
                self._publish_job(job)
            self._sessions.count_command(job.session_id, session)
        finally:
            session.end_propagation()
            self._sessions.rows.note(job.session_id, {"pending": None})

    # --- without prompts -------------------------------------------------------------------------

    def everything(
        self,
        session_id: str,
        frame: int,
        model: str | None = None,
        *,
        whole: bool = False,
    ) -> Job:
        """Segment a frame without prompts, and add the masks as objects.

        Args:
            model: another than the session's. One that takes no prompts segments its classes.
            whole: all frames.

        Raises:
            UsageError: `whole` with a model that takes prompts, whose objects are not linked from
                frame to frame.
        """
        with self._sessions.use(session_id) as session:
            session.visible_masks(frame)  # refuses frames that do not exist
            frames = range(frame, frame + 1)
            if whole:
                frames = range(session.frames)
            network: Engine | Segmenter = session.work.engine
        if model is not None:
            network = self._engines.network(model)
        if whole and not isinstance(network, Segmenter):
            raise UsageError(
                "objects are segmented on one frame and then propagated; for all frames name a "
                "model that takes no prompts"
            )

        def work(job: Job) -> None:
            with self._sessions.use(session_id) as session:
                masks = self._segment_frames(job, session, network, frames)
                self._add_masks(job, session, network, masks)

        return self._jobs.start(Job("everything", session_id), work, self._publish_job)

    def _segment_frames(
        self,
        job: Job,
        session: OpenSession,
        network: Engine | Segmenter,
        frames: range,
    ) -> dict[int, Masks]:
        """Masks of each frame; others may use the device in between."""
        queue = self._engines.device_queue(network)
        masks = {}
        for number, frame in enumerate(frames):

            def progress(done: int, total: int, number: int = number) -> None:
                job.total = total * len(frames)
                job.step(done=number * total + done)
                self._publish_job(job)
                queue.give_way(Urgency.TRACK)

            image = Stack.from_array(session.work.rendered(frame), channels=True)
            with queue.turn(Urgency.TRACK):
                masks[frame] = everything(image, network, progress=progress, cancel=job.cancelled)
        return masks

    def _add_masks(
        self,
        job: Job,
        session: OpenSession,
        network: Engine | Segmenter,
        masks: Mapping[int, Masks],
    ) -> None:
        if isinstance(network, Segmenter):
            result = add_classes(session, masks)
        else:
            ((frame, proposals),) = masks.items()
            result = add_proposals(session, frame, proposals)
        self._add_result(job, session, result)

    def _add_result(self, job: Job, session: OpenSession, result: CommandResult) -> None:
        """Count a command of a job, and publish what it changed."""
        if result.touched:
            self._sessions.count_command(job.session_id, session)
            job.step(result.changes, done=job.total)
            self._publish_patches(job, result.changes)
        present = [number for number in result.touched if number in session.work.objects]
        job.result = {"objects": present, "stale": list(result.stale)}

    # --- like examples ---------------------------------------------------------------------------

    def find_all(
        self, session_id: str, frame: int, labels: Sequence[str] | None, *, whole: bool
    ) -> Job:
        """Find all objects like the accepted ones, and add them as suggestions.

        Args:
            session_id: of the session.
            frame: to search.
            labels: default all with accepted objects.
            whole: all frames.

        Raises:
            UsageError: there are no accepted objects.
        """
        with self._sessions.use(session_id) as session:
            session.visible_masks(frame)  # refuses frames that do not exist
            chosen = self._finder.choose_labels(session, labels)
            frames = range(frame, frame + 1)
            if whole:
                frames = range(session.frames)

        def work(job: Job) -> None:
            def progress(done: int, total: int) -> None:
                job.total = total
                job.step(done=done)
                self._publish_job(job)

            search = Search(frames, chosen, progress, job.cancelled)
            with self._sessions.use(session_id) as session:
                result = self._finder.find(session_id, session, search)
                self._add_result(job, session, result)

        return self._jobs.start(Job("find_all", session_id), work, self._publish_job)

    # --- before it is needed ---------------------------------------------------------------------

    def embed(self, session_id: str, frames: Sequence[int]) -> Job:
        """Encode frames before they are needed, giving way to everything else."""
        with self._sessions.use(session_id) as session:
            for frame in frames:
                session.visible_masks(frame)  # refuses frames that do not exist

        def work(job: Job) -> None:
            with self._sessions.use(session_id) as session:
                for frame in frames:
                    if job.cancelled():
                        return
                    with session.turn(Urgency.AHEAD):
                        session.work.encode(frame)
                    job.step()

        return self._jobs.start(
            Job("embed", session_id, total=len(frames)), work, self._publish_job
        )

    def look_ahead(self, session_id: str, frame: int) -> None:
        """Encode the frame in view and its neighbours in the background; a later call replaces
        this one.
        """
        stop = threading.Event()
        self._ahead.pop(session_id, threading.Event()).set()
        self._ahead[session_id] = stop

        def work() -> None:
            try:
                with self._sessions.use(session_id) as session:
                    self._encode_around(session, frame, stop)
            except Exception as error:
                log.debug("looking ahead failed: %s", type(error).__name__)

        # where the system has no thread left, the frames are encoded when they are needed
        with contextlib.suppress(RuntimeError):
            self._background.start(work)

    def _encode_around(self, session: OpenSession, frame: int, stop: threading.Event) -> None:
        around = range(frame - FRAMES_AHEAD, frame + FRAMES_AHEAD + 1)
        for at in sorted(around, key=lambda at: abs(at - frame)):
            if stop.is_set() or not 0 <= at < session.frames:
                continue
            with session.turn(Urgency.AHEAD):
                if not stop.is_set():
                    session.work.encode(at)

    # --- events ----------------------------------------------------------------------------------

    def _publish_job(self, job: Job) -> None:
        self._events.publish(job.session_id, job.status())

    def _publish_patches(self, job: Job, patches: Sequence[MaskPatch]) -> None:
        if not self._events.has_listeners(job.session_id):
            return
        for patch in patches:
            event: MaskEvent = {
                "type": "mask",
                "reason": job.kind,
                "seq": None,
                "job_id": job.job_id,
                **patch.header("bits"),
            }
            self._events.publish(job.session_id, event, patch.payload("bits"))
