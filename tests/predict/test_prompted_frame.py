from __future__ import annotations

import numpy as np
from support.engines import make_engine

from segscope.prompts import Point
from segscope.session import Interaction
from segscope.stack import Stack


def disc(x: float, size: int = 200) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size]
    return (columns - x) ** 2 + (rows - 100) ** 2 < 12**2


def test_zoom_answers_in_frame_pixels() -> None:
    image = Stack.from_array(np.where(disc(150), 220, 30).astype(np.uint8))
    with Interaction(image, make_engine("mini")) as work:
        found = work.add(Point(150, 100))
        assert found.logits.shape == (200, 200)
        assert len(found.candidates) == 3
        assert all(logits.shape == (200, 200) for logits, _ in found.candidates)
