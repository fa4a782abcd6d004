"""SAM and MedSAM: images without memory, over the modules of transformers' `SamModel`.

Follows "Segment Anything" (arXiv 2304.02643) and its released predictor; MedSAM ("Segment anything
in medical images", 10.1038/s41467-024-44824-z) is the same network with its own rule for images
and masks. The image encoder computes in the engine's dtype; prompts and masks, which cost little,
in float32: half precision moves clicks by pixels.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch import Tensor, nn

from segscope.errors import UsageError
from segscope.models.engine import (
    AnswerRule,
    Bank,
    Decoded,
    DecoderPrompt,
    Features,
    Memory,
    WindowRule,
)
from segscope.models.fast_attention import contiguous_inputs
from segscope.models.model_cards import Card

MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)
_OUTSIDE = -10.0  # logit of the padding where a mask of the image is given
_EDGE = 1e-6  # probabilities stay this far from 0 and 1 before they become logits again


@dataclass(frozen=True, slots=True)
class Placement:
    """The part of the square input that an image covers, in pixels of the input."""

    top: int
    left: int
    rows: int
    columns: int


class InputRule(Protocol):
    """How an image becomes the square input of the encoder."""

    def place(self, size_hw: tuple[int, int], side: int) -> Placement:
        """Where an image of a size lies in the input of `side` pixels."""

    def pixels(self, rgb: NDArray[np.uint8], side: int) -> Tensor:
        """(1, 3, side, side) float32 input of an image (row, column, 3)."""


@dataclass(frozen=True)
class PaddedInput:
    """SAM's rule: longest side to the input size with Pillow's bilinear filter (which antialiases),
    less the mean, divided by the standard deviation, zeros to the right and below.
    """

    def place(self, size_hw: tuple[int, int], side: int) -> Placement:
        scale = side / max(size_hw)
        return Placement(0, 0, int(size_hw[0] * scale + 0.5), int(size_hw[1] * scale + 0.5))

    def pixels(self, rgb: NDArray[np.uint8], side: int) -> Tensor:
        place = self.place((rgb.shape[0], rgb.shape[1]), side)
        image = Image.fromarray(rgb)
        resized = np.asarray(image.resize((place.columns, place.rows), Image.Resampling.BILINEAR))
        pixels = torch.from_numpy(standardise(resized)).permute(2, 0, 1)
        return F.pad(pixels, (0, side - place.columns, 0, side - place.rows))[None]


@dataclass(frozen=True)
class StretchedInput:
    """MedSAM's rule: stretched to the square by cubic splines, minimum and maximum to 0 and 1."""

    def place(self, size_hw: tuple[int, int], side: int) -> Placement:  # noqa: ARG002
        return Placement(0, 0, side, side)

    def pixels(self, rgb: NDArray[np.uint8], side: int) -> Tensor:
        stretched = stretch(rgb, side).astype(np.float32)
        low = stretched.min()
        high = stretched.max()
        scaled = (stretched - low) / max(float(high - low), 1e-8)
        return torch.from_numpy(scaled).permute(2, 0, 1)[None]


