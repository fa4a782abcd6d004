"""Images without content: one single value in all pixels, as a wrong decoding often leaves them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from segscope.arrays import Pixels
from segscope.errors import SegscopeError
from segscope.stack import Stack

_MOST_PIXELS = 2**22  # of the frames that are read one after the other
_LARGEST_FRAME = 2**24  # pixels; a whole slide takes too long


def note_flat(stack: Stack) -> Stack:
    """The stack, with a note if all pixels have one value.

    Nearly always the first frame tells that they have not, and nothing else is read. Of a large
    stack that starts with flat frames, the middle and the last one are read as well. Frames that
    cannot be read are left to whoever needs them.
    """
    values: set[float] = set()
    count = 0
    try:
        for frame in _iter_samples(stack):
            count += 1
            values.update(_extremes(frame))
            if len(values) > 1:
                return stack
    except SegscopeError:
        return stack
    if count == 0:
        return stack
    note = f"every pixel has the value {values.pop():g}" if values else "no pixel is finite"
    if count < len(stack):
        note += f" in {count} of {len(stack)} frames, the middle and the last among them"
    note += ": the image may be empty, or decoded wrongly"
    return replace(stack, meta={**stack.meta, "notes": (*stack.meta.get("notes", ()), note)})


def _iter_samples(stack: Stack) -> Iterator[Pixels]:
    """Frames from the first on as far as the limit goes, then the middle and the last one."""
    frame_pixels = math.prod(stack.source.shape[1:])
    if not 1 < frame_pixels <= _LARGEST_FRAME:
        return
    first = min(len(stack), max(1, _MOST_PIXELS // frame_pixels))
    for index in sorted({*range(first), len(stack) // 2, len(stack) - 1}):
        yield stack[index]


def _extremes(frame: Pixels) -> set[float]:
    """The smallest and the largest finite value."""
    if frame.dtype.kind == "f":
        frame = frame[np.isfinite(frame)]
    if frame.size == 0:
        return set()
    return {float(frame.min()), float(frame.max())}
