"""Label images: PNGs and folders of them to masks and back, other images to masks."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from segscope.arrays import Pixels
from segscope.errors import ReadError, UsageError
from segscope.files import atomic
from segscope.io.base import check_declared, reading
from segscope.io.image_files import open_image, pixels_of
from segscope.io.label_frames import (
    format_names,
    iter_label_frames,
    label_type,
    masks_from_frames,
    parse_names,
    place_on_grid,
    renumber_binary,
    with_names,
)
from segscope.io.orientation import ORIENTATION_TAG, turn_as_stored, turn_upright
from segscope.masks import Masks
from segscope.stack import Stack

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

_MAX_LABEL = 65535  # of a PNG with 16 bits
_LAST_NUMBER = re.compile(r"(\d+)\D*$")
_OUR_FRAME_NAME = re.compile(r"\d{5,}\.png")

# --- reading -------------------------------------------------------------------------------------


def read_masks(path: Path, like: Stack | None = None) -> Masks:
    """Masks of a label image, or of a folder with one image per frame, ordered by number.

    A palette file gives its indices. Where 255 is the only label it becomes object 1.
    """
    files = [path]
    if path.is_dir():
        files = list_frame_files(path)
    with reading(path, "label images"):
        first, names = _read_labels(files[0])
        check_declared(path, (len(files), *first.shape[:2]), 2)

        def frames() -> Iterator[Pixels]:
            yield first
            for file in files[1:]:
                labels, more_names = _read_labels(file)
                names.update(more_names)
                if labels.shape != first.shape:
                    raise ReadError(
                        f"{file} is {labels.shape} (row, column), but the frames before are "
                        f"{first.shape}; all masks of one stack must have one size"
                    )
                yield labels

        masks = masks_from_frames(path, frames(), (len(files), first.shape[0], first.shape[1]))
        # only our files store names; in theirs, 255 may be an object id
        if names:
            masks = with_names(masks, names)
        else:
            masks = renumber_binary(masks)
        return place_on_grid(masks, like, path)


def _read_labels(path: Path) -> tuple[Pixels, dict[int, str]]:
    """The label map (row, column) of an image file, and the names stored in it."""
    from PIL import Image

    with open_image(path) as image:
        if image.format in ("JPEG", "MPO"):
            raise ReadError(
                f"{path} is a JPEG, whose lossy compression makes false labels; "
                "threshold it and save the masks as PNG"
            )
        names = parse_names(getattr(image, "text", {}).get("segscope"))
        brightest = _pnm_maximum(image)
        if image.mode == "P":
            pixels = np.asarray(Image.frombytes("L", image.size, image.tobytes()))
        else:
            pixels = pixels_of(path, image, {})
        if brightest is not None:
            scale = brightest / np.iinfo(pixels.dtype).max
            pixels = np.rint(pixels * scale).astype(pixels.dtype)
        labels = _collapse_grey(pixels)
        orientation = int(image.getexif().get(ORIENTATION_TAG, 1))
    if 2 <= orientation <= 8:
        labels = turn_upright(labels, orientation)
    return labels, names


def _pnm_maximum(image: PillowImage) -> int | None:
    """The number of full brightness in a PNM file, by which Pillow stretches values to 8 or 16
    bits; else None.
    """
    if image.format != "PPM":
        return None
    decoder, _, _, arguments = image.tile[0]  # type: ignore[attr-defined]
    if decoder == "ppm" and isinstance(arguments, tuple):
        return int(arguments[1])
    return None


def _collapse_grey(pixels: Pixels) -> Pixels:
    """One channel of an image whose three channels are equal."""
    if pixels.ndim == 3 and (pixels == pixels[..., :1]).all():
        return np.ascontiguousarray(pixels[..., 0])
    return pixels


def list_frame_files(folder: Path) -> list[Path]:
    """PNG files of a folder by the last number in their names.

    Raises:
        ReadError: none, or two with one number.
    """
    files = [file for file in folder.iterdir() if file.suffix.lower() == ".png"]
    visible = [file for file in files if not file.name.startswith(".")]
    if not visible:
        raise ReadError(
            f"{folder} holds no PNG files; masks of a clip are a folder with one PNG per frame"
        )
    by_number: dict[int, Path] = {}
    for file in sorted(visible):
        number = -1
        if match := _LAST_NUMBER.search(file.stem):
            number = int(match[1])
        if number in by_number:
            raise ReadError(
                f"{folder} holds {by_number[number].name} and {file.name} for one frame; "
                "give them different numbers"
            )
        by_number[number] = file
    return [by_number[number] for number in sorted(by_number)]


# --- writing -------------------------------------------------------------------------------------


class LabelPng:
    """One frame as one PNG of labels, 8 or 16 bits."""

    name = "label PNG"
    suffixes = (".png",)

    def check(self, masks: Masks, path: Path, source: Stack | None) -> None:
        _check_ids(masks, path)
        frames = masks.on_stored_grid().shape_zyx[0]
        if frames != 1:
            raise UsageError(
                f"{path} is one image, but there are {frames} frames; name a folder instead "
                f"({path.with_suffix('')}/), or a .nii.gz, .seg.nrrd or .tif file"
            )
        _prove_png(masks, source)

    def write(self, masks: Masks, path: Path, source: Stack | None) -> None:
        self.check(masks, path, source)
        masks = masks.on_stored_grid()
        with atomic(path) as part:
            for frame in iter_label_frames(masks, path):
                _save_labels(frame, part, masks, source)


class LabelFolder:
    """A folder with one label PNG per frame, named by the number of the frame from 0."""

    name = "folder of label PNGs"
    suffixes: tuple[str, ...] = ()

    def check(self, masks: Masks, path: Path, source: Stack | None) -> None:
        _check_ids(masks, path)
        if path.exists():
            _check_replaceable(path)
        _prove_png(masks, source)

    def write(self, masks: Masks, path: Path, source: Stack | None) -> None:
        self.check(masks, path, source)
        masks = masks.on_stored_grid()
        digits = max(5, len(str(masks.shape_zyx[0] - 1)))
        with atomic(path, folder=True) as part:
            for index, frame in enumerate(iter_label_frames(masks, path)):
                _save_labels(frame, part / f"{index:0{digits}d}.png", masks, source)


def _check_ids(masks: Masks, path: Path) -> None:
    largest = max(masks.object_ids, default=0)
    if largest > _MAX_LABEL:
        raise UsageError(
            f"{path.name}: a PNG holds the object ids 1 to {_MAX_LABEL}, and there is an object "
            f"{largest}; write .nii.gz, .seg.nrrd, .tif or .json instead"
        )


def _check_replaceable(folder: Path) -> None:
    """A folder is replaced as a whole, so it may hold nothing but frames of an earlier run."""
    foreign = sorted(path.name for path in folder.iterdir() if not _is_our_frame(path))
    if foreign:
        raise UsageError(
            f"{folder} already holds files that this program did not write "
            f"({', '.join(foreign[:3])}); name a new folder for the masks"
        )


def _is_our_frame(path: Path) -> bool:
    """Whether a file is a label frame with the note of this program; frames of a clip may have the
    same names.
    """
    from PIL import Image

    if not _OUR_FRAME_NAME.fullmatch(path.name):
        return False
    try:
        with Image.open(path, formats=("PNG",)) as image:
            return "segscope" in image.info
    except OSError:
        return False


def _prove_png(masks: Masks, source: Stack | None) -> None:
    """Write a frame without objects to memory."""
    frame = np.zeros(masks.on_stored_grid().shape_zyx[1:], label_type(masks))
    _save_labels(frame, io.BytesIO(), masks, source)


def _save_labels(frame: Pixels, path: Path | IO[bytes], masks: Masks, source: Stack | None) -> None:
    from PIL import Image, PngImagePlugin

    note = PngImagePlugin.PngInfo()
    note.add_text("segscope", format_names(masks.names))
    orientation = 1
    if source is not None:
        orientation = int(source.meta.get("orientation", 1))
    exif = None
    if orientation != 1:  # pixel for pixel the file that was read, and shown like it
        exif = Image.Exif()
        exif[ORIENTATION_TAG] = orientation
        frame = np.ascontiguousarray(turn_as_stored(frame, orientation))
    Image.fromarray(frame).save(path, format="PNG", pnginfo=note, exif=exif)


MASK_FORMATS = (LabelPng(), LabelFolder())
