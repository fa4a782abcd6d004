"""Sessions: kept on disk, opened when first needed, closed again when memory is wanted for others."""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segscope.errors import ReadError, SegscopeError, UsageError
from segscope.masks import decode_runs
from segscope.prompts import MaskPrompt
from segscope.serve.errors import Busy, NotFound
from segscope.serve.project.database import Row, Store, now
from segscope.serve.project.images import Images
from segscope.serve.sessions.jobs import Jobs, Wires
from segscope.serve.sessions.leases import Leases
from segscope.serve.sessions.model_pool import Engines, Urgency
from segscope.serve.sessions.open_session import Document, unseen
from segscope.serve.sessions.review import seen
from segscope.serve.settings import Settings
from segscope.session import Interaction

if TYPE_CHECKING:
    from segscope.models.engine import Engine

log = logging.getLogger("segscope.serve")

IDLE_BEFORE_SAVE_S = 3.0
WORTH_SAVING_S = 1.0
COUNTED_PAUSE_S = 60.0  # pauses between commands up to this long count as work


@dataclass(frozen=True)
class Wanted:
    """What a client asks for when it opens a session.

    Attributes:
        annotator: whose work it is.
        new: a new session even if there is one.
        start_from: session whose masks it begins with.
    """

    image_id: str
    annotator: str = ""
    model: str | None = None
    window: str | None = None
    axis: int = 0
    memory: str = "fifo"
    overlap: str = "highest"
    new: bool = False
    start_from: str | None = None


