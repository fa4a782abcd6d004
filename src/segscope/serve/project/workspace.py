"""Workspace: a project at work. Every door (the page, the clients, other programs' protocols) comes
through here.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from segscope._version import __version__
from segscope.errors import UsageError, WriteError
from segscope.masks import Masks
from segscope.render import PRESETS
from segscope.serve.errors import Busy
from segscope.serve.project.database import Store
from segscope.serve.project.images import Images
from segscope.serve.project.lock import lock_project
from segscope.serve.project.mask_export import EXPORT_FORMATS, ExportedFile, export_masks
from segscope.serve.project.pacs import Archives
from segscope.serve.project.project_info import (
    ClientLimits,
    ExportChoice,
    ProjectInfo,
    ProjectLabel,
)
from segscope.serve.project.worklist import Worklist
from segscope.serve.sessions import review
from segscope.serve.sessions.jobs import Job, Jobs, Wires
from segscope.serve.sessions.mask_patch import Encoding, Piece
from segscope.serve.sessions.model_pool import Engines, Urgency
from segscope.serve.sessions.open_session import Document
from segscope.serve.sessions.registry import Sessions, Wanted
from segscope.serve.sessions.result import Outcome, network_row, stop_rules
from segscope.serve.settings import Settings
from segscope.wire import prompts_to_json

log = logging.getLogger("segscope.serve")

AHEAD = 2  # neighbours of the frame in view that are encoded in the background, each way


class Workspace:
    """One project, open.

    Example:
        >>> from segscope.serve.settings import Settings
        >>> workspace = Workspace(Settings(Path("my-project"), roots=(Path("scans"),)))  # doctest: +SKIP
        >>> image = workspace.images.refer(0, "case1.nii.gz")  # doctest: +SKIP
    """

    def __init__(self, settings: Settings) -> None:
        """Open the project folder, or make it.

        Raises:
            UsageError: a folder cannot be there, or a root is none.
            ReadError: it holds something else.
            Busy: another server works in it.
        """
        for root in settings.roots:
            if not root.is_dir():
                raise UsageError(f"the root {root} is not a folder")
        try:
            settings.project.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WriteError(
                f"cannot make the project folder {settings.project}: {error.strerror or error}"
            ) from error
        self.settings = settings
        self._lock = lock_project(settings.project)
        self.store = Store(settings.project / "project.sqlite")
        self.images = Images(self.store, settings)
        self.archives = Archives(settings, self.images)
        self.engines = Engines(
            settings.model, settings.models, settings.device, settings.project / "models"
        )
        self.jobs = Jobs()
        self.wires = Wires()
        self.sessions = Sessions(
            settings, self.store, self.images, self.engines, self.jobs, self.wires
        )
        self.cases = Worklist(self.store, self.images)
        self.started = time.time()
        self._ahead: dict[str, threading.Event] = {}

    def close(self) -> None:
        """Stop jobs, save states, close files."""
        if self._lock.closed:
            return
        self.jobs.close()
        self.sessions.close()
        self.store.close()
        self._lock.close()

    def __enter__(self) -> Workspace:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- the project -----------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The name of the project; by default that of its folder."""
        name: str = self.store.get("name", self.settings.project.resolve().name)
        return name

    @property
    def labels(self) -> list[ProjectLabel]:
        """The labels that objects may get."""
        return [ProjectLabel.from_json(label) for label in self.store.get("labels", [])]

    def project(self) -> ProjectInfo:
        """Describe the project to clients."""
        settings = self.settings
        return ProjectInfo(
            name=self.name,
            version=__version__,
            labels=self.labels,
            model=self.engines.default,
            windows=dict(PRESETS),
            exports={
                name: ExportChoice(export_format.suffix, export_format.note)
                for name, export_format in EXPORT_FORMATS.items()
            },
            roots=[root.name for root in settings.roots],
            dicomweb=self.archives.list_urls(),
            cases=self.cases.count_by_state(),
            limits=ClientLimits(
                upload_bytes=settings.limits.upload_bytes,
                volume_bytes=settings.limits.volume_bytes,
                idle_s=settings.idle_timeout_s,
                liveness_s=settings.liveness_s,
            ),
        )

    def change_project(
        self, *, name: str | None = None, labels: Sequence[ProjectLabel] | None = None
    ) -> None:
        """Change the name or replace the labels; None leaves them as they are.

        Raises:
            UsageError: two labels share a number.
        """
        if name is not None:
            self.store.put("name", name)
        if labels is not None:
            numbers = [label.number for label in labels]
            if len(set(numbers)) != len(numbers):
                raise UsageError("two labels share a number; give each label its own")
            self.store.put("labels", [asdict(label) for label in labels])

    # --- sessions --------------------------------------------------------------------------------

    def open_session(self, wanted: Wanted, *, take_over: bool = False) -> dict[str, Any]:
        """Find or make a session and lease it."""
        row, resumed = self.sessions.find_or_make(wanted)
        lease = self.sessions.leases.claim(row["id"], take_over=take_over)
        return {
            "session_id": row["id"],
            "lease": lease.token,
            "idle_s": self.settings.idle_timeout_s,
            "liveness_s": self.settings.liveness_s,
            "resumed": resumed,
        }

    def close_session(self, session_id: str, *, erase: bool = False) -> None:
        """Give the lease back; with `erase`, put the session into the trash."""
        self.sessions.row(session_id)
        for job in self.jobs.of(session_id):
            job.cancel()
            job.wait(10)
        if erase:
            self.sessions.erase(session_id)
        self.sessions.leases.release(session_id)

    def state(self, session_id: str) -> dict[str, Any]:
        """Everything of a session but pixels."""
        row = self.sessions.row(session_id)
        with self.sessions.use(session_id) as document:
            window = document.work.window
            seen, total = review.progress(document.work.tracks)
            jobs = [job.to_json() for job in self.jobs.of(session_id) if job.kind == "propagate"]
            return {
                **self.sessions.public(row),
                "frames": document.frames,
                "size_hw": list(document.size_hw),
                "window": {"how": window["how"], "low": window["low"], "high": window["high"]},
                **counts(document),
                "network": network_row(document.work),
                "saved": True,
                "job": jobs[0] if jobs else None,
                "interrupted": None if jobs else row["pending"],
                "reviewed": [seen, total],
                "objects": document.objects(),
                "flags": self.store.rows(
                    "SELECT frame, comment FROM flags WHERE session_id = ? ORDER BY frame",
                    session_id,
                ),
            }

    def prompts(self, session_id: str, frame: int | None, object_id: int | None) -> dict[str, Any]:
        """The prompts of a session as a prompt file."""
        with self.sessions.use(session_id) as document:
            tracks = document.work.tracks
            chosen = {key: track for key, track in tracks.items() if object_id in (None, key)}
            prompts = [
                prompt
                for track in chosen.values()
                for at, said in sorted(track.prompts.items())
                if frame in (None, at)
                for prompt in said
            ]
            return prompts_to_json(prompts, {key: track.name for key, track in chosen.items()})

    def flag(self, session_id: str, frame: int, *, flagged: bool, comment: str = "") -> None:
        """Mark a frame for somebody to look at, or take the mark away."""
        with self.sessions.use(session_id) as document:
            document.shown(frame)
        if flagged:
            row = {"session_id": session_id, "frame": frame, "comment": comment}
            self.store.insert("flags", row, otherwise="OR REPLACE")
        else:
            self.store.delete("flags", session_id=session_id, frame=frame)

    @contextmanager
    def export(
        self, session_id: str, format_name: str, objects: Sequence[int] | None = None
    ) -> Iterator[ExportedFile]:
        """The masks of a session as a file, which exists until the block ends."""
        image = self.images.get(self.sessions.row(session_id)["image_id"]).image
        with self.sessions.use(session_id) as document:
            masks = document.masks(objects)
            stack = document.work.stack
        stem = _file_stem(image.name)
        with export_masks(masks, stack, format_name, f"{stem}_masks") as file:
            yield file

    # --- commands --------------------------------------------------------------------------------

    def command(
        self, session_id: str, document: Document, step: Callable[[Document], Outcome | None]
    ) -> Outcome:
        """Do a command on an open session and count it."""
        outcome = step(document)
        if outcome is None:
            return Outcome()
        self.sessions.note(session_id, document)
        return outcome

    def propagate(self, session_id: str, request: Mapping[str, Any]) -> Job:
        """Start carrying objects from frame to frame.

        Raises:
            Busy: one is under way.
            PromptError, UsageError: nothing to carry, or frames that are not there.
        """
        if any(job.kind == "propagate" for job in self.jobs.of(session_id)):
            raise Busy("a propagation is under way; let it end, or cancel it, before the next one")
        within = request.get("within")
        with self.sessions.use(session_id) as document:
            kind = document.work.stack.kind
            job = Job(
                "propagate",
                session_id,
                total=document.frames if within is None else within[1] - within[0] + 1,
            )
            direction = request.get("direction") or ("both" if kind == "volume" else "forward")
            frames = document.propagate(
                job.cancelled,
                direction=direction,
                start=request.get("start"),
                within=None if within is None else (within[0], within[1]),
                objects=request.get("objects"),
                rules=stop_rules(request.get("rules", "auto"), kind),
            )
            self.store.update("sessions", session_id, {"pending": dict(request)})
            return self.jobs.start(
                job, lambda job: self._carry(job, document, frames), self._tell_job
            )

    def _carry(
        self, job: Job, document: Document, frames: Iterator[tuple[int, list[Piece], float]]
    ) -> None:
        session_id = job.session_id
        try:
            seen: set[int] = set()
            for frame, changed, _ in frames:
                seen.add(frame)
                job.step(changed, done=len(seen))
                self._tell_pieces(session_id, changed, "propagate", job_id=job.job_id)
                self._tell_job(job)
            self.sessions.note(session_id, document)
        finally:
            document.end_propagation()
            self.store.update("sessions", session_id, {"pending": None})

    def cancel(self, session_id: str) -> int:
        """Cancel the jobs of a session; how many there were."""
        jobs = self.jobs.of(session_id)
        for job in jobs:
            job.cancel()
        return len(jobs)

    def embed(self, session_id: str, frames: Sequence[int]) -> Job:
        """Encode frames ahead, giving way to everything else."""
        with self.sessions.use(session_id) as document:
            for frame in frames:
                document.shown(frame)

        def work(job: Job) -> None:
            with self.sessions.use(session_id) as document:
                for frame in frames:
                    if job.cancelled():
                        return
                    with document.turn(Urgency.AHEAD):
                        document.work.encode(frame)
                    job.step()

        return self.jobs.start(Job("embed", session_id, total=len(frames)), work, self._tell_job)

    def everything(
        self, session_id: str, frame: int, model: str | None = None, *, whole: bool = False
    ) -> Job:
        """Find all objects of a frame without prompts and make them objects, where there are none
        yet.

        Args:
            session_id: of the session.
            frame: to look at.
            model: another than the session's. One that takes no prompts finds its classes.
            whole: look at all frames.

        Raises:
            UsageError: `whole` with a model that takes prompts, whose objects are not linked from
                frame to frame.
        """
        from segscope.models.segmenter import Segmenter
        from segscope.predict import everything
        from segscope.stack import Stack

        with self.sessions.use(session_id) as document:
            document.shown(frame)
            frames = range(document.frames) if whole else range(frame, frame + 1)
            network = document.work.engine if model is None else self.engines.network(model)
        classes = isinstance(network, Segmenter)
        if whole and not classes:
            raise UsageError(
                "objects are found on one frame and then propagated; for all frames name a model that takes no prompts"
            )
        turnstile = self.engines.turnstile(network)

        def look(job: Job, document: Document, at: int) -> Masks:
            def progress(done: int, total: int) -> None:
                job.total = total * len(frames)
                job.step(done=frames.index(at) * total + done)
                self._tell_job(job)
                turnstile.give_way(Urgency.TRACK)

            image = Stack.from_array(document.work.rendered(at), channels=True)
            with turnstile.pass_through(Urgency.TRACK):
                return everything(image, network, progress=progress, cancel=job.cancelled)

        def work(job: Job) -> None:
            with self.sessions.use(session_id) as document:
                found = {at: look(job, document, at) for at in frames}
                outcome = (
                    document.add_classes(found)
                    if classes
                    else document.add_found(frame, found[frame])
                )
                if outcome.touched:
                    self.sessions.note(session_id, document)
                    job.step(list(outcome.changes), done=job.total)
                    self._tell_pieces(session_id, outcome.changes, "everything", job_id=job.job_id)
                job.result = {"objects": list(outcome.touched), "stale": list(outcome.stale)}

        return self.jobs.start(Job("everything", session_id), work, self._tell_job)

    # --- ahead of need ---------------------------------------------------------------------------

    def look_ahead(self, session_id: str, frame: int) -> None:
        """Encode the frame in view and its neighbours in the background; a later call takes the
        place of this one.
        """
        if not self.settings.prefetch:
            return
        stop = threading.Event()
        self._ahead.pop(session_id, threading.Event()).set()
        self._ahead[session_id] = stop

        def work() -> None:
            try:
                with self.sessions.use(session_id) as document:
                    near = sorted(
                        range(frame - AHEAD, frame + AHEAD + 1), key=lambda at: abs(at - frame)
                    )
                    for at in near:
                        if stop.is_set() or not 0 <= at < document.frames:
                            continue
                        with document.turn(Urgency.AHEAD):
                            if not stop.is_set():
                                document.work.encode(at)
            except Exception as error:
                log.debug("looking ahead failed: %s", type(error).__name__)

        threading.Thread(target=work, name="segscope-ahead", daemon=True).start()

    def warm(self, image_id: str) -> None:
        """Open an image in the background, because it is likely to be asked for."""

        def work() -> None:
            try:
                frames = self.images.renderer(image_id)
                _ = frames[len(frames) // 2]
            except Exception as error:
                log.debug("opening ahead failed: %s", type(error).__name__)

        if self.settings.prefetch:
            threading.Thread(target=work, name="segscope-warm", daemon=True).start()

    # --- news ------------------------------------------------------------------------------------

    def _tell_job(self, job: Job) -> None:
        self.wires.tell(job.session_id, {"type": "job", **job.to_json()})

    def _tell_pieces(
        self,
        session_id: str,
        changed: Sequence[Piece],
        reason: str,
        encoding: Encoding = "bits",
        **more: Any,
    ) -> None:
        if self.wires.heard(session_id):
            for piece in changed:
                header = {
                    "type": "mask",
                    "reason": reason,
                    "seq": None,
                    **more,
                    **piece.header(encoding),
                }
                self.wires.tell(session_id, header, piece.payload(encoding))


def counts(document: Document) -> dict[str, int]:
    """How many commands there are, can be undone and done again."""
    work = document.work
    return {"commands": work.can_undo, "can_undo": work.can_undo, "can_redo": work.can_redo}


def _file_stem(image_name: str) -> str:
    """The name of an image up to the first dot, with characters that every file system takes."""
    stem = image_name.split(".")[0]
    letters = (letter if letter.isalnum() or letter in "-_" else "_" for letter in stem)
    return "".join(letters) or "masks"
