"""Engine of `mini`: SAM 2's, with its own images and its own way of giving prompts to the
decoder.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segscope.models import mini
from segscope.models.engine import Decoded, DecoderPrompt, Features, WindowRule
from segscope.models.mini_prompts import MiniPrompts
from segscope.models.sam2 import MASK_BIAS, MASK_SCALE, Sam2Engine, resize, stack_resized


class MiniEngine(Sam2Engine):
    """Engine of `segscope.models.mini.MiniModel`."""

    uses_previous_logits = True
    # the mean with the mirrored window gives 0.005 more Dice
    window_rule: WindowRule | None = WindowRule(mirrors=True, gate_iou=mini.GATE_IOU)

    def pixels(self, rgb: NDArray[np.uint8], *, video: bool = False) -> Tensor:  # noqa: ARG002
        """(1, 3, side, side) input; images and video frames alike."""
        image = torch.from_numpy(np.ascontiguousarray(rgb)).to(self.device)
        pixels = image.permute(2, 0, 1)[None].float()
        pixels = resize(pixels, (self.input_size, self.input_size))
        return mini.normalise(pixels.permute(0, 2, 3, 1)).to(self.dtype)

    def _encode_pixels(self, pixels: Tensor) -> tuple[list[Tensor], Tensor]:
        return self.model.encode(pixels), self.model.position().to(self.dtype)

    def unconditioned(self, features: Features) -> Tensor:
        return features.maps[-1]

    def _decode_batch(
        self,
        features: Features,
        prompts: Sequence[DecoderPrompt],
        multimask: bool,
        conditioned: Tensor,
    ) -> Decoded:
        first = prompts[0]
        grid = features.maps[0].shape[-2:]
        maps = [*features.maps[:-1], conditioned]
        if first.last is not None:
            last = stack_resized([prompt.last for prompt in prompts], grid)
            return self._choose(self.model.track_tokens(maps, last.to(self.dtype)), multimask)
        height, width = features.size_hw
        scale = np.array([self.input_size / width, self.input_size / height])
        points = None
        labels = None
        boxes = None
        previous = None
        if len(first.points):
            points = self._tensor(np.stack([prompt.points * scale for prompt in prompts]))
            positive = np.stack([prompt.positive.astype(np.int64) for prompt in prompts])
            labels = torch.as_tensor(positive, device=self.device)
        if first.box is not None:
            corners = np.stack([np.asarray(prompt.box) for prompt in prompts])
            boxes = self._tensor(corners * np.tile(scale, 2))
        if first.previous is not None:
            previous = stack_resized([prompt.previous for prompt in prompts], grid)
        batch = MiniPrompts(points, labels, boxes, previous)
        return self._choose(self.model.decode_tokens(maps, batch), multimask)

    def _decode_masks(self, features: Features, masks: Tensor) -> Decoded:
        low = resize(masks * MASK_SCALE + MASK_BIAS, features.maps[0].shape[-2:]).to(self.dtype)
        output = self.model.decode_tokens(features.maps, MiniPrompts(previous=low))
        return self._choose(output, multimask=False)

    def _choose(self, output: mini.MaskOutput, multimask: bool) -> Decoded:
        """Masks 1 to 3 are readings of a lone click, mask 0 answers everything else."""
        candidates = slice(0, 1)
        if multimask:
            candidates = slice(1, 4)
        logits, iou, score, tokens = output
        return Decoded(
            logits[:, candidates].float(),
            iou[:, candidates].float(),
            score[:, 0].float(),
            tokens[:, candidates],
        )

    def _tensor(self, values: NDArray[np.float64]) -> Tensor:
        return torch.as_tensor(values, device=self.device, dtype=self.dtype)
