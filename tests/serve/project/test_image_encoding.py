"""Rendered frames as files."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from segscope.errors import UsageError
from segscope.serve.project.image_encoding import MEDIA_TYPES, encode_image, encode_thumbnail

COLOURS = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)


def decoded(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_png_is_exact() -> None:
    assert np.array_equal(np.asarray(decoded(encode_image(COLOURS, "png"))), COLOURS)


@pytest.mark.parametrize("file_format", MEDIA_TYPES)
def test_formats_are_what_they_are_called(file_format: str) -> None:
    image = decoded(encode_image(COLOURS, file_format))
    assert image.format == file_format.upper()
    assert image.size == (30, 20)


def test_grey_images_have_one_channel() -> None:
    grey = np.repeat(COLOURS[..., :1], 3, axis=-1)
    image = decoded(encode_image(grey, "png"))
    assert image.mode == "L"
    assert np.array_equal(np.asarray(image), grey[..., 0])


def test_other_formats_are_refused() -> None:
    with pytest.raises(UsageError, match="png, jpeg, webp"):
        encode_image(COLOURS, "bmp")


def test_thumbnails_fit_their_size() -> None:
    assert decoded(encode_thumbnail(COLOURS, 16)).size == (16, 11)
