"""One case of a data set: everything that can be wrong with its image and its masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segscope.arrays import Pixels
from segscope.errors import SegscopeError, list_first
from segscope.io import (
    image_files,
    label_images,
    metaimage,
    nifti,
    numpy_files,
    read,
    read_masks,
)
from segscope.io.base import suffix_of
from segscope.io.datasets.check_image import (
    ImageHash,
    check_channels,
    check_intensities,
    check_spacing,
    describe_size,
)
from segscope.io.datasets.dataset import Case, GroundTruth
from segscope.io.datasets.faults import LEAST_PIXELS, MOST_FOREGROUND, DatasetFault
from segscope.io.datasets.reading import read_image
from segscope.io.nrrd import reader as nrrd_reader
from segscope.io.tiff import reader as tiff_reader
from segscope.masks import LabelMap, Masks
from segscope.stack import Stack

Box = tuple[slice, ...]

_WITH_AFFINE = (*nifti.SUFFIXES, *nrrd_reader.SUFFIXES, *metaimage.SUFFIXES)
_WITH_SPACING = (*numpy_files.SUFFIXES, *tiff_reader.SUFFIXES)
_MIN_SCATTERED = 8
_MAX_LABELLED_VOXELS = 2**26


@dataclass(frozen=True)
class CaseCheck:
    """Result of checking a case.

    Attributes:
        faults: what is wrong.
        digest: of all pixels that were read; empty where they cannot be compared (unreadable or
            constant).
        image_hash: perceptual hash of the middle frame, four 64-bit words; None where there is
            none.
        values: labels in its semantic masks.
        lone_values: image files with masks of one object, and the value it is stored with, which
            reading has made 1.
    """

    faults: tuple[DatasetFault, ...] = ()
    digest: bytes = b""
    image_hash: ImageHash | None = None
    values: frozenset[int] = frozenset()
    lone_values: tuple[tuple[Path, int], ...] = ()


def check_case(case: Case, *, fast: bool = False) -> CaseCheck:
    """Check one case.

    Args:
        case: its files exist.
        fast: look at only three frames of the image (first, middle, last), and not for objects in
            pieces.
    """
    name = f"{case.dataset}: {case.id}"
    faults: list[DatasetFault] = []
    try:
        stack = read_image(case)
        fingerprint = check_intensities(name, case.image, stack, faults, fast=fast)
    except SegscopeError as error:
        return CaseCheck((DatasetFault.of("unreadable", name, case.image, str(error)),))
    faults += check_spacing(name, case, stack)
    faults += check_channels(name, case, stack, fast=fast)
    values: set[int] = set()
    lone_values: list[tuple[Path, int]] = []
    for target in case.targets:
        own: set[int] = set()
        faults += _check_masks(name, target, stack, own, fast=fast)
        if target.kind == "semantic":
            values |= own
        named = target.kind == "semantic" and bool(target.names)
        if target.kind != "instance" and not named and own == {1}:
            lone_values += _stored_value(target.path)
    return CaseCheck(
        tuple(faults),
        fingerprint.digest,
        fingerprint.image_hash,
        frozenset(values),
        tuple(lone_values),
    )


# --- masks of one target -------------------------------------------------------------------------


def _check_masks(
    name: str,
    target: GroundTruth,
    stack: Stack,
    values: set[int],
    *,
    fast: bool,
) -> Iterator[DatasetFault]:
    """Faults of one target; its values are added to `values`."""
    try:
        masks = read_masks(target.path, stack)
    except SegscopeError as error:
        yield _explain_refusal(name, target.path, stack, error)
        return
    yield from _check_stored_grid(name, target.path, stack)
    sizes = measure_sizes(masks)
    values.update(sizes)
    if not sizes:
        yield DatasetFault.of("empty-mask", name, target.path, "holds no object")
        return
    scattered = find_scattered(masks, sizes)
    if scattered:
        what = f"holds {len(sizes)} values, {len(scattered)} of them scattered over single pixels"
        yield DatasetFault.of("interpolated", name, target.path, what)
        return
    yield from _check_labels(name, target, sizes)
    yield from _check_sizes(name, target, sizes)
    if len(sizes) == 1:
        yield from _check_inverted(name, target.path, masks)
    if target.kind == "instance" and not fast:
        yield from _check_pieces(name, target.path, masks, is_volume=stack.kind == "volume")


def measure_sizes(masks: Masks) -> Counter[int]:
    """Pixels of each object on all frames."""
    sizes: Counter[int] = Counter()
    for (_, label), runs in masks.runs.items():
        sizes[label] += int(runs[1::2].sum())
    return sizes


def find_scattered(masks: Masks, sizes: Mapping[int, int]) -> list[int]:
    """The values that are not labels, where there are so many of them that masks were interpolated.

    Values of a smoothed edge are scattered along it, a pixel or two each; objects and classes are
    not.
    """
    run_counts: Counter[int] = Counter()
    for (_, label), runs in masks.runs.items():
        run_counts[label] += len(runs) // 2
    scattered = [label for label, size in sizes.items() if size < 2 * run_counts[label]]
    if len(scattered) < max(_MIN_SCATTERED, len(sizes) / 2):
        return []
    return scattered


def _stored_value(file: Path) -> Iterator[tuple[Path, int]]:
    """An image file with a mask of object 1, and the value that it has there."""
    if suffix_of(file, image_files.SUFFIXES) is None or not file.is_file():
        return
    frame = read(file)[0]
    if frame.ndim == 2:
        yield file, int(frame.max())


def _explain_refusal(name: str, file: Path, stack: Stack, error: SegscopeError) -> DatasetFault:
    """Why masks could not be read onto the grid of their image: another grid, or no labels."""
    try:
        masks = read_masks(file)
    except SegscopeError:
        return _explain_no_labels(name, file, error)
    if stack.kind == "video" and masks.shape_zyx[1:] == stack.size_hw:
        what = f"{masks.shape_zyx[0]} masks for the {len(stack)} frames of {stack.path}"
        return DatasetFault.of("frames", name, file, what)
    return DatasetFault.of("grid", name, file, f"{error} The image is {stack.path}.")


def _explain_no_labels(name: str, file: Path, error: SegscopeError) -> DatasetFault:
    try:
        image = file
        if file.is_dir():
            image = label_images.list_frame_files(file)[0]
        stored = read(image)
        frame = stored[len(stored) // 2]
    except SegscopeError:
        return DatasetFault.of("unreadable", name, file, str(error))
    if suffix_of(file, (".jpg", ".jpeg")):
        return DatasetFault.of("interpolated", name, file, str(error))
    if frame.ndim == 3:
        return DatasetFault.of("colours", name, file, _describe_colours(frame))
    is_negative = frame.dtype.kind == "i" and frame.min() < 0
    if frame.dtype.kind == "f" or is_negative:
        what = f"values from {frame.min():g} to {frame.max():g}. {error}"
        return DatasetFault.of("fractional", name, file, what)
    return DatasetFault.of("unreadable", name, file, str(error))


def _describe_colours(frame: Pixels) -> str:
    colours = np.unique(frame.reshape(-1, frame.shape[-1]), axis=0).tolist()
    examples = [",".join(map(str, colour)) for colour in colours[:5]]
    return f"{len(colours)} colours ({list_first(examples, 4, '; ')})"


def _check_stored_grid(name: str, file: Path, stack: Stack) -> Iterator[DatasetFault]:
    """How the file itself is placed and scaled, which reading has corrected already."""
    has_affine = suffix_of(file, _WITH_AFFINE) is not None
    has_spacing = suffix_of(file, _WITH_SPACING) is not None
    if stack.geometry is None or not (has_affine or has_spacing):
        return
    try:
        stored = read(file)
    except SegscopeError:
        return  # layers of segments, which are read as masks only
    if stored.geometry is None:
        return
    if has_affine:
        is_same_size = stored.shape_zyx == stack.shape_zyx
        if not is_same_size or not stored.geometry.same_grid(stack.geometry):
            what = (
                f"stored as {describe_size(stored)} in another order or place than its image "
                f"{stack.path}, {describe_size(stack)}"
            )
            yield DatasetFault.of("regridded", name, file, what)
        return
    spacings = (stored.geometry.spacing_zyx_mm, stack.geometry.spacing_zyx_mm)
    if not np.allclose(*spacings, rtol=0.01):
        what = f"states {describe_size(stored)}, its image {stack.path} {describe_size(stack)}"
        yield DatasetFault.of("spacing", name, file, what)


# --- labels --------------------------------------------------------------------------------------


def _check_labels(name: str, target: GroundTruth, sizes: dict[int, int]) -> Iterator[DatasetFault]:
    if target.kind == "binary" and len(sizes) > 1:
        what = f"declared binary, but holds the values {list_first(sorted(sizes), 8)}"
        yield DatasetFault.of("several-values", name, target.path, what)
    if target.kind == "semantic" and target.names:
        undeclared = sorted(set(sizes) - set(target.names))
        if undeclared:
            what = f"holds {undeclared[:8]}, but declared are {sorted(target.names)}"
            yield DatasetFault.of("undeclared", name, target.path, what)


def _check_sizes(name: str, target: GroundTruth, sizes: dict[int, int]) -> Iterator[DatasetFault]:
    if target.kind == "binary":
        sizes = {1: sum(sizes.values())}
    small = [label for label, size in sizes.items() if size < LEAST_PIXELS]
    if small:
        smallest = min(small, key=lambda label: sizes[label])
        what = (
            f"{len(small)} of {len(sizes)} objects are that small; "
            f"the smallest ({smallest}) has {sizes[smallest]} pixels"
        )
        yield DatasetFault.of("small", name, target.path, what)


def _check_inverted(name: str, file: Path, masks: Masks) -> Iterator[DatasetFault]:
    (label,) = {label for _, label in masks.runs}
    areas = {frame: masks.area(frame, label) for frame, _ in masks.runs}
    covered = sum(areas.values()) / float(np.prod(masks.shape_zyx))
    if covered <= MOST_FOREGROUND:
        return
    mask = masks.mask(max(areas, key=lambda frame: areas[frame]), label)
    borders = (mask[0], mask[-1], mask[:, 0], mask[:, -1])
    if all(map(np.any, borders)):
        what = f"{covered:.0%} of it is inside, at all borders"
        yield DatasetFault.of("inverted", name, file, what)


# --- pieces --------------------------------------------------------------------------------------


def _check_pieces(
    name: str, file: Path, masks: Masks, *, is_volume: bool
) -> Iterator[DatasetFault]:
    frames = masks.iter_labels()
    if is_volume:
        if np.prod(masks.shape_zyx) > _MAX_LABELLED_VOXELS:
            return
        frames = iter([masks.labels])
    first_frame: dict[int, int] = {}
    for index, labels in enumerate(frames):
        for label in _find_broken(labels):
            first_frame.setdefault(label, index)
    if not first_frame:
        return
    where = ""
    if not is_volume and masks.shape_zyx[0] > 1:
        where = f", first on frame {min(first_frame.values())}"
    listing = ", ".join(map(str, sorted(first_frame)[:8]))
    what = f"objects in pieces far apart: {listing} ({len(first_frame)} in total{where})"
    yield DatasetFault.of("broken-instance", name, file, what)


def _find_broken(labels: LabelMap) -> Iterator[int]:
    """Labels with a further piece that is not small, does not touch the border (beyond which it may
    be connected), and lies more than twice as far from the largest piece as that is long."""
    for label, box in enumerate(ndimage.find_objects(labels), 1):
        if box is None:
            continue
        pieces, count = ndimage.label(labels[box] == label, np.ones((3,) * labels.ndim))
        if count == 1:
            continue
        sizes = np.bincount(pieces.ravel())[1:]
        boxes = ndimage.find_objects(pieces)
        largest = boxes[int(sizes.argmax())]
        min_size = max(LEAST_PIXELS, 0.1 * sizes.max())
        candidates = [boxes[k] for k in np.flatnonzero(sizes >= min_size)]
        far = [piece for piece in candidates if _is_far(largest, piece)]
        if not all(_is_at_border(piece, box, labels.shape) for piece in far):
            yield label


def _is_far(main: Box, other: Box) -> bool:
    start, stop = _corners(main)
    other_start, other_stop = _corners(other)
    gaps = np.maximum(start - other_stop, other_start - stop)
    return bool(gaps.max() > 2 * max(LEAST_PIXELS, *(stop - start)))


def _is_at_border(part: Box, box: Box, shape: tuple[int, ...]) -> bool:
    origin, _ = _corners(box)
    start, stop = _corners(part) + origin
    return bool((start == 0).any() or (stop == shape).any())


def _corners(box: Box) -> NDArray[np.int64]:
    """Start and stop (2, axis) of a box."""
    return np.array([(side.start, side.stop) for side in box]).T
