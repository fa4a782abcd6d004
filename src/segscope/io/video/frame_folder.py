"""Folders with one image file per frame, read as videos without times."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import numpy as np

from segscope.arrays import Pixels
from segscope.errors import ReadError
from segscope.files import list_visible
from segscope.io.base import (
    FolderFormat,
    ReadOptions,
    check_declared,
    check_file,
    reading,
    refuse_options,
    suffix_of,
)
from segscope.io.frame_source import LazyFrames
from segscope.io.image_files import ImageFile
from segscope.io.tiff.reader import Tiff
from segscope.stack import Stack

_TIFF_SUFFIXES = (".tif", ".tiff")
_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".pgm", ".ppm", ".pnm", *_TIFF_SUFFIXES)
_ORIENTATION = 274
_GREY_MODES = ("1", "L", "LA", "F")

SortKey = tuple[list[tuple[int, int | str]], str]


class FrameFolder(FolderFormat):
    """A folder with one image file per frame, in the natural order of their names (2 before 10)."""

    name = "folder of frames"

    def recognises_folder(self, folder: Path) -> bool:
        return any(file.is_file() and suffix_of(file, _SUFFIXES) for file in folder.iterdir())

    def read(self, path: Path, options: ReadOptions) -> Stack:
        """Open a folder of frames as a video without times.

        Raises:
            ReadError: frames of different sizes, a damaged file, or two files for one frame.
        """
        refuse_options(path, options)
        files, notes = _list_images(path)
        meta = {"frame_files": tuple(file.name for file in files), "notes": notes}
        return Stack(ImageFrames(files), "video", None, None, None, path, meta=meta)


def _list_images(folder: Path) -> tuple[list[Path], tuple[str, ...]]:
    """The image files in the order of their frames, and a note on what was left out."""
    entries = list_visible(folder)
    images = [entry for entry in entries if entry.is_file() and suffix_of(entry, _SUFFIXES)]
    files = sorted(images, key=_natural_order)
    for one, other in pairwise(files):
        if one.stem == other.stem:
            raise ReadError(
                f"{folder} holds {one.name} and {other.name} for one frame; "
                "put only one file per frame there"
            )
    left_out = len(entries) - len(files)
    if left_out:
        return files, (f"{left_out} entries left out: not images",)
    return files, ()


def _natural_order(file: Path) -> SortKey:
    parts: list[tuple[int, int | str]] = []
    for part in re.split(r"(\d+)", file.stem.lower()):
        if part.isdecimal():
            parts.append((0, int(part)))
        elif part:
            parts.append((1, part))
    return parts, file.name


class ImageFrames(LazyFrames):
    """Image files of one size; nothing stays in memory between two accesses."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files
        first = _read_image(files[0])
        rows, columns = first.shape[:2]
        self._is_colour = first.ndim == 3
        for file in files[1:]:
            size, is_colour = _read_size(file)
            if size != (rows, columns):
                raise ReadError(
                    f"{file} is {size[0]} x {size[1]} pixels (rows x columns), {files[0].name} is "
                    f"{rows} x {columns}; all frames of one video must have one size. "
                    "Move other images elsewhere."
                )
            self._is_colour |= is_colour
        shape: tuple[int, ...] = (len(files), rows, columns)
        if self._is_colour:
            shape = (*shape, 3)
        check_declared(files[0], shape, first.dtype.itemsize)
        super().__init__(shape, first.dtype)

    def read_frame(self, index: int) -> Pixels:
        pixels = _read_image(self.files[index])
        if self._is_colour and pixels.ndim == 2:
            pixels = np.repeat(pixels[..., None], 3, axis=2)
        if (pixels.shape, pixels.dtype) != (self.shape[1:], self.dtype):
            raise ReadError(
                f"{self.files[index]} holds {pixels.shape} of {pixels.dtype}, but the first frame "
                f"{self.shape[1:]} of {self.dtype}; all frames of one video must have one type"
            )
        return pixels


def _is_tiff(file: Path) -> bool:
    return file.suffix.lower() in _TIFF_SUFFIXES


def _read_image(file: Path) -> Pixels:
    if _is_tiff(file):
        stack = Tiff().read(file, ReadOptions())
    else:
        stack = ImageFile().read(file, ReadOptions())
    if len(stack) != 1:
        raise ReadError(
            f"{file} is {len(stack)} frames; a folder of frames has one image per file. "
            "Of a set of OME-TIFF files, name one file instead of the folder."
        )
    return stack[0]


def _read_size(file: Path) -> tuple[tuple[int, int], bool]:
    """Rows and columns as shown, and whether it has colours; from the header alone, if possible."""
    if _is_tiff(file):
        pixels = _read_image(file)
        return (pixels.shape[0], pixels.shape[1]), pixels.ndim == 3
    from PIL import Image

    check_file(file)
    with reading(file, "an image"), Image.open(file) as image:
        is_colour = image.mode not in _GREY_MODES and not image.mode.startswith("I")
        if image.getexif().get(_ORIENTATION, 1) >= 5:  # shown on its side
            return (image.width, image.height), is_colour
        return (image.height, image.width), is_colour


FORMATS = (FrameFolder(),)
