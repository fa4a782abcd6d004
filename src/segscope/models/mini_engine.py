"""Engine of `mini`: SAM 2's, with its own images and its own way of giving prompts to the
decoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segscope.models import mini
from segscope.models.engine import Decoded, DecoderPrompt, Features
from segscope.models.sam2 import MASK_BIAS, MASK_SCALE, Sam2Engine, resize


class MiniEngine(Sam2Engine):
    """Engine of `segscope.models.mini.MiniModel`.

    Attributes:
        gate_iou: below this predicted IoU the ellipse of a box is the better answer.
        mirrors: a box alone is looked at mirrored, too, and the mean is the answer (0.005 Dice
            more).
    """

    gate_iou: float = mini.GATE_IOU
    mirrors = True
    uses_previous_logits = True

    def pixels(self, rgb: NDArray[np.uint8], *, video: bool) -> Tensor:  # noqa: ARG002 - one rule for both
        """(1, 3, side, side) input; images and video frames alike."""
        pixels = (
            torch.from_numpy(np.ascontiguousarray(rgb))
            .to(self.device)
            .permute(2, 0, 1)[None]
            .float()
        )
        pixels = resize(pixels, (self.input_size, self.input_size))
        return mini.normalise(pixels.permute(0, 2, 3, 1)).to(self.dtype)

    def encode(self, rgb: NDArray[np.uint8], *, video: bool = False) -> Features:
        maps = tuple(self.model.encode(self.pixels(rgb, video=video)))
        return Features(maps, (rgb.shape[0], rgb.shape[1]), self.model.position().to(self.dtype))

    def plain(self, features: Features) -> Tensor:
        return features.maps[-1]

    def _decode_batch(
        self,
        features: Features,
        hints: Sequence[DecoderPrompt],
        multimask: bool,
        conditioned: Tensor,
    ) -> Decoded:
        height, width = features.size_hw
        scale = np.array([self.input_size / width, self.input_size / height])
        points = boxes = previous = None
        grid = features.maps[0].shape[-2:]
        maps = [*features.maps[:-1], conditioned]
        if hints[0].last is not None:
            last = torch.stack(
                [resize(cast(Tensor, hint.last)[None, None], grid)[0] for hint in hints]
            )
            return self._four(self.model.track_tokens(maps, last.to(self.dtype)), multimask)
        if len(hints[0].points):
            points = self._tensor(np.stack([hint.points * scale for hint in hints]))
        labels = torch.as_tensor(
            np.stack([hint.positive.astype(np.int64) for hint in hints]), device=self.device
        )
        if hints[0].box is not None:
            boxes = self._tensor(
                np.stack([np.asarray(hint.box) * np.tile(scale, 2) for hint in hints])
            )
        if hints[0].previous is not None:
            previous = torch.stack(
                [resize(cast(Tensor, hint.previous)[None, None], grid)[0] for hint in hints]
            )
        if points is None:
            labels = None
        return self._four(
            self.model.decode_tokens(maps, points, labels, boxes, previous), multimask
        )

    def _look_at_masks(self, features: Features, given: Tensor) -> Decoded:
        low = resize(given * MASK_SCALE + MASK_BIAS, features.maps[0].shape[-2:]).to(self.dtype)
        return self._four(self.model.decode_tokens(features.maps, previous=low), multimask=False)

    def _four(self, found: tuple[Tensor, Tensor, Tensor, Tensor], multimask: bool) -> Decoded:
        """Masks 1 to 3 are readings of a lone click, mask 0 answers everything else."""
        logits, iou, score, tokens = found
        if multimask:
            chosen = slice(1, 4)
        else:
            chosen = slice(0, 1)
        return Decoded(
            logits[:, chosen].float(),
            iou[:, chosen].float(),
            score[:, 0].float(),
            tokens[:, chosen],
        )

    def _tensor(self, values: NDArray[np.float64]) -> Tensor:
        return torch.as_tensor(values, device=self.device, dtype=self.dtype)
