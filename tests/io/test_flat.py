"""Images of one single value are noted, whatever their format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image
from support.video_files import make as make_video

from segscope import io
from segscope.errors import ReadError
from segscope.io import flat
from segscope.io.flat import note_flat
from segscope.io.frame_source import LazyFrames
from segscope.stack import Stack

VOLUME = np.zeros((4, 6, 5), np.int16)


class Counted(LazyFrames):
    """Frames that count how often they are read."""

    def __init__(self, frames: np.ndarray) -> None:
        super().__init__(frames.shape, frames.dtype)
        self.frames = frames
        self.indices: list[int] = []

    def read_frame(self, index: int) -> np.ndarray:
        self.indices.append(index)
        if index == 13:
            raise ReadError("frame 13 is damaged")
        return self.frames[index]


def flat_notes(stack: Stack) -> list[str]:
    return [note for note in stack.meta.get("notes", ()) if "decoded wrongly" in note]


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.nii.gz", lambda path: nibabel.save(nibabel.Nifti1Image(VOLUME.T, np.eye(4)), path)),
        ("a.npy", lambda path: np.save(path, VOLUME)),
        ("a.png", lambda path: Image.fromarray(VOLUME[0].astype(np.uint8)).save(path)),
        ("a.tif", lambda path: tifffile.imwrite(path, VOLUME, photometric="minisblack")),
    ],
)
def test_every_format_notes_it(name: str, write: Callable[[Path], None], tmp_path: Path) -> None:
    write(tmp_path / name)
    notes = flat_notes(io.read(tmp_path / name))
    assert notes == ["every pixel has the value 0: the image may be empty, or decoded wrongly"]


def test_a_video_with_content_has_no_note(tmp_path: Path) -> None:
    assert not flat_notes(io.read(make_video(tmp_path / "a.mkv", "ffv1", count=3)))


def test_one_pixel_is_enough_to_differ() -> None:
    frames = VOLUME.copy()
    frames[3, 5, 4] = 1
    assert not flat_notes(note_flat(Stack.from_array(frames)))


def test_frames_of_different_values_are_not_flat() -> None:
    frames = np.broadcast_to(np.arange(4)[:, None, None], (4, 6, 5))
    assert not flat_notes(note_flat(Stack.from_array(frames)))


@pytest.mark.parametrize(
    ("value", "text"), [(np.nan, "no pixel is finite"), (7.5, "the value 7.5")]
)
def test_fractions(value: float, text: str) -> None:
    (note,) = flat_notes(note_flat(Stack.from_array(np.full((2, 6, 5), value))))
    assert text in note


def test_usually_one_frame_is_read() -> None:
    frames = Counted(np.random.default_rng(0).integers(0, 99, (20, 6, 5)))
    assert not flat_notes(note_flat(Stack(frames, "volume")))
    assert frames.indices == [0]


def test_of_a_large_stack_a_few_frames_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flat, "_MOST_PIXELS", 100)
    frames = Counted(np.zeros((20, 6, 5)))
    (note,) = flat_notes(note_flat(Stack(frames, "volume")))
    assert frames.indices == [0, 1, 2, 10, 19]
    assert "in 5 of 20 frames" in note
    monkeypatch.setattr(flat, "_LARGEST_FRAME", 20)
    assert not flat_notes(note_flat(Stack(Counted(np.zeros((20, 6, 5))), "volume")))


def test_a_frame_that_cannot_be_read_is_left_to_its_user() -> None:
    stack = Stack(Counted(np.zeros((20, 6, 5))), "volume")
    assert note_flat(stack) is stack


def test_other_notes_stay_in_front() -> None:
    stack = Stack(VOLUME, "volume", meta={"notes": ("one",), "window": (0, 1)})
    noted = note_flat(stack)
    assert noted.meta["notes"][0] == "one"
    assert noted.meta["window"] == (0, 1)
