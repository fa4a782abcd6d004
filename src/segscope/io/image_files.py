"""Single images (PNG, JPEG, BMP, GIF, WebP, PNM) in; label PNGs and folders of them in and out."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segscope.errors import ReadError, UsageError
from segscope.files import atomic
from segscope.io.base import ReadOptions, check_declared, suffix_of
from segscope.io.byte_sources import check_file, reading, refuse_options
from segscope.io.label_frames import (
    label_frames,
    masks_from_frames,
    names_of,
    note_of,
    on_grid_of,
    one_bit,
)
from segscope.masks import Masks
from segscope.stack import Stack

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".pgm", ".ppm", ".pnm")
_DECODERS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM")
_WHAT = "a image"
_ORIENTATION = 274
_NUMBER = re.compile(r"(\d+)\D*$")


class ImageFile:
    """One image as the camera meant it: upright by its EXIF orientation, colours as RGB, 16 bits
    kept.
    """

    name = "image"
    suffixes = SUFFIXES

    def recognises(self, path: Path) -> bool:
        return path.is_file() and suffix_of(path, SUFFIXES) is not None

    def read(self, path: Path, options: ReadOptions) -> Stack:
        refuse_options(path, options)
        with reading(path, _WHAT):
            pixels, meta = _decode(path)
            return Stack(pixels[None], "image", path=path, meta=meta)


def _decode(path: Path) -> tuple[NDArray[Any], dict[str, Any]]:
    """Pixels (row, column[, channel]) and what to remember of the file."""
    meta: dict[str, Any] = {}
    with _opened(path) as image:
        several = getattr(image, "n_frames", 1)
        if (
            several > 1 and image.format == "MPO"
        ):  # a phone's photo, with previews or a depth map behind it
            meta["notes"] = (f"the file holds {several} images: the first is shown",)
        elif several > 1:
            raise ReadError(
                f"{path} is animated ({image.n_frames} frames); convert it to a video or to a folder of frames"
            )
        orientation = int(image.getexif().get(_ORIENTATION, 1))
        if _is_deep_colour(path):
            pixels = _deep_colour(path, image.size)
        else:
            pixels = _pixels(path, image, meta)
    if 2 <= orientation <= 8:
        meta["exif_orientation"] = orientation
        pixels = np.ascontiguousarray(upright(pixels, orientation))
    return pixels, meta


class _opened:
    """A Pillow image whose declared size was checked; refuses decompression bombs, which Pillow
    only warns of.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Any:
        from PIL import Image, WebPImagePlugin

        assert WebPImagePlugin.SUPPORTED is not None  # imported for its registration
        check_file(self._path)
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            try:
                self._image = Image.open(self._path, formats=_DECODERS)
            except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
                raise ReadError(
                    f"{self._path} declares more pixels than a image may have here ({error}). If it is right, "
                    "save it as a tiled TIFF or a slide."
                ) from error
        try:
            check_declared(self._path, (1, self._image.height, self._image.width), 4)
        except ReadError:
            self._image.close()
            raise
        return self._image

    def __exit__(self, *_: object) -> None:
        self._image.close()


def _pixels(path: Path, image: Any, meta: dict[str, Any]) -> NDArray[Any]:
    mode = image.mode
    if mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
        mode = image.mode
    if mode in ("1", "L"):
        return np.array(image.convert("L"))
    if mode.startswith("I"):
        pixels = np.asarray(image)
        fits = (
            pixels.dtype.kind == "i" and pixels.size and pixels.min() >= 0 and pixels.max() <= 65535
        )
        return pixels.astype(np.uint16 if fits else pixels.dtype.newbyteorder("="))
    if mode in ("LA", "RGBA"):
        return _without_alpha(np.array(image), meta)
    if mode in ("RGB", "F"):
        return np.array(image)
    raise ReadError(
        f"{path} stores its colours as {mode}, which has no single meaning on a screen; save it as RGB or grey first"
    )


