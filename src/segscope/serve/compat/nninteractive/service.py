"""nnInteractive's operations on a workspace: one object at a time in a volume, in the client's axes.

A volume becomes an image of the project, and the work on it a session of the annotator
"nninteractive", stored like any other session.
"""

from __future__ import annotations

import math
import secrets
import threading
import time
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from scipy import ndimage

from segscope.errors import UsageError
from segscope.predict import StopRules
from segscope.predict.propagation import PropagationRange
from segscope.prompts import MaskPrompt, Prompt
from segscope.serve.compat.nninteractive.client_prompts import (
    Bounds,
    PromptTarget,
    click_prompts,
    drawn_slices,
)
from segscope.serve.errors import Expired, Full
from segscope.serve.project.image_records import Image
from segscope.serve.project.workspace import Workspace
from segscope.serve.sessions.open_session import OpenSession
from segscope.serve.sessions.registry import SessionRequest
from segscope.session.commands import Add

IDLE_TIMEOUT_S = 600.0
LIVENESS_S = 60.0
MAX_TRACKING_S = 40.0  # per request: the protocol's client gives up after 60 s
ANNOTATOR = "nninteractive"
_ANISOTROPIC = 1.2
_UNIT_SPACING = (1.0, 1.0, 1.0)


@dataclass
class VolumeSession:
    """The work of one client.

    Attributes:
        token: what the client identifies itself with.
        last_command, last_contact: on the monotonic clock.
        session_id: session of the image that was set, or None.
        axis: axis of the client's array that slices run along.
        object_id: object that is being segmented.
        client_mask: its mask in the client's axes, as the client has it.
        pending: prompts of interactions that are to be answered later.
        command_counts: number of commands of each answered interaction, for undo.
        lock: held while a request of the client is processed.
    """

    token: str
    last_command: float = field(default_factory=time.monotonic)
    last_contact: float = field(default_factory=time.monotonic)
    session_id: str | None = None
    axis: int = 0
    object_id: int = 1
    client_mask: NDArray[np.bool_] | None = None
    pending: list[Sequence[Prompt]] = field(default_factory=list)
    command_counts: list[int] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the client's array."""
        if self.client_mask is None:
            raise UsageError("no image is set; call set_image first")
        return self.client_mask.shape

    def target(self, *, positive: bool = True) -> PromptTarget:
        """Where the prompts of an interaction go."""
        return PromptTarget(self.object_id, self.axis, positive)

    def idle_left_s(self) -> float:
        """Time until the session ends unless a command arrives."""
        return max(0.0, IDLE_TIMEOUT_S - (time.monotonic() - self.last_command))


@dataclass(frozen=True)
class MaskChange:
    """The part of a mask that differs from what the client has.

    Attributes:
        bounds: half-open [low, high) by axis of the client's array.
        mask: the new mask inside them.
    """

    bounds: list[Bounds]
    mask: NDArray[np.bool_]


