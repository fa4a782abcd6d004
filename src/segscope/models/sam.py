"""SAM and MedSAM: images without memory, over the modules of transformers' `SamModel`.

Follows "Segment Anything" (arXiv 2304.02643) and its released predictor; MedSAM ("Segment anything
in medical images", 10.1038/s41467-024-44824-z) is the same network with its own rule for images
and masks. The image encoder computes in the engine's dtype; prompts and masks, which cost little,
in float32: half precision moves clicks by pixels.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NoReturn, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch import Tensor, nn

from segscope.errors import UsageError
from segscope.models.engine import Bank, Decoded, DecoderPrompt, Features, Memory
from segscope.models.fast_attention import contiguous_inputs
from segscope.models.model_cards import Card

_OUTSIDE = -10.0  # logit of the padding where a mask of the image is given
_EDGE = 1e-6  # probabilities are kept this far from 0 and 1 before they become logits again


class SamEngine:
    """Engine of the first SAM. See `segscope.models.engine.Engine` for what the methods promise."""

    mean = (123.675, 116.28, 103.53)
    std = (58.395, 57.12, 57.375)
    memory_frames = 0
    pointer_limit = 0
    uses_previous_logits = False

    def __init__(
        self,
        model: nn.Module,
        card: Card,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        weights_hash: str = "",
    ) -> None:
        self.model = cast(
            Any, contiguous_inputs(model.to(device=device, dtype=torch.float32).eval())
        )
        self.model.vision_encoder.to(dtype)
        self.card = card
        self.dtype = dtype
        self.weights_hash = weights_hash
        self.device = torch.device(device)
        self.input_size = int(self.model.config.vision_config.image_size)

    # --- images --------------------------------------------------------------------------------

    def pixels(self, rgb: NDArray[np.uint8]) -> Tensor:
        """(1, 3, side, side) float32 input of the encoder.

        SAM: longest side to the input size with Pillow's bilinear filter (which antialiases), mean
            and standard
        deviation, zeros to the right and below. MedSAM: stretched to the square by cubic splines,
            minimum and maximum
        to 0 and 1.
        """
        side = self.input_size
        if self.card.squash:
            stretched = stretch(rgb, side).astype(np.float32)
            low = stretched.min()
            high = stretched.max()
            scaled = (stretched - low) / max(float(high - low), 1e-8)
            return torch.from_numpy(scaled).to(self.device).permute(2, 0, 1)[None]
        height, width = self._inner(rgb.shape[0], rgb.shape[1])
        resized = np.asarray(
            Image.fromarray(rgb).resize((width, height), Image.Resampling.BILINEAR)
        )
        values = (resized.astype(np.float32) - np.array(self.mean, np.float32)) / np.array(
            self.std, np.float32
        )
        pixels = torch.from_numpy(values).to(self.device).permute(2, 0, 1)
        return F.pad(pixels, (0, side - width, 0, side - height))[None]

    def _inner(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the square input that the image covers."""
        if self.card.squash:
            return self.input_size, self.input_size
        scale = self.input_size / max(height, width)
        return int(height * scale + 0.5), int(width * scale + 0.5)

    def encode(self, rgb: NDArray[np.uint8], *, video: bool = False) -> Features:  # noqa: ARG002
        """Features of a image (row, column, 3): one map (1, 256, side / 16, side / 16)."""
        found = self.model.vision_encoder(self.pixels(rgb).to(self.dtype)).last_hidden_state
        return Features((found,), (rgb.shape[0], rgb.shape[1]))

    def to_frame(self, logits: Tensor, size_hw: tuple[int, int]) -> Tensor:
        """(..., row, column) logits at the size of the encoded image; those that are not the
        decoder's cover it.

        SAM enlarges to the square input, cuts the padding away and resizes what is left. MedSAM
        resizes probabilities.
        """
        flat = logits.reshape(-1, 1, *logits.shape[-2:]).float()
        if self.card.squash:
            full = _bilinear(flat.sigmoid(), size_hw).logit(_EDGE)
        elif not self._decoders(flat):
            full = _bilinear(flat, size_hw)
        else:
            height, width = self._inner(*size_hw)
            square = _bilinear(flat, (self.input_size, self.input_size))
            full = _bilinear(square[..., :height, :width], size_hw)
        return full.reshape(*logits.shape[:-2], *size_hw)

    def multimask(self, clicks: int, *, tracking: bool) -> bool:  # noqa: ARG002
        """Three candidates for one click, one otherwise; MedSAM was trained to give one."""
        return clicks == 1 and not self.card.squash

    # --- prompts to masks ------------------------------------------------------------------------

    def decode(
        self,
        features: Features,
        hints: Sequence[DecoderPrompt],
        *,
        multimask: bool,
        conditioned: Tensor | None = None,
    ) -> Decoded:
        """Masks of O objects; those with equally many points share a batch.

        Padding would not do: an "ignore" token still takes part in attention and changes the
            answer.
        """
        if conditioned is not None:
            self._no_memory()
        groups: dict[tuple[int, bool, bool], list[int]] = defaultdict(list)
        for i, hint in enumerate(hints):
            groups[len(hint.points), hint.box is None, hint.previous is None].append(i)
        logits: list[Tensor] = [torch.empty(0)] * len(hints)
        iou = list(logits)
        for members in groups.values():
            masks, scores = self._decode_batch(features, [hints[i] for i in members], multimask)
            for row, i in enumerate(members):
                logits[i], iou[i] = masks[row], scores[row]
        return Decoded(torch.stack(logits), torch.stack(iou))

    def _decode_batch(
        self, features: Features, hints: Sequence[DecoderPrompt], multimask: bool
    ) -> tuple[Tensor, Tensor]:
        """Logits (O, M, row, column) and IoU (O, M) of hints of the same make."""
        first = hints[0]
        count = len(hints)
        scale = self._scale(features)
        points = labels = boxes = previous = None
        if len(first.points):
            points = self._tensor(np.stack([hint.points for hint in hints])[:, None] * scale)
            labels = self._tensor(
                np.stack([hint.positive for hint in hints])[:, None].astype(np.float32)
            )
        if first.box is not None:
            boxes = self._tensor(
                np.array([hint.box for hint in hints])[:, None] * np.tile(scale, 2)
            )
        if first.previous is not None:
            previous = torch.cat(
                [self._padded(cast(Tensor, hint.previous), features.size_hw) for hint in hints]
            )
        # without points and box there is no sparse token at all, as in the released predictor
        sparse, dense = self.model.prompt_encoder(points, labels, boxes, previous)
        position = self.model.get_image_wide_positional_embeddings()
        masks, iou = self.model.mask_decoder(
            image_embeddings=features.maps[-1].float().expand(count, -1, -1, -1),
            image_positional_embeddings=position.expand(count, -1, -1, -1),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense.expand(count, -1, -1, -1),
            multimask_output=multimask,
        )
        return masks[:, 0], iou[:, 0]

    def _decoders(self, logits: Tensor) -> bool:
        """Whether logits (..., row, column) have the decoder's shape, which covers the padded
        square.
        """
        return (
            logits.shape[-1]
            == logits.shape[-2]
            == 4 * self.model.prompt_encoder.image_embedding_size[0]
        )

    def _padded(self, logits: Tensor, size_hw: tuple[int, int]) -> Tensor:
        """(1, 1, row, column) of the decoder's shape: its own logits as they are, others padded
        like the image.
        """
        logits = logits.to(self.device).float()[None, None]
        if self._decoders(logits):
            return logits
        height, width = self._inner(*size_hw)
        square = (0, self.input_size - width, 0, self.input_size - height)
        return F.avg_pool2d(F.pad(_bilinear(logits, (height, width)), square, value=_OUTSIDE), 4)

    def _scale(self, features: Features) -> NDArray[np.float64]:
        """Factors of x and y from the image to the input."""
        height, width = features.size_hw
        inner_height, inner_width = self._inner(height, width)
        return np.array([inner_width / width, inner_height / height])

    def _tensor(self, values: NDArray[Any]) -> Tensor:
        return torch.as_tensor(values, dtype=torch.float32, device=self.device)

    # --- no memory -------------------------------------------------------------------------------

    def remember(
        self,
        features: Features,  # noqa: ARG002
        decoded: Decoded,  # noqa: ARG002
        *,
        prompted: Sequence[bool],  # noqa: ARG002
    ) -> list[Memory]:
        """Raises UsageError: there is no memory."""
        self._no_memory()

    def remember_masks(self, features: Features, masks: Tensor) -> tuple[Decoded, list[Memory]]:  # noqa: ARG002
        """Raises UsageError: there is no memory."""
        self._no_memory()

    def attend(self, features: Features, banks: Sequence[Bank]) -> Tensor:  # noqa: ARG002
        """Raises UsageError: there is no memory."""
        self._no_memory()

    def _no_memory(self) -> NoReturn:
        raise UsageError(
            f"{self.card.name} works on single images and cannot carry a mask to other frames. Prompt every frame, "
            "or use a model with memory: mini, sam2.1-tiny, edgetam (`segscope models` shows which have one)."
        )

    def settings(self) -> dict[str, Any]:
        """What must be the same for the same answers."""
        import transformers

        return {
            "family": self.card.family,
            "input_size": self.input_size,
            "preprocessing": "stretched, minimum to maximum"
            if self.card.squash
            else "longest side, padded",
            "dtype": str(self.dtype).removeprefix("torch."),
            "device": self.device.type,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }


def stretch(rgb: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """A image (row, column, 3) stretched to (side, side, 3) as MedSAM's release does it.

    Cubic splines after a Gaussian filter where it shrinks (standard deviation half of the factor
    less one), cut to the image's range and to whole numbers: scikit-image's `resize` with order 3
    and antialiasing, in SciPy.
    """
    factors = np.array([rgb.shape[0] / side, rgb.shape[1] / side, 1.0])
    values = rgb.astype(np.float64)
    if (factors > 1).any():
        values = ndimage.gaussian_filter(values, np.maximum(0, (factors - 1) / 2), mode="mirror")
    out = ndimage.zoom(values, 1 / factors, order=3, mode="mirror", grid_mode=True)
    return np.clip(out, rgb.min(), rgb.max()).astype(np.uint8)


def _bilinear(maps: Tensor, size_hw: Sequence[int]) -> Tensor:
    return F.interpolate(
        maps, (int(size_hw[0]), int(size_hw[1])), mode="bilinear", align_corners=False
    )
