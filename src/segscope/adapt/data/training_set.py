"""Training set: the cases of a data set as frames with objects on them, split by patient."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass, field, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segscope.adapt.data.patients import CaseSplit, patient_of, split_cases
from segscope.adapt.data.scans import Scan, Scans
from segscope.arrays import Pixels
from segscope.errors import UnknownName, UsageError
from segscope.io.datasets.dataset import Case, DataSet

__all__ = [
    "CaseFrame",
    "CaseSelection",
    "Data",
    "ObjectOnFrame",
    "Scan",
    "Scans",
    "Split",
    "gather",
    "split",
]

LEAST_FRAMES = 4
"""Fewest training frames with an object on them that a run accepts."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class CaseSelection:
    """Which part of a data set is used.

    Attributes:
        labels: names of labels, or parts of names that match exactly one; empty for all.
        max_patients: number of training patients, drawn by `seed`; 0 for all.
        least_pixels: objects smaller than this on a frame are left out.
        seed: of drawing patients.
        keep_test: whether some patients take no part in the run, to test its result; see
            `segscope.adapt.data.patients.split_cases`.
    """

    labels: tuple[str, ...] = ()
    max_patients: int = 0
    least_pixels: int = 16
    seed: int = 0
    keep_test: bool = False


@dataclass(frozen=True, slots=True)
class ObjectOnFrame:
    """One object on one frame.

    Attributes:
        plane: label map of the scan that it is in.
        value: its number there.
        label: its label.
        xyxy: tight box in pixels of the frame.
        pixels: its area.
    """

    plane: int
    value: int
    label: str
    xyxy: tuple[int, int, int, int]
    pixels: int


@dataclass(frozen=True, slots=True)
class CaseFrame:
    """One frame of one case with the objects on it; `labelled` is false where the case has no
    truth.
    """

    case: int
    frame: int
    objects: tuple[ObjectOnFrame, ...]
    labelled: bool = True

    @property
    def key(self) -> tuple[object, ...]:
        """Plain values that distinguish it from any other frame and selection of objects."""
        objects = list(map(astuple, self.objects))
        return self.case, self.frame, objects, self.labelled


@dataclass(frozen=True, eq=False)
class Split:
    """Frames to train on, or to validate on.

    Attributes:
        scans: the cases.
        items: frames in a fixed order.
        classes: names of the labels in use, in order; class k + 1 of a class map is `classes[k]`.
    """

    scans: Scans
    items: tuple[CaseFrame, ...]
    classes: tuple[str, ...]

    @property
    def groups(self) -> tuple[str, ...]:
        """Patients, in order."""
        return tuple(dict.fromkeys(self.patient(item.case) for item in self.items))

    def patient(self, case: int) -> str:
        """Patient of a case by its number."""
        return patient_of(self.scans.cases[case])

    def class_map(self, planes: Pixels, names: dict[tuple[int, int], str]) -> NDArray[np.int64]:
        """Object numbers (plane, frame, row, column) as class numbers (frame, row, column)."""
        classes = np.zeros(planes.shape[1:], np.int64)
        for (plane, value), label in names.items():
            if label in self.classes:
                classes[planes[plane] == value] = 1 + self.classes.index(label)
        return classes


@dataclass(frozen=True, eq=False)
class Data:
    """A data set, ready to train on.

    Attributes:
        name: of the set.
        train, val: frames of different patients.
        unlabelled: frames without truth, for methods that use them.
        card: description of the data in a saved adaptation.
    """

    name: str
    train: Split
    val: Split
    unlabelled: Split
    card: dict[str, object] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """Distinguishes this selection of frames and objects from any other; 16 hex digits."""
        digest = hashlib.sha256(self.name.encode())
        for part in (self.train, self.val, self.unlabelled):
            for item in part.items:
                digest.update(f"{part.scans.cases[item.case].id} {item.key}".encode())
        return digest.hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class _Part:
    """Cases of one part of the data, and all their frames."""

    scans: Scans
    items: list[CaseFrame]


def gather(
    sets: Sequence[DataSet],
    choice: CaseSelection,
    side: int,
    *,
    empty: bool = False,
    unlabelled: bool = False,
    progress: Progress | None = None,
) -> Data:
    """Read the chosen part of one or several data sets.

    Args:
        sets: from `segscope.io.datasets.reading.dataset`.
        choice: labels, number of patients ...
        side: frames are reduced to this many pixels on the longer side, which loses nothing that
            the network would see.
        empty: whether frames without any object are used as well, for methods without prompts.
        unlabelled: whether cases without truth are read too.
        progress: called with (cases read, cases to read).

    Raises:
        UsageError: no truth, too few frames or patients, an unknown label.
    """
    name = " + ".join(each.name for each in sets)
    cases = list(chain.from_iterable(each.cases for each in sets))
    chosen = split(cases, choice, name)
    unlabelled_cases = chosen.unlabelled
    if not unlabelled:
        unlabelled_cases = []
    parts = _read_parts((chosen.train, chosen.val, unlabelled_cases), side, choice, progress)
    every_item = chain.from_iterable(part.items for part in parts)
    labels = sorted({obj.label for item in every_item for obj in item.objects})
    classes = _match_labels(choice.labels, labels, name)
    train, val, rest = (_select(part, classes, empty=empty) for part in parts)
    _check_size(train, val, name)
    return Data(name, train, val, rest, _describe(sets, choice, train, val, rest))


