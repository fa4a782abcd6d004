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
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segscope.errors import UsageError
from segscope.masks import decode_runs
from segscope.predict.propagation import PropagationRange
from segscope.predict.stop_rules import default_rules
from segscope.prompts import MaskPrompt, Prompt, check_prompts
from segscope.serve.compat.nninteractive.client_prompts import (
    Bounds,
    PromptTarget,
    click_prompts,
    drawn_slices,
)
from segscope.serve.compat.nninteractive.packed_arrays import (
    HEADER_BYTES,
    PackedHeader,
    check_expansion,
    read_header,
    require_codec,
)
from segscope.serve.compat.nninteractive.volume_files import slice_axis
from segscope.serve.errors import Expired, ServerFull, TooLarge
from segscope.serve.project.image_records import Image
from segscope.serve.project.worker_process import run_once
from segscope.serve.project.workspace import Workspace
from segscope.serve.sessions.open_session import OpenSession
from segscope.serve.sessions.session_request import SessionRequest
from segscope.serve.settings import GIB
from segscope.session.commands import Add

IDLE_TIMEOUT_S = 600.0
LIVENESS_S = 60.0
MAX_TRACKING_S = 40.0  # per request: the protocol's client gives up after 60 s
ANNOTATOR = "nninteractive"
WORKER_BYTES = 2 * GIB  # address space that unpacking needs besides the array and its packet
_WORKER = "segscope.serve.compat.nninteractive.unpack_worker"
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
        image_bytes: size of the image that was set.
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
    image_bytes: int = 0
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
        self._unpacking = threading.Lock()  # one image at a time, each bounded by its size

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
        self, client: VolumeClient, packet: Path, spacing: Sequence[float] | None
    ) -> tuple[int, ...]:
        """Begin the work on a volume (channel, a, b, c), of which the first channel is used.

        Args:
            packet: file with the packed array.
            spacing: of the axes a, b, c in mm; None for 1.

        Returns:
            the shape of the array.

        Raises:
            UsageError: other axes, or a spacing that is not three positive numbers.
            TooLarge, ServerFull: more memory than the array, or all clients, may need.
        """
        with packet.open("rb") as file:
            header = read_header(file.read(HEADER_BYTES))
        if len(header.shape) != 4 or 0 in header.shape:
            raise UsageError(
                "an image must have four non-empty axes (channel, x, y, z), got the shape "
                f"{header.shape}"
            )
        spacing_abc = list(map(float, spacing or _UNIT_SPACING))
        is_positive = all(0 < value < math.inf for value in spacing_abc)
        if len(spacing_abc) != 3 or not is_positive:
            raise UsageError(f"the spacing of an image must be 3 positive numbers, got {spacing}")
        check_expansion(header, packet.stat().st_size)
        self._reserve_memory(client, header.size_bytes)
        image = self._upload(packet, header, spacing_abc)
        axis = 0
        if image.kind == "volume":
            axis = slice_axis(spacing_abc)
        request = SessionRequest(
            image_id=image.image_id, annotator=ANNOTATOR, axis=axis, overlap="keep", new=True
        )
        row, _ = self.workspace.sessions.find_or_create(request)
        client.session_id = row["id"]
        client.axis = axis
        client.object_id = 1
        client.client_mask = np.zeros(header.shape[1:], bool)
        client.pending = []
        client.command_counts = []
        return header.shape

    def _reserve_memory(self, client: VolumeClient, size_bytes: int) -> None:
        """Count an image towards the memory of all clients.

        Raises:
            TooLarge: a single image would exceed it.
            ServerFull: it is in use by others.
        """
        limit = self.workspace.settings.ram_bytes
        if size_bytes > limit:
            raise TooLarge(f"this array has {size_bytes} bytes; the server accepts at most {limit}")
        with self._lock:
            self._remove_expired()
            others = [other for other in self._clients.values() if other is not client]
            used = sum(other.image_bytes for other in others)
            if used + size_bytes > limit:
                raise ServerFull(
                    f"the images of all clients may have {limit} bytes together, and those of "
                    f"others have {used}; try again later"
                )
            client.image_bytes = size_bytes

    def _upload(self, packet: Path, header: PackedHeader, spacing: Sequence[float]) -> Image:
        require_codec()
        needed_bytes = header.size_bytes + packet.stat().st_size + WORKER_BYTES
        limits = replace(self.workspace.settings.limits, decoder_bytes=needed_bytes)
        with self._unpacking, self.workspace.images.uploads.scratch() as folder:
            path = folder / "volume.nii"
            request = {"path": str(packet), "volume": str(path), "spacing": list(spacing)}
            run_once(_WORKER, request, limits)
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
        """Add prompts and answer all pending ones; whether there were any.

        Raises:
            PromptError: a prompt lies outside of the image; pending ones remain.
        """
        with self.open_session(client) as session:
            check_prompts(prompts, session.work.stack.shape_zyx)
            waiting = [*client.pending]
            if prompts:
                waiting.append(prompts)
            if not waiting:
                return False
            commands_before = session.work.can_undo
            try:
                session.execute(Add(tuple(chain.from_iterable(waiting))))
                client.pending = []
                if track and session.frames > 1:
                    self._propagate(client, session, {prompt.frame for prompt in waiting[-1]})
            finally:
                commands = session.work.can_undo - commands_before
                if commands:
                    client.command_counts.append(commands)
            assert client.session_id is not None
            self.workspace.sessions.count_command(client.session_id, session)
        return True

    def defer_interaction(self, client: VolumeClient, prompts: Sequence[Prompt]) -> None:
        """Add prompts that are answered with later ones.

        Raises:
            PromptError: a prompt lies outside of the image.
        """
        with self.open_session(client) as session:
            check_prompts(prompts, session.work.stack.shape_zyx)
        if prompts:
            client.pending.append(prompts)

    def _propagate(self, client: VolumeClient, session: OpenSession, frames: Set[int]) -> None:
        """Track from the prompted slices up to the next prompted ones."""
        low, _ = session.work.interval(min(frames), client.object_id)
        _, high = session.work.interval(max(frames), client.object_id)
        deadline = time.monotonic() + MAX_TRACKING_S
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
