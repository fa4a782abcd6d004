"""Masks: a segmentation, object by object and frame by frame, and a record of its origin.

Masks are stored as run lengths, so that a long video or a large volume with many objects needs
little memory; arrays are created on demand, frame by frame for writers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segscope.arrays import Pixels
from segscope.errors import UsageError
from segscope.geometry import Geometry

Runs = NDArray[np.uint32]
LabelMap = NDArray[np.uint16 | np.uint32]
"""Object ids by pixel, 0 = background; of 32 bits where an id is above 65,535."""

MAX_OBJECT_ID = 2**32 - 1
_MAX_FRACTION = 1e-3  # of whole numbers that a file stores as real numbers


def encode_runs(mask: NDArray[np.bool_]) -> Runs:
    """Run lengths of a mask in row-major order, background first (the first run may be empty)."""
    flat = np.asarray(mask, dtype=bool).ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    bounds = np.concatenate([[0], edges, [flat.size]])
    runs = np.diff(bounds).astype(np.uint32)
    if flat.size and flat[0]:
        return np.concatenate([np.zeros(1, np.uint32), runs])
    return runs


def _encode_labels(labels: LabelMap) -> Iterator[tuple[int, Runs]]:
    """Each label of a map above 0 with its run lengths, as `encode_runs` gives them."""
    flat = labels.ravel()
    if not flat.size:
        return
    starts = np.flatnonzero(np.diff(flat, prepend=~flat[:1]))
    ends = np.append(starts[1:], flat.size)
    order = np.argsort(flat[starts], kind="stable")
    values, first = np.unique(flat[starts][order], return_index=True)
    for label, members in zip(values.tolist(), np.split(order, first[1:]), strict=True):
        if label == 0:
            continue
        bounds = np.stack([starts[members], ends[members]], axis=1).ravel()
        runs = np.diff(bounds, prepend=0, append=flat.size)
        if runs[-1] == 0:
            runs = runs[:-1]
        yield label, runs.astype(np.uint32)


def decode_runs(runs: Runs, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask (row, column) of `encode_runs`."""
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(size_hw)


@dataclass(frozen=True, slots=True, eq=False)
class FrameMask:
    """One object on one frame.

    Attributes:
        frame: number of the frame.
        object_id: number of the object.
        mask: (row, column) bool, of the frame's size.
        logits: (row, column) float32 of the frame's size; above 0 is inside.
        score: IoU that the network predicts for this mask, 0 to 1; 1 for a mask from a person.
        object_score: logit of "the object is on this frame", or None for families without such a
            head.
        candidates: further masks that the prompts may mean, best first: (mask logits, predicted
            IoU) pairs.
        note: the reason if this is not the network's own answer ("gate: ellipse", "stopped: ...").
    """

    frame: int
    object_id: int
    mask: NDArray[np.bool_]
    logits: NDArray[np.float32]
    score: float
    object_score: float | None = None
    candidates: tuple[tuple[NDArray[np.float32], float], ...] = ()
    note: str = ""