def split(cases: Sequence[Case], choice: CaseSelection, name: str) -> CaseSplit:
    """What cases are used for; see `split_cases`."""
    return split_cases(
        cases,
        name,
        max_patients=choice.max_patients,
        seed=choice.seed,
        keep_test=choice.keep_test,
    )


def _read_parts(
    parts: Sequence[Sequence[Case]], side: int, choice: CaseSelection, progress: Progress | None
) -> list[_Part]:
    """All frames of the cases of each part."""
    total = sum(map(len, parts))
    done = 0
    read = []
    for cases in parts:
        scans = Scans(cases, side)
        items: list[CaseFrame] = []
        for number in range(len(cases)):
            items += _find_objects(scans, number, choice.least_pixels)
            done += 1
            if progress is not None:
                progress(done, total)
        read.append(_Part(scans, items))
    return read


def _find_objects(scans: Scans, number: int, least_pixels: int) -> list[CaseFrame]:
    """The frames of a case with the objects on them."""
    scan = scans[number]
    objects: list[list[ObjectOnFrame]] = [[] for _ in scan.rgb]
    for plane, frames in enumerate(scan.planes):
        for frame, labels in enumerate(frames):
            objects[frame] += _objects_of(labels, plane, scan, least_pixels)
    labelled = bool(scans.cases[number].targets)
    return [CaseFrame(number, frame, tuple(on_it), labelled) for frame, on_it in enumerate(objects)]


def _objects_of(
    labels: NDArray[np.uint16], plane: int, scan: Scan, least_pixels: int
) -> list[ObjectOnFrame]:
    """The objects of one label map (row, column) that are large enough."""
    areas = np.bincount(labels.ravel())
    objects = []
    for value, slices in enumerate(ndimage.find_objects(labels.astype(np.int32)), 1):
        if slices is None or areas[value] < least_pixels:
            continue
        rows, columns = slices
        box = (columns.start, rows.start, columns.stop, rows.stop)
        label = scan.names.get((plane, value), "object")
        objects.append(ObjectOnFrame(plane, value, label, box, int(areas[value])))
    return objects


def _select(part: _Part, classes: tuple[str, ...], *, empty: bool) -> Split:
    """The frames of a part with objects of some classes, or without any where that is allowed."""
    items = []
    for item in part.items:
        objects = tuple(obj for obj in item.objects if obj.label in classes)
        if objects or empty or not item.labelled:
            items.append(replace(item, objects=objects))
    return Split(part.scans, tuple(items), classes)


def _match_labels(requested: Iterable[str], labels: Sequence[str], name: str) -> tuple[str, ...]:
    """Labels that are requested by name, or by a part of a name that matches exactly one."""
    matched: list[str] = []
    for text in requested:
        label = _match_label(text.strip().lower(), labels)
        if label is None:
            raise UnknownName(f"label in {name}", text, labels, f"It holds: {', '.join(labels)}.")
        if label not in matched:
            matched.append(label)
    return tuple(matched or labels)


def _match_label(text: str, labels: Sequence[str]) -> str | None:
    matches = [label for label in labels if label.lower() == text]
    if text and not matches:
        matches = [label for label in labels if text in label.lower()]
    if len(matches) != 1:
        return None
    return matches[0]


def _check_size(train: Split, val: Split, name: str) -> None:
    what = "frames with a truth"
    if train.classes:
        what = f"frames with {' or '.join(train.classes[:4])}"
    frames = sum(bool(item.objects) for item in train.items)
    if frames < LEAST_FRAMES:
        raise UsageError(
            f"{name} gives {frames} training {what}; at least {LEAST_FRAMES} are needed, and 20 "
            "are a good start. Annotate more, use another data set, or request other --labels"
        )
    if not any(item.objects for item in val.items):
        raise UsageError(
            f"the validation cases of {name} hold no {what}; choose other --labels or another split"
        )


def _describe(
    sets: Sequence[DataSet],
    choice: CaseSelection,
    train: Split,
    val: Split,
    unlabelled: Split,
) -> dict[str, object]:
    """The data card; its keys are part of the format of saved adaptations."""
    cases = (*train.scans.cases, *val.scans.cases)
    licences = {each.licence for each in sets} | {case.licence for case in cases}
    licences.discard("")
    card: dict[str, object] = {
        "sets": [each.name for each in sets],
        "licences": sorted(licences) or ["unknown"],
        "labels": list(train.classes),
        "few": choice.max_patients,
        "least_pixels": choice.least_pixels,
        "seed": choice.seed,
    }
    for name, part in (("train", train), ("val", val), ("unlabelled", unlabelled)):
        used = sorted({item.case for item in part.items})
        card[name] = {
            "patients": len(part.groups),
            "cases": [part.scans.cases[number].id for number in used],
            "frames": len(part.items),
            "things": sum(len(item.objects) for item in part.items),
        }
    return card
