"""Example: an accepted object, as a session head learns from it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Source:
    """Where an example comes from. Nothing here may name a patient or a file.

    Attributes:
        label: of the object, or "".
        image: opaque id of the image, volume or video.
        group: opaque id of the patient or case; examples of one group are left out together.
        frame: number of the frame.
    """

    label: str
    image: str
    group: str
    frame: int = 0


@dataclass(frozen=True, eq=False)
class Example:
    """An accepted object, or a rejected one, of which no cell is inside.

    Attributes:
        source: where it comes from.
        engine: hash of the weights whose features these are.
        cells: (N, channel) float16 features of sampled cells of its window.
        places: (N, place) float16, see `HeadWindow.places`.
        strata: (N,) uint8: 0 inside the object, 1 background in its box, 2 outside the box.
        counts: cells of the window in each stratum.
        logits: (N,) float32 of the network, for the object's box alone.
        means: (2 channel,) float32 mean features inside and outside the network's own mask.
        size_wh: of the box, in pixels of the frame.
        score: IoU that the network predicts for its own mask.
    """

    source: Source
    engine: str
    cells: NDArray[np.float16]
    places: NDArray[np.float16]
    strata: NDArray[np.uint8]
    counts: tuple[int, int, int]
    logits: NDArray[np.float32]
    means: NDArray[np.float32]
    size_wh: tuple[float, float]
    score: float

    @cached_property
    def id(self) -> str:
        """16 hex digits of a hash of everything."""
        digest = hashlib.sha256()
        source = self.source
        numbers = (*self.counts, *self.size_wh, self.score)
        head = (source.label, source.image, source.group, source.frame, self.engine, numbers)
        digest.update(repr(head).encode())
        for array in (self.cells, self.places, self.strata, self.logits, self.means):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]

    @property
    def is_empty(self) -> bool:
        """Whether it shows only what the label is not."""
        return self.counts[0] == 0

    @property
    def in_box(self) -> NDArray[np.bool_]:
        """(N,) sampled cells whose centre lies in the box, or which the object covers."""
        return self.strata < 2

    @property
    def longer_side(self) -> float:
        return max(self.size_wh)
