"""Stacks: what they are made of, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from segscope.errors import UsageError
from segscope.geometry import Geometry
from segscope.masks import Masks
from segscope.stack import FrameSource, Stack


def oblique() -> Geometry:
    affine = np.array(
        [[0.7, -0.1, 0.3, -20], [0.1, 0.8, -0.2, 5], [0.0, 0.2, 2.5, 40], [0, 0, 0, 1]]
    )
    return Geometry(affine)


@pytest.mark.parametrize(
    ("shape", "dtype", "channels", "length", "kind"),
    [
        ((5, 6), np.float32, None, 1, "image"),
        ((5, 6, 3), np.uint8, None, 1, "image"),
        ((5, 6, 3), np.int16, None, 5, "volume"),
        ((5, 6, 3), np.uint8, False, 5, "volume"),
        ((4, 5, 6), np.uint8, None, 4, "volume"),
        ((4, 5, 6, 2), np.uint16, None, 4, "volume"),
    ],
)
def test_arrays_are_understood(
    shape: tuple[int, ...], dtype: type, channels: bool | None, length: int, kind: str
) -> None:
    stack = Stack.from_array(np.zeros(shape, dtype), channels=channels)
    assert (len(stack), stack.kind) == (length, kind)
    assert stack[length - 1].shape[:2] == stack.size_hw


def test_times_make_a_video() -> None:
    assert Stack.from_array(np.zeros((3, 4, 5)), times_s=[0, 0.1, 0.3]).kind == "video"


def test_an_array_is_a_frame_source() -> None:
    assert isinstance(np.zeros((2, 3, 4)), FrameSource)


@pytest.mark.parametrize(
    ("array", "options"),
    [
        (np.zeros((0, 4, 4)), {}),
        (np.zeros(4), {}),
        (np.zeros((2, 2, 2, 2, 2)), {}),
        (np.array([["a"]]), {}),
        (np.zeros((2, 2), complex), {}),
        (np.zeros((2, 4, 4)), {"spacing_zyx_mm": (1, 0, 1)}),
        (np.zeros((2, 4, 4)), {"spacing_zyx_mm": (1, np.nan, 1)}),
        (np.zeros((2, 4, 4)), {"spacing_zyx_mm": (1, 1, 1), "affine": np.eye(4)}),
        (np.zeros((2, 4, 4)), {"times_s": [0.0]}),
    ],
)
def test_arrays_that_are_no_stack_are_refused(array: NDArray[Any], options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Stack.from_array(array, **options)


@pytest.mark.parametrize("index", [-1, 2])
def test_frames_outside_are_an_index_error(index: int) -> None:
    with pytest.raises(IndexError):
        Stack.from_array(np.zeros((2, 4, 4)))[index]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_another_axis_and_back(axis: int) -> None:
    voxels = np.random.default_rng(0).integers(0, 3, (4, 5, 6))
    stack = Stack.from_array(voxels, affine=oblique().affine).along(axis)
    assert np.array_equal(stack[1], np.take(voxels, 1, axis))
    labels = np.stack([stack[index] for index in range(len(stack))])
    made = Masks.from_labels(labels, geometry=stack.geometry)
    stored = Masks(
        made.shape_zyx, made.runs, made.names, geometry=stack.geometry, axis=axis
    ).on_stored_grid()
    assert np.array_equal(stored.labels, voxels)
    assert stored.geometry is not None
    assert np.allclose(stored.geometry.affine, oblique().affine)


def test_only_volumes_have_other_axes() -> None:
    with pytest.raises(UsageError, match="only a volume"):
        Stack.from_array(np.zeros((4, 4))).along(1)
    with pytest.raises(UsageError, match="axis"):
        Stack.from_array(np.zeros((4, 4, 4))).along(3)


@pytest.mark.parametrize(("shape", "channels"), [((2, 4, 5), 1), ((2, 4, 5, 6), 6)])
def test_frames_without_a_channel_axis_have_one_channel(
    shape: tuple[int, ...], channels: int
) -> None:
    assert Stack(np.zeros(shape), "volume").channels == channels