def _without_alpha(pixels: NDArray[np.uint8], meta: dict[str, Any]) -> NDArray[np.uint8]:
    colour = pixels[..., :-1]
    alpha = pixels[..., -1:]
    if alpha.min() < 255:
        meta["notes"] = ("transparent parts are shown on black",)
        colour = (colour.astype(np.uint32) * alpha // 255).astype(np.uint8)
    return np.ascontiguousarray(colour[..., 0] if colour.shape[-1] == 1 else colour)


def _is_deep_colour(path: Path) -> bool:
    """Whether it is a PNG of 16 bits with colours or alpha, which Pillow would silently cut to 8
    bits.
    """
    with path.open("rb") as file:
        head = file.read(26)
    return (
        head[:8] == b"\x89PNG\r\n\x1a\n"
        and len(head) == 26
        and head[24] == 16
        and head[25] in (2, 4, 6)
    )


def _deep_colour(path: Path, size: tuple[int, int]) -> NDArray[np.uint16]:
    import av

    with av.open(str(path), format="png_pipe") as container:
        frame = next(container.decode(video=0))
        if (frame.width, frame.height) != size:
            raise ReadError(
                f"{path} has {size} pixels by one decoder and {(frame.width, frame.height)} by another"
            )
        pixels: NDArray[np.uint16] = frame.to_ndarray(format="rgb48le").astype(np.uint16)
    return pixels


def upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Stored pixels (row, column, ...) as EXIF `orientation` 1 to 8 wants them shown."""
    if orientation in (5, 6, 7, 8):
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def as_stored(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """The inverse of `upright`."""
    return upright(pixels, {6: 8, 8: 6}.get(orientation, orientation))


def read_masks(path: Path, like: Stack | None = None) -> Masks:
    """Masks of a label image, or of a folder with one a frame in the order of their numbers.

    A palette file gives its indices. Where 255 is the only label it becomes object 1.
    """
    if path.is_dir():
        files = frame_files(path)
    else:
        files = [path]
    with reading(path, "label images"):
        first, names = _labels(files[0])
        check_declared(path, (len(files), *first.shape[:2]), 2)

        def frames() -> Iterator[NDArray[Any]]:
            yield first
            for file in files[1:]:
                labels, more = _labels(file)
                names.update(more)
                if labels.shape != first.shape:
                    raise ReadError(
                        f"{file} is {labels.shape} (row, column), the frames before {first.shape}; masks of one "
                        "stack have one size"
                    )
                yield labels

        masks = masks_from_frames(path, frames(), (len(files), first.shape[0], first.shape[1]))
        # only files of ours carry names; theirs may mean an object number 255
        if names:
            masks = replace(masks, names=dict(sorted({**masks.names, **names}.items())))
        else:
            masks = one_bit(masks)
        return on_grid_of(masks, like, path)


def _labels(path: Path) -> tuple[NDArray[Any], dict[int, str]]:
    from PIL import Image

    with _opened(path) as image:
        if image.format in ("JPEG", "MPO"):
            raise ReadError(
                f"{path} is a JPEG, whose loss makes false labels; threshold it and save the masks as PNG"
            )
        names = names_of(getattr(image, "text", {}).get("segscope"))
        brightest = _brightest(image)
        if image.mode == "P":
            pixels = np.asarray(Image.frombytes("L", image.size, image.tobytes()))
        else:
            pixels = _pixels(path, image, {})
        if brightest is not None:
            pixels = np.rint(pixels * (brightest / np.iinfo(pixels.dtype).max)).astype(pixels.dtype)
        pixels = _grey_of(pixels)
        orientation = int(image.getexif().get(_ORIENTATION, 1))
    return (upright(pixels, orientation) if 2 <= orientation <= 8 else pixels), names


def _brightest(image: Any) -> int | None:
    """The number of full brightness in a PNM file, by which Pillow stretches values to 8 or 16
    bits; else None.
    """
    arguments = None
    if image.format == "PPM" and image.tile[0][0] == "ppm":
        arguments = image.tile[0][3]
    if isinstance(arguments, tuple):
        return int(arguments[1])
    return None


def _grey_of(pixels: NDArray[Any]) -> NDArray[Any]:
    """One channel of a image whose three channels are equal."""
    if pixels.ndim == 3 and (pixels == pixels[..., :1]).all():
        return np.ascontiguousarray(pixels[..., 0])
    return pixels


def frame_files(folder: Path) -> list[Path]:
    """PNG files of a folder by the last number in their names.

    Raises:
        ReadError: none, or two with one number.
    """
    files = [
        file
        for file in folder.iterdir()
        if file.suffix.lower() == ".png" and not file.name.startswith(".")
    ]
    if not files:
        raise ReadError(
            f"{folder} holds no PNG files; masks of a clip are a folder with one PNG a frame"
        )
    numbers: dict[int, Path] = {}
    for file in sorted(files):
        found = _NUMBER.search(file.stem)
        if found:
            number = int(found[1])
        else:
            number = -1
        if number in numbers:
            raise ReadError(
                f"{folder} holds {numbers[number].name} and {file.name} for one frame; number them apart"
            )
        numbers[number] = file
    return [numbers[number] for number in sorted(numbers)]


class LabelPng:
    """One frame as one PNG of labels, 8 or 16 bits."""

    name = "label PNG"
    suffixes = (".png",)

    def check(self, masks: Masks, path: Path, source: Stack | None) -> None:  # noqa: ARG002
        frames = masks.on_stored_grid().shape_zyx[0]
        if frames != 1:
            raise UsageError(
                f"{path} is one image and there are {frames} frames; name a folder instead "
                f"({path.with_suffix('')}/), or a .nii.gz, .seg.nrrd or .tif file"
            )

    def write(self, masks: Masks, path: Path, source: Stack | None) -> None:
        self.check(masks, path, source)
        masks = masks.on_stored_grid()
        with atomic(path) as part:
            for frame in label_frames(masks, path):
                _save(frame, part, masks, source)


class LabelFolder:
    """A folder with one label PNG a frame, named by the number of the frame from 0."""

    name = "folder of label PNGs"
    suffixes: tuple[str, ...] = ()

    def check(self, masks: Masks, path: Path, source: Stack | None) -> None:  # noqa: ARG002
        if path.exists():
            _check_replaceable(path)

    def write(self, masks: Masks, path: Path, source: Stack | None) -> None:
        self.check(masks, path, source)
        masks = masks.on_stored_grid()
        digits = max(5, len(str(masks.shape_zyx[0] - 1)))
        with atomic(path, folder=True) as part:
            for index, frame in enumerate(label_frames(masks, path)):
                _save(frame, part / f"{index:0{digits}d}.png", masks, source)


def _check_replaceable(folder: Path) -> None:
    """A folder is replaced as a whole, so it may hold nothing but frames of an earlier run."""
    foreign = [path.name for path in folder.iterdir() if not _is_ours(path)]
    if foreign:
        raise UsageError(
            f"{folder} already holds files that this program did not write ({', '.join(sorted(foreign)[:3])}); name a "
            "new folder for the masks"
        )


def _is_ours(path: Path) -> bool:
    """Whether a file is a label frame with the note of this program; frames of a clip may have the
    same names.
    """
    from PIL import Image

    if not re.fullmatch(r"\d{5,}\.png", path.name):
        return False
    try:
        with Image.open(path, formats=("PNG",)) as image:
            return "segscope" in image.info
    except OSError:
        return False


def _save(frame: NDArray[Any], path: Path, masks: Masks, source: Stack | None) -> None:
    from PIL import Image, PngImagePlugin

    note = PngImagePlugin.PngInfo()
    note.add_text("segscope", note_of(masks.names))
    if source is None:
        orientation = 1
    else:
        orientation = int(source.meta.get("exif_orientation", 1))
    options: dict[str, Any] = {}
    if orientation != 1:  # pixel for pixel the file that was read, and shown like it
        exif = Image.Exif()
        exif[_ORIENTATION] = orientation
        options["exif"] = exif
        frame = np.ascontiguousarray(as_stored(frame, orientation))
    Image.fromarray(frame).save(path, format="PNG", pnginfo=note, **options)


FORMATS = (ImageFile(),)
MASK_FORMATS = (LabelPng(), LabelFolder())
