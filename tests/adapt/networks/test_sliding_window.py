"""Sliding windows over large images."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from segscope.adapt.networks import sliding_window


def test_tiles_cover_an_image_and_agree_with_one_look() -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (61, 97, 3), dtype=np.uint8)

    def echo(part: Any) -> Tensor:
        return torch.from_numpy(part).permute(2, 0, 1).float()

    for count in (1, 2, 3):
        assert torch.allclose(sliding_window.blend(rgb, count, echo), echo(rgb), atol=1e-3)
