"""Videos. Skeleton: being written."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from segscope.io.base import Format

FORMATS: tuple[Format, ...] = ()


def write_video(path: Path, frames: Iterable[NDArray[np.uint8]], fps: float) -> None:
    raise NotImplementedError