@dataclass(frozen=True, eq=False)
class Masks:
    """Masks of objects on a stack.

    Attributes:
        shape_zyx: frames, rows, columns of the stack they belong to.
        runs: run lengths by (frame, object id); a missing pair is an empty mask.
        names: name of each object id; every object has one, "" when unnamed.
        scores: predicted IoU by (frame, object id).
        geometry: of the stack.
        times_s: of the stack.
        record: their origin: model, weights hash, window, prompts, versions.
        axis: axis of the stored array that the frames run along (see `Stack.axis`).
        about: other facts about objects: `colour` ("#rrggbb"), `code` ({"scheme", "value",
            "meaning"}).
    """

    shape_zyx: tuple[int, int, int]
    runs: Mapping[tuple[int, int], Runs]
    names: Mapping[int, str]
    scores: Mapping[tuple[int, int], float] = field(default_factory=dict)
    geometry: Geometry | None = None
    times_s: NDArray[np.float64] | None = None
    record: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    axis: int = 0
    about: Mapping[int, Mapping[str, Any]] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        unnamed = {object_id for _, object_id in self.runs} - set(self.names)
        if unnamed:
            raise UsageError(
                f"there are masks of objects {sorted(unnamed)} that `names` does not list"
            )

    @classmethod
    def from_labels(
        cls,
        labels: Pixels,
        *,
        names: Mapping[int, str] | None = None,
        geometry: Geometry | None = None,
        times_s: NDArray[np.float64] | None = None,
        record: Mapping[str, Any] | None = None,
    ) -> Masks:
        """Masks of a label array (frame, row, column) or (row, column), 0 = background.

        Real numbers count as labels where all of them lie within 0.001 of a whole number.

        Raises:
            UsageError: negative, fractional or too large labels, or another shape.
        """
        labels = np.asarray(labels)
        if labels.ndim == 2:
            labels = labels[None]
        _check_labels(labels)
        if labels.dtype.kind == "f":
            labels = np.round(labels)
        labels = labels.astype(_label_type(int(labels.max(initial=0))))
        runs = {}
        for index, frame in enumerate(labels):
            for object_id, frame_runs in _encode_labels(frame):
                runs[index, object_id] = frame_runs
        object_ids = sorted({object_id for _, object_id in runs})
        all_names = {**dict.fromkeys(object_ids, ""), **(names or {})}
        shape = (labels.shape[0], labels.shape[1], labels.shape[2])
        return cls(shape, runs, all_names, {}, geometry, times_s, record or {})

    @property
    def object_ids(self) -> tuple[int, ...]:
        """Ids of all objects, ascending; an object may be empty everywhere."""
        return tuple(sorted(self.names))

    def mask(self, frame: int, object_id: int) -> NDArray[np.bool_]:
        """Mask (row, column) of one object on one frame."""
        runs = self.runs.get((frame, object_id))
        if runs is None:
            return np.zeros(self.shape_zyx[1:], bool)
        return decode_runs(runs, self.shape_zyx[1:])

    def frame_labels(self, frame: int) -> LabelMap:
        """Label map (row, column) of one frame. Where masks overlap, the highest object id wins."""
        labels = np.zeros(self.shape_zyx[1:], self._label_type)
        for object_id in self.object_ids:
            if (frame, object_id) in self.runs:
                labels[self.mask(frame, object_id)] = object_id
        return labels

    def iter_labels(self) -> Iterator[LabelMap]:
        """Label maps of all frames, one at a time."""
        return map(self.frame_labels, range(self.shape_zyx[0]))

    @property
    def labels(self) -> LabelMap:
        """The whole label array (frame, row, column); needs two bytes per voxel, or four."""
        labels = np.zeros(self.shape_zyx, self._label_type)
        for index, frame in enumerate(self.iter_labels()):
            labels[index] = frame
        return labels

    def of(self, object_id: int) -> NDArray[np.bool_]:
        """Mask (frame, row, column) of one object.

        Raises:
            UsageError: no such object.
        """
        if object_id not in self.names:
            raise UsageError(f"no object {object_id}; there are objects {list(self.object_ids)}")
        mask = np.zeros(self.shape_zyx, bool)
        for frame, other in self.runs:
            if other == object_id:
                mask[frame] = self.mask(frame, object_id)
        return mask

    def area(self, frame: int, object_id: int) -> int:
        """Pixels of one object on one frame."""
        runs = self.runs.get((frame, object_id))
        if runs is None:
            return 0
        return int(runs[1::2].sum())

    def overlaps_on(self, frame: int) -> bool:
        """Whether objects share pixels on one frame."""
        areas = sum(self.area(frame, object_id) for object_id in self.object_ids)
        return areas > int(np.count_nonzero(self.frame_labels(frame)))

    @property
    def _label_type(self) -> type[np.uint16] | type[np.uint32]:
        return _label_type(max(self.names, default=0))

    def on_stored_grid(self) -> Masks:
        """The same masks as frames along axis 0 of the stored array."""
        if self.axis == 0:
            return self
        shape = list(self.shape_zyx)
        shape.insert(self.axis, shape.pop(0))
        runs: dict[tuple[int, int], Runs] = {}
        for object_id in sorted({object_id for _, object_id in self.runs}):
            whole = np.moveaxis(self.of(object_id), 0, self.axis)
            for frame in np.flatnonzero(whole.any(axis=(1, 2))).tolist():
                runs[frame, object_id] = encode_runs(whole[frame])
        geometry = None
        if self.geometry is not None:
            geometry = self._stored_geometry(self.geometry)
        # scores are those of frames along the other axis; they have no meaning here
        stored = (shape[0], shape[1], shape[2])
        return replace(self, shape_zyx=stored, runs=runs, scores={}, geometry=geometry, axis=0)

    def _stored_geometry(self, geometry: Geometry) -> Geometry:
        """The geometry of the stored array, of which `geometry` is that along `axis`."""
        columns = [2, 1, 0]  # columns of the affine in (z, y, x) order
        columns.insert(self.axis, columns.pop(0))
        affine = geometry.affine.copy()
        affine[:, :3] = geometry.affine[:, columns[::-1]]
        return replace(geometry, affine=affine)


def _check_labels(labels: Pixels) -> None:
    if labels.ndim != 3:
        raise UsageError(f"labels must be (frame, row, column), got shape {labels.shape}")
    if labels.dtype.kind == "f" and not _is_whole(labels):
        raise UsageError(
            "labels must be whole numbers; this array has fractions or values that are not finite"
        )
    if labels.min(initial=0) < -_MAX_FRACTION or labels.max(initial=0) > MAX_OBJECT_ID:
        raise UsageError(
            f"labels must be 0 to {MAX_OBJECT_ID}, this array spans {labels.min()} to "
            f"{labels.max()}"
        )


def _is_whole(values: Pixels) -> bool:
    if not np.isfinite(values).all():
        return False
    return bool((np.abs(values - np.round(values)) <= _MAX_FRACTION).all())


def _label_type(largest: int) -> type[np.uint16] | type[np.uint32]:
    if largest > np.iinfo(np.uint16).max:
        return np.uint32
    return np.uint16
