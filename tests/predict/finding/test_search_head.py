"""The search head on generated features, of which one says what is an object."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from segscope.predict.finding.lesson import AROUND, INSIDE, OUTSIDE, UNKNOWN, Lesson
from segscope.predict.finding.search_head import fit_search_head

CHANNELS = 12


def make_lesson(rng: np.random.Generator, *, rejected: bool = False) -> Lesson:
    """Objects have 1 in channel 0; half of the unknown cells are objects, too. Cells that are
    certainly outside look like objects but for channel 3.
    """
    counts = {INSIDE: 200, AROUND: 200, UNKNOWN: 400, OUTSIDE: 200 if rejected else 0}
    kinds = np.repeat(list(counts), list(counts.values())).astype(np.uint8)
    is_object = (kinds == INSIDE) | ((kinds == UNKNOWN) & (np.arange(len(kinds)) % 2 == 0))
    cells = rng.normal(0, 0.3, (len(kinds), CHANNELS))
    places = rng.uniform(0, 12, (len(kinds), 2))
    cells[:, 0] += is_object
    cells[:, 1:3] += 6 - places
    cells[kinds == OUTSIDE, 0] += 1
    cells[kinds == OUTSIDE, 3] += 3
    objects = np.where(kinds == INSIDE, 0, -1).astype(np.int32)
    centres = np.where(objects[:, None] == 0, 6.0, 0.0)
    return Lesson(
        cells.astype(np.float16),
        kinds,
        objects,
        places.astype(np.float32),
        np.broadcast_to(centres, places.shape).astype(np.float32),
        np.array([200.0], np.float32),
    )


def evaluate(lesson: Lesson) -> np.ndarray:
    head = fit_search_head([lesson])
    cells = torch.from_numpy(lesson.cells).float()
    return (cells @ head.weights + head.biases).numpy()


def test_objects_that_nobody_marked_are_no_background() -> None:
    lesson = make_lesson(np.random.default_rng(0))
    values = evaluate(lesson)[:, 0]
    unknown = lesson.kinds == UNKNOWN
    is_object = unknown & (np.arange(len(unknown)) % 2 == 0)
    assert (values[is_object] > 0).mean() > 0.8
    assert (values[unknown & ~is_object] < 0).mean() > 0.8


def test_cells_point_to_the_centre_of_their_object() -> None:
    lesson = make_lesson(np.random.default_rng(1))
    inside = lesson.kinds == INSIDE
    pointed = lesson.places[inside] + evaluate(lesson)[inside, 1:]
    assert np.abs(pointed - 6).mean() == pytest.approx(0, abs=1.0)


def test_what_was_rejected_is_background() -> None:
    lesson = make_lesson(np.random.default_rng(2), rejected=True)
    values = evaluate(lesson)[:, 0]
    assert (values[lesson.kinds == OUTSIDE] < 0).mean() > 0.8
    assert (values[lesson.kinds == INSIDE] > 0).mean() > 0.8
