from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from segscope.errors import UsageError
from segscope.geometry import Geometry
from segscope.stack import Stack
from segscope.window import choose_window


class Counting:
    """Frames that count how often they are read."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array, self.reads = array, 0
        self.shape, self.dtype = array.shape, array.dtype

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, index: int) -> NDArray[Any]:
        self.reads += 1
        return self.array[index]


def hounsfield() -> NDArray[np.int16]:
    return np.linspace(-1000, 1500, 4 * 20 * 20).reshape(4, 20, 20).astype(np.int16)


def test_percentiles_leave_zeros_out() -> None:
    image = np.zeros((20, 20))
    image[:5] = np.arange(100, 200).reshape(5, 20)
    low, high = (
        choose_window(Stack.from_array(image), "p0,100").low[0],
        choose_window(Stack.from_array(image), "p0,100").high[0],
    )
    assert (low, high) == (100, 199)


@pytest.mark.parametrize(
    ("modality", "how"),
    [
        ("CT", "abdomen"),
        ("MR", "percentiles 0.5 to 99.5"),
        ("PT", "percentiles"),
        ("US", "percentiles"),
    ],
)
def test_modality_chooses(modality: str, how: str) -> None:
    assert choose_window(Stack.from_array(hounsfield(), modality=modality)).how.startswith(how)


def test_unknown_volume_in_hounsfield_units_is_taken_as_ct() -> None:
    stack = Stack.from_array(hounsfield(), spacing_zyx_mm=(2, 1, 1))
    assert "CT by its values" in choose_window(stack).how
    assert (
        "percentiles"
        in choose_window(Stack.from_array(hounsfield() + 1000, spacing_zyx_mm=(2, 1, 1))).how
    )


def test_projections_use_the_window_of_their_file() -> None:
    image = np.arange(4096, dtype=np.uint16).reshape(1, 64, 64)
    stack = Stack(image, "image", "DX", meta={"window": (1000, 3000)})
    assert choose_window(stack).low == (1000,)
    assert choose_window(Stack(image, "image", "MR", meta={"window": (1000, 3000)})).how.startswith(
        "percentiles"
    )


def test_microscopy_channels_are_windowed_apart_and_images_together() -> None:
    image = np.random.default_rng(0).integers(1, 1000, (32, 32, 3)).astype(np.uint16)
    image[..., 2] *= 50
    apart = choose_window(Stack.from_array(image, channels=True, modality="microscopy"))
    together = choose_window(Stack.from_array(image, channels=True))
    assert apart.high[2] > 20 * apart.high[0]
    assert len(set(together.high)) == 1


def test_at_most_64_frames_are_looked_at() -> None:
    source = Counting(np.ones((1000, 4, 4), np.float32))
    choose_window(Stack(source, "volume", geometry=Geometry(np.eye(4))))
    assert source.reads <= 2 * 64


def test_a_given_window_reads_nothing() -> None:
    source = Counting(np.ones((1000, 4, 4), np.float32))
    choose_window(Stack(source, "volume"), "lung")
    assert source.reads == 0


@pytest.mark.parametrize(
    "window",
    [
        "",
        "lun",
        "400",
        "0,40",
        "-1,2",
        "nan,4",
        "inf,1",
        "1,2,3",
        "p5",
        "p5,1",
        "p-1,50",
        "p5,200",
        "p,",
        "a,b",
    ],
)
def test_windows_that_cannot_be_meant_are_refused(window: str) -> None:
    with pytest.raises(UsageError, match=r"window|width|percentiles"):
        choose_window(Stack.from_array(np.ones((4, 4))), window)


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {
            "low": [0],
            "high": [0],
            "how": "",
            "channels": [0],
            "mix": [[1, 1, 1]],
            "inverted": False,
        },
        {
            "low": [0],
            "high": [1, 2],
            "how": "",
            "channels": [0],
            "mix": [[1, 1, 1]],
            "inverted": False,
        },
        {
            "low": [0],
            "high": [float("nan")],
            "how": "",
            "channels": [0],
            "mix": [[1, 1, 1]],
            "inverted": False,
        },
        {
            "low": ["a"],
            "high": [1],
            "how": "",
            "channels": [0],
            "mix": [[1, 1, 1]],
            "inverted": False,
        },
    ],
)
def test_broken_records_are_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="record of a window"):
        choose_window(Stack.from_array(np.ones((4, 4))), broken)
