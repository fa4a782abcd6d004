"""What a client does with the patches that the server sends."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segscope.serve.sessions.mask_patch import MaskPatch


def apply_patch(canvas: NDArray[np.bool_], patch: MaskPatch) -> None:
    """Put the pixels of a patch on a mask (row, column)."""
    if patch.bbox is not None:
        x0, y0, x1, y1 = patch.bbox
        canvas[y0:y1, x0:x1] = patch.pixels
