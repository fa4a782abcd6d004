"""Many objects at once, as in "segment everything": matching of objects, and scores of the whole
set.

Objects are label maps (0 = background) or lists of masks, which may overlap. Only overlapping pairs
are stored, so thousands of cells need little memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csgraph

from segscope.arrays import Pixels
from segscope.errors import UsageError

Objects = Pixels | Sequence[NDArray[np.bool_]]
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True, eq=False)
class Overlaps:
    """Pairs of objects that share pixels, one entry per pair.

    Attributes:
        predicted, truth: indices of the pair's objects among the predicted and the true ones.
        shared: pixels that the pair shares.
        areas_predicted, areas_truth: pixels of every object, overlapping or not.
    """

    predicted: NDArray[np.int64]
    truth: NDArray[np.int64]
    shared: NDArray[np.int64]
    areas_predicted: NDArray[np.int64]
    areas_truth: NDArray[np.int64]

    @property
    def union(self) -> NDArray[np.int64]:
        """Pixels of either object, by pair."""
        return self.areas_predicted[self.predicted] + self.areas_truth[self.truth] - self.shared

    @property
    def iou(self) -> NDArray[np.float64]:
        """IoU by pair, above 0."""
        return self.shared / self.union


@dataclass(frozen=True, slots=True)
class InstanceScores:
    """Detection at one IoU threshold. Ratios are NaN if there is neither a true nor a predicted
    object.

    Attributes:
        threshold: minimum IoU of a match.
        tp, fp, fn: matched, surplus and missed objects.
        precision, recall, f1: tp/(tp+fp), tp/(tp+fn) and their harmonic mean.
        ap: tp/(tp+fp+fn), the "average precision" of StarDist and Cellpose (not that of COCO).
        sq: segmentation quality, mean IoU of the matches (0 without any).
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


def overlaps(predicted: Objects, truth: Objects) -> Overlaps:
    """Pairs of overlapping objects, and their shared pixels.

    Raises:
        UsageError: the sizes differ, or labels are not whole numbers from 0.
    """
    predicted_pixels, size = _pixels(predicted)
    true_pixels, true_size = _pixels(truth)
    if size and true_size and size != true_size:
        raise UsageError(f"objects on {size} pixels cannot be compared with objects on {true_size}")
    size = max(size, true_size)
    one = _members(predicted_pixels, size)
    two = _members(true_pixels, size)
    shared = (one @ two.T).tocoo()
    rows, columns = (places.astype(np.int64) for places in shared.coords)
    return Overlaps(rows, columns, shared.data, np.diff(one.indptr), np.diff(two.indptr))


def match(pairs: Overlaps, threshold: float = 0.5) -> NDArray[np.int64]:
    """One-to-one matches with IoU `threshold` or more: as many as possible, and among these
    assignments the one with the highest total IoU.

    Returns:
        (n,) indices of the matches among the entries of `pairs`, ascending.
    """
    good = np.flatnonzero(pairs.iou >= threshold)
    if not len(good):
        return good
    predicted = pairs.predicted[good]
    truth = pairs.truth[good]
    alone = (np.bincount(predicted)[predicted] == 1) & (np.bincount(truth)[truth] == 1)
    # above 0.5 objects of label maps never compete, and all pairs are alone
    competing = [_assign(part, pairs) for part in _competing(good[~alone], pairs)]
    return np.sort(np.concatenate([good[alone], *competing]))


def _assign(entries: NDArray[np.int64], pairs: Overlaps) -> NDArray[np.int64]:
    """The best one-to-one assignment among entries that share objects."""
    rows, row = np.unique(pairs.predicted[entries], return_inverse=True)
    columns, column = np.unique(pairs.truth[entries], return_inverse=True)
    gain = np.zeros((len(rows), len(columns)))
    gain[row, column] = 1 + pairs.iou[entries] / (2 * min(gain.shape))
    entry = np.full(gain.shape, -1)
    entry[row, column] = entries
    chosen = entry[linear_sum_assignment(gain, maximize=True)]
    return chosen[chosen >= 0]


