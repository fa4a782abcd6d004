"""SessionRegistry: sessions on disk, opened when first used, closed when others need the memory."""

from __future__ import annotations

import logging
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from segscope.errors import ReadError, SegscopeError, UsageError, WriteError
from segscope.files import reason_of, sync
from segscope.serve.answers import SessionInfo
from segscope.serve.background import BackgroundThreads
from segscope.serve.errors import Busy
from segscope.serve.project.database import Database, Row
from segscope.serve.project.images import Images
from segscope.serve.sessions.copied_masks import copy_masks
from segscope.serve.sessions.device_queue import Urgency
from segscope.serve.sessions.events import EventBus
from segscope.serve.sessions.jobs import Jobs
from segscope.serve.sessions.leases import Leases
from segscope.serve.sessions.model_pool import ModelPool
from segscope.serve.sessions.open_session import OpenSession
from segscope.serve.sessions.project_examples import ProjectExamples
from segscope.serve.sessions.session_request import SessionRequest
from segscope.serve.sessions.session_rows import SessionRows
from segscope.serve.settings import ServerSettings
from segscope.session import Interaction
from segscope.session.log_lines import ProjectEntry

log = logging.getLogger("segscope.serve")

IDLE_BEFORE_SAVE_S = 3.0
WORTH_SAVING_S = 1.0
OVERDUE_S = 20.0  # of work after which a state is saved although somebody works
STOP_S = 10.0  # for a thread to stop when the server does


READERS_S = 30.0  # that background work on a session may take before it is erased


@dataclass
class _Slot:
    """Place of one session in memory; `lock` is held while it is opened or closed.

    Attributes:
        users: requests that work on the session.
        readers: background work that reads it; whoever erases it waits for them.
    """

    lock: threading.Lock = field(default_factory=threading.Lock)
    session: OpenSession | None = None
    users: int = 0
    readers: int = 0
    opening: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        self.unread = threading.Condition(self.lock)


