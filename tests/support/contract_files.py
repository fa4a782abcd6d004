"""Small files of several formats."""

from __future__ import annotations

import numpy as np

AFFINE = np.array(
    [[-0.7, 0.1, 0.2, 12.0], [0.05, 0.8, -0.3, -30.0], [0.1, 0.2, 2.5, 7.0], [0, 0, 0, 1]]
)


SMALL = np.random.default_rng(2).integers(0, 255, (5, 24, 31)).astype(np.uint8)
