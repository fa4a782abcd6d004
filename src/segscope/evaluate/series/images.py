"""Images of a series: images, slices or frames with one object each, drawn by a seed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from segscope.evaluate.case_runner import seeded_generator
from segscope.evaluate.protocol import Protocol
from segscope.io.datasets.dataset import Case, DataSet
from segscope.io.datasets.reading import read_image, read_target
from segscope.masks import Masks
from segscope.render import Renderer
from segscope.simulate.regions import parts
from segscope.stack import Stack

Mask = NDArray[np.bool_]
LEAST_SHARE = 0.2  # of the largest part of a class on an image; smaller parts are not drawn


@dataclass(frozen=True, slots=True)
class SeriesImage:
    """An image, slice or frame with one object.

    Attributes:
        case: that it belongs to.
        frame: of the case.
        target: number of the truth file within the case.
        object_id: in the truth.
        part: number of the connected part, largest first; None for the whole object.
    """

    case: Case
    frame: int
    target: int
    object_id: int
    part: int | None = None

    @property
    def object(self) -> str:
        """Its object, as rows of other evaluations name it."""
        name = f"{self.target}:{self.object_id}"
        if self.part is None:
            return name
        return f"{name}:{self.part + 1}"


@dataclass(frozen=True, slots=True)
class Series:
    """Images of one class of one data set, in the order of its cases."""

    dataset: str
    label: str
    images: tuple[SeriesImage, ...]


def list_series(
    dataset: DataSet, cases: Sequence[Case], protocol: Protocol, images: int
) -> list[Series]:
    """A series for each class of a data set.

    Args:
        cases: of the data set; at most `images` of them are read.
        protocol: which objects there are.
        images: of a series, spread over the cases.
    """
    rng = seeded_generator(protocol.seed, dataset.name, "series")
    chosen = [cases[place] for place in rng.permutation(len(cases))[:images].tolist()]
    by_label: dict[str, list[SeriesImage]] = defaultdict(list)
    for number, case in enumerate(chosen):
        quota = images * (number + 1) // len(chosen) - images * number // len(chosen)
        for label, drawn in _draw_from_case(case, protocol, quota):
            by_label[label] += drawn
    return [
        Series(dataset.name, label, tuple(drawn))
        for label, drawn in sorted(by_label.items())
        if drawn
    ]


def order_images(series: Series, seed: int, order: int) -> list[SeriesImage]:
    """The images in one of many orders: case by case, those of a case in any order."""
    rng = seeded_generator(seed, series.dataset, series.label, "order", order)
    shuffled = [series.images[place] for place in rng.permutation(len(series.images))]
    cases = list(dict.fromkeys(image.case.id for image in shuffled))
    return sorted(shuffled, key=lambda image: cases.index(image.case.id))


# --- drawing -------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Truth:
    """Objects of one class of a case: by frame, the number of the truth file and the object."""

    frames: dict[int, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))


def _draw_from_case(
    case: Case, protocol: Protocol, quota: int
) -> Iterator[tuple[str, list[SeriesImage]]]:
    """Each class of a case, with at most `quota` images spread over its frames."""
    stack = read_image(case)
    targets = [read_target(target, stack) for target in case.targets]
    for label, truth in sorted(_list_classes(case, targets, protocol).items()):
        rng = seeded_generator(protocol.seed, case.dataset, case.id, label)
        images = []
        for frames in np.array_split(sorted(truth.frames), quota):
            for frame in rng.permutation(frames).tolist():
                objects = list(_list_objects(case, targets, frame, truth.frames[frame], protocol))
                if objects:
                    images.append(objects[int(rng.integers(len(objects)))])
                    break
        yield label, images


def _list_classes(case: Case, targets: Sequence[Masks], protocol: Protocol) -> Mapping[str, _Truth]:
    classes: dict[str, _Truth] = defaultdict(_Truth)
    for number, masks in enumerate(targets):
        for frame, object_id in masks.runs:
            label = masks.names[object_id] or case.targets[number].label
            if not protocol.labels or label in protocol.labels:
                classes[label].frames[frame].append((number, object_id))
    return classes


def _list_objects(
    case: Case,
    targets: Sequence[Masks],
    frame: int,
    places: Sequence[tuple[int, int]],
    protocol: Protocol,
) -> Iterator[SeriesImage]:
    """Objects on a frame that are large enough."""
    for number, object_id in places:
        mask = targets[number].mask(frame, object_id)
        if not protocol.parts or case.targets[number].kind == "instance":
            if mask.sum() >= max(protocol.least_pixels, 1):
                yield SeriesImage(case, frame, number, object_id)
            continue
        sizes = [int(part.sum()) for _, part in parts(mask)]
        least = max(protocol.least_pixels, 1, LEAST_SHARE * max(sizes, default=0))
        for part, size in enumerate(sizes):
            if size >= least:
                yield SeriesImage(case, frame, number, object_id, part)


# --- reading -------------------------------------------------------------------------------------


class ImageReader:
    """Reads images; the latest case stays open."""

    def __init__(self) -> None:
        self._case: Case | None = None

    def read(self, image: SeriesImage) -> tuple[Stack, Mask]:
        """The image alone, as the network sees it, and the mask (row, column) of its object."""
        if image.case is not self._case:
            self._stack = read_image(image.case)
            self._rendered = Renderer(self._stack)
            self._targets: dict[int, Masks] = {}
            self._case = image.case
        if image.target not in self._targets:
            target = image.case.targets[image.target]
            self._targets[image.target] = read_target(target, self._stack)
        mask = self._targets[image.target].mask(image.frame, image.object_id)
        if image.part is not None:
            mask = _cut_part(mask, image.part)
        return Stack.from_array(np.array(self._rendered[image.frame])), mask


def _cut_part(mask: Mask, number: int) -> Mask:
    window, part = list(parts(mask, number + 1))[number]
    whole = np.zeros_like(mask)
    whole[window] = part
    return whole
