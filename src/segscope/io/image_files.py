"""Single images (PNG, JPEG, BMP, GIF, WebP, PNM) in; label PNGs and folders of them in and out."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segscope.arrays import Pixels
from segscope.errors import ReadError, UsageError
from segscope.files import atomic
from segscope.io.base import (
    FileFormat,
    ReadOptions,
    check_declared,
    check_file,
    reading,
    refuse_options,
)
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
from segscope.io.orientation import (
    CMYK_NOTE,
    ORIENTATION_TAG,
    cmyk_to_rgb,
    turn_as_stored,
    turn_upright,
)
from segscope.masks import Masks
from segscope.stack import Stack

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".pgm", ".ppm", ".pnm")
_DECODERS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM")
_WHAT = "an image"
_MAX_LABEL = 65535  # of a PNG with 16 bits
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_PNG_COLOUR = 2
_PNG_WITH_ALPHA = (4, 6)
_LAST_NUMBER = re.compile(r"(\d+)\D*$")
_OUR_FRAME_NAME = re.compile(r"\d{5,}\.png")


# --- reading images ------------------------------------------------------------------------------


class ImageFile(FileFormat):
    """One image as the camera meant it: upright by its EXIF orientation, colours as RGB, 16 bits
    preserved.
    """

    name = "image"
    suffixes = SUFFIXES

    def read(self, path: Path, options: ReadOptions) -> Stack:
        refuse_options(path, options)
        with reading(path, _WHAT):
            pixels, meta = _decode_file(path)
            return Stack(pixels[None], "image", path=path, meta=meta)


def _decode_file(path: Path) -> tuple[Pixels, dict[str, Any]]:
    """Pixels (row, column[, channel]) and the facts about the file that others may need."""
    meta: dict[str, Any] = {}
    with _open_image(path) as image:
        frame_count = getattr(image, "n_frames", 1)
        if frame_count > 1 and image.format != "MPO":
            raise ReadError(
                f"{path} is animated ({frame_count} frames); "
                "convert it to a video or to a folder of frames"
            )
        if frame_count > 1:  # a phone's photo, with previews or a depth map behind it
            meta["notes"] = (f"the file holds {frame_count} images: the first is shown",)
        orientation = int(image.getexif().get(ORIENTATION_TAG, 1))
        colour_type = _deep_colour_type(path)
        if colour_type is not None:
            pixels = _decode_deep_colour(path, image.size)
            if colour_type in _PNG_WITH_ALPHA:
                meta["notes"] = ("transparency is left out",)
        else:
            pixels = _pixels_of(path, image, meta)
    if 2 <= orientation <= 8:
        meta["orientation"] = orientation
        pixels = np.ascontiguousarray(turn_upright(pixels, orientation))
    return pixels, meta


@contextmanager
def _open_image(path: Path) -> Iterator[PillowImage]:
    """A Pillow image within our limits; decompression bombs, of which Pillow only warns, are
    refused.
    """
    from PIL import Image, WebPImagePlugin

    assert WebPImagePlugin.SUPPORTED is not None  # imported for its registration
    check_file(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            image = Image.open(path, formats=_DECODERS)
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise ReadError(
                f"{path} declares more pixels than an image may have here ({error}). "
                "If it is correct, save it as a tiled TIFF or a whole slide."
            ) from error
    with image:
        check_declared(path, (1, image.height, image.width), 4)
        yield image


def _pixels_of(path: Path, image: PillowImage, meta: dict[str, Any]) -> Pixels:
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    mode = image.mode
    if mode in ("1", "L"):
        return np.array(image.convert("L"))
    if mode.startswith("I"):
        return _narrow_integers(np.asarray(image))
    if mode in ("LA", "RGBA"):
        return _drop_alpha(np.array(image), meta)
    if mode in ("RGB", "F"):
        return np.array(image)
    if mode == "CMYK":
        meta["notes"] = (CMYK_NOTE,)
        return cmyk_to_rgb(np.array(image))
    raise ReadError(
        f"{path} stores its colours as {mode}, which has no single meaning on a screen; "
        "save it as RGB or grey first"
    )


def _narrow_integers(pixels: Pixels) -> Pixels:
    """16 bits where they hold all values; Pillow widens them to 32."""
    if pixels.dtype.kind == "i" and pixels.size and pixels.min() >= 0 and pixels.max() <= 65535:
        return pixels.astype(np.uint16)
    return pixels.astype(pixels.dtype.newbyteorder("="))


def _drop_alpha(pixels: NDArray[np.uint8], meta: dict[str, Any]) -> NDArray[np.uint8]:
    colour = pixels[..., :-1]
    alpha = pixels[..., -1:]
    if alpha.min() < 255:
        meta["notes"] = ("transparent parts are shown on black",)
        colour = (colour.astype(np.uint32) * alpha // 255).astype(np.uint8)
    if colour.shape[-1] == 1:
        colour = colour[..., 0]
    return np.ascontiguousarray(colour)


def _deep_colour_type(path: Path) -> int | None:
    """Colour type of a PNG of 16 bits with colours or alpha, which Pillow would silently cut to 8
    bits; None for all other files.
    """
    with path.open("rb") as file:
        head = file.read(26)
    if len(head) < 26 or head[:8] != _PNG_MAGIC:
        return None
    bit_depth = head[24]
    colour_type = head[25]
    if bit_depth == 16 and colour_type in (_PNG_COLOUR, *_PNG_WITH_ALPHA):
        return colour_type
    return None


def _decode_deep_colour(path: Path, size: tuple[int, int]) -> NDArray[np.uint16]:
    import av

    with av.open(str(path), format="png_pipe") as container:
        frame = next(container.decode(video=0))
        decoded_size = (frame.width, frame.height)
        if decoded_size != size:
            raise ReadError(
                f"{path} has {size} pixels by one decoder and {decoded_size} by another"
            )
        pixels: NDArray[np.uint16] = frame.to_ndarray(format="rgb48le").astype(np.uint16)
    return pixels


# --- reading masks -------------------------------------------------------------------------------


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

    with _open_image(path) as image:
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
            pixels = _pixels_of(path, image, {})
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


# --- writing masks -------------------------------------------------------------------------------


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


FORMATS = (ImageFile(),)
MASK_FORMATS = (LabelPng(), LabelFolder())
