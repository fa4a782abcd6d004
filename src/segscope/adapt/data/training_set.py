"""Training data: the cases of a data set as frames with things on them, split by patient.

Scans are rendered as at inference, through one window for the stack, and kept in memory as far as a
limit goes.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from segscope.errors import UnknownName, UsageError
from segscope.geometry import Geometry
from segscope.io.datasets.reading import Case, DataSet, read_image, read_target
from segscope.render import Renderer
from segscope.stack import Stack

LEAST_FRAMES = 4
"""Fewest training frames with something on them that a run starts with."""

VAL_SHARE = 0.2
"""Share of the patients that are held out where the data set names no validation cases."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Choice:
    """What of a data set is used.

    Attributes:
        labels: names of things, or parts of names that fit one; empty for all.
        few: number of training patients, drawn by `seed`; 0 for all.
        least_pixels: smaller things on a frame are left out.
        seed: of drawing patients.
    """

    labels: tuple[str, ...] = ()
    few: int = 0
    least_pixels: int = 16
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Thing:
    """One object on one frame.

    Attributes:
        plane: which label map of the scan.
        value: its number there.
        label: what it is.
        xyxy: tight box in pixels of the frame.
        pixels: its area.
    """

    plane: int
    value: int
    label: str
    xyxy: tuple[int, int, int, int]
    pixels: int


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """A case in memory.

    Attributes:
        rgb: (frame, row, column, 3) uint8, as the network sees it.
        planes: (plane, frame, row, column) numbers of objects, one plane for each truth file; 0 is
            background.
        names: label of each (plane, number).
        stack: the same frames with what prediction knows of them: kind and spacing.
    """

    rgb: NDArray[np.uint8]
    planes: NDArray[np.uint16]
    names: dict[tuple[int, int], str]
    stack: Stack

    @property
    def bytes(self) -> int:
        return self.rgb.nbytes + self.planes.nbytes


@dataclass(frozen=True, slots=True)
class Item:
    """One frame of one case with the things on it; `labelled` is false where the case has no truth."""

    case: int
    frame: int
    things: tuple[Thing, ...]
    labelled: bool = True


class Scans:
    """Cases by number, read when asked for; the latest are kept."""

    def __init__(self, cases: Sequence[Case], side: int, limit_bytes: int = 4 * 2**30) -> None:
        """Args:
        cases: what there is.
        side: longer sides of frames are reduced to so many pixels.
        limit_bytes: memory for scans.
        """
        self.cases = tuple(cases)
        self.side = side
        self._limit = limit_bytes
        self._held = 0
        self._kept: OrderedDict[int, Scan] = OrderedDict()

    def __getitem__(self, case: int) -> Scan:
        found = self._kept.get(case)
        if found is None:
            found = read_scan(self.cases[case], self.side)
            self._kept[case] = found
            self._held += found.bytes
            while self._held > self._limit and len(self._kept) > 1:
                self._held -= self._kept.popitem(last=False)[1].bytes
        return found


@dataclass(frozen=True, eq=False)
class Gathered:
    """What is trained on, or validated on.

    Attributes:
        scans: the cases.
        items: frames in a fixed order.
        classes: names of the labels that count, in order; class k + 1 of a class map is
            `classes[k]`.
    """

    scans: Scans
    items: tuple[Item, ...]
    classes: tuple[str, ...]

    @property
    def groups(self) -> tuple[str, ...]:
        """Patients, in order."""
        cases = self.scans.cases
        return tuple(
            dict.fromkeys(cases[item.case].group or cases[item.case].id for item in self.items)
        )

    def class_map(
        self, planes: NDArray[Any], names: dict[tuple[int, int], str]
    ) -> NDArray[np.int64]:
        """(plane, frame, row, column) numbers of objects as (frame, row, column) numbers of
        classes.
        """
        out = np.zeros(planes.shape[1:], np.int64)
        for (plane, value), label in names.items():
            if label in self.classes:
                out[planes[plane] == value] = 1 + self.classes.index(label)
        return out


