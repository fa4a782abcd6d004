"""Stack, prompts, masks and geometry: what they promise, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from support.inputs import masks_2d, scribbles

from segscope.errors import PromptError, UsageError
from segscope.geometry import Geometry
from segscope.masks import Masks, decode_runs, encode_runs
from segscope.prompts import Box, MaskPrompt, Point, Prompt, Scribble, check_prompts
from segscope.stack import FrameSource, Stack

# --- geometry -------------------------------------------------------------------------------------------------------


def oblique() -> Geometry:
    affine = np.array(
        [[0.7, -0.1, 0.3, -20], [0.1, 0.8, -0.2, 5], [0.0, 0.2, 2.5, 40], [0, 0, 0, 1]]
    )
    return Geometry(affine)


def test_spacing_is_that_of_the_axes() -> None:
    assert Geometry.from_spacing((2.5, 0.8, 0.7)).spacing_zyx_mm == pytest.approx((2.5, 0.8, 0.7))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_transposed_geometry_keeps_every_voxel_in_its_place(axis: int) -> None:
    turned = oblique().transposed(axis)
    index = {"z": 3, "y": 5, "x": 7}
    order = ["z", "y", "x"]
    order.insert(0, order.pop(axis))
    there = [index[name] for name in order[::-1]]
    assert turned.affine @ [*there, 1] == pytest.approx(oblique().affine @ [7, 5, 3, 1])


@pytest.mark.parametrize("affine", [np.zeros((4, 4)), np.eye(3), np.full((4, 4), np.nan)])
def test_affines_that_place_nothing_are_refused(affine: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match="affine"):
        Geometry(affine)


def test_grids_are_compared_with_a_tolerance() -> None:
    nudged = oblique().affine.copy()
    nudged[0, 3] += 0.005
    assert oblique().same_grid(Geometry(nudged))
    nudged[0, 3] += 0.5
    assert not oblique().same_grid(Geometry(nudged))


def test_the_affine_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValueError, match="read-only"):
        oblique().affine[0, 0] = 5


# --- stack ----------------------------------------------------------------------------------------------------------


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


# --- prompts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: Point(np.nan, 1),
        lambda: Point(1, np.inf),
        lambda: Point(1, 1, frame=-1),
        lambda: Point(1, 1, object_id=0),
        lambda: Point(1, 1, object_id=65536),
        lambda: Box((5, 5, 5, 9)),
        lambda: Box((5, 5, 4, 9)),
        lambda: Box((1, 2, 3)),
        lambda: Box((1, 2, 3, np.nan)),
        lambda: Scribble(()),
        lambda: Scribble(((np.nan, 1),)),
        lambda: Scribble(((1, 1),), width=0),
        lambda: Scribble(((1, 1),), width=np.nan),
        lambda: MaskPrompt(np.zeros(4, bool)),
        lambda: MaskPrompt(np.full((3, 3), np.nan)),
        lambda: MaskPrompt(np.ones((3, 3)), score=1.1),
        lambda: MaskPrompt(np.ones((3, 3)), score=float("nan")),
        lambda: Box.around(np.zeros((3, 3), bool)),
    ],
)
def test_prompts_that_cannot_be_meant_are_refused(make: Any) -> None:
    with pytest.raises(PromptError):
        make()


@pytest.mark.parametrize(
    "prompt",
    [
        Point(50.5, 5),
        Point(5, -0.1),
        Box((50, 0, 60, 10)),
        Box((-5, -5, 0, 0)),
        Scribble(((5, 5), (51, 5))),
        MaskPrompt(np.ones((50, 40))),
        Point(5, 5, frame=3),
    ],
)
def test_prompts_outside_the_stack_are_refused(prompt: Prompt) -> None:
    with pytest.raises(PromptError):
        check_prompts([prompt], (3, 40, 50))


def test_prompts_on_the_edge_are_inside() -> None:
    check_prompts(
        [Point(50, 40), Point(0, 0), Box((-5, -5, 1, 1)), MaskPrompt(np.ones((40, 50)))],
        (1, 40, 50),
    )


@given(masks_2d)
def test_the_tight_box_holds_the_mask_and_no_more(mask: NDArray[np.bool_]) -> None:
    if not mask.any():
        return
    x0, y0, x1, y1 = (int(value) for value in Box.around(mask).xyxy)
    inner = mask[y0:y1, x0:x1]
    assert inner.sum() == mask.sum()
    assert all(edge.any() for edge in (inner[0], inner[-1], inner[:, 0], inner[:, -1]))


@given(scribbles, st.integers(1, 20))
def test_a_scribble_gives_as_many_clicks_as_asked(scribble: Scribble, count: int) -> None:
    clicks = scribble.points(count)
    assert len(clicks) == (count if len(scribble.xy) > 1 else 1)
    low, high = np.min(scribble.xy, axis=0), np.max(scribble.xy, axis=0)
    slack = 1e-6 * (1 + np.abs(scribble.xy).max())
    assert all(
        low[0] - slack <= click.x <= high[0] + slack
        and low[1] - slack <= click.y <= high[1] + slack
        for click in clicks
    )
    assert all(click.positive == scribble.positive for click in clicks)


def test_a_mask_prompt_cannot_be_changed_from_outside() -> None:
    mask = np.ones((3, 3), bool)
    prompt = MaskPrompt(mask)
    mask[:] = False
    assert prompt.mask.all()


# --- masks ----------------------------------------------------------------------------------------------------------


@given(masks_2d)
def test_run_lengths_give_the_mask_back(mask: NDArray[np.bool_]) -> None:
    runs = encode_runs(mask)
    assert np.array_equal(decode_runs(runs, mask.shape), mask)
    assert runs.sum() == mask.size
    assert runs[1::2].sum() == mask.sum()


@settings(deadline=None)
@given(
    hnp.arrays(
        np.uint16, hnp.array_shapes(min_dims=3, max_dims=3, max_side=6), elements=st.integers(0, 5)
    )
)
def test_labels_give_the_labels_back(labels: NDArray[np.uint16]) -> None:
    masks = Masks.from_labels(labels)
    assert np.array_equal(masks.labels, labels)
    assert set(masks.object_ids) == set(np.unique(labels[labels > 0]).tolist())
    for object_id in masks.object_ids:
        assert np.array_equal(masks.of(object_id), labels == object_id)
        assert (
            sum(masks.area(frame, object_id) for frame in range(len(labels)))
            == (labels == object_id).sum()
        )


@pytest.mark.parametrize(
    "labels",
    [
        np.full((2, 2), -1),
        np.full((2, 2), 0.5),
        np.full((2, 2), np.nan),
        np.full((2, 2), 65536),
        np.zeros((2, 2, 2, 2)),
        np.zeros(3),
    ],
)
def test_arrays_that_are_no_labels_are_refused(labels: NDArray[Any]) -> None:
    with pytest.raises(UsageError):
        Masks.from_labels(labels)


def test_where_masks_overlap_the_highest_id_shows() -> None:
    first, second = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    first[:3], second[2:] = True, True
    masks = Masks(
        (1, 4, 4), {(0, 1): encode_runs(first), (0, 2): encode_runs(second)}, {1: "a", 2: "b"}
    )
    assert masks.frame_labels(0)[:, 0].tolist() == [1, 1, 2, 2]
    assert masks.mask(0, 1).sum() == 12


def test_an_object_may_be_empty_everywhere() -> None:
    masks = Masks((2, 3, 3), {}, {4: "nothing"})
    assert masks.object_ids == (4,)
    assert not masks.of(4).any()
    assert not masks.labels.any()


def test_unnamed_and_unknown_objects_are_refused() -> None:
    with pytest.raises(UsageError, match="names"):
        Masks((1, 2, 2), {(0, 3): encode_runs(np.ones((2, 2), bool))}, {})
    with pytest.raises(UsageError, match="no object 9"):
        Masks((1, 2, 2), {}, {1: ""}).of(9)


class TestSameGrid:
    def test_it_is_relative_to_the_voxel(self) -> None:
        nanometres = Geometry.from_spacing((4e-6, 4e-6, 4e-6))
        assert nanometres.same_grid(Geometry.from_spacing((4e-6, 4e-6, 4e-6)))
        assert not nanometres.same_grid(Geometry.from_spacing((5e-6, 4e-6, 4e-6)))

    def test_a_shift_of_half_a_voxel_is_another_grid(self) -> None:
        affine = np.diag([2.0, 2.0, 2.0, 1.0])
        moved = affine.copy()
        moved[0, 3] = 1.0
        assert not Geometry(affine).same_grid(Geometry(moved))

    def test_rounded_headers_are_the_same_grid(self) -> None:
        affine = np.diag([0.703125, 0.703125, 2.5, 1.0])
        assert Geometry(affine).same_grid(
            Geometry(affine.astype(np.float32).round(5).astype(float))
        )
