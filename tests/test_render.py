from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from segscope.errors import UsageError
from segscope.render import Renderer
from segscope.stack import Stack
from segscope.window import PRESETS


def hounsfield() -> NDArray[np.int16]:
    return np.linspace(-1000, 1500, 4 * 20 * 20).reshape(4, 20, 20).astype(np.int16)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_maps_its_ends_to_black_and_white(name: str) -> None:
    width, level = PRESETS[name]
    image = np.array([[level - width / 2, level, level + width / 2]])
    shown = Renderer(Stack.from_array(image), name)[0][0, :, 0]
    assert shown.tolist() in ([0, 127, 255], [0, 128, 255])


def test_width_and_level_equal_the_preset_they_spell() -> None:
    stack = Stack.from_array(hounsfield())
    assert np.array_equal(Renderer(stack, "400,40")[2], Renderer(stack, "Abdomen")[2])


def test_colour_images_of_8_bit_stay_as_they_are() -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    assert np.array_equal(Renderer(Stack.from_array(image))[0], image)


def test_grey_8_bit_videos_stay_as_they_are_and_volumes_are_stretched() -> None:
    frames = np.random.default_rng(0).integers(10, 60, (3, 16, 16), np.uint8)
    assert np.array_equal(
        Renderer(Stack.from_array(frames, times_s=[0, 1, 2]))[1][..., 0], frames[1]
    )
    assert Renderer(Stack.from_array(frames))[1].max() == 255


@pytest.mark.parametrize("channels", [2, 4, 5, 6, 9])
def test_other_numbers_of_channels_are_overlaid_and_said(channels: int) -> None:
    image = np.random.default_rng(0).random((8, 8, channels)).astype(np.float32)
    frames = Renderer(Stack.from_array(image, channels=True, modality="microscopy"))
    assert frames[0].shape == (8, 8, 3)
    assert "channels" in frames.window.how


def test_alpha_is_left_out() -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 5, 4), np.uint8)
    assert np.array_equal(Renderer(Stack.from_array(image))[0], image[..., :3])


def test_inverted_greys_are_turned() -> None:
    image = np.arange(1.0, 101).reshape(1, 10, 10)
    plain, turned = (
        Renderer(Stack(image, "image", "CR", meta={"inverted": on}))[0] for on in (False, True)
    )
    assert np.array_equal(turned, 255 - plain)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_do_not_disturb_the_others(value: float) -> None:
    image = np.arange(1.0, 401).reshape(20, 20)
    expected = Renderer(Stack.from_array(image), "400,200")[0]
    image[0, 0] = value
    with np.errstate(all="raise"):
        shown = Renderer(Stack.from_array(image), "400,200")[0]
        Renderer(Stack.from_array(image))[0]
    assert shown[0, 0, 0] == (255 if value == np.inf else 0)
    assert np.array_equal(shown[1:], expected[1:])


@pytest.mark.parametrize("value", [0, 3.7, -5, np.nan, 2**60, 65535])
def test_constant_images_are_safe(value: float) -> None:
    assert Renderer(Stack.from_array(np.full((4, 5, 6), value)))[1].shape == (5, 6, 3)


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from(
            [np.uint8, np.int16, np.uint16, np.int32, np.int64, np.float32, np.float64, np.bool_]
        ),
        hnp.array_shapes(min_dims=3, max_dims=3, max_side=6),
    )
)
def test_anything_becomes_rgb(array: NDArray[Any]) -> None:
    frames = Renderer(Stack.from_array(array, channels=False))
    for index in range(len(frames)):
        assert frames[index].shape == (*array.shape[1:], 3)
        assert frames[index].dtype == np.uint8


def test_the_record_makes_the_same_window_again() -> None:
    stack = Stack.from_array(np.random.default_rng(0).random((3, 9, 9, 5)), modality="microscopy")
    frames = Renderer(stack)
    again = Renderer(stack, json.loads(json.dumps(frames.record())))
    assert again.window == frames.window
    assert np.array_equal(again[2], frames[2])


def test_one_window_serves_the_whole_stack() -> None:
    volume = np.stack([np.full((9, 9), value) for value in (10.0, 20.0, 30.0)])
    frames = Renderer(Stack.from_array(volume))
    assert frames[0].max() < frames[1].max() < frames[2].max()


def test_a_record_for_more_channels_is_refused() -> None:
    colour = Renderer(Stack.from_array(np.zeros((4, 4, 3), np.uint8))).record()
    with pytest.raises(UsageError, match="channels"):
        Renderer(Stack.from_array(np.zeros((4, 4))), colour)[0]
