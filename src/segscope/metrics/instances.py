"""Many objects at once, as "segment everything" finds them: which belongs to which, and how good
the set is.

Objects are given as label maps (0 = background) or as lists of masks, which may overlap. Only pairs
that touch are held, so thousands of cells cost little.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csgraph

from segscope.errors import UsageError

Objects = NDArray[Any] | Sequence[NDArray[np.bool_]]
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True, eq=False)
class Overlaps:
    """Pairs of objects that share pixels, one entry a pair.

    Attributes:
        found, truth: place of the pair's objects among all that were found, and among all true
            ones.
        shared: pixels that the pair shares.
        areas_found, areas_truth: pixels of every object, touched or not.
    """

    found: NDArray[np.int64]
    truth: NDArray[np.int64]
    shared: NDArray[np.int64]
    areas_found: NDArray[np.int64]
    areas_truth: NDArray[np.int64]

    @property
    def union(self) -> NDArray[np.int64]:
        """Pixels of either object, by pair."""
        return self.areas_found[self.found] + self.areas_truth[self.truth] - self.shared

    @property
    def iou(self) -> NDArray[np.float64]:
        """IoU by pair, above 0."""
        return self.shared / self.union


@dataclass(frozen=True, slots=True)
class InstanceScores:
    """Detection at one IoU threshold. Ratios are NaN where there is neither a true nor a found
    object.

    Attributes:
        threshold: least IoU of a match.
        tp, fp, fn: matched, surplus and missed objects.
        precision, recall, f1: tp/(tp+fp), tp/(tp+fn) and their harmonic mean.
        ap: tp/(tp+fp+fn), the "average precision" of StarDist and Cellpose (not that of COCO).
        sq: segmentation quality, mean IoU of the matches (0 when there are none).
        pq: panoptic quality, sq · f1 (Kirillov et al. 2019; a match at exactly 0.5 counts here).
    """

    threshold: float
    tp: int
    fp: int
    fn: int
    precision: float
    recall: float
    f1: float
    ap: float
    sq: float
    pq: float


def overlaps(found: Objects, truth: Objects) -> Overlaps:
    """Which objects share how many pixels.

    Raises:
        UsageError: the sizes differ, or labels are not whole numbers from 0.
    """
    (one, size), (two, other) = _pixels(found), _pixels(truth)
    if size != other and size and other:
        raise UsageError(f"objects on {size} pixels cannot be compared with objects on {other}")
    members = [_members(objects, max(size, other)) for objects in (one, two)]
    shared = (members[0] @ members[1].T).tocoo()
    rows, columns = (places.astype(np.int64) for places in shared.coords)
    return Overlaps(
        rows, columns, shared.data, np.diff(members[0].indptr), np.diff(members[1].indptr)
    )


def match(pairs: Overlaps, threshold: float = 0.5) -> NDArray[np.int64]:
    """One-to-one matches of at least IoU `threshold`: as many as possible, and of these the best in
    all.

    Returns:
        (n,) places of the matches among the entries of `pairs`, ascending.
    """
    good = np.flatnonzero(pairs.iou >= threshold)
    found = pairs.found[good]
    truth = pairs.truth[good]
    if len(good):
        alone = (np.bincount(found)[found] == 1) & (np.bincount(truth)[truth] == 1)
    else:
        alone = np.zeros(0, bool)
    matches = [good[alone]]
    # at a threshold above 0.5 label maps leave nothing to decide; the rest is decided where objects
    # compete
    for part in _competing(good[~alone], pairs):
        rows, row = np.unique(pairs.found[part], return_inverse=True)
        columns, column = np.unique(pairs.truth[part], return_inverse=True)
        gain = np.zeros((len(rows), len(columns)))
        gain[row, column] = 1 + pairs.iou[part] / (2 * min(gain.shape))
        entry = np.full(gain.shape, -1)
        entry[row, column] = part
        chosen = entry[linear_sum_assignment(gain, maximize=True)]
        matches.append(chosen[chosen >= 0])
    return np.sort(np.concatenate(matches))


def instance_scores(
    found: Objects, truth: Objects, *, thresholds: Sequence[float] = THRESHOLDS
) -> tuple[InstanceScores, ...]:
    """Scores of detection at each threshold."""
    pairs = overlaps(found, truth)
    return tuple(_scores(pairs, threshold) for threshold in thresholds)


def aggregated_jaccard(found: Objects, truth: Objects) -> float:
    """AJI (Kumar et al. 2017): every true object takes the object of best IoU, which may serve
    several.

    Returns:
        0 to 1: pixels shared over pixels of either, objects that serve none included; NaN without
            any object.
    """
    pairs = overlaps(found, truth)
    order = np.lexsort((-pairs.iou, pairs.truth))
    served, first = np.unique(pairs.truth[order], return_index=True)
    best = order[first]
    missed = pairs.areas_truth.sum() - pairs.areas_truth[served].sum()
    surplus = np.delete(pairs.areas_found, pairs.found[best]).sum()
    whole = pairs.union[best].sum() + missed + surplus
    if whole:
        return float(pairs.shared[best].sum() / whole)
    return math.nan


def _scores(pairs: Overlaps, threshold: float) -> InstanceScores:
    matches = match(pairs, threshold)
    tp = len(matches)
    fp = len(pairs.areas_found) - tp
    fn = len(pairs.areas_truth) - tp
    nothing = tp + fp + fn == 0
    if nothing:
        f1 = math.nan
    else:
        f1 = 2 * tp / (2 * tp + fp + fn)
    if tp:
        sq = float(pairs.iou[matches].mean())
    elif nothing:
        sq = math.nan
    else:
        sq = 0.0
    return InstanceScores(
        threshold=threshold,
        tp=tp,
        fp=fp,
        fn=fn,
        precision=_ratio(tp, tp + fp, nothing),
        recall=_ratio(tp, tp + fn, nothing),
        f1=f1,
        ap=_ratio(tp, tp + fp + fn, nothing),
        sq=sq,
        pq=sq * f1,
    )


def _ratio(part: int, whole: int, nothing: bool) -> float:
    if nothing:
        return math.nan
    if whole:
        return part / whole
    return 0.0


def _competing(entries: NDArray[np.int64], pairs: Overlaps) -> list[NDArray[np.int64]]:
    """Entries split into groups that have no object in common."""
    if not len(entries):
        return []
    found = pairs.found[entries]
    truth = pairs.truth[entries] + len(pairs.areas_found)
    size = len(pairs.areas_found) + len(pairs.areas_truth)
    graph = sparse.coo_array((np.ones(len(entries)), (found, truth)), shape=(size, size))
    group = csgraph.connected_components(graph, directed=False)[1][found]
    order = np.argsort(group, kind="stable")
    return np.split(entries[order], np.flatnonzero(np.diff(group[order])) + 1)


def _pixels(objects: Objects) -> tuple[list[NDArray[np.int64]] | NDArray[Any], int]:
    """Flat masks' pixels one by one, or a flat label map, and the number of pixels (0 when there is
    no mask).
    """
    if isinstance(objects, np.ndarray) and objects.dtype != bool:
        if objects.dtype.kind not in "iu" or (objects.size and objects.min() < 0):
            raise UsageError(f"a label map holds whole numbers from 0, got {objects.dtype}")
        return objects.ravel(), objects.size
    sizes = {mask.size for mask in objects}
    if len(sizes) > 1:
        raise UsageError(f"masks of one image have one size, got {sorted(sizes)} pixels")
    return [np.flatnonzero(mask) for mask in objects], max(sizes, default=0)


def _members(objects: list[NDArray[np.int64]] | NDArray[Any], size: int) -> sparse.csr_array:
    """Sparse (object, pixel), 1 where the pixel belongs to the object."""
    if isinstance(objects, list):
        row = np.repeat(np.arange(len(objects)), [len(one) for one in objects])
        pixels = np.concatenate([*objects, np.zeros(0, np.int64)])
        count = len(objects)
    else:
        pixels = np.flatnonzero(objects)
        labels, row = np.unique(objects[pixels], return_inverse=True)
        count = len(labels)
    return sparse.csr_array((np.ones(len(pixels), np.int32), (row, pixels)), shape=(count, size))
