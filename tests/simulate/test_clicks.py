from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from segscope.prompts import Point, Prompt
from segscope.simulate import SIMULATORS, AnnotationTarget
from segscope.simulate.clicks import corrective_click, interior_point, largest_part


def square(y0, y1, x0, x1, side=20):
    mask = np.zeros((side, side), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def test_first_click_is_the_middle_of_the_object():
    truth = square(4, 9, 10, 17)
    x, y, positive = corrective_click(np.zeros_like(truth), truth)
    assert truth[int(y), int(x)]
    assert y == 6
    assert 12 <= x <= 14
    assert positive


def test_surplus_asks_for_a_negative_click():
    truth = square(2, 8, 2, 8)
    predicted = truth | square(10, 19, 10, 19)
    x, y, positive = corrective_click(predicted, truth)
    assert (x, y, positive) == (14, 14, False)


def test_the_larger_mistake_is_clicked():
    truth = square(2, 12, 2, 12)
    predicted = square(2, 12, 2, 5) | square(15, 18, 15, 18)
    x, y, positive = corrective_click(predicted, truth)
    assert positive
    assert truth[int(y), int(x)]
    assert not predicted[int(y), int(x)]


def test_nothing_wrong_gives_a_positive_click_inside():
    truth = square(5, 10, 5, 10)
    assert corrective_click(truth, truth) == (7, 7, True)


def test_a_frame_full_of_object_is_clicked_in_its_middle():
    x, y, _ = corrective_click(np.zeros((9, 9), bool), np.ones((9, 9), bool))
    assert (x, y) == (4, 4)


def test_largest_part_takes_one_of_two():
    assert (largest_part(square(0, 3, 0, 3) | square(8, 14, 8, 14)) == square(8, 14, 8, 14)).all()


def test_empty_mask_and_unequal_shapes_are_refused():
    with pytest.raises(ValueError, match="not empty"):
        interior_point(np.zeros((4, 4), bool))
    with pytest.raises(ValueError, match="shape"):
        corrective_click(np.zeros((4, 4), bool), np.zeros((5, 4), bool))


# --- simulators ----------------------------------------------------------------------------------

pairs = st.tuples(st.integers(0, 2**32 - 1), st.floats(0.05, 0.95), st.floats(0, 3))


def blobs(
    shape: tuple[int, ...], seed: int, share: float, sigma: float
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    fields = (ndimage.gaussian_filter(rng.random(shape), sigma) for _ in range(2))
    truth, found = (field > np.quantile(field, share) for field in fields)
    return truth, found


def brute_depth(mask: np.ndarray) -> np.ndarray:
    """Distance to the nearest pixel outside, one by one."""
    padded = np.pad(mask, 1)
    outside = np.argwhere(~padded)
    deep = np.zeros(mask.shape)
    for at in np.argwhere(mask):
        deep[tuple(at)] = np.sqrt(((outside - at - 1) ** 2).sum(axis=1).min())
    return deep


def brute_rt(
    truth: np.ndarray, found: np.ndarray, clicked: set[tuple[int, int]]
) -> tuple[int, int, bool] | None:
    missed, surplus = brute_depth(truth & ~found), brute_depth(found & ~truth)
    for place in clicked:
        missed[place] = surplus[place] = 0
    positive = missed.max() > surplus.max()
    deep = missed if positive else surplus
    if deep.max() == 0:
        return None
    row, column = np.argwhere(deep == deep.max())[0]
    return int(row), int(column), bool(positive)


@settings(max_examples=40, deadline=None)
@given(pairs, st.tuples(st.integers(1, 14), st.integers(1, 14)))
def test_rt_is_the_rule_of_ritm(case: tuple[int, float, float], shape: tuple[int, int]) -> None:
    truth, found = blobs(shape, *case)
    before: tuple[Point, ...] = ()
    clicked: set[tuple[int, int]] = set()
    for _ in range(6):
        made = SIMULATORS["click.rt"].make(
            AnnotationTarget(truth[None], found[None], prompts=before), np.random.default_rng(0)
        )
        wanted = brute_rt(truth, found, clicked)
        assert [(p.y - 0.5, p.x - 0.5, p.positive) for p in made] == (
            [] if wanted is None else [wanted]
        )
        if wanted is None:
            break
        clicked.add(wanted[:2])
        before += tuple(made)


@settings(max_examples=25, deadline=None)
@given(pairs, st.tuples(st.integers(1, 4), st.integers(1, 7), st.integers(1, 7)))
def test_cc3d_is_the_rule_of_the_challenge(
    case: tuple[int, float, float], shape: tuple[int, int, int]
) -> None:
    truth, found = blobs(shape, *case)
    made = SIMULATORS["click.cc3d"].make(
        AnnotationTarget(truth, found), np.random.default_rng(case[0])
    )
    wrong = truth ^ found
    assert bool(made) == bool(wrong.any())
    for click in made:
        place = (click.frame, int(click.y), int(click.x))
        groups = grown(wrong)
        largest = max(map(len, groups))
        group = next(group for group in groups if place in group)
        assert len(group) == largest
        mask = np.zeros_like(wrong)
        mask[tuple(np.array(sorted(group)).T)] = True
        deep = brute_depth(mask)
        assert deep[place] == deep.max()
        assert click.positive == truth[place]


def grown(mask: np.ndarray) -> list[set[tuple[int, ...]]]:
    """Parts that touch by face, edge or corner."""
    left = {tuple(map(int, at)) for at in np.argwhere(mask)}
    groups = []
    while left:
        group, queue = set(), [left.pop()]
        while queue:
            at = queue.pop()
            group.add(at)
            near = {
                other
                for other in left
                if max(abs(a - b) for a, b in zip(at, other, strict=True)) == 1
            }
            left -= near
            queue += near
        groups.append(group)
    return groups


@pytest.mark.parametrize(
    "name", ["click.rt", "click.cc3d", "click.center", "click.random", "click.border"]
)
def test_no_pixel_is_clicked_twice(name: str) -> None:
    rng = np.random.default_rng(0)
    truth, found = blobs((3, 9, 11), 5, 0.5, 1.5)
    before: list[Prompt] = []
    for _ in range(20):
        for frame in range(3):
            before += SIMULATORS[name].make(
                AnnotationTarget(truth, found, frame, prompts=tuple(before)), rng
            )
    places = [
        (click.frame, int(click.y), int(click.x)) for click in before if isinstance(click, Point)
    ]
    assert len(places) == len(set(places)) > 20
    assert all(truth[place] != found[place] for place in places)


def test_clicks_of_other_objects_and_frames_and_at_the_edge_do_not_count() -> None:
    truth = np.ones((1, 1, 1), bool)
    click = Point(0.5, 0.5)
    for before, left in (((), 1), ((Point(1.0, 1.0),), 0), ((replace(click, object_id=2),), 1),
                         ((replace(click, frame=1),), 1), ((click,), 0)):  # fmt: skip
        assert (
            len(
                SIMULATORS["click.rt"].make(
                    AnnotationTarget(truth, ~truth, prompts=before), np.random.default_rng(0)
                )
            )
            == left
        )


def test_rounds_of_several_clicks_take_one_to_three() -> None:
    truth, found = blobs((40, 40), 1, 0.6, 2)
    for name in ("click.center", "click.random", "click.border"):
        counts = {
            len(
                SIMULATORS[name].make(
                    AnnotationTarget(truth[None], found[None]), np.random.default_rng(k)
                )
            )
            for k in range(30)
        }
        assert counts == {1, 2, 3}


def test_border_clicks_lie_near_the_edge() -> None:
    truth = np.zeros((1, 41, 41), bool)
    truth[0, 5:36, 5:36] = True
    for seed in range(20):
        for click in SIMULATORS["click.border"].make(
            AnnotationTarget(truth), np.random.default_rng(seed)
        ):
            assert min(click.y - 5, click.x - 5, 36 - click.y, 36 - click.x) < 4
