"""Instances: masks of single clicks on a frame, without duplicates and overlaps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segscope.inference.crop import Crop, Xyxy
from segscope.masks import Runs, decode_runs, encode_runs
from segscope.prompts import Box


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """A mask of one click.

    Attributes:
        runs: run lengths on the frame.
        box: around it, in pixels of the frame.
        area: in pixels.
        iou: predicted.
        cut: whether a window cuts it off.
    """

    runs: Runs
    box: Xyxy
    area: int
    iou: float
    cut: bool


def instance_on_frame(mask: NDArray[np.bool_], crop: Crop, iou: float) -> Instance:
    """A mask (row, column) of a crop, which is not empty."""
    height, width = crop.frame_hw
    x0, y0, x1, y1 = Box.around(mask).xyxy
    box = (x0 + crop.x0, y0 + crop.y0, x1 + crop.x0, y1 + crop.y0)
    # cut off by an edge of the window inside the frame: another crop holds the whole object
    edges = (crop.x0, crop.y0, crop.x1, crop.y1)
    borders = (0, 0, width, height)
    sides = zip(box, edges, borders, strict=True)
    cut = any(side == edge != border for side, edge, border in sides)
    full = np.zeros(crop.frame_hw, bool)
    full[crop.rows, crop.columns] = mask
    return Instance(encode_runs(full), box, int(mask.sum()), iou, cut)


def remove_duplicates(instances: list[Instance], most_overlap: float) -> list[Instance]:
    """Greedy suppression by box IoU; whole objects come before those that a window cuts off."""
    ranked = sorted(instances, key=lambda each: (each.cut, -each.iou))
    if not ranked:
        return []
    boxes = np.array([each.box for each in ranked])
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    alive = np.ones(len(ranked), bool)
    distinct = []
    for i, instance in enumerate(ranked):
        if not alive[i]:
            continue
        distinct.append(instance)
        low = np.maximum(boxes[i, :2], boxes[:, :2])
        high = np.minimum(boxes[i, 2:], boxes[:, 2:])
        shared = np.prod(np.clip(high - low, 0, None), axis=1)
        alive &= shared / (areas[i] + areas - shared) <= most_overlap
    return distinct


def flatten(
    instances: list[Instance], size_hw: tuple[int, int], least_pixels: int
) -> Iterator[tuple[Instance, NDArray[np.bool_]]]:
    """Disjoint masks, small over large, in reading order; what is left too small is dropped."""
    ordered = sorted(instances, key=lambda each: (each.box[1], each.box[0]))
    numbers = {id(each): number for number, each in enumerate(ordered)}
    owner = np.full(size_hw, -1, np.int64)
    for instance in sorted(instances, key=lambda each: -each.area):
        owner[decode_runs(instance.runs, size_hw)] = numbers[id(instance)]
    for number, instance in enumerate(ordered):
        mask = owner == number
        if mask.sum() >= least_pixels:
            yield instance, mask


def gain(
    before: list[Instance], more: list[Instance], crops: Sequence[Crop], most_overlap: float
) -> float:
    """How many times as many objects there are in windows with the instances that they show as
    without; weighted by predicted IoU.
    """
    without = _weight_in(remove_duplicates(before, most_overlap), crops)
    together = _weight_in(remove_duplicates(before + more, most_overlap), crops)
    return (together + 0.5) / (without + 0.5)


def _weight_in(instances: Sequence[Instance], crops: Sequence[Crop]) -> float:
    return sum(each.iou for crop in crops for each in instances if crop.holds_middle(each.box))