class NnInteractiveService:
    """What nnInteractive's clients can do on a workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._sessions: dict[str, VolumeSession] = {}
        self._lock = threading.Lock()

    def claim(self) -> VolumeSession:
        """Start a session for a client.

        Raises:
            Full: the server has as many clients as it accepts.
        """
        with self._lock:
            self._remove_expired()
            if len(self._sessions) >= self.workspace.settings.max_sessions:
                raise Full("this server accepts no further clients now; try again later")
            session = VolumeSession(secrets.token_urlsafe(24))
            self._sessions[session.token] = session
            return session

    def get_session(self, token: str | None, *, is_command: bool = True) -> VolumeSession:
        """The session of a request.

        Raises:
            Expired: it has ended.
        """
        with self._lock:
            self._remove_expired()
            session = self._sessions.get(token or "")
            if session is None:
                raise Expired("the lease has ended; connect again")
            session.last_contact = time.monotonic()
            if is_command:
                session.last_command = session.last_contact
            return session

    def release(self, token: str | None) -> None:
        """End a client's session."""
        with self._lock:
            self._sessions.pop(token or "", None)

    def _remove_expired(self) -> None:
        now = time.monotonic()
        for token, session in list(self._sessions.items()):
            is_idle = now - session.last_command > IDLE_TIMEOUT_S
            is_gone = now - session.last_contact > LIVENESS_S
            if is_idle or is_gone:
                del self._sessions[token]

    # --- images ----------------------------------------------------------------------------------

    def set_image(
        self, session: VolumeSession, array: NDArray[Any], spacing: Sequence[float] | None
    ) -> None:
        """Begin the work on a volume (channel, a, b, c), of which the first channel is used.

        Raises:
            UsageError: other axes, or a spacing that is not three positive numbers.
        """
        if array.ndim != 4 or 0 in array.shape:
            raise UsageError(
                "an image must have four non-empty axes (channel, x, y, z), got the shape "
                f"{array.shape}"
            )
        spacing_abc = [float(value) for value in spacing or _UNIT_SPACING]
        is_positive = all(math.isfinite(value) and value > 0 for value in spacing_abc)
        if len(spacing_abc) != 3 or not is_positive:
            raise UsageError(f"the spacing of an image must be 3 positive numbers, got {spacing}")
        image = self._upload(array[0], spacing_abc)
        axis = 0
        if image.kind == "volume":
            axis = _slice_axis(spacing_abc)
        request = SessionRequest(
            image_id=image.image_id, annotator=ANNOTATOR, axis=axis, overlap="keep", new=True
        )
        row, _ = self.workspace.sessions.find_or_create(request)
        session.session_id = row["id"]
        session.axis = axis
        session.object_id = 1
        session.client_mask = np.zeros(array.shape[1:], bool)
        session.pending = []
        session.command_counts = []

    def _upload(self, volume: NDArray[Any], spacing: Sequence[float]) -> Image:
        import nibabel

        dtype = _storage_dtype(volume)
        with self.workspace.images.uploads.scratch() as folder:
            path = folder / "volume.nii"
            # x runs along the last axis of the array, as everywhere in segscope
            affine = np.diag([*spacing[::-1], 1.0])
            nifti = nibabel.Nifti1Image(volume.astype(dtype).T, affine)
            nibabel.save(nifti, path)  # type: ignore[no-untyped-call]
            return self.workspace.images.upload([("volume.nii", path)])

    # --- commands --------------------------------------------------------------------------------

    @contextmanager
    def open_document(self, session: VolumeSession) -> Iterator[OpenSession]:
        """The document of a client's session.

        Raises:
            UsageError: no image is set.
        """
        if session.session_id is None:
            raise UsageError("no image is set; call set_image first")
        with self.workspace.sessions.use(session.session_id) as document:
            yield document

    def add_interaction(
        self, session: VolumeSession, prompts: Sequence[Prompt], *, track: bool = True
    ) -> bool:
        """Add prompts and answer all pending ones; whether there were any."""
        self.defer_interaction(session, prompts)
        if not session.pending:
            return False
        with self.open_document(session) as document:
            pending = session.pending
            session.pending = []
            document.execute(
                Add(tuple(prompt for interaction in pending for prompt in interaction))
            )
            commands = 1
            if track and document.frames > 1:
                prompted = {prompt.frame for prompt in pending[-1]}
                commands += self._propagate(session, document, prompted)
            session.command_counts.append(commands)
            assert session.session_id is not None
            self.workspace.sessions.count_command(session.session_id, document)
        return True

    def defer_interaction(self, session: VolumeSession, prompts: Sequence[Prompt]) -> None:
        """Add prompts that are answered with later ones."""
        if prompts:
            session.pending.append(prompts)

    def _propagate(self, session: VolumeSession, document: OpenSession, frames: Set[int]) -> int:
        """Track from the prompted slices up to the neighbouring prompted ones; commands executed."""
        low, _ = document.work.interval(min(frames), session.object_id)
        _, high = document.work.interval(max(frames), session.object_id)
        deadline = time.monotonic() + MAX_TRACKING_S
        commands_before = document.work.can_undo
        tracked = document.propagate(
            PropagationRange("both", min(frames), (low, high), StopRules()),
            [session.object_id],
            lambda: time.monotonic() > deadline,
        )
        try:
            for _ in tracked:
                pass
        finally:
            document.end_propagation()
        return document.work.can_undo - commands_before

    def undo(self, session: VolumeSession) -> bool:
        """Take back the latest interaction; whether masks may have changed."""
        if session.pending:
            session.pending.pop()
            return False
        if not session.command_counts:
            return False
        with self.open_document(session) as document:
            for _ in range(session.command_counts.pop()):
                document.undo(None)
        return True

    def start_object(self, session: VolumeSession) -> None:
        """Begin another object; the current one stays in the session."""
        with self.open_document(session) as document:
            session.object_id = document.free_id()
        session.pending = []
        session.command_counts = []
        if session.client_mask is not None:
            session.client_mask[:] = False

    def drawing_prompts(
        self,
        session: VolumeSession,
        drawing: NDArray[np.bool_],
        target: PromptTarget,
        *,
        is_lasso: bool,
    ) -> list[Prompt]:
        """Prompts from a drawing: a lasso on one slice refines the mask, all else becomes clicks.

        Raises:
            UsageError: the drawing is empty.
        """
        slices = drawn_slices(drawing, target.axis)
        prompts: list[Prompt] = []
        for frame, region in slices.items():
            if is_lasso:
                region = ndimage.binary_fill_holes(region)
            if is_lasso and target.positive and len(slices) == 1:
                with self.open_document(session) as document:
                    mask = region | document.mask(frame, target.object_id)
                prompts.append(MaskPrompt(mask, frame, target.object_id, refine=True))
            else:
                prompts += click_prompts(region, frame, target)
        return prompts

    def take_change(self, session: VolumeSession) -> MaskChange | None:
        """What differs from the client's mask, which then counts as known to the client."""
        assert session.client_mask is not None
        with self.open_document(session) as document:
            frames = [document.mask(frame, session.object_id) for frame in range(document.frames)]
        current = np.moveaxis(np.stack(frames), 0, session.axis)
        different = current ^ session.client_mask
        session.client_mask = current
        if not different.any():
            return None
        bounds = [_extent(different, axis) for axis in range(3)]
        inside = tuple(slice(low, high) for low, high in bounds)
        return MaskChange(bounds, np.ascontiguousarray(current[inside]))


def _slice_axis(spacing: Sequence[float]) -> int:
    """The axis with clearly the largest spacing, which slices were acquired along; else the first."""
    largest = max(spacing)
    if largest > _ANISOTROPIC * sorted(spacing)[1]:
        return int(np.argmax(spacing))
    return 0


def _storage_dtype(volume: NDArray[Any]) -> DTypeLike:
    """The smallest type of NIfTI that holds a volume's numbers.

    Raises:
        UsageError: the volume does not hold numbers.
    """
    kind = volume.dtype.kind
    if kind not in "buif":
        raise UsageError(f"an image must hold numbers, got {volume.dtype}")
    if kind == "b":
        return np.uint8
    if kind == "f":
        return np.float32
    if volume.size == 0 or (volume.min() >= -(2**15) and volume.max() < 2**15):
        return np.int16
    return np.float32


def _extent(mask: NDArray[np.bool_], axis: int) -> Bounds:
    """The first and last index with a set pixel along an axis, half-open."""
    other_axes = tuple(other for other in range(mask.ndim) if other != axis)
    occupied = np.flatnonzero(mask.any(axis=other_axes))
    return (int(occupied[0]), int(occupied[-1]) + 1)
