"""Even slices from uneven ones, interpolated when asked for."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from segscope.arrays import Pixels
from segscope.io.dicom.pixels import DicomFrames
from segscope.io.frame_source import LazyFrames

_SAME_SLICE = 1e-3  # steps


class ResampledFrames(LazyFrames):
    """Slices between the slices of a source, by linear interpolation along the normal.

    Args:
        source: the slices as stored.
        steps: where each new slice lies, in slices of the source.
    """

    def __init__(self, source: DicomFrames, steps: NDArray[np.float64]) -> None:
        super().__init__((len(steps), *source.shape[1:]), source.dtype)
        self._source = source
        self._steps = steps

    def read_frame(self, index: int) -> Pixels:
        step = float(self._steps[index])
        nearest = round(step)
        if abs(step - nearest) < _SAME_SLICE:
            return self._source[nearest]
        before = math.floor(step)
        weight = step - before
        values = (1 - weight) * self._source[before] + weight * self._source[before + 1]
        if self.dtype.kind in "iu":
            values = np.rint(values)
        return values.astype(self.dtype)
