"""Contours of one object: copies, holes and overlaps."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segscope.io.nesting import fill_nested
from segscope.io.polygons import fill_even_odd, fill_union, trace_borders, trace_parts

SIZE = (24, 32)


def box(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    """Along the edges of the pixels x0 to x1 - 1, y0 to y1 - 1."""
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]) - 0.5


@st.composite
def masks(draw: st.DrawFn) -> np.ndarray:
    random = np.random.default_rng(draw(st.integers(0, 2**31)))
    shape = (draw(st.integers(1, 14)), draw(st.integers(1, 14)))
    return random.random(shape) < draw(st.sampled_from([0.3, 0.6, 0.8, 0.95]))


@st.composite
def polygons(draw: st.DrawFn) -> list[np.ndarray]:
    """Any polygons: crossing, nested, touching, beyond the image."""
    random = np.random.default_rng(draw(st.integers(0, 2**31)))
    count = draw(st.integers(1, 5))
    corners = random.integers(3, 8, count)
    return [random.normal(8, 6, (number, 2)).round(draw(st.integers(0, 3))) for number in corners]


class TestCopies:
    @given(polygons(), st.integers(2, 4), st.integers(0, 2**31))
    @settings(max_examples=200, deadline=None)
    def test_the_union_of_copies_is_one_of_them(
        self, contours: list[np.ndarray], copies: int, seed: int
    ) -> None:
        random = np.random.default_rng(seed)
        repeated = list(contours)
        for _ in range(copies - 1):
            for contour in contours:
                direction = random.choice([-1, 1])
                repeated.append(np.roll(contour[::direction], random.integers(0, 5), axis=0))
        order = random.permutation(len(repeated))
        filled = fill_nested([repeated[number] for number in order], SIZE)
        np.testing.assert_array_equal(filled.mask, fill_nested(contours, SIZE).mask)

    def test_they_are_counted(self) -> None:
        square = box(5, 5, 15, 13)
        filled = fill_nested([square, square[::-1], np.roll(square, 1, axis=0)], SIZE)
        assert filled.copies == 2
        np.testing.assert_array_equal(filled.mask, fill_even_odd([square], SIZE))

    def test_rounded_coordinates_make_a_copy(self) -> None:
        square = box(5, 5, 15, 13)
        assert fill_nested([square, square + 0.001], SIZE).mask.sum() == 80

    def test_an_outline_with_more_points_is_a_copy(self) -> None:
        square = box(5, 5, 15, 13)
        midpoints = (square + np.roll(square, -1, axis=0)) / 2
        dense = np.stack([square, midpoints], axis=1).reshape(-1, 2)
        assert fill_nested([square, dense], SIZE).mask.sum() == 80

    def test_both_borders_of_a_thin_wall_are_no_copies(self) -> None:
        outer = np.array([[4.6, 4.6], [14.4, 4.6], [14.4, 12.4], [4.6, 12.4]])
        inner = np.array([[4.9, 4.9], [14.1, 4.9], [14.1, 12.1], [4.9, 12.1]])
        filled = fill_nested([outer, inner], SIZE)
        assert not filled.mask.any()
        assert filled.copies == 0


class TestNesting:
    @given(masks())
    @settings(max_examples=200, deadline=None)
    def test_borders_with_holes_fill_to_their_mask(self, mask: np.ndarray) -> None:
        filled = fill_nested(trace_borders(mask), mask.shape)
        np.testing.assert_array_equal(filled.mask, mask)
        assert (filled.copies, filled.overlapping, filled.empty) == (0, 0, 0)

    @given(masks())
    @settings(max_examples=200, deadline=None)
    def test_keyholes_fill_to_their_mask(self, mask: np.ndarray) -> None:
        filled = fill_nested(trace_parts(mask), mask.shape)
        np.testing.assert_array_equal(filled.mask, mask)

    @given(polygons())
    @settings(deadline=None)
    def test_a_single_contour_fills_as_it_did(self, contours: list[np.ndarray]) -> None:
        filled = fill_nested(contours[:1], SIZE)
        np.testing.assert_array_equal(filled.mask, fill_even_odd(contours[:1], SIZE))

    def test_a_contour_in_a_hole_is_an_island(self) -> None:
        filled = fill_nested([box(2, 2, 22, 22), box(4, 4, 20, 20), box(8, 8, 12, 12)], SIZE)
        assert filled.mask.sum() == 400 - 256 + 16

    def test_parts_that_touch_along_an_edge_do_not_overlap(self) -> None:
        filled = fill_nested([box(5, 5, 15, 13), box(15, 5, 25, 13)], SIZE)
        assert filled.mask.sum() == 160
        assert filled.overlapping == 0

    def test_a_contour_around_no_pixel_centre_is_counted(self) -> None:
        speck = np.array([[3.1, 3.1], [3.4, 3.1], [3.4, 3.4]])
        filled = fill_nested([box(5, 5, 15, 13), speck], SIZE)
        assert filled.empty == 1
        assert filled.mask.sum() == 80

    def test_nothing_encloses_nothing(self) -> None:
        assert not fill_nested([], SIZE).mask.any()


class TestOverlaps:
    def test_contours_that_overlap_in_part_are_united(self) -> None:
        parts = [box(5, 5, 15, 13), box(10, 5, 20, 13)]
        filled = fill_nested(parts, SIZE)
        np.testing.assert_array_equal(filled.mask, fill_union(parts, SIZE))
        assert filled.overlapping == 2

    def test_holes_stay_holes(self) -> None:
        filled = fill_nested(
            [box(2, 2, 14, 14), box(10, 2, 22, 14), box(4, 4, 8, 8), box(11, 5, 13, 7)], SIZE
        )
        assert filled.mask.sum() == 20 * 12 - 16 - 4, "the second hole lies inside both"

    def test_a_hole_in_one_does_not_cut_into_the_other(self) -> None:
        filled = fill_nested([box(2, 2, 14, 14), box(10, 2, 22, 14), box(8, 4, 12, 8)], SIZE)
        assert filled.mask.sum() == 20 * 12 - 2 * 4

    @settings(deadline=None)
    @given(st.lists(st.tuples(*[st.integers(0, 20)] * 4), min_size=2, max_size=6))
    def test_the_union_never_exceeds_the_contours(
        self, corners: list[tuple[int, int, int, int]]
    ) -> None:
        parts = [box(x, y, x + width + 1, y + height + 1) for x, y, width, height in corners]
        filled = fill_nested(parts, SIZE)
        assert not (filled.mask & ~fill_union(parts, SIZE)).any()


@pytest.mark.parametrize("overlapping", [False, True])
def test_thousands_of_holes_take_no_time(overlapping: bool) -> None:
    random = np.random.default_rng(0)
    y, x = np.mgrid[:512, :512]
    disc = (y - 256) ** 2 + (x - 256) ** 2 < 200**2
    mask = disc & (random.random(disc.shape) > 0.05)
    start = time.process_time()
    borders = trace_borders(mask)
    parts = trace_parts(mask)
    extra = [box(250, 250, 500, 260)] if overlapping else []
    for contours in (borders, parts):
        filled = fill_nested(contours + extra, mask.shape).mask
        np.testing.assert_array_equal(filled[:250], mask[:250])
    assert len(borders) > 4000
    assert time.process_time() - start < 15, "about 1 s; it was 18 s for writing alone"