def instance_scores(
    predicted: Objects, truth: Objects, *, thresholds: Sequence[float] = THRESHOLDS
) -> tuple[InstanceScores, ...]:
    """Scores of detection at each threshold."""
    pairs = overlaps(predicted, truth)
    return tuple(_scores(pairs, threshold) for threshold in thresholds)


def aggregated_jaccard(predicted: Objects, truth: Objects) -> float:
    """AJI (Kumar et al. 2017): every true object is paired with the object of highest IoU, which
    may be paired with several.

    Returns:
        0 to 1: shared pixels divided by pixels of either, unpaired objects included; NaN without
        any object.
    """
    pairs = overlaps(predicted, truth)
    order = np.lexsort((-pairs.iou, pairs.truth))
    paired, first = np.unique(pairs.truth[order], return_index=True)
    best = order[first]
    missed = pairs.areas_truth.sum() - pairs.areas_truth[paired].sum()
    surplus = np.delete(pairs.areas_predicted, pairs.predicted[best]).sum()
    whole = pairs.union[best].sum() + missed + surplus
    if whole:
        return float(pairs.shared[best].sum() / whole)
    return math.nan


def _scores(pairs: Overlaps, threshold: float) -> InstanceScores:
    matches = match(pairs, threshold)
    tp = len(matches)
    fp = len(pairs.areas_predicted) - tp
    fn = len(pairs.areas_truth) - tp
    nothing = tp + fp + fn == 0
    f1 = _ratio(2 * tp, 2 * tp + fp + fn, nothing)
    sq = _ratio(float(pairs.iou[matches].sum()), tp, nothing)
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


def _ratio(part: float, whole: int, nothing: bool) -> float:
    if nothing:
        return math.nan
    if whole:
        return part / whole
    return 0.0


def _competing(entries: NDArray[np.int64], pairs: Overlaps) -> list[NDArray[np.int64]]:
    """Entries split into groups that have no object in common."""
    if not len(entries):
        return []
    predicted = pairs.predicted[entries]
    truth = pairs.truth[entries] + len(pairs.areas_predicted)
    size = len(pairs.areas_predicted) + len(pairs.areas_truth)
    graph = sparse.coo_array((np.ones(len(entries)), (predicted, truth)), shape=(size, size))
    group = csgraph.connected_components(graph, directed=False)[1][predicted]
    order = np.argsort(group, kind="stable")
    return np.split(entries[order], np.flatnonzero(np.diff(group[order])) + 1)


def _pixels(objects: Objects) -> tuple[list[NDArray[np.int64]] | Pixels, int]:
    """Indices of the pixels of each mask, or a flat label map; and the number of pixels (0 without
    any mask).
    """
    if isinstance(objects, np.ndarray) and objects.dtype != bool:
        if objects.dtype.kind not in "iu" or objects.min(initial=0) < 0:
            raise UsageError(f"a label map must have whole numbers from 0, got {objects.dtype}")
        return objects.ravel(), objects.size
    sizes = {mask.size for mask in objects}
    if len(sizes) > 1:
        raise UsageError(f"masks of one image must have one size, got {sorted(sizes)} pixels")
    return list(map(np.flatnonzero, objects)), max(sizes, default=0)


def _members(objects: list[NDArray[np.int64]] | Pixels, size: int) -> sparse.csr_array:
    """Sparse (object, pixel), 1 where the pixel belongs to the object."""
    if isinstance(objects, list):
        row = np.repeat(np.arange(len(objects)), list(map(len, objects)))
        pixels = np.concatenate([*objects, np.zeros(0, np.int64)])
        count = len(objects)
    else:
        pixels = np.flatnonzero(objects)
        labels, row = np.unique(objects[pixels], return_inverse=True)
        count = len(labels)
    return sparse.csr_array((np.ones(len(pixels), np.int32), (row, pixels)), shape=(count, size))
