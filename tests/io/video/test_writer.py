"""Overlay videos: what is written comes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.video_files import image, number_in

from segscope import io
from segscope.errors import UsageError
from segscope.io.video.writer import write_video


class TestWriting:
    @pytest.mark.parametrize("size_hw", [(48, 100), (47, 99), (2, 2)])
    def test_a_written_video_comes_back(self, tmp_path: Path, size_hw: tuple[int, int]) -> None:
        rows, columns = size_hw
        frames = [np.full((rows, columns, 3), 40 * number, np.uint8) for number in range(6)]
        write_video(tmp_path / "out.mp4", frames, 12.5)
        stack = io.read(tmp_path / "out.mp4")
        assert stack.source.shape == (6, rows + rows % 2, columns + columns % 2, 3)
        assert stack.times_s == pytest.approx(np.arange(6) / 12.5)
        assert stack.meta["pixel_format"] == "yuv420p"
        for number in range(6):
            assert abs(int(stack[number].mean()) - 40 * number) < 6

    def test_frames_are_taken_one_at_a_time(self, tmp_path: Path) -> None:
        alive: list[np.ndarray] = []

        def frames() -> Iterator[np.ndarray]:
            for number in range(200):
                alive[:] = [image(number)]
                yield alive[0]

        write_video(tmp_path / "out.mp4", frames(), 25)
        stack = io.read(tmp_path / "out.mp4")
        assert [number_in(stack[index]) for index in (199, 0, 100)] == [199, 0, 100]

    def test_nothing_is_left_of_a_failure(self, tmp_path: Path) -> None:
        def frames() -> Iterator[np.ndarray]:
            yield image(0)
            raise RuntimeError("stopped")

        (tmp_path / "out.mp4").write_bytes(b"old")
        with pytest.raises(RuntimeError, match="stopped"):
            write_video(tmp_path / "out.mp4", frames(), 25)
        assert (tmp_path / "out.mp4").read_bytes() == b"old"
        assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]

    @pytest.mark.parametrize(
        ("frames", "fps"),
        [([], 25), ([image(0)], 0), ([image(0)], float("nan")), ([image(0).astype(float)], 25),
         ([image(0)[..., 0]], 25), ([image(0), image(0)[:20]], 25)],
    )  # fmt: skip
    def test_what_is_no_video_is_refused(
        self, tmp_path: Path, frames: list[np.ndarray], fps: float
    ) -> None:
        with pytest.raises(UsageError):
            write_video(tmp_path / "out.mp4", frames, fps)
        assert not list(tmp_path.iterdir())