class SamEngine:
    """Engine of the first SAM. See `segscope.models.engine.Engine` for what the methods promise.

    Attributes:
        input_rule: how images become inputs.
    """

    mean = MEAN
    std = STD
    memory_frames = 0
    pointer_limit = 0
    uses_previous_logits = False
    window_rule: WindowRule | None = None
    chunk_depth = 1

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
        self.answer_rule = AnswerRule()
        self.input_rule: InputRule = StretchedInput() if card.squash else PaddedInput()

    # --- images ----------------------------------------------------------------------------------

    def pixels(self, rgb: NDArray[np.uint8], *, video: bool = False) -> Tensor:  # noqa: ARG002
        """(1, 3, side, side) float32 input of the encoder; images and video frames alike."""
        return self.input_rule.pixels(rgb, self.input_size).to(self.device)

    def encode(self, rgb: NDArray[np.uint8], *, video: bool = False) -> Features:  # noqa: ARG002
        """Features of an image (row, column, 3): one map (1, 256, side / 16, side / 16)."""
        (features,) = self.encode_together([rgb])
        return features

    def encode_together(self, images: Sequence[NDArray[np.uint8]]) -> list[Features]:
        """Features of images (row, column, 3) that pass the encoder as one batch."""
        batch = torch.cat(list(map(self.pixels, images))).to(self.dtype)
        maps = self.model.vision_encoder(batch).last_hidden_state
        return [
            Features((maps[k : k + 1],), (rgb.shape[0], rgb.shape[1]))
            for k, rgb in enumerate(images)
        ]

    def pixel_maps(self, features: Features) -> tuple[Tensor, ...]:
        """The part of the map that the image covers; the rest shows padding."""
        (whole,) = features.maps
        place = self.input_rule.place(features.size_hw, self.input_size)
        cells = whole.shape[-1] / self.input_size
        top, bottom = _cells(place.top * cells, place.rows * cells)
        left, right = _cells(place.left * cells, place.columns * cells)
        return (whole[..., top:bottom, left:right],)

    def unconditioned(self, features: Features) -> Tensor:
        """The last map; SAM remembers nothing."""
        return features.maps[-1]

    def to_frame(self, logits: Tensor, size_hw: tuple[int, int]) -> Tensor:
        """(..., row, column) logits at the size of the encoded image; those that are not the
        decoder's cover it.

        SAM enlarges to the square input, cuts the padding away and resizes what is left. MedSAM
        resizes probabilities.
        """
        flat = logits.reshape(-1, 1, *logits.shape[-2:]).float()
        if self.card.squash:
            full = _bilinear(flat.sigmoid(), size_hw).logit(_EDGE)
        elif not self._has_decoder_shape(flat):
            full = _bilinear(flat, size_hw)
        else:
            place = self.input_rule.place(size_hw, self.input_size)
            square = _bilinear(flat, (self.input_size, self.input_size))
            bottom = place.top + place.rows
            right = place.left + place.columns
            full = _bilinear(square[..., place.top : bottom, place.left : right], size_hw)
        return full.reshape(*logits.shape[:-2], *size_hw)

    def multimask(self, clicks: int, *, tracking: bool) -> bool:
        """Three candidates for one click, one otherwise; MedSAM was trained to give one."""
        usual = clicks == 1 and not self.card.squash
        return self.answer_rule.multimask(usual, tracking=tracking)

    # --- prompts to masks ------------------------------------------------------------------------

    def decode(
        self,
        features: Features,
        prompts: Sequence[DecoderPrompt],
        *,
        multimask: bool,
        conditioned: Tensor | None = None,
    ) -> Decoded:
        """Masks of O objects; those with equally many points share a batch.

        Padding would not do: an "ignore" token still takes part in attention and changes the
        answer.
        """
        if conditioned is not None:
            self._refuse_memory()
        prompts = self.answer_rule.prepare(prompts)
        groups: dict[tuple[int, bool, bool], list[int]] = defaultdict(list)
        for i, prompt in enumerate(prompts):
            groups[len(prompt.points), prompt.box is None, prompt.previous is None].append(i)
        logits: list[Tensor] = [torch.empty(0)] * len(prompts)
        iou = list(logits)
        for members in groups.values():
            masks, scores = self._decode_batch(features, [prompts[i] for i in members], multimask)
            for row, i in enumerate(members):
                logits[i] = masks[row]
                iou[i] = scores[row]
        return Decoded(torch.stack(logits), torch.stack(iou))

    def _decode_batch(
        self, features: Features, prompts: Sequence[DecoderPrompt], multimask: bool
    ) -> tuple[Tensor, Tensor]:
        """Logits (O, M, row, column) and IoU (O, M) for prompts with the same parts."""
        first = prompts[0]
        count = len(prompts)
        points = None
        labels = None
        boxes = None
        previous = None
        if len(first.points):
            xy = np.stack([self._to_input(prompt.points, features) for prompt in prompts])
            positive = np.stack([prompt.positive for prompt in prompts])
            points = self._tensor(xy[:, None])
            labels = self._tensor(positive[:, None].astype(np.float32))
        if first.box is not None:
            corners = [np.reshape(cast(Any, prompt.box), (2, 2)) for prompt in prompts]
            xyxy = np.stack([self._to_input(pair, features).ravel() for pair in corners])
            boxes = self._tensor(xyxy[:, None])
        if first.previous is not None:
            masks = [self._on_input(cast(Tensor, prompt.previous), features) for prompt in prompts]
            previous = torch.cat(masks)
        # without points and box there is no sparse token at all, as in the released predictor
        sparse, dense = self.model.prompt_encoder(points, labels, boxes, previous)
        position = self.model.get_image_wide_positional_embeddings()
        logits, iou = self.model.mask_decoder(
            image_embeddings=features.maps[-1].float().expand(count, -1, -1, -1),
            image_positional_embeddings=position.expand(count, -1, -1, -1),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense.expand(count, -1, -1, -1),
            multimask_output=multimask,
        )
        return logits[:, 0], iou[:, 0]

    def _has_decoder_shape(self, logits: Tensor) -> bool:
        """Whether logits (..., row, column) have the decoder's shape, which covers the whole square
        input.
        """
        side = 4 * self.model.prompt_encoder.image_embedding_size[0]
        return bool(logits.shape[-1] == logits.shape[-2] == side)

    def _on_input(self, logits: Tensor, features: Features) -> Tensor:
        """(1, 1, row, column) of the decoder's shape: its own logits unchanged, others padded like
        the image.
        """
        logits = logits.to(self.device).float()[None, None]
        if self._has_decoder_shape(logits):
            return logits
        place = self.input_rule.place(features.size_hw, self.input_size)
        right = self.input_size - place.left - place.columns
        bottom = self.input_size - place.top - place.rows
        resized = _bilinear(logits, (place.rows, place.columns))
        padded = F.pad(resized, (place.left, right, place.top, bottom), value=_OUTSIDE)
        return F.avg_pool2d(padded, 4)

    def _to_input(self, xy: NDArray[np.float64], features: Features) -> NDArray[np.float64]:
        """(N, 2) x, y of the image as x, y of the input."""
        height, width = features.size_hw
        place = self.input_rule.place(features.size_hw, self.input_size)
        scale = np.array([place.columns / width, place.rows / height])
        return np.asarray(xy * scale + np.array([place.left, place.top]))

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
        self._refuse_memory()

    def remember_masks(
        self,
        features: Features,  # noqa: ARG002
        masks: Tensor,  # noqa: ARG002
    ) -> tuple[Decoded, list[Memory]]:
        """Raises UsageError: there is no memory."""
        self._refuse_memory()

    def attend(self, features: Features, banks: Sequence[Bank]) -> Tensor:  # noqa: ARG002
        """Raises UsageError: there is no memory."""
        self._refuse_memory()

    def _refuse_memory(self) -> NoReturn:
        raise UsageError(
            f"{self.card.name} works on single images and cannot carry a mask to other frames. "
            "Prompt every frame, or use a model with memory: mini, sam2.1-tiny, edgetam "
            "(`segscope models` shows which have one)."
        )

    def settings(self) -> dict[str, Any]:
        """What must be equal for equal answers."""
        import transformers

        preprocessing = "longest side, padded"
        if self.card.squash:
            preprocessing = "stretched, minimum to maximum"
        return {
            "family": self.card.family,
            "input_size": self.input_size,
            "preprocessing": preprocessing,
            "dtype": str(self.dtype).removeprefix("torch."),
            "device": self.device.type,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }


def standardise(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Channels less SAM's mean, divided by its standard deviation."""
    values = rgb.astype(np.float32) - np.array(MEAN, np.float32)
    return np.asarray(values / np.array(STD, np.float32))


def stretch(rgb: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """An image (row, column, 3) stretched to (side, side, 3) as MedSAM's release does it.

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


def _cells(start: float, length: float) -> tuple[int, int]:
    """Whole cells of a map that a length covers, at least one."""
    first = round(start)
    return first, max(round(start + length), first + 1)