@dataclass
class _Slot:
    """Place of one session in memory; `lock` is held while it is opened or closed."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    document: Document | None = None
    users: int = 0
    opening: tuple[int, int] | None = None
    last_command: float = 0.0


class Sessions:
    """The sessions of a project."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        images: Images,
        engines: Engines,
        jobs: Jobs,
        wires: Wires,
    ) -> None:
        self._settings = settings
        self._store = store
        self._images = images
        self._engines = engines
        self._jobs = jobs
        self._wires = wires
        self._folder = settings.project / "sessions"
        self._folder.mkdir(exist_ok=True)
        self._slots: dict[str, _Slot] = {}
        self._lock = threading.Lock()
        self.leases = Leases(
            store,
            idle_s=settings.idle_timeout_s,
            liveness_s=settings.liveness_s,
            most=settings.max_sessions,
        )
        self._stop = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="segscope-keeper", daemon=True)
        self._keeper.start()

    # --- rows ------------------------------------------------------------------------------------

    def row(self, session_id: str) -> Row:
        """What the store knows of a session.

        Raises:
            NotFound: no such session.
        """
        row = self._store.row("SELECT * FROM sessions WHERE id = ? AND erased = 0", session_id)
        if row is None:
            raise NotFound("no such session; `GET /v1/sessions` lists those of this project")
        return row

    def listed(
        self, image_id: str | None = None, annotator: str | None = None
    ) -> list[dict[str, Any]]:
        """Sessions, the latest first."""
        rows = self._store.rows(
            "SELECT * FROM sessions WHERE erased = 0 AND (? IS NULL OR image_id = ?) AND (? IS NULL OR annotator = ?) "
            "ORDER BY updated DESC, id",
            image_id, image_id, annotator, annotator,
        )  # fmt: skip
        return [self.public(row) for row in rows]

    def public(self, row: Row) -> dict[str, Any]:
        """What clients are told of a session."""
        slot = self._slots.get(row["id"])
        return {
            "session_id": row["id"],
            "image_id": row["image_id"],
            "annotator": row["annotator"],
            "model": row["model"],
            "axis": row["axis"],
            "commands": row["commands"],
            "seconds": round(row["seconds"], 1),
            "created": row["created"],
            "updated": row["updated"],
            "in_use": self.leases.taken(row["id"]),
            "open": slot is not None and slot.document is not None,
            "opening": None if slot is None or slot.opening is None else list(slot.opening),
        }

    def log_path(self, session_id: str) -> Path:
        """The log of a session."""
        return self._folder / self.row(session_id)["id"] / "log.jsonl"

    # --- beginning and ending --------------------------------------------------------------------

    def find_or_make(self, wanted: Wanted) -> tuple[Row, bool]:
        """The session that a client means, and whether it was there already.

        Raises:
            NotFound, UsageError: no such image or model, or an axis that it does not have.
        """
        image_id = self._images.get(wanted.image_id).image.image_id
        model = wanted.model or self._engines.default
        if not wanted.new and wanted.start_from is None:
            found = self._store.row(
                "SELECT * FROM sessions WHERE erased = 0 AND image_id = ? AND annotator = ? AND axis = ? "
                "AND (? IS NULL OR model = ?) ORDER BY updated DESC",
                image_id, wanted.annotator, wanted.axis, wanted.model, wanted.model,
            )  # fmt: skip
            if found is not None:
                return found, True
        return self._make(wanted, image_id, model), False

    def _make(self, wanted: Wanted, image_id: str, model: str) -> Row:
        stack = self._images.stack(image_id, wanted.axis)
        engine = self._engines.get(model)
        session_id = uuid.uuid4().hex
        folder = self._folder / session_id
        folder.mkdir()
        _sync(self._folder)  # a folder that is lost takes its log along
        work = Interaction(
            stack, engine, window=wanted.window, memory=wanted.memory,
            overlap=wanted.overlap, log=folder / "log.jsonl",  # type: ignore[arg-type]
        )  # fmt: skip
        row = {
            "id": session_id,
            "image_id": image_id,
            "annotator": wanted.annotator,
            "model": model,
            "axis": wanted.axis,
            "window": wanted.window,
            "options": {"memory": wanted.memory, "overlap": wanted.overlap},
            "created": now(),
            "updated": now(),
        }
        self._store.insert("sessions", row)
        document = Document(work, self._engines.turnstile(engine), folder)
        with self._lock:
            self._slots[session_id] = _Slot(document=document)
        if wanted.start_from is not None:
            self._take_masks(document, wanted.start_from, image_id)
            self.note(session_id, document)
        return self.row(session_id)

    def _take_masks(self, document: Document, other: str, image_id: str) -> None:
        """Begin with the masks, names and colours of another session on the same image."""
        if self.row(other)["image_id"] != image_id:
            raise UsageError("start_from names a session on another image")
        with self.use(other) as source:
            masks = source.masks()
            if (
                masks.shape_zyx != document.work.stack.shape_zyx
                or masks.axis != document.work.stack.axis
            ):
                raise UsageError("start_from names a session along another axis")
            tracks = dict(source.work.tracks)
            for object_id, track in tracks.items():
                about = {key: value for key, value in track.about.items() if key != "locked"}
                document.work.describe(object_id, name=track.name, **about)
        prompts = []
        for (frame, object_id), runs in masks.runs.items():
            mask = decode_runs(runs, document.size_hw)
            score = masks.scores.get((frame, object_id), 0.5)
            looked_at = seen(tracks[object_id], frame)
            prompts.append(
                MaskPrompt(mask, frame, object_id)
                if looked_at
                else unseen(mask, frame, object_id, score)
            )
        if prompts:
            document.add(prompts)

    def erase(self, session_id: str) -> None:
        """Move a session to the trash of the project."""
        row = self.row(session_id)
        slot = self._slot(session_id)
        with slot.lock:
            if slot.users or self._jobs.of(session_id):
                raise Busy("this session is being worked on; close it first")
            if slot.document is not None:
                slot.document.close()
                slot.document = None
            trash = self._settings.project / "trash"
            trash.mkdir(exist_ok=True)
            self._store.update("sessions", session_id, {"erased": 1})
            (self._folder / row["id"]).rename(trash / row["id"])
        self.leases.release(session_id)

    # --- using -----------------------------------------------------------------------------------

    @contextmanager
    def use(self, session_id: str) -> Iterator[Document]:
        """The document of a session, opened if need be; it stays open inside the block."""
        row = self.row(session_id)
        slot = self._slot(session_id)
        with slot.lock:
            if slot.document is None:
                slot.document = self._opened(row, slot)
            slot.users += 1
            document = slot.document
        document.touched = time.monotonic()
        try:
            yield document
        finally:
            with slot.lock:
                slot.users -= 1
        self._make_room(session_id)

    def note(self, session_id: str, document: Document) -> None:
        """Count a command that was done."""
        slot = self._slot(session_id)
        moment = time.monotonic()
        pause = 0.0
        if slot.last_command:
            pause = moment - slot.last_command
        slot.last_command = moment
        row = self.row(session_id)
        changes = {
            "updated": now(),
            "commands": document.work.can_undo,
            "seconds": row["seconds"] + min(pause, COUNTED_PAUSE_S),
        }
        self._store.update("sessions", session_id, changes)

    def _slot(self, session_id: str) -> _Slot:
        with self._lock:
            return self._slots.setdefault(session_id, _Slot())

    def _opened(self, row: Row, slot: _Slot) -> Document:
        folder = self._folder / row["id"]
        stack = self._images.stack(row["image_id"], row["axis"])
        engine = self._engine_of(row)
        turnstile = self._engines.turnstile(engine)

        def progress(done: int, total: int) -> None:
            slot.opening = (done, total)
            turnstile.give_way(Urgency.TRACK)
            self._wires.tell(row["id"], {"type": "opening", "done": done, "total": total})

        start = time.perf_counter()
        try:
            with turnstile.pass_through(Urgency.TRACK):
                work = Interaction.resume(
                    folder / "log.jsonl", stack, engine, progress, state=folder / "state.safetensors",
                    other_weights=True,
                )  # fmt: skip
        except UsageError as error:
            raise ReadError(
                f"this session cannot be opened: {_without(str(error), folder)}"
            ) from error
        finally:
            slot.opening = None
        document = Document(work, turnstile, folder)
        document.unsaved_s = time.perf_counter() - start
        return document

    def _engine_of(self, row: Row) -> Engine:
        """The engine of a session; the server's own where that model is gone."""
        try:
            return self._engines.get(row["model"])
        except SegscopeError as error:
            log.warning(
                "a session's model cannot be had (%s); the server's own takes its place",
                type(error).__name__,
            )
            return self._engines.get(None)

    # --- memory ----------------------------------------------------------------------------------

    def _make_room(self, but: str | None) -> None:
        """Close the sessions that were not used for longest, until the rest fits."""
        with self._lock:
            slots = [(key, slot) for key, slot in self._slots.items() if slot.document is not None]
        slots.sort(
            key=lambda item: item[1].document.touched if item[1].document is not None else 0.0
        )
        held = sum(bytes_of(slot.document) for _, slot in slots if slot.document is not None)
        for session_id, slot in slots:
            if len(slots) <= self._settings.open_sessions and held <= self._settings.ram_bytes:
                return
            if (
                session_id == but
                or self._jobs.of(session_id)
                or not slot.lock.acquire(blocking=False)
            ):
                continue
            try:
                if slot.users == 0 and slot.document is not None:
                    held -= bytes_of(slot.document)
                    self._shut(slot)
                    slots = [item for item in slots if item[0] != session_id]
            finally:
                slot.lock.release()

    def _shut(self, slot: _Slot) -> None:
        assert slot.document is not None
        try:
            slot.document.save_state()
        except SegscopeError as error:
            log.warning("the state of a session could not be saved: %s", error)
        slot.document.close()
        slot.document = None

    def _keep(self) -> None:
        """Save states while nobody works."""
        while not self._stop.wait(1.0):
            with self._lock:
                slots = list(self._slots.values())
            for slot in slots:
                document = slot.document
                if document is None or document.unsaved_s < WORTH_SAVING_S:
                    continue
                if (
                    time.monotonic() - document.touched < IDLE_BEFORE_SAVE_S
                    or document.turnstile.wanted
                ):
                    continue
                with slot.lock:
                    if slot.document is document:
                        self._quietly(document.save_state)

    @staticmethod
    def _quietly(step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:
            log.warning("the state of a session could not be saved: %s", type(error).__name__)

    def close(self) -> None:
        """Save and close all."""
        self._stop.set()
        self._keeper.join(10)
        for slot in list(self._slots.values()):
            with slot.lock:
                if slot.document is not None:
                    self._quietly(partial(self._shut, slot))


def bytes_of(document: Document) -> int:
    """About how much memory an open session holds."""
    source = document.work.stack.source
    pixels = 0
    if isinstance(source, np.ndarray):
        pixels = source.nbytes
    return document.work.held_bytes + pixels + 2**20


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _without(text: str, folder: Path) -> str:
    return text.replace(str(folder / "log.jsonl"), "its log")
