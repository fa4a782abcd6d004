"""Label images and folders of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segscope import io
from segscope.errors import ReadError, UsageError
from segscope.masks import Masks
from segscope.stack import Stack

RGB = np.random.default_rng(0).integers(0, 256, (9, 14, 3), np.uint8)
LABELS = np.random.default_rng(1).integers(0, 4, (9, 14)).astype(np.uint8)


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
