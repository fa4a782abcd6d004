"""Types of arrays that hold pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[Any]
"""Pixels or voxels of any numeric type: intensities, labels or probabilities."""

PixelType = np.dtype[Any]
"""The type of such pixels."""
