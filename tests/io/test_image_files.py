"""Images: the pixels that a viewer shows, or a refusal; and label PNGs on the stored grid."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from segscope import io
from segscope.errors import ReadError
from segscope.masks import Masks

RGB = np.random.default_rng(0).integers(0, 256, (9, 14, 3)).astype(np.uint8)
LABELS = np.random.default_rng(1).integers(0, 4, (9, 14)).astype(np.uint8)


def png_16_bit(path: Path, pixels: np.ndarray) -> None:
    """A PNG of 16 bits a channel, which Pillow cannot write."""
    rows, columns, channels = pixels.shape
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in pixels)
    head = struct.pack(">IIBBBBB", columns, rows, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    whole = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + whole)


class TestModes:
    @pytest.mark.parametrize("ending", [".png", ".bmp", ".webp", ".ppm"])
    def test_colours(self, ending: str, tmp_path: Path) -> None:
        Image.fromarray(RGB).save(tmp_path / f"a{ending}", lossless=True)
        stack = io.read(tmp_path / f"a{ending}")
        assert (stack.kind, stack.geometry) == ("image", None)
        np.testing.assert_array_equal(stack[0], RGB)

    def test_a_palette_becomes_its_colours(self, tmp_path: Path) -> None:
        image = Image.fromarray(LABELS).convert("P")
        image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255] + [9] * 756)
        image.save(tmp_path / "a.png")
        np.testing.assert_array_equal(
            io.read(tmp_path / "a.png")[0], np.asarray(image.convert("RGB"))
        )
        np.testing.assert_array_equal(io.read_masks(tmp_path / "a.png").labels[0], LABELS)

    def test_one_bit_is_black_and_white(self, tmp_path: Path) -> None:
        Image.fromarray(LABELS > 1).save(tmp_path / "a.png")
        np.testing.assert_array_equal(io.read(tmp_path / "a.png")[0], (LABELS > 1) * 255)
        np.testing.assert_array_equal(io.read_masks(tmp_path / "a.png").of(1)[0], LABELS > 1)

    def test_sixteen_bits_are_kept(self, tmp_path: Path) -> None:
        deep = LABELS.astype(np.uint16) * 13001
        Image.fromarray(deep).save(tmp_path / "a.png")
        stack = io.read(tmp_path / "a.png")
        assert stack.source.dtype == np.uint16
        np.testing.assert_array_equal(stack[0], deep)

    def test_sixteen_bits_of_colour_are_kept(self, tmp_path: Path) -> None:
        deep = np.random.default_rng(2).integers(0, 65536, (9, 14, 3)).astype(np.uint16)
        png_16_bit(tmp_path / "a.png", deep)
        stack = io.read(tmp_path / "a.png")
        assert stack.source.dtype == np.uint16
        np.testing.assert_array_equal(stack[0], deep)

    @pytest.mark.parametrize("channels", [2, 4])
    def test_sixteen_bits_with_alpha(self, channels: int, tmp_path: Path) -> None:
        deep = np.random.default_rng(2).integers(0, 65536, (9, 14, channels)).astype(np.uint16)
        deep[..., -1] = 65535
        png_16_bit(tmp_path / "a.png", deep)
        frame = io.read(tmp_path / "a.png")[0]
        np.testing.assert_array_equal(frame[..., 0] if frame.ndim == 3 else frame, deep[..., 0])

    def test_full_alpha_is_dropped_and_part_alpha_noted(self, tmp_path: Path) -> None:
        alpha = np.full((9, 14, 1), 255, np.uint8)
        Image.fromarray(np.concatenate([RGB, alpha], -1)).save(tmp_path / "a.png")
        stack = io.read(tmp_path / "a.png")
        np.testing.assert_array_equal(stack[0], RGB)
        assert "notes" not in stack.meta
        alpha[3:5] = 0
        Image.fromarray(np.concatenate([RGB, alpha], -1)).save(tmp_path / "a.png")
        stack = io.read(tmp_path / "a.png")
        assert not stack[0][3:5].any()
        assert "black" in stack.meta["notes"][0]

    def test_print_colours_are_shown_as_rgb(self, tmp_path: Path) -> None:
        Image.fromarray(RGB).convert("CMYK").save(tmp_path / "a.jpg")
        stack = io.read(tmp_path / "a.jpg")
        with Image.open(tmp_path / "a.jpg") as image:
            np.testing.assert_array_equal(stack[0], np.asarray(image.convert("RGB")))
        assert "CMYK" in stack.meta["notes"][0]

    def test_animations_are_refused(self, tmp_path: Path) -> None:
        frames = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
        frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
        with pytest.raises(ReadError, match=r"animated.*2 frames"):
            io.read(tmp_path / "a.gif")

    def test_a_photo_with_a_preview_behind_it_is_that_photo(self, tmp_path: Path) -> None:
        pixels = np.random.default_rng(0).integers(0, 255, (24, 32, 3)).astype(np.uint8)
        preview = Image.fromarray(pixels[:12, :16])
        Image.fromarray(pixels).save(
            tmp_path / "a.jpg", "MPO", save_all=True, append_images=[preview]
        )
        stack = io.read(tmp_path / "a.jpg")
        with Image.open(tmp_path / "a.jpg") as image:
            np.testing.assert_array_equal(stack[0], np.asarray(image))
        assert "first is shown" in stack.meta["notes"][0]

    def test_a_name_may_lie_about_the_codec(self, tmp_path: Path) -> None:
        Image.fromarray(RGB).save(tmp_path / "a.jpg", format="PNG")
        np.testing.assert_array_equal(io.read(tmp_path / "a.jpg")[0], RGB)


class TestOrientation:
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_images_stand_upright_and_masks_lie_as_stored(
        self, orientation: int, tmp_path: Path
    ) -> None:
        exif = Image.Exif()
        exif[274] = orientation
        Image.fromarray(RGB).save(tmp_path / "a.png", exif=exif)
        shown = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.png")))
        stack = io.read(tmp_path / "a.png")
        np.testing.assert_array_equal(stack[0], shown)
        labels = (shown[..., 0] > 100).astype(np.uint8)
        io.write(Masks.from_labels(labels), tmp_path / "m.png", stack)
        with Image.open(tmp_path / "m.png") as written:
            np.testing.assert_array_equal(np.asarray(written), (RGB[..., 0] > 100).astype(np.uint8))
            np.testing.assert_array_equal(np.asarray(ImageOps.exif_transpose(written)), labels)
        np.testing.assert_array_equal(io.read_masks(tmp_path / "m.png", stack).labels[0], labels)
