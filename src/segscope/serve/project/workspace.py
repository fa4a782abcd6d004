"""Workspace: a project at work. Every door (the page, the clients, other programs' protocols) comes
through here.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict

from segscope._version import __version__
from segscope.errors import UsageError, WriteError
from segscope.prompts import Prompt
from segscope.render import PRESETS
from segscope.serve.answers import DisplayWindow, FlaggedFrame, SessionDetails, SessionOpened
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
from segscope.serve.sessions.events import EventBus
from segscope.serve.sessions.jobs import Jobs
from segscope.serve.sessions.model_pool import ModelPool
from segscope.serve.sessions.object_info import describe_network
from segscope.serve.sessions.registry import SessionRegistry, SessionRequest
from segscope.serve.sessions.review import count_reviewed
from segscope.serve.sessions.session_jobs import SessionJobs
from segscope.serve.settings import Settings
from segscope.wire import JsonObject, prompts_to_json

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
        self.engines = ModelPool(
            settings.model, settings.models, settings.device, settings.project / "models"
        )
        self.jobs = Jobs()
        self.events = EventBus()
        self.sessions = SessionRegistry(
            settings, self.store, self.images, self.engines, self.jobs, self.events
        )
        self.session_jobs = SessionJobs(
            self.store, self.sessions, self.engines, self.jobs, self.events
        )
        self.cases = Worklist(self.store, self.images)
        self.started = time.time()

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

    def open_session(self, request: SessionRequest) -> SessionOpened:
        """Find or create a session and lease it."""
        row, resumed = self.sessions.find_or_create(request)
        lease = self.sessions.leases.claim(row["id"], take_over=request.take_over)
        return SessionOpened(
            session_id=row["id"],
            lease=lease.token,
            idle_s=self.settings.idle_timeout_s,
            liveness_s=self.settings.liveness_s,
            resumed=resumed,
        )

    def close_session(self, session_id: str, *, erase: bool = False) -> None:
        """Give the lease back; with `erase`, put the session into the trash."""
        self.sessions.row(session_id)
        for job in self.jobs.of(session_id):
            job.cancel()
            job.wait(10)
        if erase:
            self.sessions.erase(session_id)
        self.sessions.leases.release(session_id)

    def state(self, session_id: str) -> SessionDetails:
        """Describe a session, but for its masks."""
        row = self.sessions.row(session_id)
        jobs = [job.status() for job in self.jobs.of(session_id) if job.kind == "propagate"]
        flags = self.store.rows(
            "SELECT frame, comment FROM flags WHERE session_id = ? ORDER BY frame", session_id
        )
        with self.sessions.use(session_id) as session:
            work = session.work
            window = work.window
            info = self.sessions.describe(session_id).model_dump()
            return SessionDetails(
                **{**info, "commands": work.can_undo},
                frames=session.frames,
                size_hw=session.size_hw,
                window=DisplayWindow(how=window["how"], low=window["low"], high=window["high"]),
                can_undo=work.can_undo,
                can_redo=work.can_redo,
                network=describe_network(work),
                saved=True,
                job=jobs[0] if jobs else None,
                interrupted=None if jobs else row["pending"],
                reviewed=count_reviewed(work.tracks),
                objects=session.objects(),
                flags=[
                    FlaggedFrame(frame=flag["frame"], comment=flag["comment"]) for flag in flags
                ],
            )

    def prompts(self, session_id: str, frame: int | None, object_id: int | None) -> JsonObject:
        """The prompts of a session as a prompt file; of one frame or object, where it is given."""
        prompts: list[Prompt] = []
        names = {}
        with self.sessions.use(session_id) as session:
            for number, obj in session.work.tracks.items():
                if object_id not in (None, number):
                    continue
                names[number] = obj.name
                for at, prompts_on_frame in sorted(obj.prompts.items()):
                    if frame in (None, at):
                        prompts += prompts_on_frame
        return prompts_to_json(prompts, names)

    def flag(self, session_id: str, frame: int, *, flagged: bool, comment: str = "") -> None:
        """Mark a frame for somebody to look at, or take the mark away."""
        with self.sessions.use(session_id) as session:
            session.visible_masks(frame)
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
        with self.sessions.use(session_id) as session:
            masks = session.masks(objects)
            stack = session.work.stack
        stem = _file_stem(image.name)
        with export_masks(masks, stack, format_name, f"{stem}_masks") as file:
            yield file

    # --- ahead of need ---------------------------------------------------------------------------

    def look_ahead(self, session_id: str, frame: int) -> None:
        """Encode the frame in view and its neighbours in the background."""
        if self.settings.prefetch:
            self.session_jobs.look_ahead(session_id, frame)

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


def _file_stem(image_name: str) -> str:
    """The name of an image up to the first dot, with characters that every file system takes."""
    stem = image_name.split(".")[0]
    letters = (letter if letter.isalnum() or letter in "-_" else "_" for letter in stem)
    return "".join(letters) or "masks"
