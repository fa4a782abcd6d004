"""What a client of nnInteractive's protocol works on: one object at a time in a volume, in the
client's own axes.

A volume becomes an image of the project and the work on it a session of annotator "nninteractive",
so that it is kept like any other.
"""

from __future__ import annotations

import math
import secrets
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segscope.errors import UsageError
from segscope.masks import decode_runs
from segscope.predict import StopRules
from segscope.predict.propagation import PropagationRange
from segscope.prompts import Box, MaskPrompt, Point, Prompt
from segscope.serve.errors import Expired, Full
from segscope.serve.project.workspace import Workspace
from segscope.serve.sessions.mask_patch import box_of
from segscope.serve.sessions.open_session import OpenSession
from segscope.serve.sessions.registry import SessionRequest
from segscope.session.commands import Add

IDLE_S = 600.0
LIVENESS_S = 60.0
LONGEST_S = 40.0  # of tracking for one answer: the protocol's client waits 60 s
ANNOTATOR = "nninteractive"
SLICES, CLICKS = 5, 5  # of what was drawn across slices, and on one of them
_ANISOTROPIC = 1.2


@dataclass
class Visit:
    """One client.

    Attributes:
        session_id: of the image that was set.
        axis: of the client's array that slices run along.
        object_id: the object that is being drawn.
        shown: its mask in the client's axes, as the client has it.
        waiting: interactions whose prompts are answered later.
        steps: how many commands each interaction took, for undo.
    """

    token: str
    acted: float = field(default_factory=time.monotonic)
    heard: float = field(default_factory=time.monotonic)
    session_id: str | None = None
    axis: int = 0
    object_id: int = 1
    shown: NDArray[np.bool_] | None = None
    waiting: list[Sequence[Prompt]] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Desk:
    """All clients of this protocol."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._visits: dict[str, Visit] = {}
        self._lock = threading.Lock()

    def claim(self) -> Visit:
        """A new client's place.

        Raises:
            Full: all are taken.
        """
        with self._lock:
            self._sweep()
            if len(self._visits) >= self.workspace.settings.leases:
                raise Full("all places of this server are taken; try again later")
            visit = Visit(secrets.token_urlsafe(24))
            self._visits[visit.token] = visit
            return visit

    def visit(self, token: str | None, *, acts: bool = True) -> Visit:
        """The client of a request.

        Raises:
            Expired: its place was given up.
        """
        with self._lock:
            self._sweep()
            visit = self._visits.get(token or "")
            if visit is None:
                raise Expired("the lease has ended; connect again")
            visit.heard = time.monotonic()
            if acts:
                visit.acted = visit.heard
            return visit

    def release(self, token: str | None) -> None:
        """A client goes."""
        with self._lock:
            self._visits.pop(token or "", None)

    def _sweep(self) -> None:
        now = time.monotonic()
        for token, visit in list(self._visits.items()):
            if now - visit.acted > IDLE_S or now - visit.heard > LIVENESS_S:
                del self._visits[token]

    # --- the work --------------------------------------------------------------------------------

    def set_image(self, visit: Visit, array: NDArray[Any], spacing: Sequence[float] | None) -> None:
        """Take a volume (channel, a, b, c); the first channel counts."""
        if array.ndim != 4 or 0 in array.shape:
            raise UsageError(
                f"an image has four axes (channel, x, y, z), none empty; got {array.shape}"
            )
        spaced = [float(value) for value in spacing or (1.0, 1.0, 1.0)]
        if len(spaced) != 3 or not all(math.isfinite(value) and value > 0 for value in spaced):
            raise UsageError(f"the spacing of an image is three positive numbers, got {spacing}")
        image = self._kept(array[0], spaced)
        axis = int(np.argmax(spaced)) if max(spaced) > _ANISOTROPIC * sorted(spaced)[1] else 0
        if image["kind"] != "volume":
            axis = 0
        wanted = SessionRequest(
            image_id=image["image_id"], annotator=ANNOTATOR, axis=axis, overlap="keep", new=True
        )
        row, _ = self.workspace.sessions.find_or_create(wanted)
        visit.session_id = row["id"]
        visit.axis = axis
        visit.object_id = 1
        visit.shown = np.zeros(array.shape[1:], bool)
        visit.waiting = []
        visit.steps = []

    def _kept(self, volume: NDArray[Any], spacing: Sequence[float]) -> dict[str, Any]:
        import nibabel

        if volume.dtype.kind not in "buif":
            raise UsageError(f"an image holds numbers, got {volume.dtype}")
        small = {"b": np.uint8, "f": np.float32}.get(volume.dtype.kind)
        if small is None:
            fits = volume.size == 0 or (volume.min() >= -(2**15) and volume.max() < 2**15)
            small = np.int16 if fits else np.float32
        uploads = self.workspace.settings.project / "uploads"
        with tempfile.TemporaryDirectory(prefix="incoming-", dir=uploads) as folder:
            path = Path(folder) / "volume.nii"
            # x runs along the last axis of the array, as everywhere in segscope
            nifti = nibabel.Nifti1Image(volume.astype(small).T, np.diag([*spacing[::-1], 1.0]))
            nibabel.save(nifti, path)  # type: ignore[no-untyped-call]
            return self.workspace.images.upload([("volume.nii", path)])

    @contextmanager
    def document(self, visit: Visit) -> Iterator[OpenSession]:
        """The session of a client.

        Raises:
            UsageError: no image was set.
        """
        if visit.session_id is None:
            raise UsageError("set an image first")
        with self.workspace.sessions.use(visit.session_id) as document:
            yield document

    def add(
        self, visit: Visit, prompts: Sequence[Prompt], *, run: bool, track: bool = True
    ) -> bool:
        """Prompts that are answered now or, without `run`, with later ones; whether they were
        answered.
        """
        visit.waiting += [prompts] if prompts else []
        if not run or not visit.waiting:
            return False
        with self.document(visit) as document:
            waiting = visit.waiting
            visit.waiting = []
            document.execute(Add(tuple(prompt for said in waiting for prompt in said)))
            taken = 1
            if track and document.frames > 1:
                taken += self._carry(visit, document, {prompt.frame for prompt in waiting[-1]})
            visit.steps.append(taken)
            assert visit.session_id is not None
            self.workspace.sessions.count_command(visit.session_id, document)
        return True

    def _carry(self, visit: Visit, document: OpenSession, frames: Set[int]) -> int:
        """Track from the slices that were prompted, to the neighbouring prompted ones where there
        are any.
        """
        low, _ = document.work.interval(min(frames), visit.object_id)
        _, high = document.work.interval(max(frames), visit.object_id)
        end = time.monotonic() + LONGEST_S
        before = document.work.can_undo
        found = document.propagate(
            PropagationRange("both", min(frames), (low, high), StopRules()),
            [visit.object_id],
            lambda: time.monotonic() > end,
        )
        try:
            for _ in found:
                pass
        finally:
            document.end_propagation()
        return document.work.can_undo - before

    def undo(self, visit: Visit) -> bool:
        """Take the latest interaction back."""
        if visit.waiting:
            visit.waiting.pop()
            return False
        if not visit.steps:
            return False
        with self.document(visit) as document:
            for _ in range(visit.steps.pop()):
                document.undo(None)
        return True

    def reset(self, visit: Visit) -> None:
        """Begin another object; the one so far stays in the session."""
        with self.document(visit) as document:
            visit.object_id = document.free_id()
        visit.waiting = []
        visit.steps = []
        if visit.shown is not None:
            visit.shown[:] = False

    def changed(self, visit: Visit) -> tuple[list[list[int]] | None, NDArray[np.bool_]]:
        """The box (half-open pairs by axis) of what is different from what the client has, and the
        mask inside.
        """
        assert visit.shown is not None
        with self.document(visit) as document:
            now = np.zeros((document.frames, *document.size_hw), bool)
            for frame in range(document.frames):
                runs = document.visible_masks(frame).get(visit.object_id)
                if runs is not None:
                    now[frame] = decode_runs(runs, document.size_hw)
        now = np.moveaxis(now, 0, visit.axis)
        different = now ^ visit.shown
        visit.shown = now
        if not different.any():
            return None, now[:0]
        box = []
        for axis in range(3):
            others = tuple(other for other in range(3) if other != axis)
            at = np.flatnonzero(different.any(axis=others))
            box.append([int(at[0]), int(at[-1]) + 1])
        return box, np.ascontiguousarray(now[tuple(slice(low, high) for low, high in box)])

    # --- coordinates -----------------------------------------------------------------------------

    def point(self, visit: Visit, coordinates: Any, *, positive: bool) -> Point:
        """A voxel of the client's array as a click in the middle of its pixel."""
        at = _whole(coordinates, 3, "coordinates")
        frame = at.pop(visit.axis)
        return Point(at[1] + 0.5, at[0] + 0.5, frame, visit.object_id, positive)

    def box(self, visit: Visit, pairs: Any, *, positive: bool) -> Prompt:
        """A box of the client's array, on its slice or, where it is thick, on the middle one."""
        if not isinstance(pairs, list) or len(pairs) != 3:
            raise UsageError("a box is three pairs [low, high)")
        bounds = [sorted(_whole(pair, 2, "each pair of a box")) for pair in pairs]
        low, high = bounds.pop(visit.axis)
        frame = min((low + high) // 2, max(low, high - 1))
        (top, bottom), (left, right) = bounds
        if (
            not positive or bottom - top < 2 or right - left < 2
        ):  # across the slices, or "not here": its middle
            return Point((left + right) / 2, (top + bottom) / 2, frame, visit.object_id, positive)
        return Box((left, top, right, bottom), frame, visit.object_id)

    def placed(self, visit: Visit, mask: NDArray[np.bool_], pairs: Any) -> NDArray[np.bool_]:
        """What was drawn, on the grid of the client's array; it may have sent the box around it
        only.
        """
        assert visit.shown is not None
        shape = visit.shown.shape
        if pairs is None:
            pairs = [[0, length] for length in shape]
        if not isinstance(pairs, list) or len(pairs) != 3:
            raise UsageError("a box is three pairs [low, high)")
        bounds = [_whole(pair, 2, "each pair of a box") for pair in pairs]
        inside = all(
            0 <= low < high <= length for (low, high), length in zip(bounds, shape, strict=True)
        )
        if not inside or mask.shape != tuple(high - low for low, high in bounds):
            raise UsageError(
                f"what was drawn has the shape of its box, inside the image {shape}; got {mask.shape} for {bounds}"
            )
        whole = np.zeros(shape, bool)
        whole[tuple(slice(low, high) for low, high in bounds)] = mask
        return whole

    def drawn(
        self, visit: Visit, mask: NDArray[np.bool_], *, positive: bool, lasso: bool
    ) -> list[Prompt]:
        """What was drawn as prompts on slices: a lasso in a slice as a mask to start from, all else
        as clicks.

        Raises:
            UsageError: nothing was drawn.
        """
        slices = np.moveaxis(mask, visit.axis, 0)
        frames = np.flatnonzero(slices.any(axis=(1, 2))).tolist()
        if not frames:
            raise UsageError("nothing was drawn: the mask is empty")
        if len(frames) > SLICES:  # drawn across the slices
            frames = [
                frames[at] for at in np.linspace(0, len(frames) - 1, SLICES).round().astype(int)
            ]
        prompts: list[Prompt] = []
        for frame in frames:
            region = ndimage.binary_fill_holes(slices[frame]) if lasso else slices[frame]
            if lasso and positive and len(frames) == 1:
                with self.document(visit) as document:
                    runs = document.visible_masks(frame).get(visit.object_id)
                    now = False if runs is None else decode_runs(runs, document.size_hw)
                prompts.append(MaskPrompt(region | now, frame, visit.object_id, refine=True))
            else:
                prompts += [
                    Point(x, y, frame, visit.object_id, positive) for x, y in _spread(region)
                ]
        return prompts

    def initial(self, visit: Visit, labels: NDArray[Any]) -> list[Prompt]:
        """A segmentation to begin with, slice by slice."""
        assert visit.shown is not None
        if labels.shape != visit.shown.shape:
            raise UsageError(
                f"an initial segmentation has the shape of the image {visit.shown.shape}, got {labels.shape}"
            )
        slices = np.moveaxis(labels > 0, visit.axis, 0)
        return [
            MaskPrompt(mask, frame, visit.object_id)
            for frame, mask in enumerate(slices)
            if box_of(mask) is not None
        ]


def _spread(mask: NDArray[np.bool_]) -> list[tuple[float, float]]:
    """Clicks (x, y) in the middle of what was drawn, far from each other."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    places = np.argwhere(depth > depth.max() / 2)
    chosen = [int(np.argmin(places @ (1, 1)))]
    far = np.full(len(places), np.inf)
    while len(chosen) < min(CLICKS, len(places)):
        far = np.minimum(far, np.square(places - places[chosen[-1]]).sum(axis=1))
        chosen.append(int(far.argmax()))
    return [(float(places[at][1]) + 0.5, float(places[at][0]) + 0.5) for at in chosen]


def _whole(values: Any, count: int, what: str) -> list[int]:
    good = isinstance(values, list) and len(values) == count
    if not good or not all(
        isinstance(value, (int, float)) and math.isfinite(value) for value in values
    ):
        raise UsageError(f"{what}: {count} numbers are wanted, got {str(values)[:80]}")
    return [int(value) for value in values]
