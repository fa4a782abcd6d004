import numpy as np
import pytest

from segscope.simulate.clicks import corrective_click, interior_point, largest_part, random_point


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


def test_random_point_lies_inside_and_is_seeded():
    mask = square(3, 6, 11, 19)
    points = [random_point(mask, np.random.default_rng(7)) for _ in range(2)]
    assert points[0] == points[1]
    assert mask[int(points[0][1]), int(points[0][0])]


def test_empty_mask_and_unequal_shapes_are_refused():
    with pytest.raises(ValueError, match="not empty"):
        interior_point(np.zeros((4, 4), bool))
    with pytest.raises(ValueError, match="shape"):
        corrective_click(np.zeros((4, 4), bool), np.zeros((5, 4), bool))
