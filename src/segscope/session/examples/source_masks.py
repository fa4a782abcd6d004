"""Masks of a source: what becomes examples once an engine has seen it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from segscope.masks import Masks, Runs, encode_runs
from segscope.session.examples.acceptance import spread_frames
from segscope.simulate.regions import parts
from segscope.stack import Stack
from segscope.wire import JsonObject

LEAST_PIXELS = 16  # of a mask; what is smaller shows hardly any cell of its own


@dataclass(frozen=True, slots=True, eq=False)
class SourceMask:
    """The mask of one object on one frame, or of a connected part of it.

    Attributes:
        label: of the object, or "".
        frame: number of the frame.
        runs: run lengths.
        rejected: whether it shows what the label is not.
    """

    label: str
    frame: int
    runs: Runs
    rejected: bool = False

    @property
    def pixels(self) -> int:
        return int(self.runs[1::2].sum())


@dataclass(frozen=True, eq=False)
class SourceImage:
    """An image, volume or video with masks.

    Attributes:
        stack: the image.
        masks: on its frames.
        complete: whether all objects of its labels have masks here.
        window: intensities displayed when the masks were made, or None.
    """

    stack: Stack
    masks: Sequence[SourceMask]
    complete: bool
    window: str | JsonObject | None = None


@dataclass(frozen=True, eq=False)
class SourceCase:
    """A case that can be opened.

    Attributes:
        name: for messages; never stored.
        group: of the patient, as the list of cases names it, or ""; never stored.
        open: reads the image and its masks; gets the axis of volumes that is cut into frames.
    """

    name: str
    group: str
    open: Callable[[int], SourceImage]


def list_objects(
    masks: Masks, labels: Mapping[int, str], *, split: bool = False
) -> Iterator[SourceMask]:
    """The masks of objects, each on a few frames that are evenly spread.

    Args:
        labels: by object id; other objects are left out.
        split: connected parts are objects of their own, as in a map of classes.
    """
    frames: dict[int, list[int]] = {object_id: [] for object_id in labels}
    for frame, object_id in sorted(masks.runs):
        if object_id in labels and masks.area(frame, object_id):
            frames[object_id].append(frame)
    for object_id, label in labels.items():
        for frame in spread_frames(frames[object_id]):
            if split:
                yield from _split(masks, frame, object_id, label)
            else:
                yield SourceMask(label, frame, masks.runs[frame, object_id])


def _split(masks: Masks, frame: int, object_id: int, label: str) -> Iterator[SourceMask]:
    for window, part in parts(masks.mask(frame, object_id)):
        whole = np.zeros(masks.shape_zyx[1:], bool)
        whole[window] = part
        yield SourceMask(label, frame, encode_runs(whole))


def choose_sizes(masks: Sequence[SourceMask], count: int) -> list[SourceMask]:
    """At most `count` masks, from the smallest to the largest in even steps."""
    if len(masks) <= count:
        return list(masks)
    by_size = sorted(masks, key=lambda mask: mask.pixels)
    steps = np.linspace(0, len(masks) - 1, count).round().astype(int)
    return [by_size[step] for step in steps]
