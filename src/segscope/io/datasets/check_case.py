"""One case of a data set: everything that can be wrong with its image and its masks, and what to
compare it by.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segscope.errors import SegscopeError
from segscope.io import image_files, metaimage, nifti, numpy_files, read, read_masks
from segscope.io.base import suffix_of
from segscope.io.byte_sources import reading
from segscope.io.datasets.dataset import Case, Target
from segscope.io.datasets.faults import (
    ANISOTROPIC,
    LEAST_PIXELS,
    MOST_FOREGROUND,
    MOST_MM,
    Finding,
    finding,
)
from segscope.io.datasets.reading import read_image
from segscope.io.nrrd import reader as nrrd_reader
from segscope.io.tiff import reader as tiff_reader
from segscope.masks import Masks
from segscope.stack import Stack

_PLACED = (*nifti.SUFFIXES, *nrrd_reader.SUFFIXES, *metaimage.SUFFIXES)
_SCALED = (*numpy_files.SUFFIXES, *tiff_reader.SUFFIXES)
_HASH_SIDE = 16
_CLEARLY = 0.02
_LEAST_BITS = 32  # images that are empty but for a few spots would all look alike
_LEAST_LEVELS = 8
_MOST_LABELLED_VOXELS = 2**26


@dataclass(frozen=True)
class Looked:
    """What a case gave.

    Attributes:
        findings: its faults.
        digest: of all pixels looked at; empty where they cannot be compared (unreadable or
            constant).
        likeness: perceptual hash of the middle frame, four 64-bit words; None where there is none.
        values: labels found in its semantic masks.
    """

    findings: tuple[Finding, ...] = ()
    digest: bytes = b""
    likeness: NDArray[np.uint64] | None = None
    values: frozenset[int] = frozenset()


def look(case: Case, *, fast: bool = False) -> Looked:
    """Look at one case.

    Args:
        case: its files exist.
        fast: look at three frames of the image (first, middle, last), and not for objects in
            pieces.
    """
    called = f"{case.dataset}: {case.id}"
    found: list[Finding] = []
    try:
        stack = read_image(case)
        digest, likeness = _intensities(called, case.image, stack, fast, found)
    except SegscopeError as error:
        return Looked((finding("unreadable", called, case.image, str(error)),))
    found += _spacing(called, case, stack)
    found += _channels(called, case, stack, fast)
    values: set[int] = set()
    for target in case.targets:
        found += _truth(called, target, stack, fast, values)
    return Looked(tuple(found), digest, likeness, frozenset(values))


def _intensities(
    called: str, file: Path, stack: Stack, fast: bool, found: list[Finding]
) -> tuple[bytes, NDArray[np.uint64] | None]:
    """Digest of the pixels and hash of the middle frame, one frame in memory at a time."""
    digest = hashlib.blake2b(digest_size=16)
    low = np.inf
    high = -np.inf
    bad = 0
    count = len(stack)
    likeness = None
    for index in sorted({0, count // 2, count - 1}) if fast else range(count):
        with reading(file, "an image"):
            frame = np.ascontiguousarray(_grey(stack[index]))
        digest.update(repr(frame.shape).encode())
        digest.update(frame.data)
        finite = frame
        if frame.dtype.kind == "f":
            finite = frame[np.isfinite(frame)]
        bad += frame.size - finite.size
        if finite.size:
            low = min(low, float(finite.min()))
            high = max(high, float(finite.max()))
        if index == count // 2:
            likeness = _likeness(frame)
    if bad:
        found.append(finding("non-finite", called, file, f"{bad:,} values are NaN or infinite"))
    if low >= high:
        found.append(
            finding(
                "constant",
                called,
                file,
                f"every pixel is {low:g}" if high == low else "no pixel is finite",
            )
        )
        return b"", None
    return digest.digest(), likeness


def _grey(frame: NDArray[Any]) -> NDArray[Any]:
    """One channel where all are equal, so that grey saved as colour is the same image."""
    if frame.ndim == 3 and (frame == frame[..., :1]).all():
        return frame[..., 0]
    return frame


def _likeness(frame: NDArray[Any]) -> NDArray[np.uint64] | None:
    """Where a coarse grid grows brighter to the right, clearly: 256 bits that survive scaling and
    compression.
    """
    from PIL import Image

    frame = np.nan_to_num(frame.astype(np.float32), posinf=0, neginf=0)
    if frame.ndim == 3:
        frame = frame.mean(axis=-1)
    if min(frame.shape) <= _HASH_SIDE:
        return None
    cells = np.asarray(
        Image.fromarray(frame).resize((_HASH_SIDE + 1, _HASH_SIDE), Image.Resampling.BOX)
    )
    brighter = cells[:, 1:] > cells[:, :-1] + _CLEARLY * cells.std()
    if brighter.sum() >= _LEAST_BITS:
        return np.packbits(brighter).view(np.uint64)
    return None


def _spacing(called: str, case: Case, stack: Stack) -> Iterator[Finding]:
    if stack.kind != "volume":
        return
    if stack.geometry is None or stack.spacing_zyx_mm is None:
        yield finding("spacing", called, case.image, "a volume that states no spacing")
        return
    spacing = stack.spacing_zyx_mm
    said = " x ".join(f"{length:.4g}" for length in spacing)
    if max(spacing) > MOST_MM:
        yield finding("spacing", called, case.image, f"voxels of {said} mm (frame x row x column)")
    elif np.array_equal(np.abs(stack.geometry.affine), np.eye(4)):
        what = "voxels of exactly 1 mm from the origin on, as writers put who know no spacing"
        yield finding("spacing", called, case.image, what)
    elif spacing[0] > ANISOTROPIC * max(spacing[1:]):
        yield finding(
            "anisotropic", called, case.image, f"voxels of {said} mm (frame x row x column)"
        )


def _channels(called: str, case: Case, stack: Stack, fast: bool) -> Iterator[Finding]:
    for file in case.channels:
        found: list[Finding] = []
        try:
            channel = read(file)
            _intensities(called, file, channel, fast, found)
        except SegscopeError as error:
            found.append(finding("unreadable", called, file, str(error)))
        else:
            if channel.shape_zyx != stack.shape_zyx or not _same_place(channel, stack):
                what = f"a channel of {_shape(channel)}, elsewhere than its first, {case.image}, of {_shape(stack)}"
                found.append(finding("grid", called, file, what))
        yield from found


def _same_place(first: Stack, second: Stack) -> bool:
    return (
        first.geometry is None
        or second.geometry is None
        or first.geometry.same_grid(second.geometry)
    )


def _shape(stack: Stack) -> str:
    if stack.spacing_zyx_mm is None:
        spacing = ""
    else:
        spacing = " of {:.4g} x {:.4g} x {:.4g} mm".format(*stack.spacing_zyx_mm)
    return f"{' x '.join(map(str, stack.shape_zyx))} pixels{spacing} (frame x row x column)"


def _truth(
    called: str, target: Target, stack: Stack, fast: bool, values: set[int]
) -> Iterator[Finding]:
    try:
        masks = read_masks(target.path, stack)
    except SegscopeError as error:
        yield _refused(called, target.path, stack, error)
        return
    yield from _stored(called, target.path, stack)
    sizes: dict[int, int] = {}
    pieces: dict[int, int] = {}
    for (_, label), runs in masks.runs.items():
        sizes[label] = sizes.get(label, 0) + int(runs[1::2].sum())
        pieces[label] = pieces.get(label, 0) + len(runs) // 2
    if target.kind == "semantic":
        values.update(sizes)
    if not sizes:
        yield finding("empty-mask", called, target.path, "holds no object")
        return
    # values of an edge that was smoothed lie scattered along it, a pixel or two each; objects and
    # classes do not
    scattered = [label for label, size in sizes.items() if size < 2 * pieces[label]]
    if len(scattered) >= max(_LEAST_LEVELS, len(sizes) / 2):
        what = f"holds {len(sizes)} values, {len(scattered)} of them scattered over single pixels"
        yield finding("interpolated", called, target.path, what)
        return
    yield from _labels(called, target, sizes)
    if len(sizes) == 1:
        yield from _inverted(called, target.path, masks)
    if target.kind == "instance" and not fast:
        yield from _broken(called, target.path, masks, stack.kind == "volume")


def _refused(called: str, file: Path, stack: Stack, error: SegscopeError) -> Finding:
    """Why masks could not be read onto the grid of their image: another grid, or no labels."""
    try:
        alone = read_masks(file)
    except SegscopeError:
        return _no_labels(called, file, error)
    if stack.kind == "video" and alone.shape_zyx[1:] == stack.size_hw:
        what = f"{alone.shape_zyx[0]} masks for the {len(stack)} frames of {stack.path}"
        return finding("frames", called, file, what)
    return finding("grid", called, file, f"{error} The image is {stack.path}.")


def _no_labels(called: str, file: Path, error: SegscopeError) -> Finding:
    try:
        stored = read(image_files.list_frame_files(file)[0] if file.is_dir() else file)
        frame = stored[len(stored) // 2]
    except SegscopeError:
        return finding("unreadable", called, file, str(error))
    if suffix_of(file, (".jpg", ".jpeg")):
        return finding("interpolated", called, file, str(error))
    if frame.ndim == 3:
        colours = np.unique(frame.reshape(-1, frame.shape[-1]), axis=0)
        shown = "; ".join(",".join(map(str, colour)) for colour in colours[:4].tolist())
        return finding(
            "colours",
            called,
            file,
            f"{len(colours)} colours ({shown}{' ...' if len(colours) > 4 else ''})",
        )
    if frame.dtype.kind == "f" or (frame.dtype.kind == "i" and frame.min() < 0):
        return finding(
            "fractional", called, file, f"values from {frame.min():g} to {frame.max():g}. {error}"
        )
    return finding("unreadable", called, file, str(error))


def _stored(called: str, file: Path, stack: Stack) -> Iterator[Finding]:
    """How the file itself is placed and scaled; reading has put the masks right already."""
    placed = suffix_of(file, _PLACED)
    if stack.geometry is None or not (placed or suffix_of(file, _SCALED)):
        return
    try:
        stored = read(file)
    except SegscopeError:
        return  # layers of segments, which are read as masks only
    if stored.geometry is None:
        return
    if placed and (
        stored.shape_zyx != stack.shape_zyx or not stored.geometry.same_grid(stack.geometry)
    ):
        what = f"stored as {_shape(stored)} in another order or place than its image {stack.path}, {_shape(stack)}"
        yield finding("regridded", called, file, what)
    elif not placed and not np.allclose(
        stored.geometry.spacing_zyx_mm, stack.geometry.spacing_zyx_mm, rtol=0.01
    ):
        what = f"states {_shape(stored)}, its image {stack.path} {_shape(stack)}"
        yield finding("spacing", called, file, what)


def _labels(called: str, target: Target, sizes: dict[int, int]) -> Iterator[Finding]:
    shown = ", ".join(map(str, sorted(sizes)[:8])) + (" ..." if len(sizes) > 8 else "")
    if target.kind == "binary" and len(sizes) > 1:
        yield finding(
            "several-values", called, target.path, f"declared binary, and holds the values {shown}"
        )
    if target.kind == "semantic" and target.names:
        foreign = sorted(set(sizes) - set(target.names))
        if foreign:
            what = f"holds {foreign[:8]}, and declared are {sorted(target.names)}"
            yield finding("undeclared", called, target.path, what)
    areas = sizes
    if target.kind == "binary":
        areas = {1: sum(sizes.values())}
    tiny = [label for label, size in areas.items() if size < LEAST_PIXELS]
    if tiny:
        least = min(tiny, key=lambda label: areas[label])
        what = f"{len(tiny)} of {len(areas)} objects are that small, the smallest ({least}) has {areas[least]} pixels"
        yield finding("small", called, target.path, what)


def _inverted(called: str, file: Path, masks: Masks) -> Iterator[Finding]:
    (label,) = {label for _, label in masks.runs}
    frame = max((frame for frame, _ in masks.runs), key=lambda frame: masks.area(frame, label))
    covered = sum(masks.area(index, label) for index, _ in masks.runs) / float(
        np.prod(masks.shape_zyx)
    )
    mask = masks.mask(frame, label)
    if covered > MOST_FOREGROUND and all(
        edge.any() for edge in (mask[0], mask[-1], mask[:, 0], mask[:, -1])
    ):
        yield finding("inverted", called, file, f"{covered:.0%} of it is inside, at all borders")


def _broken(called: str, file: Path, masks: Masks, is_volume: bool) -> Iterator[Finding]:
    if is_volume and np.prod(masks.shape_zyx) > _MOST_LABELLED_VOXELS:
        return
    broken: dict[int, int] = {}
    for index, labels in enumerate([masks.labels] if is_volume else masks.iter_labels()):
        for label in _in_pieces(labels):
            broken.setdefault(label, index)
    if broken:
        if is_volume or masks.shape_zyx[0] == 1:
            where = ""
        else:
            where = f", first on frame {min(broken.values())}"
        what = f"objects in pieces far apart: {', '.join(map(str, sorted(broken)[:8]))} ({len(broken)} in all{where})"
        yield finding("broken-instance", called, file, what)


def _in_pieces(labels: NDArray[np.uint16]) -> Iterator[int]:
    """Labels with a further piece that is not small, does not touch the border (beyond which it may
    be connected), and lies more than twice as far from the largest piece as that is long."""
    for label, box in enumerate(ndimage.find_objects(labels), 1):
        if box is None:
            continue
        parts, count = ndimage.label(labels[box] == label, np.ones((3,) * labels.ndim))
        if count == 1:
            continue
        sizes = np.bincount(parts.ravel())[1:]
        boxes = ndimage.find_objects(parts)
        main = boxes[int(sizes.argmax())]
        least = max(LEAST_PIXELS, 0.1 * sizes.max())
        for size, other in zip(sizes, boxes, strict=True):
            if size >= least and _far(main, other) and not _at_border(other, box, labels.shape):
                yield label
                break


def _far(main: tuple[slice, ...], other: tuple[slice, ...]) -> bool:
    gap = max(max(a.start - b.stop, b.start - a.stop) for a, b in zip(main, other, strict=True))
    return gap > 2 * max(LEAST_PIXELS, *(side.stop - side.start for side in main))


def _at_border(part: tuple[slice, ...], box: tuple[slice, ...], shape: tuple[int, ...]) -> bool:
    return any(
        outer.start + inner.start == 0 or outer.start + inner.stop == length
        for inner, outer, length in zip(part, box, shape, strict=True)
    )
