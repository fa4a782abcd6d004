"""Images: the pixels that a viewer shows, or a refusal; and label PNGs on the stored grid."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from segscope import io
from segscope.errors import ReadError, UsageError
from segscope.masks import Masks
from segscope.stack import Stack

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


class TestMasks:
    @pytest.mark.parametrize(("top", "mode"), [(255, "L"), (256, "I;16"), (65535, "I;16")])
    def test_eight_bits_or_sixteen(self, top: int, mode: str, tmp_path: Path) -> None:
        labels = LABELS.astype(np.uint16)
        labels[0, 0] = top
        io.write(Masks.from_labels(labels), tmp_path / "m.png")
        with Image.open(tmp_path / "m.png") as written:
            assert written.mode == mode
        np.testing.assert_array_equal(io.read_masks(tmp_path / "m.png").labels[0], labels)

    def test_a_lone_255_is_object_1_unless_our_own_writer_meant_255(self, tmp_path: Path) -> None:
        Image.fromarray((LABELS > 1).astype(np.uint8) * 255).save(tmp_path / "theirs.png")
        assert io.read_masks(tmp_path / "theirs.png").object_ids == (1,)
        io.write(Masks.from_labels((LABELS > 1).astype(np.uint8) * 255), tmp_path / "ours.png")
        assert io.read_masks(tmp_path / "ours.png").object_ids == (255,)

    def test_grey_saved_as_colours_counts_and_colours_do_not(self, tmp_path: Path) -> None:
        Image.fromarray(np.repeat(LABELS[..., None], 3, -1)).save(tmp_path / "grey.png")
        np.testing.assert_array_equal(io.read_masks(tmp_path / "grey.png").labels[0], LABELS)
        Image.fromarray(RGB).save(tmp_path / "colour.png")
        with pytest.raises(ReadError, match="not labels"):
            io.read_masks(tmp_path / "colour.png")

    @pytest.mark.parametrize("brightest", [3, 9, 255, 300, 65535])
    def test_labels_in_pgm_are_its_numbers(self, brightest: int, tmp_path: Path) -> None:
        labels = np.array([[0, 1, 2], [3, 2, 0]], ">u2" if brightest > 255 else "u1")
        (tmp_path / "a.pgm").write_bytes(b"P5\n3 2\n%d\n" % brightest + labels.tobytes())
        np.testing.assert_array_equal(io.read_masks(tmp_path / "a.pgm").labels[0], labels)

    def test_jpeg_labels_are_refused(self, tmp_path: Path) -> None:
        Image.fromarray(LABELS * 80).save(tmp_path / "m.jpg")
        with pytest.raises(ReadError, match="false labels"):
            io.read_masks(tmp_path / "m.jpg")

    def test_many_frames_want_a_folder(self, tmp_path: Path) -> None:
        masks = Masks.from_labels(np.stack([LABELS] * 12))
        with pytest.raises(UsageError, match=r"12 frames.*name a folder.*m/"):
            io.write(masks, tmp_path / "m.png")
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("name", ["m", "m.v2/"])
    def test_a_folder_has_one_file_a_frame(self, name: str, tmp_path: Path) -> None:
        labels = np.stack([np.roll(LABELS, step, 1) for step in range(12)])
        io.write(Masks.from_labels(labels, names={1: "x"}), f"{tmp_path}/{name}")
        folder = tmp_path / name.rstrip("/")
        assert sorted(file.name for file in folder.iterdir()) == [
            f"{frame:05d}.png" for frame in range(12)
        ]
        back = io.read_masks(folder, Stack.from_array(np.zeros((12, 9, 14))))
        np.testing.assert_array_equal(back.labels, labels)
        assert back.names == {1: "x", 2: "", 3: ""}

    def test_a_folder_with_other_files_is_never_replaced(self, tmp_path: Path) -> None:
        (tmp_path / "thesis").mkdir()
        (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
        with pytest.raises(UsageError, match=r"chapter\.txt.*new folder"):
            io.write(Masks.from_labels(LABELS), tmp_path / "thesis")
        assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years of work"

    def test_a_folder_with_frames_of_somebody_is_never_replaced(self, tmp_path: Path) -> None:
        (tmp_path / "frames").mkdir()
        Image.fromarray(LABELS).save(tmp_path / "frames" / "00000.png")
        with pytest.raises(UsageError, match=r"did not write \(00000\.png"):
            io.write(Masks.from_labels(LABELS * 0), tmp_path / "frames")
        assert np.array_equal(np.asarray(Image.open(tmp_path / "frames" / "00000.png")), LABELS)

    def test_frames_are_ordered_by_number(self, tmp_path: Path) -> None:
        for number in (1, 2, 10, 11, 100):
            Image.fromarray(np.full((3, 4), number, np.uint8)).save(
                tmp_path / f"frame_{number}.png"
            )
        assert io.read_masks(tmp_path).labels[:, 0, 0].tolist() == [1, 2, 10, 11, 100]

    def test_frames_of_several_sizes_or_equal_numbers_are_refused(self, tmp_path: Path) -> None:
        Image.fromarray(LABELS).save(tmp_path / "1.png")
        Image.fromarray(LABELS[1:]).save(tmp_path / "2.png")
        with pytest.raises(ReadError, match=r"2\.png.*one size"):
            io.read_masks(tmp_path)
        (tmp_path / "2.png").rename(tmp_path / "b1.png")
        with pytest.raises(ReadError, match="for one frame"):
            io.read_masks(tmp_path)

    def test_an_empty_folder_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ReadError, match="no PNG"):
            io.read_masks(tmp_path)
