"""Random prompts of SAM-Med2D."""

from __future__ import annotations

import numpy as np

from segscope.adapt.methods.sam_med2d.prompts import (
    draw_box,
    draw_click,
    draw_corrections,
    draw_objects,
)


class TestChance:
    truth = np.zeros((40, 50), bool)
    truth[10:22, 12:30] = True
    truth[30:36, 40:44] = True

    def test_points_lie_in_the_error_and_know_its_side(self) -> None:
        rng = np.random.default_rng(0)
        found = np.zeros_like(self.truth)
        found[15:30, 20:40] = True
        xy, labels = draw_corrections(self.truth, found, 10_000, rng)
        columns, rows = xy.astype(int).T
        assert (self.truth != found)[rows, columns].all()
        assert (labels == self.truth[rows, columns]).all()
        wrong = int((self.truth != found).sum())
        counts = np.unique(
            np.ravel_multi_index((rows, columns), self.truth.shape), return_counts=True
        )[1]
        assert (
            len(counts) == wrong
        )  # uniform, with replacement: each pixel came, none far too often
        assert counts.max() < 3 * 10_000 / wrong

    def test_without_error_points_are_not_to_be_used(self) -> None:
        xy, labels = draw_corrections(self.truth, self.truth, 9, np.random.default_rng(0))
        assert xy.shape == (9, 2)
        assert (labels == -1).all()

    def test_boxes_move_as_a_whole_within_bounds(self) -> None:
        rng = np.random.default_rng(0)
        boxes = np.array([draw_box(self.truth, rng, largest=True) for _ in range(10_000)])
        shifts = boxes - [12, 10, 30, 22]
        assert (shifts[:, :2] == shifts[:, 2:]).all()
        assert (shifts.min(), shifts.max()) == (-5, 4)  # [-m, m - 1] with m = min(5, 12 // 2)
        small = np.zeros_like(self.truth)
        small[5:8, 5:20] = True
        shifts = np.array([draw_box(small, rng, largest=False) for _ in range(1000)]) - [
            5,
            5,
            20,
            8,
        ]
        assert (shifts.min(), shifts.max()) == (-1, 0)
        dot = np.zeros_like(self.truth)
        dot[3, 4] = True
        assert draw_box(dot, rng, largest=True) == (4, 3, 5, 4)
        assert draw_box(self.truth, None, largest=False) == (12, 10, 44, 36)

    def test_masks_are_drawn_with_replacement(self) -> None:
        rng = np.random.default_rng(0)
        assert draw_objects(3, 0, rng) == [0, 1, 2]
        many = np.array([draw_objects(3, 5, rng) for _ in range(10_000)])
        assert many.shape == (10_000, 5)
        assert np.abs(np.bincount(many.ravel()) / many.size - 1 / 3).max() < 0.01

    def test_a_click_falls_on_the_object_or_off_it_where_there_is_none(self) -> None:
        rng = np.random.default_rng(0)
        (x, y), label = (
            draw_click(self.truth, rng)[0][0].astype(int),
            draw_click(self.truth, rng)[1],
        )
        assert self.truth[y, x]
        assert label.tolist() == [1]
        assert draw_click(np.zeros((4, 4), bool), rng)[1].tolist() == [0]
