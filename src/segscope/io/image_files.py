"""Single images (PNG, JPEG, BMP, GIF, WebP, PNM) in."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segscope.arrays import Pixels
from segscope.errors import ReadError
from segscope.io.base import (
    FileFormat,
    ReadOptions,
    check_declared,
    check_file,
    reading,
    refuse_options,
)
from segscope.io.orientation import (
    CMYK_NOTE,
    ORIENTATION_TAG,
    cmyk_to_rgb,
    turn_upright,
)
from segscope.stack import Stack

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".pgm", ".ppm", ".pnm")
_DECODERS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM")
_WHAT = "an image"
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_PNG_COLOUR = 2
_PNG_WITH_ALPHA = (4, 6)


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
    with open_image(path) as image:
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
            pixels = pixels_of(path, image, meta)
    if 2 <= orientation <= 8:
        meta["orientation"] = orientation
        pixels = np.ascontiguousarray(turn_upright(pixels, orientation))
    return pixels, meta


@contextmanager
def open_image(path: Path) -> Iterator[PillowImage]:
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


def pixels_of(path: Path, image: PillowImage, meta: dict[str, Any]) -> Pixels:
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


FORMATS = (ImageFile(),)
