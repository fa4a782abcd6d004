"""Choice among the objects of all labels that were found on a frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from segscope.inference.crop import Crop
from segscope.masks import decode_runs
from segscope.predict.finding.annotated_frame import AnnotatedFrame
from segscope.predict.finding.candidates import ObjectCandidate
from segscope.predict.finding.grid import SearchGrid
from segscope.predict.instances import Instance, flatten, instance_on_frame


@dataclass(frozen=True, slots=True)
class FindSettings:
    """Which objects count as found.

    Attributes:
        least_confidence: objects of which the confidence is lower are dropped.
        least_pixels: smaller masks are dropped.
        most_shared: IoU with an object of another label, or with a mask that was rejected, above
            which an object is dropped.
        most_marked: share of an object that lies in marked ones, above which it is dropped.
    """

    least_confidence: float = 0.5
    least_pixels: int = 4
    most_shared: float = 0.5
    most_marked: float = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class FoundObject:
    """An object that was found: its label and its mask, with the confidence as predicted IoU."""

    label: str
    instance: Instance


def choose_objects(
    found: Sequence[FoundObject],
    marked: Sequence[AnnotatedFrame],
    size_hw: tuple[int, int],
    settings: FindSettings,
) -> Iterator[tuple[FoundObject, NDArray[np.bool_]]]:
    """Objects that nobody marked or rejected, each of one label, without overlaps."""
    rejected = [each for frame in marked for each in frame.rejected]
    taken = np.zeros(size_hw, bool)
    for frame in marked:
        for marked_object in frame.objects:
            taken |= marked_object.mask
    chosen: list[FoundObject] = []
    for each in sorted(found, key=lambda one: -one.instance.iou):
        mask = decode_runs(each.instance.runs, size_hw)
        if taken[mask].mean() > settings.most_marked:
            continue
        others = [one.instance for one in chosen if one.label != each.label]
        known = [decode_runs(one.runs, size_hw) for one in others if _meet(one, each.instance)]
        known += [one.mask for one in rejected if one.label == each.label]
        if all(_iou(mask, other) <= settings.most_shared for other in known):
            chosen.append(each)
    by_instance = {id(each.instance): each for each in chosen}
    instances = [each.instance for each in chosen]
    for instance, mask in flatten(instances, size_hw, settings.least_pixels):
        free = mask & ~taken
        if free.sum() >= settings.least_pixels:
            yield by_instance[id(instance)], free


def to_instance(candidate: ObjectCandidate, grid: SearchGrid, confidence: float) -> Instance | None:
    """A candidate on the frame; None where it holds no pixel."""
    height, width = grid.frame_hw
    rows, columns = grid.shape
    x0, y0, x1, y1 = candidate.box
    # one cell more on each side, so that outlines run between cells
    padded = F.pad(torch.from_numpy(candidate.logits), (1, 1, 1, 1), value=-1.0)
    top, bottom = (round((row * height) / rows) for row in (y0 - 1, y1 + 1))
    left, right = (round((column * width) / columns) for column in (x0 - 1, x1 + 1))
    size = (max(bottom - top, 1), max(right - left, 1))
    logits = F.interpolate(padded.clamp(-1, 1)[None, None], size, mode="bilinear")[0, 0]
    inside = (logits > 0).numpy()
    inside = inside[max(-top, 0) : height - top, max(-left, 0) : width - left]
    if not inside.any():
        return None
    mask = np.zeros(grid.frame_hw, bool)
    top = max(top, 0)
    left = max(left, 0)
    mask[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
    return instance_on_frame(mask, Crop.whole(grid.frame_hw), confidence)


def _meet(one: Instance, other: Instance) -> bool:
    """Whether their boxes overlap."""
    x0, y0, x1, y1 = one.box
    left, top, right, bottom = other.box
    return x0 < right and left < x1 and y0 < bottom and top < y1


def _iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float((one & other).sum() / (one | other).sum())
