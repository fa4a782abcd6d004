"""Small images and volumes that lists of cases name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def image(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((4, 5), value, np.uint8)
    pixels[0] = 0
    Image.fromarray(pixels).save(path)
    return path