@dataclass(frozen=True, eq=False)
class Data:
    """A data set, ready to train on.

    Attributes:
        name: of the set.
        train, val: frames of different patients.
        unlabelled: frames without truth, for methods that use them.
        card: what an adaptation says of its data.
    """

    name: str
    train: Gathered
    val: Gathered
    unlabelled: Gathered
    card: dict[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """Tells this choice of frames and things from any other; 16 hex digits."""
        digest = hashlib.sha256(self.name.encode())
        for part in (self.train, self.val, self.unlabelled):
            for item in part.items:
                digest.update(f"{part.scans.cases[item.case].id} {item}".encode())
        return digest.hexdigest()[:16]


def gather(
    sets: Sequence[DataSet],
    choice: Choice,
    side: int,
    *,
    empty: bool = False,
    unlabelled: bool = False,
    progress: Progress | None = None,
) -> Data:
    """Read what a choice says of one or several data sets.

    Args:
        sets: from `segscope.io.datasets.reading.dataset`.
        choice: labels, number of patients ...
        side: longer sides of frames are reduced to so many pixels, which loses nothing that the
            network would see.
        empty: whether frames without any thing count as well, for methods without prompts.
        unlabelled: whether cases without truth are read too.
        progress: called with (cases read, cases to read).

    Raises:
        UsageError: no truth, too few frames or patients, a label that is not there.
    """
    name = " + ".join(each.name for each in sets)
    train_cases, val_cases, more = split(
        [case for each in sets for case in each.cases], choice, name
    )
    given = (train_cases, val_cases, more if unlabelled else [])
    todo = sum(map(len, given))
    done = 0
    parts: list[tuple[Scans, list[Item]]] = []
    for cases in given:
        scans = Scans(cases, side)
        items = list[Item]()
        for number in range(len(cases)):
            items += _items(scans, number, choice.least_pixels)
            done += 1
            if progress is not None:
                progress(done, todo)
        parts.append((scans, items))
    labels = sorted({thing.label for _, items in parts for item in items for thing in item.things})
    classes = _chosen(choice.labels, labels, name)
    found = []
    for scans, items in parts:
        kept = (
            replace(item, things=tuple(t for t in item.things if t.label in classes))
            for item in items
        )
        found.append(
            Gathered(scans, tuple(i for i in kept if i.things or empty or not i.labelled), classes)
        )
    train, val, rest = found
    _enough(train, val, name, classes)
    return Data(name, train, val, rest, _card(sets, choice, train, val, rest))


def read_scan(case: Case, side: int) -> Scan:
    """A case in memory, its frames reduced to `side` pixels on the longer side where they are
    larger.
    """
    stack = read_image(case)
    frames = Renderer(stack)
    size = _reduced(stack.size_hw, side)
    rgb = np.stack(
        [_resize(frames[index], size, Image.Resampling.BOX) for index in range(len(stack))]
    )
    planes = np.zeros((len(case.targets), len(stack), *size), np.uint16)
    names: dict[tuple[int, int], str] = {}
    for plane, target in enumerate(case.targets):
        masks = read_target(target, stack)
        names |= {
            (plane, key): name or target.label or "object" for key, name in masks.names.items()
        }
        for index, labels in enumerate(masks.iter_labels()):
            planes[plane, index] = _resize(labels, size, Image.Resampling.NEAREST)
    return Scan(rgb, planes, names, _reduced_stack(stack, rgb))


def _reduced_stack(stack: Stack, rgb: NDArray[np.uint8]) -> Stack:
    """The stack as rendered frames (frame, row, column, 3), which may be reduced."""
    geometry = stack.geometry
    size_hw = (rgb.shape[1], rgb.shape[2])
    if geometry is not None and size_hw != stack.size_hw:
        z, y, x = geometry.spacing_zyx_mm
        height, width = stack.size_hw
        geometry = Geometry.from_spacing((z, y * height / size_hw[0], x * width / size_hw[1]))
    return Stack(rgb, stack.kind, None, geometry, stack.times_s)


def _reduced(size_hw: tuple[int, int], side: int) -> tuple[int, int]:
    scale = min(1.0, side / max(size_hw))
    return max(1, round(size_hw[0] * scale)), max(1, round(size_hw[1] * scale))


def _resize(frame: NDArray[Any], size_hw: tuple[int, int], how: Image.Resampling) -> NDArray[Any]:
    if frame.shape[:2] == size_hw:
        return frame
    wide = (
        frame.dtype == np.uint16
    )  # Pillow knows no 16-bit nearest neighbours for all versions; 32 bit it does
    image = Image.fromarray(frame.astype(np.int32) if wide else frame)
    return np.asarray(image.resize(size_hw[::-1], how)).astype(frame.dtype)


def _items(scans: Scans, number: int, least: int) -> list[Item]:
    scan = scans[number]
    things: list[list[Thing]] = [[] for _ in scan.rgb]
    for plane, frames in enumerate(scan.planes):
        for frame, labels in enumerate(frames):
            areas = np.bincount(labels.ravel())
            for value, where in enumerate(ndimage.find_objects(labels.astype(np.int32)), 1):
                if where is None or areas[value] < least:
                    continue
                box = (where[1].start, where[0].start, where[1].stop, where[0].stop)
                name = scan.names.get((plane, value), "object")
                things[frame].append(Thing(plane, value, name, box, int(areas[value])))
    labelled = bool(scans.cases[number].targets)
    return [Item(number, frame, tuple(on), labelled) for frame, on in enumerate(things)]


# --- who is in which part ------------------------------------------------------------------------


def split(
    cases: list[Case], choice: Choice, name: str
) -> tuple[list[Case], list[Case], list[Case]]:
    """Cases to train on, to validate on, and without truth; a patient is in one of the first two
    only.
    """
    known = [case for case in cases if case.targets]
    unlabelled = [case for case in cases if not case.targets and case.split == "train"]
    if not known:
        raise UsageError(f"no case of {name} has a truth to learn from; adaptation needs masks")
    train = [case for case in known if case.split == "train"]
    val = [case for case in known if case.split == "val"]
    rng = np.random.default_rng((choice.seed, 1))
    patients = sorted({_patient(case) for case in train})
    if not val:
        if len(patients) < 2:
            raise UsageError(
                f"{name} holds {len(patients)} patient (group) to train on; two are needed, one to train on and one to "
                "validate on. Add a case of another patient, or name one with split `val`"
            )
        held = max(1, round(VAL_SHARE * len(patients)))
        out = {patients[k] for k in rng.permutation(len(patients))[:held].tolist()}
        val = [case for case in train if _patient(case) in out]
    inside = {_patient(case) for case in val}
    train = [case for case in train if _patient(case) not in inside]
    if choice.few:
        patients = sorted({_patient(case) for case in train})
        if choice.few > len(patients):
            raise UsageError(
                f"--few {choice.few}: {name} holds {len(patients)} patients to train on; take fewer"
            )
        order = np.random.default_rng((choice.seed, 2)).permutation(len(patients)).tolist()
        drawn = {patients[k] for k in order[: choice.few]}
        # what --few leaves out may still serve methods that learn without truth
        unlabelled += [replace(case, targets=()) for case in train if _patient(case) not in drawn]
        train = [case for case in train if _patient(case) in drawn]
    return train, val, unlabelled


def _patient(case: Case) -> str:
    return case.group or case.id


def _chosen(wanted: Iterable[str], labels: Sequence[str], name: str) -> tuple[str, ...]:
    """Labels that are asked for by name, or by a part of a name that fits one only."""
    found: list[str] = []
    for text in wanted:
        plain = text.strip().lower()
        exact = [label for label in labels if label.lower() == plain]
        near = exact or [label for label in labels if plain and plain in label.lower()]
        if len(near) != 1:
            raise UnknownName(f"label in {name}", text, labels, f"It holds: {', '.join(labels)}.")
        found += [label for label in near if label not in found]
    return tuple(found or labels)


def _enough(train: Gathered, val: Gathered, name: str, classes: Sequence[str]) -> None:
    what = "frames with a truth"
    if classes:
        what = f"frames with {' or '.join(classes[:4])}"
    seen = sum(1 for item in train.items if item.things)
    if seen < LEAST_FRAMES:
        raise UsageError(
            f"{name} gives {seen} training {what}; at least {LEAST_FRAMES} are needed, and 20 are a good start. "
            "Annotate more, take another data set, or ask for fewer --labels"
        )
    if not any(item.things for item in val.items):
        raise UsageError(
            f"the validation cases of {name} hold no {what}; choose other --labels or another split"
        )


def _card(
    sets: Sequence[DataSet], choice: Choice, train: Gathered, val: Gathered, unlabelled: Gathered
) -> dict[str, Any]:
    cases = [*train.scans.cases, *val.scans.cases]
    licences = sorted(
        {each.licence for each in sets if each.licence}
        | {case.licence for case in cases if case.licence}
    )
    card: dict[str, Any] = {
        "sets": [each.name for each in sets],
        "licences": licences or ["unknown"],
        "labels": list(train.classes),
        "few": choice.few,
        "least_pixels": choice.least_pixels,
        "seed": choice.seed,
    }
    for part, found in (("train", train), ("val", val), ("unlabelled", unlabelled)):
        used = sorted({item.case for item in found.items})
        card[part] = {
            "patients": len(found.groups),
            "cases": [found.scans.cases[number].id for number in used],
            "frames": len(found.items),
            "things": sum(len(item.things) for item in found.items),
        }
    return card
