"""What clients do with a session as a whole: open and close it, read it, flag frames, export."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from segscope.prompts import Prompt
from segscope.serve.answers import FlaggedFrame, SessionDetails, SessionOpened
from segscope.serve.project.database import Database
from segscope.serve.project.image_records import DisplayRange
from segscope.serve.project.images import Images
from segscope.serve.project.mask_export import ExportedFile, export_masks
from segscope.serve.sessions import review
from segscope.serve.sessions.jobs import Jobs
from segscope.serve.sessions.learning_service import LearningService
from segscope.serve.sessions.object_info import describe_network
from segscope.serve.sessions.registry import SessionRegistry
from segscope.serve.sessions.session_request import SessionRequest
from segscope.session.damaged_parts import acknowledge, unacknowledged
from segscope.wire import JsonObject, prompts_to_json

CANCEL_TIMEOUT_S = 10  # for a job to end when its session is closed


class SessionService:
    """The sessions of a project, as clients see them."""

    def __init__(
        self,
        database: Database,
        images: Images,
        sessions: SessionRegistry,
        jobs: Jobs,
        learning: LearningService,
        temporary_folder: Path,
    ) -> None:
        self._learning = learning
        self._temporary_folder = temporary_folder
        self._database = database
        self._images = images
        self._sessions = sessions
        self._jobs = jobs

    def open(self, request: SessionRequest) -> SessionOpened:
        """Find or create a session and lease it."""
        leases = self._sessions.leases
        row, resumed = self._sessions.find_or_create(request)
        lease = leases.claim(row["id"], take_over=request.take_over)
        return SessionOpened(
            session_id=row["id"],
            lease=lease.token,
            idle_s=leases.idle_s,
            liveness_s=leases.liveness_s,
            resumed=resumed,
        )

    def close(self, session_id: str, *, erase: bool = False) -> None:
        """Release the lease; with `erase`, move the session to the trash."""
        self._sessions.row(session_id)
        for job in self._jobs.of(session_id):
            job.cancel()
            job.wait(CANCEL_TIMEOUT_S)
        if erase:
            self._sessions.erase(session_id)
        self._sessions.leases.release(session_id)

    def describe(self, session_id: str) -> SessionDetails:
        """Everything about a session but its masks."""
        row = self._sessions.row(session_id)
        job = None
        interrupted = row["pending"]
        for running in self._jobs.of(session_id):
            if running.kind == "propagate":
                job = running.status()
                interrupted = None
                break
        with self._sessions.use(session_id) as session:
            work = session.work
            window = work.window
            info = self._sessions.describe(session_id).model_dump()
            info["commands"] = work.can_undo  # the row is written after the command
            return SessionDetails(
                **info,
                frames=session.frames,
                size_hw=session.size_hw,
                window=DisplayRange(window["how"], window["low"], window["high"]),
                can_undo=work.can_undo,
                can_redo=work.can_redo,
                network=describe_network(work),
                notes=_notes(self._sessions.log_path(session_id)),
                saved=True,
                job=job,
                interrupted=interrupted,
                reviewed=review.count_reviewed(work.objects),
                learning=self._learning.describe_session(session),
                objects=session.objects(),
                flags=self._flags(session_id),
            )

    def acknowledge_notes(self, session_id: str) -> None:
        """Leave the present notes of a session out of its description from now on."""
        acknowledge(self._sessions.log_path(session_id))

    def prompts(self, session_id: str, frame: int | None, object_id: int | None) -> JsonObject:
        """The prompts of a session as a prompt file, of all frames and objects or only some."""
        prompts: list[Prompt] = []
        names: dict[int, str] = {}
        with self._sessions.use(session_id) as session:
            for key, obj in session.work.objects.items():
                if object_id not in (None, key):
                    continue
                names[key] = obj.name
                for prompted_frame, frame_prompts in sorted(obj.prompts.items()):
                    if frame in (None, prompted_frame):
                        prompts += frame_prompts
        return prompts_to_json(prompts, names)

    # --- flags -----------------------------------------------------------------------------------

    def flag(self, session_id: str, frame: int, *, comment: str = "") -> None:
        """Mark a frame for somebody to look at."""
        self._check_frame(session_id, frame)
        row = {"session_id": session_id, "frame": frame, "comment": comment}
        self._database.insert("flags", row, otherwise="OR REPLACE")

    def remove_flag(self, session_id: str, frame: int) -> None:
        """Remove the mark of a frame."""
        self._check_frame(session_id, frame)
        self._database.delete("flags", session_id=session_id, frame=frame)

    def _check_frame(self, session_id: str, frame: int) -> None:
        with self._sessions.use(session_id) as session:
            session.visible_masks(frame)  # refuses frames that do not exist

    def _flags(self, session_id: str) -> list[FlaggedFrame]:
        rows = self._database.rows(
            "SELECT frame, comment FROM flags WHERE session_id = ? ORDER BY frame", session_id
        )
        return [FlaggedFrame(frame=row["frame"], comment=row["comment"]) for row in rows]

    # --- export ----------------------------------------------------------------------------------

    @contextmanager
    def export(
        self, session_id: str, format_name: str, objects: Sequence[int] | None = None
    ) -> Iterator[ExportedFile]:
        """The masks of a session as a file, which exists until the block ends."""
        image = self._images.get(self._sessions.row(session_id)["image_id"]).image
        with self._sessions.use(session_id) as session:
            masks = session.masks(objects)
            stack = session.work.stack
        stem = f"{_file_stem(image.name)}_masks"
        with export_masks(masks, stack, format_name, stem, self._temporary_folder) as file:
            yield file


def _notes(log: Path) -> list[str]:
    """What the annotator of a session has to know, until it is acknowledged."""
    return [
        "a command of this session was lost: its line in the log was damaged, and was moved to "
        f"{part.name}. Please check the masks."
        for part in unacknowledged(log)
    ]


def _file_stem(image_name: str) -> str:
    """The name of an image up to the first dot, with characters that every file system accepts."""
    stem = image_name.split(".")[0]
    return re.sub(r"[^\w-]", "_", stem) or "masks"
