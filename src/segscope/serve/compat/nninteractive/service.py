"""nnInteractive's operations on a workspace: one object at a time, in the axes of the client.

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
from itertools import chain

import numpy as np
from numpy.typing import DTypeLike, NDArray
from scipy import ndimage

from segscope.errors import UsageError
from segscope.masks import decode_runs
from segscope.predict.propagation import PropagationRange
from segscope.predict.stop_rules import default_rules
from segscope.prompts import MaskPrompt, Prompt
from segscope.serve.compat.nninteractive.client_prompts import (
    Bounds,
    PromptTarget,
    click_prompts,
    drawn_slices,
)
from segscope.serve.compat.nninteractive.packed_arrays import ClientArray
from segscope.serve.errors import Expired, ServerFull
from segscope.serve.project.image_records import Image
from segscope.serve.project.workspace import Workspace
from segscope.serve.sessions.open_session import OpenSession
from segscope.serve.sessions.session_request import SessionRequest
from segscope.session.commands import Add

IDLE_TIMEOUT_S = 600.0
LIVENESS_S = 60.0
MAX_TRACKING_S = 40.0  # per request: the protocol's client gives up after 60 s
ANNOTATOR = "nninteractive"
_ANISOTROPIC = 1.2
_UNIT_SPACING = (1.0, 1.0, 1.0)


@dataclass
class VolumeClient:
    """One client and its work.

    Attributes:
        token: what the client identifies itself with.
        last_command, last_contact: on the monotonic clock.
        session_id: session of the image that was set, or None.
        axis: axis of the client's array that slices run along.
        object_id: object that is being segmented.
        client_mask: its mask in the client's axes, as the client has it.
        pending: prompts of interactions that are to be answered later.
        command_counts: number of commands of each answered interaction, for undo.
        lock: locked while a request of the client is processed.
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
        """Time until the lease ends unless a command arrives."""
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
        self._clients: dict[str, VolumeClient] = {}
        self._lock = threading.Lock()

    def claim(self) -> VolumeClient:
        """Admit a client.

        Raises:
            ServerFull: the server has as many clients as it accepts.
        """
        with self._lock:
            self._remove_expired()
            if len(self._clients) >= self.workspace.settings.max_sessions:
                raise ServerFull("this server accepts no further clients now; try again later")
            client = VolumeClient(secrets.token_urlsafe(24))
            self._clients[client.token] = client
            return client

    def get_client(self, token: str | None, *, is_command: bool = True) -> VolumeClient:
        """The client of a request.

        Raises:
            Expired: its lease has ended.
        """
        with self._lock:
            self._remove_expired()
            client = self._clients.get(token or "")
            if client is None:
                raise Expired("the lease has ended; connect again")
            client.last_contact = time.monotonic()
            if is_command:
                client.last_command = client.last_contact
            return client

    def release(self, token: str | None) -> None:
        """Forget a client."""
        with self._lock:
            self._clients.pop(token or "", None)

    def _remove_expired(self) -> None:
        now = time.monotonic()
        for token, client in list(self._clients.items()):
            is_idle = now - client.last_command > IDLE_TIMEOUT_S
            is_gone = now - client.last_contact > LIVENESS_S
            if is_idle or is_gone:
                del self._clients[token]

    # --- images ----------------------------------------------------------------------------------

    def set_image(
        self, client: VolumeClient, array: ClientArray, spacing: Sequence[float] | None
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
        spacing_abc = list(map(float, spacing or _UNIT_SPACING))
        is_positive = all(0 < value < math.inf for value in spacing_abc)
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
        client.session_id = row["id"]
        client.axis = axis
        client.object_id = 1
        client.client_mask = np.zeros(array.shape[1:], bool)
        client.pending = []
        client.command_counts = []

    def _upload(self, volume: ClientArray, spacing: Sequence[float]) -> Image:
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
    def open_session(self, client: VolumeClient) -> Iterator[OpenSession]:
        """The open session of a client.

        Raises:
            UsageError: no image is set.
        """
        if client.session_id is None:
            raise UsageError("no image is set; call set_image first")
        with self.workspace.sessions.use(client.session_id) as session:
            yield session

    def add_interaction(
        self, client: VolumeClient, prompts: Sequence[Prompt], *, track: bool = True
    ) -> bool:
        """Add prompts and answer all pending ones; whether there were any."""
        self.defer_interaction(client, prompts)
        if not client.pending:
            return False
        with self.open_session(client) as session:
            pending = client.pending
            client.pending = []
            prompts = tuple(chain.from_iterable(pending))
            session.execute(Add(prompts))
            commands = 1
            if track and session.frames > 1:
                prompted = {prompt.frame for prompt in pending[-1]}
                commands += self._propagate(client, session, prompted)
            client.command_counts.append(commands)
            assert client.session_id is not None
            self.workspace.sessions.count_command(client.session_id, session)
        return True

    def defer_interaction(self, client: VolumeClient, prompts: Sequence[Prompt]) -> None:
        """Add prompts that are answered with later ones."""
        if prompts:
            client.pending.append(prompts)

    def _propagate(self, client: VolumeClient, session: OpenSession, frames: Set[int]) -> int:
        """Track from the prompted slices up to the next prompted ones; number of commands."""
        low, _ = session.work.interval(min(frames), client.object_id)
        _, high = session.work.interval(max(frames), client.object_id)
        deadline = time.monotonic() + MAX_TRACKING_S
        commands_before = session.work.can_undo
        tracked = session.propagate(
            PropagationRange("both", min(frames), (low, high), default_rules(session.work.stack)),
            [client.object_id],
            lambda: time.monotonic() > deadline,
        )
        try:
            for _ in tracked:
                pass
        finally:
            session.end_propagation()
        return session.work.can_undo - commands_before

    def undo(self, client: VolumeClient) -> bool:
        """Take back the latest interaction; whether masks may have changed."""
        if client.pending:
            client.pending.pop()
            return False
        if not client.command_counts:
            return False
        with self.open_session(client) as session:
            for _ in range(client.command_counts.pop()):
                session.undo(None)
        return True

    def start_object(self, client: VolumeClient) -> None:
        """Begin another object; the current one stays in the session."""
        with self.open_session(client) as session:
            client.object_id = session.free_id()
        client.pending = []
        client.command_counts = []
        if client.client_mask is not None:
            client.client_mask[:] = False

    def drawing_prompts(
        self,
        client: VolumeClient,
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
                with self.open_session(client) as session:
                    mask = region | _visible_mask(session, frame, target.object_id)
                prompts.append(MaskPrompt(mask, frame, target.object_id, refine=True))
            else:
                prompts += click_prompts(region, frame, target)
        return prompts

    def take_change(self, client: VolumeClient) -> MaskChange | None:
        """What differs from the client's mask, which then counts as known to the client."""
        assert client.client_mask is not None
        with self.open_session(client) as session:
            frames = [
                _visible_mask(session, frame, client.object_id) for frame in range(session.frames)
            ]
        current = np.moveaxis(np.stack(frames), 0, client.axis)
        different = current ^ client.client_mask
        client.client_mask = current
        if not different.any():
            return None
        bounds = [_extent(different, axis) for axis in range(3)]
        inside = tuple(slice(low, high) for low, high in bounds)
        return MaskChange(bounds, np.ascontiguousarray(current[inside]))


def _slice_axis(spacing: Sequence[float]) -> int:
    """The axis with clearly the largest spacing, along which slices were acquired, or the first."""
    largest = max(spacing)
    if largest > _ANISOTROPIC * sorted(spacing)[1]:
        return int(np.argmax(spacing))
    return 0


def _storage_dtype(volume: ClientArray) -> DTypeLike:
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
    if volume.min(initial=0) >= -(2**15) and volume.max(initial=0) < 2**15:
        return np.int16
    return np.float32


def _visible_mask(session: OpenSession, frame: int, object_id: int) -> NDArray[np.bool_]:
    """The visible mask of an object on a frame."""
    runs = session.visible_masks(frame).get(object_id)
    if runs is None:
        return np.zeros(session.size_hw, bool)
    return decode_runs(runs, session.size_hw)


def _extent(mask: NDArray[np.bool_], axis: int) -> Bounds:
    """The first and last index with a set pixel along an axis, half-open."""
    other_axes = tuple(other for other in range(mask.ndim) if other != axis)
    occupied = np.flatnonzero(mask.any(axis=other_axes))
    return (int(occupied[0]), int(occupied[-1]) + 1)
