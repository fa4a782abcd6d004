"""Folders with one image per frame."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.data import data_folder

from segscope import io
from segscope.errors import ReadError, UsageError


class TestFolders:
    def fill(
        self, folder: Path, names: list[str], mode: str = "L", size: tuple[int, int] = (8, 6)
    ) -> Path:
        folder.mkdir(exist_ok=True)
        for number, name in enumerate(names):
            Image.new(mode, size, number if mode == "L" else (number, 0, 0)).save(folder / name)
        return folder

    def test_frames_come_in_the_order_of_their_numbers(self, tmp_path: Path) -> None:
        stack = io.read(
            self.fill(tmp_path / "f", ["img1.png", "img2.png", "img10.png", "img11.bmp"])
        )
        assert stack.kind == "video"
        assert stack.times_s is None
        assert [int(stack[index][0, 0]) for index in range(4)] == [0, 1, 2, 3]

    def test_other_files_are_left_out_with_a_note(self, tmp_path: Path) -> None:
        folder = self.fill(tmp_path / "f", ["1.png", "2.png"])
        (folder / "labels.csv").write_text("a,b")
        (folder / ".thumbs").write_text("x")
        assert io.read(folder).meta["notes"] == ("1 entry left out: not images",)

    def test_sizes_that_differ_are_refused_with_the_file(self, tmp_path: Path) -> None:
        folder = self.fill(tmp_path / "f", ["1.png", "2.png"])
        Image.new("L", (9, 6)).save(folder / "3.png")
        with pytest.raises(ReadError, match=r"3\.png is 6 x 9 .* 1\.png is 6 x 8"):
            io.read(folder)

    def test_grey_frames_among_colours_become_colours(self, tmp_path: Path) -> None:
        folder = self.fill(tmp_path / "f", ["1.png"])
        Image.new("RGB", (8, 6), (5, 6, 7)).save(folder / "2.png")
        stack = io.read(folder)
        assert stack.source.shape == (2, 6, 8, 3)
        assert stack[1][0, 0].tolist() == [5, 6, 7]

    def test_two_files_for_one_frame_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ReadError, match=r"1\.bmp and 1\.png"):
            io.read(self.fill(tmp_path / "f", ["1.png", "1.bmp"]))

    def test_a_damaged_frame_is_named(self, tmp_path: Path) -> None:
        folder = self.fill(tmp_path / "f", ["1.png", "2.png"])
        (folder / "2.png").write_bytes((folder / "2.png").read_bytes()[:40])
        with pytest.raises(ReadError, match=r"2\.png"):
            io.read(folder)[1]

    def test_real_frames_and_clips(self) -> None:
        frames = data_folder("video_larynx_surgery/seq4")
        assert io.read(frames).source.shape == (66, 512, 512, 3)
        for suffix in (".mp4", ".avi"):
            stack = io.read(data_folder(f"us_heart_cine_unlabelled/patient0500_2CH{suffix}"))
            still = io.read(data_folder("us_heart_cine_unlabelled/patient0500_2CH.dcm"))
            assert len(stack) == 15
            for index in (14, 0, 7):
                near = [
                    np.abs(stack[index][..., 0].astype(int) - still[other]).mean()
                    for other in range(15)
                ]
                assert int(np.argmin(near)) == index


def test_a_pipe_named_like_an_image_is_no_frame(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "0.png")
    with pytest.raises(UsageError, match="unknown format"):
        io.read(tmp_path)