class SessionRegistry:
    """The sessions of a project.

    Attributes:
        changed: called with the id of a session after each of its commands.
    """

    def __init__(
        self,
        settings: ServerSettings,
        database: Database,
        images: Images,
        engines: ModelPool,
        jobs: Jobs,
        events: EventBus,
        examples: ProjectExamples,
    ) -> None:
        self._settings = settings
        self.rows = SessionRows(database)
        self._images = images
        self._engines = engines
        self._jobs = jobs
        self._events = events
        self._examples = examples
        self.changed: Callable[[str], None] = lambda _: None
        self._folder = settings.project / "sessions"
        self._folder.mkdir(exist_ok=True)
        self._slots: dict[str, _Slot] = {}
        self._lock = threading.Lock()
        self.leases = Leases(
            database,
            idle_s=settings.idle_timeout_s,
            liveness_s=settings.liveness_s,
            limit=settings.max_sessions,
        )
        self._stop = threading.Event()
        self._background = BackgroundThreads("segscope-catch-up")
        self._saver = threading.Thread(
            target=self._save_idle_sessions, name="segscope-saver", daemon=True
        )
        self._saver.start()

    # --- rows ------------------------------------------------------------------------------------

    def row(self, session_id: str) -> Row:
        """The row of a session in the database.

        Raises:
            NotFound: no such session.
        """
        return self.rows.get(session_id)

    def list_sessions(
        self, image_id: str | None = None, annotator: str | None = None
    ) -> list[SessionInfo]:
        """Sessions, the one used last first."""
        return list(map(self._describe, self.rows.select(image_id, annotator)))

    def describe(self, session_id: str) -> SessionInfo:
        """Describe a session.

        Raises:
            NotFound: no such session.
        """
        return self._describe(self.row(session_id))

    def _describe(self, row: Row) -> SessionInfo:
        slot = self._slots.get(row["id"], _Slot())
        opening = None
        if slot.opening is not None:
            opening = list(slot.opening)
        return SessionInfo(
            session_id=row["id"],
            image_id=row["image_id"],
            annotator=row["annotator"],
            model=row["model"],
            axis=row["axis"],
            commands=row["commands"],
            seconds=round(row["seconds"], 1),
            created=row["created"],
            updated=row["updated"],
            in_use=self.leases.is_leased(row["id"]),
            open=slot.session is not None,
            opening=opening,
        )

    def log_path(self, session_id: str) -> Path:
        """The log of a session."""
        return self._folder / self.row(session_id)["id"] / "log.jsonl"

    # --- creating and erasing --------------------------------------------------------------------

    def find_or_create(self, request: SessionRequest) -> tuple[Row, bool]:
        """The session that a client asks for, and whether it existed already.

        Raises:
            NotFound, UsageError: no such image or model, or an axis that it does not have.
        """
        image_id = self._images.get(request.image_id).image.image_id
        model = request.model or self._engines.default
        if not request.new and request.start_from is None:
            existing = self.rows.find(request, image_id)
            if existing is not None:
                return existing, True
        return self._create(request, image_id, model), False

    def _create(self, request: SessionRequest, image_id: str, model: str) -> Row:
        session_id = uuid.uuid4().hex
        folder = self._folder / session_id
        try:
            session = self._begin(request, image_id, model, folder)
            if request.start_from is not None:
                self._copy_masks(session, request.start_from, image_id)
            self.rows.insert(session_id, request, image_id, model)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)  # nobody was told of it
            raise
        with self._lock:
            self._slots[session_id] = _Slot(session=session)
        if session.work.can_undo:
            self.count_command(session_id, session)
        return self.row(session_id)

    def _begin(
        self, request: SessionRequest, image_id: str, model: str, folder: Path
    ) -> OpenSession:
        """A new session with its log."""
        stored = self._images.get(image_id)
        stack = self._images.stack(image_id, request.axis)
        engine = self._engines.get(model)
        try:
            folder.mkdir()
            sync(self._folder)  # if the folder were lost in a crash, its log would be lost with it
        except OSError as error:
            raise WriteError(f"cannot create {folder}: {reason_of(error)}") from error
        row = {"id": folder.name, "image_id": image_id, "model": model}
        work = Interaction(
            stack,
            engine,
            examples=self._examples.of_session(row, stack, engine),
            window=request.window,
            memory=request.memory,
            overlap=request.overlap,
            log=folder / "log.jsonl",
            annotator=request.annotator,
            project=ProjectEntry(
                image_id=image_id,
                image_name=stored.image.name,
                image_origin=stored.image.origin,
                read_options=stored.choice.options(),
                model=model,
                window=request.window,
                path=str(stored.path),
            ),
        )
        return OpenSession(work, self._engines.device_queue(engine), folder)

    def _copy_masks(self, session: OpenSession, source_id: str, image_id: str) -> None:
        """Begin with the masks of another session on the same image."""
        if self.row(source_id)["image_id"] != image_id:
            raise UsageError("start_from names a session on another image")
        with self.use(source_id) as source:
            masks = source.masks()
            objects = {key: source.work.objects[key] for key in masks.names}
        copy_masks(masks, objects, session)

    def erase(self, session_id: str) -> None:
        """Move a session to the trash of the project."""
        row = self.row(session_id)
        slot = self._slot(session_id)
        with slot.lock:
            unread = slot.unread.wait_for(lambda: not slot.readers, READERS_S)
            if slot.users or not unread or self._jobs.of(session_id):
                raise Busy("this session is in use; close it first")
            if slot.session is not None:
                slot.session.close()
                slot.session = None
            trash = self._settings.project / "trash"
            trash.mkdir(exist_ok=True)
            self.rows.erase(session_id)
            (self._folder / row["id"]).rename(trash / row["id"])
            self._examples.remove_session(row["id"])
        self.leases.release(session_id)

    # --- using -----------------------------------------------------------------------------------

    @contextmanager
    def use(self, session_id: str) -> Iterator[OpenSession]:
        """A session, opened if need be; it stays open inside the block."""
        row = self.row(session_id)
        slot = self._slot(session_id)
        with slot.lock:
            if slot.session is None:
                slot.session = self._open(row, slot)
            slot.users += 1
            session = slot.session
        session.last_used = time.monotonic()
        try:
            yield session
        finally:
            with slot.lock:
                slot.users -= 1
        self._free_memory(session_id)

    @contextmanager
    def read_if_open(self, session_id: str) -> Iterator[OpenSession | None]:
        """A session that stays open inside the block, for background work; None where it is not
        open.
        """
        slot = self._slot(session_id)
        with slot.lock:
            session = slot.session
            slot.readers += session is not None
        try:
            yield session
        finally:
            with slot.lock:
                slot.readers -= session is not None
                slot.unread.notify_all()

    def list_open(self) -> dict[str, OpenSession]:
        """The sessions in memory by id."""
        with self._lock:
            slots = dict(self._slots)
        return {key: slot.session for key, slot in slots.items() if slot.session is not None}

    def count_command(self, session_id: str, session: OpenSession) -> None:
        """Note in the database that a command was done."""
        self.rows.count_command(session_id, session.work.can_undo)
        self.changed(session_id)

    def _slot(self, session_id: str) -> _Slot:
        with self._lock:
            return self._slots.setdefault(session_id, _Slot())

    def _open(self, row: Row, slot: _Slot) -> OpenSession:
        folder = self._folder / row["id"]
        stack = self._images.stack(row["image_id"], row["axis"])
        engine = self._engines.get_or_default(row["model"])
        queue = self._engines.device_queue(engine)
        annotator = row["annotator"] or row["id"]
        turn = ExitStack()

        def progress(done: int, total: int) -> None:
            # called only if something has to be computed before the session can be shown
            if slot.opening is None:
                turn.enter_context(queue.turn(Urgency.CLICK, annotator))
            slot.opening = (done, total)
            queue.give_way(Urgency.CLICK, annotator)
            self._events.publish(row["id"], {"type": "opening", "done": done, "total": total})

        start = time.perf_counter()
        try:
            with turn:
                work = Interaction.resume(
                    folder / "log.jsonl",
                    stack,
                    engine,
                    progress,
                    state=folder / "state.safetensors",
                    other_weights=True,
                    annotator=row["annotator"],
                    masks_first=True,
                    examples=self._examples.of_session(row, stack, engine),
                )
        except (UsageError, ReadError) as error:
            raise ReadError(
                f"this session cannot be opened: {_without_path(str(error), folder)}"
            ) from error
        finally:
            slot.opening = None
        if work.damage is not None:
            log.warning("the log of session %s is damaged at its end: %s", row["id"], work.damage)
        session = OpenSession(work, queue, folder)
        session.unsaved_s = time.perf_counter() - start
        self.rows.correct_count(row["id"], work.can_undo)
        if work.history.is_pending:
            self._catch_up_behind(session)
        return session

    def _catch_up_behind(self, session: OpenSession) -> None:
        """Compute in the background what the masks of a log do not tell."""

        def work() -> None:
            start = time.perf_counter()
            with self._log_failure("network states could not be computed"):
                session.catch_up.run_behind()
                session.unsaved_s += time.perf_counter() - start

        with suppress(RuntimeError):  # without a thread, the first command computes it
            self._background.start(work)

    # --- memory ----------------------------------------------------------------------------------

    def _free_memory(self, in_use: str) -> None:
        """Close the sessions that were unused for longest, until the rest is within the limits."""
        with self._lock:
            slots = dict(self._slots)
        sessions = self.list_open()
        count = len(sessions)
        total = sum(session.memory_bytes() for session in sessions.values())
        for session_id, session in sorted(sessions.items(), key=lambda item: item[1].last_used):
            if count <= self._settings.open_sessions and total <= self._settings.ram_bytes:
                return
            if session_id == in_use or self._jobs.of(session_id):
                continue
            size = session.memory_bytes()
            if self._close_unused(slots[session_id]):
                total -= size
                count -= 1

    def _close_unused(self, slot: _Slot) -> bool:
        """Save and close a session, unless somebody uses, opens or closes it."""
        if not slot.lock.acquire(blocking=False):
            return False
        try:
            if slot.users or slot.readers or slot.session is None:
                return False
            self._save_and_close(slot)
            return True
        finally:
            slot.lock.release()

    def _save_and_close(self, slot: _Slot) -> None:
        assert slot.session is not None
        try:
            slot.session.save_state()
        except SegscopeError as error:
            log.warning("the state of a session could not be saved: %s", error)
        slot.session.close()
        slot.session = None

    def _save_idle_sessions(self) -> None:
        """Save states while nobody works."""
        while not self._stop.wait(1.0):
            with self._lock:
                slots = list(self._slots.values())
            for slot in slots:
                session = slot.session
                if session is None or not _worth_saving(session):
                    continue
                with slot.lock:
                    if slot.session is session:
                        with self._log_failure("the state of a session could not be saved"):
                            session.save_state()

    @staticmethod
    @contextmanager
    def _log_failure(what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            log.warning("%s: %s", what, type(error).__name__)

    def close(self) -> None:
        """Save and close all sessions."""
        self._stop.set()
        for slot in list(self._slots.values()):
            if slot.session is not None:
                slot.session.catch_up.stop()
        self._saver.join(STOP_S)
        self._background.close(STOP_S)
        for slot in list(self._slots.values()):
            with slot.lock:
                if slot.session is not None:
                    with self._log_failure("the state of a session could not be saved"):
                        self._save_and_close(slot)


def _worth_saving(session: OpenSession) -> bool:
    """Whether there is enough to save, and nobody works or waits; or very much."""
    idle_s = time.monotonic() - session.last_used
    if session.unsaved_s >= OVERDUE_S:
        return True
    idle = idle_s >= IDLE_BEFORE_SAVE_S and not session.device.waiting
    return idle and session.unsaved_s >= WORTH_SAVING_S


def _without_path(text: str, folder: Path) -> str:
    path = folder / "log.jsonl"
    return text.replace(f"the log {path}", "its log").replace(str(path), "its log")
