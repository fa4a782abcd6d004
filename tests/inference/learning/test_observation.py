from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.engines import FAMILIES, make_engine

from segscope.inference.answers import PromptedFrame
from segscope.inference.crop import Crop
from segscope.inference.learning.example import Example, Source
from segscope.inference.learning.observation import (
    SAMPLED,
    engine_key,
    make_example,
    suits_grid,
)
from segscope.inference.learning.window import CELLS
from segscope.models.engine import Engine, Features

SOURCE = Source("cell", "image", "case")
SIZE = (48, 64)


@pytest.fixture(scope="module", params=FAMILIES)
def engine(request: pytest.FixtureRequest) -> Engine:
    return make_engine(request.param)


def frame_of(engine: Engine, size_hw: tuple[int, int] = SIZE) -> PromptedFrame:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (*size_hw, 3), dtype=np.uint8)

    def encode(crop: Crop) -> Features:
        return engine.encode(np.ascontiguousarray(crop.cut(image)))

    return PromptedFrame(engine, size_hw, encode)


def ellipse(size_hw: tuple[int, int] = SIZE) -> np.ndarray:
    y, x = np.mgrid[: size_hw[0], : size_hw[1]]
    return ((y - 22) / 12) ** 2 + ((x - 30) / 16) ** 2 < 1


def check(example: Example) -> None:
    count = len(example.strata)
    assert example.cells.shape[0] == example.places.shape[0] == len(example.logits) == count
    assert example.means.shape == (2 * example.cells.shape[1],)
    for array in (example.cells, example.places, example.logits, example.means):
        assert np.isfinite(array).all()
    for stratum, most in enumerate(SAMPLED):
        sampled = int((example.strata == stratum).sum())
        assert sampled == min(example.counts[stratum], most)
    assert sum(example.counts) == CELLS


class TestMaking:
    def test_every_engine_gives_examples(self, engine: Engine) -> None:
        example = make_example(frame_of(engine), ellipse(), SOURCE)
        check(example)
        assert not example.is_empty
        assert example.engine == engine_key(engine)
        again = make_example(frame_of(engine), ellipse(), SOURCE)
        assert again.id == example.id

    def test_a_rejected_mask_has_no_cells_inside(self, engine: Engine) -> None:
        example = make_example(frame_of(engine), ellipse(), SOURCE, rejected=True)
        check(example)
        assert example.is_empty

    @pytest.mark.parametrize("rows", [slice(0, 48), slice(20, 21), slice(0, 9)])
    @pytest.mark.parametrize("columns", [slice(0, 64), slice(40, 41), slice(60, 64)])
    def test_rectangles_of_all_sizes_and_places(
        self, engine: Engine, rows: slice, columns: slice
    ) -> None:
        mask = np.zeros(SIZE, bool)
        mask[rows, columns] = True
        if not suits_grid(mask):
            pytest.skip("too thin for the grid")
        check(make_example(frame_of(engine), mask, SOURCE))

    def test_sides_of_the_frame_that_are_shorter_than_the_window(self, engine: Engine) -> None:
        mask = np.zeros((7, 90), bool)
        mask[2:6, 10:60] = True
        check(make_example(frame_of(engine, (7, 90)), mask, SOURCE))


def test_the_key_depends_on_weights_and_input_size() -> None:
    engine = make_engine("sam2")
    key = engine_key(engine)
    engine.weights_hash = "others"
    assert engine_key(engine) != key


@pytest.mark.parametrize("value", [np.inf, np.nan, 1e7])
def test_features_that_overflow_make_examples_that_can_be_stored(value: float) -> None:
    engine = make_engine("sam")
    frame = frame_of(engine)

    def encode(crop: Crop) -> Features:
        features = frame.features(crop)
        broken = features.maps[-1].clone()
        broken[0, :5] = value
        return replace(features, maps=(*features.maps[:-1], broken))

    example = make_example(replace(frame, features=encode), ellipse(), SOURCE)
    assert np.isfinite(example.cells).all()
    assert np.isfinite(example.means).all()
    assert np.isfinite(example.logits).all()


class TestThinMasks:
    def test_compact_masks_suit_the_grid(self) -> None:
        assert suits_grid(ellipse())
        ring = ellipse() & ~np.roll(ellipse(), 6, axis=1)
        assert suits_grid(ring)

    def test_lines_do_not(self) -> None:
        line = np.zeros((400, 400), bool)
        np.fill_diagonal(line, True)
        assert not suits_grid(line)

    def test_a_single_pixel_suits_it(self) -> None:
        pixel = np.zeros((400, 400), bool)
        pixel[100, 200] = True
        assert suits_grid(pixel)


def test_sampling_needs_no_gradient() -> None:
    engine = make_engine("mini")
    example = make_example(frame_of(engine), ellipse(), SOURCE)
    assert isinstance(example.cells, np.ndarray)
    assert torch.is_grad_enabled()
