"""SAM 2, SAM 2.1, EdgeTAM and the SAM 3 tracker: one engine over the modules that transformers
gives them.

Follows "SAM 2: Segment Anything in Images and Videos" (arXiv 2408.00714) and its released code;
EdgeTAM (2501.07256) compresses the memory maps with its perceiver. Only modules are used (encoder,
prompt encoder, mask decoder, memory attention, memory encoder); sessions, banks and tracking are
`predict`'s and `memory`'s. Nothing here switches gradients off, so the same code trains.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from segscope.models.engine import (
    AnswerRule,
    Bank,
    Decoded,
    DecoderPrompt,
    Features,
    Memory,
    WindowRule,
    image_tensor,
    stack_decoded,
)
from segscope.models.fast_attention import can_share, lighten, memory_attention
from segscope.models.model_cards import Card

# a mask of 0 and 1 becomes logits of -10 and 10
MASK_SCALE = 20.0
MASK_BIAS = -10.0
# labels of SAM's prompt encoder
NOT_A_POINT = -1
CORNERS = (2, 3)


class PromptTokens(NamedTuple):
    """Input of the prompt encoder: points (O, 1, N, 2) in input pixels, labels (O, 1, N), and
    earlier logits (O, 1, row, column).
    """

    points: Tensor | None
    labels: Tensor | None
    previous: Tensor | None


@dataclass(frozen=True, eq=False)
class EncodedPixels:
    """What the encoder gives for a batch of inputs.

    Attributes:
        maps: (B, channel, row, column), for the decoder.
        position: positional encoding (1, channel, row, column) of the last map.
        deep: (B, channel, row, column), see `Features.deep`.
    """

    maps: Sequence[Tensor]
    position: Tensor
    deep: Sequence[Tensor] = ()


class Sam2Engine:
    """Engine of the SAM 2 families. See `segscope.models.engine.Engine` for what the methods
    promise.
    """

    mean = (0.485, 0.456, 0.406)
    std = (0.229, 0.224, 0.225)
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
        self.model = cast(Any, lighten(model.to(device=device, dtype=dtype).eval()))
        self.card = card
        self.dtype = dtype
        self.weights_hash = weights_hash
        self.device = torch.device(device)
        self.input_size = int(self.model.config.image_size)
        self.memory_frames = int(self.model.num_maskmem)
        self.pointer_limit = int(self.model.config.max_object_pointers_in_encoder)
        self.answer_rule = AnswerRule(1 if card.single_mask else 0)
        self._memory_position: Tensor | None = None
        mean = self.mean
        std = self.std
        if card.raw:
            mean = (0.0, 0.0, 0.0)
            std = (1.0, 1.0, 1.0)
        self._mean = torch.tensor(mean, device=self.device)[:, None, None]
        self._std = torch.tensor(std, device=self.device)[:, None, None]

    # --- images ----------------------------------------------------------------------------------

    def pixels(self, rgb: NDArray[np.uint8], *, video: bool = False) -> Tensor:
        """(1, 3, side, side) input of the encoder.

        The released code resizes images as floats with an antialiased bilinear filter, and video
        frames as bytes with a bicubic one; logits differ by up to 0.2 between them, so each keeps
        its rule.
        """
        size = (self.input_size, self.input_size)
        if video:
            image = Image.fromarray(rgb).resize(size, Image.Resampling.BICUBIC)
            pixels = self._scaled(np.array(image))
        else:
            pixels = resize(self._scaled(rgb), size)
        return ((pixels - self._mean) / self._std).to(self.dtype)

    def _scaled(self, rgb: NDArray[np.uint8]) -> Tensor:
        """(1, 3, row, column) values from 0 to 1."""
        pixels = image_tensor(rgb).to(self.device)
        return pixels.permute(2, 0, 1).float()[None] / 255

    def encode(self, rgb: NDArray[np.uint8], *, video: bool = False) -> Features:
        """Features of an image (row, column, 3): strides 4, 8 and 16 of the square input."""
        (features,) = self._encode_batch([rgb], self.pixels(rgb, video=video))
        return features

    def encode_together(self, images: Sequence[NDArray[np.uint8]]) -> list[Features]:
        """Features of images (row, column, 3) that pass the encoder as one batch."""
        return self._encode_batch(images, torch.cat(list(map(self.pixels, images))))

    def _encode_batch(self, images: Sequence[NDArray[np.uint8]], pixels: Tensor) -> list[Features]:
        encoded = self._encode_pixels(pixels)
        return [
            Features(
                _row(encoded.maps, k),
                (rgb.shape[0], rgb.shape[1]),
                encoded.position,
                _row(encoded.deep, k),
            )
            for k, rgb in enumerate(images)
        ]

    def _encode_pixels(self, pixels: Tensor) -> EncodedPixels:
        output = self.model.get_image_features(pixels, return_dict=True)
        maps = list(map(_unflatten, output.fpn_hidden_states))
        position = _unflatten(output.fpn_position_encoding[-1])[:1]
        return EncodedPixels(maps, position.to(self.dtype))

    def pixel_maps(self, features: Features) -> tuple[Tensor, ...]:
        """Maps that cover the image: of all strides, since images are squashed to the input."""
        return features.deep or features.maps

    def to_frame(self, logits: Tensor, size_hw: tuple[int, int]) -> Tensor:
        """(..., row, column) logits of the decoder at the size of the image that was encoded."""
        flat = logits.reshape(-1, 1, *logits.shape[-2:]).float()
        full = F.interpolate(flat, size_hw, mode="bilinear", align_corners=False)
        return full.reshape(*logits.shape[:-2], *size_hw)

    def multimask(self, clicks: int, *, tracking: bool) -> bool:
        """SAM 2's rule: three candidates for one click and while tracking, one for a box or several
        clicks.
        """
        config = self.model.config
        usual = config.multimask_min_pt_num <= clicks <= config.multimask_max_pt_num
        if tracking and not config.multimask_output_for_tracking:
            usual = False
        if not config.multimask_output_in_sam:
            usual = False
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

        Padding would not do: the prompt encoder has a label for "ignore", but such a token still
        takes part in attention and changes the answer.
        """
        prompts = self.answer_rule.prepare(prompts)
        if conditioned is None:
            conditioned = self.unconditioned(features).expand(len(prompts), -1, -1, -1)
        groups = _groups(
            (len(prompt.points), prompt.box is None, prompt.previous is None) for prompt in prompts
        )
        if len(groups) == 1:
            return self._decode_batch(features, prompts, multimask, conditioned[groups[0]])
        parts: list[Decoded | None] = [None] * len(prompts)
        for members in groups:
            batch = [prompts[i] for i in members]
            decoded = self._decode_batch(features, batch, multimask, conditioned[members])
            for row, i in enumerate(members):
                parts[i] = decoded.pick(row)
        return stack_decoded([part for part in parts if part is not None])

    def unconditioned(self, features: Features) -> Tensor:
        """(1, channel, row, column) last map for a frame of which nothing is remembered."""
        return features.maps[-1] + self.model.no_memory_embedding.reshape(1, -1, 1, 1)

    def _decode_batch(
        self,
        features: Features,
        prompts: Sequence[DecoderPrompt],
        multimask: bool,
        conditioned: Tensor,
    ) -> Decoded:
        previous = None
        if prompts[0].previous is not None:
            grid = self.model.prompt_encoder.mask_input_size
            previous = stack_resized([prompt.previous for prompt in prompts], grid)
        tokens = PromptTokens(*self._point_tokens(features, prompts), previous)
        return self._masks(features, tokens, multimask, conditioned)

    def _point_tokens(
        self, features: Features, prompts: Sequence[DecoderPrompt]
    ) -> tuple[Tensor | None, Tensor | None]:
        """Points (O, 1, N, 2) in input pixels and labels (O, 1, N); a box is its two corners.

        No prompt at all is one "not a point"; a mask alone has no sparse token, as in the released
        image predictor.
        """
        first = prompts[0]
        if first.clicks == 0:
            if first.previous is not None:
                return None, None
            return self._no_points(len(prompts))
        height, width = features.size_hw
        scale = np.array([self.input_size / width, self.input_size / height])
        rows = []
        labels = []
        for prompt in prompts:
            corners = np.zeros((0, 2))
            if prompt.box is not None:
                corners = np.reshape(prompt.box, (2, 2))
            rows.append(np.concatenate([corners, prompt.points]) * scale)
            corner_labels = CORNERS[: len(corners)]
            labels.append([*corner_labels, *prompt.positive.astype(int).tolist()])
        xy = torch.as_tensor(np.stack(rows)[:, None], device=self.device, dtype=self.dtype)
        kinds = np.array(labels)[:, None]
        return xy, torch.as_tensor(kinds, device=self.device, dtype=torch.int32)

    def _no_points(self, count: int) -> tuple[Tensor, Tensor]:
        """One "not a point" for each object."""
        points = torch.zeros(count, 1, 1, 2, device=self.device, dtype=self.dtype)
        labels = torch.full(points.shape[:3], NOT_A_POINT, device=self.device, dtype=torch.int32)
        return points, labels

    def _masks(
        self,
        features: Features,
        prompt: PromptTokens,
        multimask: bool,
        conditioned: Tensor,
    ) -> Decoded:
        count = len(conditioned)
        model = self.model
        sparse, dense = model.prompt_encoder(prompt.points, prompt.labels, None, prompt.previous)
        if sparse is None:
            sparse = conditioned.new_zeros(count, 1, 0, conditioned.shape[1])
        position = model.get_image_wide_positional_embeddings().to(conditioned.dtype)
        masks, iou, tokens, score = model.mask_decoder(
            image_embeddings=conditioned,
            image_positional_embeddings=position.expand(count, -1, -1, -1),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense.expand(count, -1, -1, -1),
            multimask_output=multimask,
            high_resolution_features=[
                item.expand(count, -1, -1, -1) for item in features.maps[:-1]
            ],
        )
        return Decoded(masks[:, 0].float(), iou[:, 0].float(), score[:, 0, 0].float(), tokens[:, 0])

    # --- memory ----------------------------------------------------------------------------------

    def remember(
        self, features: Features, decoded: Decoded, *, prompted: Sequence[bool]
    ) -> list[Memory]:
        """Memories of O objects from their chosen masks (M = 1)."""
        maps, position = self._encode_memory(features, decoded.logits[:, :1].float(), prompted)
        object_score = cast(Tensor, decoded.object_score)
        here = (object_score > 0).to(self.dtype)
        if self.model.occlusion_spatial_embedding_parameter is not None:
            absent = self.model.occlusion_spatial_embedding_parameter[..., None, None]
            maps = maps + (1 - here)[:, None, None, None] * absent
        tokens = self._compress(maps, position)
        pointers = self.model.object_pointer_proj(cast(Tensor, decoded.tokens)[:, 0])
        pointers = here[:, None] * pointers + (1 - here)[:, None] * self.model.no_object_pointer
        scores = object_score.tolist()
        return [
            Memory(tokens[i].to(torch.bfloat16), pointers[i], float(decoded.iou[i, 0]), scores[i])
            for i in range(len(tokens))
        ]

    def _encode_memory(
        self, features: Features, logits: Tensor, prompted: Sequence[bool]
    ) -> tuple[Tensor, Tensor]:
        """Memory maps of (O, 1, row, column) logits, and their positional encoding."""
        config = self.model.config
        side = (self.input_size, self.input_size)
        full = F.interpolate(logits, side, mode="bilinear", align_corners=False)
        # the mask's size differs from the input's where the stride is not 16 (SAM 3)
        grid = self.model.prompt_encoder.mask_input_size
        full = resize(full, (4 * grid[0], 4 * grid[1]))
        binary = torch.tensor(list(prompted), device=full.device)[:, None, None, None]
        mask = torch.where(binary, (full > 0).float(), torch.sigmoid(full))
        mask = mask * config.sigmoid_scale_for_mem_enc + config.sigmoid_bias_for_mem_enc
        image = features.maps[-1].expand(len(full), -1, -1, -1)
        maps, position = self.model.memory_encoder(image, mask.to(self.dtype))
        return maps, position

    def _compress(self, maps: Tensor, position: Tensor) -> Tensor:
        """(O, token, channel) memory tokens; their positions are the same on every frame and stored
        once.
        """
        if self.card.family == "edgetam":
            positions = position.to(maps.dtype).expand_as(maps)
            tokens, place = self.model.spatial_perceiver(maps, positions)
            place = place[0].reshape(-1, place.shape[-1])
        else:
            tokens = maps.flatten(2).transpose(1, 2)
            place = position[0].flatten(1).T
        if self._memory_position is None:
            self._memory_position = place.detach().to(self.dtype)
        return cast(Tensor, tokens)

    def remember_masks(self, features: Features, masks: Tensor) -> tuple[Decoded, list[Memory]]:
        """Take (O, 1, row, column) masks of 0 and 1 as answers and remember them."""
        side = (self.input_size, self.input_size)
        masks = masks.to(self.device).float()
        full = (resize(masks, side) >= 0.5).float()
        low = resize(full * MASK_SCALE + MASK_BIAS, self.model.prompt_encoder.mask_input_size)
        decoded = self._decode_masks(features, full)
        here = masks.flatten(1).gt(0).any(dim=1).float()
        # an object that the decoder takes for absent also loses the pointer, as in the released
        # code
        has_pointer = (cast(Tensor, decoded.object_score) > 0).float() * here
        ones = torch.ones(len(full), 1, device=self.device)
        answer = Decoded(low, ones, here * MASK_SCALE + MASK_BIAS, decoded.tokens)
        memories = self.remember(features, answer, prompted=[True] * len(full))
        no_pointer = cast(Tensor, self.model.no_object_pointer)[0]
        for i, memory in enumerate(memories):
            if not bool(has_pointer[i]):
                memories[i] = Memory(memory.map, no_pointer, memory.iou, memory.object_score)
        return answer, memories

    def _decode_masks(self, features: Features, masks: Tensor) -> Decoded:
        """The decoder's tokens for masks (O, 1, side, side) of 0 and 1: on the last map as it left
        the encoder.
        """
        grid = self.model.prompt_encoder.mask_input_size
        previous = resize(self.model.mask_downsample(masks.to(self.dtype)), grid)
        tokens = PromptTokens(*self._no_points(len(masks)), previous)
        image = features.maps[-1].expand(len(masks), -1, -1, -1)
        return self._masks(features, tokens, False, image)

    def attend(self, features: Features, banks: Sequence[Bank]) -> Tensor:
        """(O, channel, row, column) last map, conditioned on each object's bank; equal bank sizes
        share a batch.
        """
        parts: list[Tensor | None] = [None] * len(banks)
        for members in _groups((len(bank.maps), len(bank.pointers)) for bank in banks):
            batch = self._attend_batch(features, [banks[i] for i in members])
            for row, i in enumerate(members):
                parts[i] = batch[row]
        return torch.stack([part for part in parts if part is not None])

    def _attend_batch(self, features: Features, banks: Sequence[Bank]) -> Tensor:
        attention = self.model.memory_attention
        current = _flatten(features.maps[-1])
        position = _flatten(cast(Tensor, features.position))
        memory, place = self._bank_tokens(banks)
        pointers, pointer_place = self._pointer_tokens(banks, current.shape[-1])
        memory = torch.cat([memory, pointers]).to(self.dtype)
        place = torch.cat([place, pointer_place]).to(self.dtype)
        if can_share(attention):
            out = memory_attention(attention, current, position, memory, place, len(pointers))
        else:
            extra = {}
            if self.card.family == "edgetam":
                extra["num_spatial_memory_tokens"] = len(banks[0].maps)
            out = attention(
                current_vision_features=current.expand(-1, len(banks), -1),
                current_vision_position_embeddings=position.expand(-1, len(banks), -1),
                memory=memory,
                memory_posision_embeddings=place,
                num_object_pointer_tokens=len(pointers),
                **extra,
            )
        out = out.reshape(len(banks), -1, current.shape[-1]).transpose(1, 2)
        size_hw = features.maps[-1].shape[-2:]
        return out.reshape(len(banks), -1, *size_hw)

    def _bank_tokens(self, banks: Sequence[Bank]) -> tuple[Tensor, Tensor]:
        """Memory tokens and their positions (token, O, channel): place in the map + age, where
        there is one.
        """
        # row age - 1; age 0 is the last row
        ages = self.model.memory_temporal_positional_encoding.flatten(1)
        position = cast(Tensor, self._memory_position)
        tokens = []
        places = []
        for bank in banks:
            maps = torch.cat([memory.map for _, memory in bank.maps])
            tokens.append(maps.to(self.dtype))
            aged = [position if age is None else position + ages[age - 1] for age, _ in bank.maps]
            places.append(torch.cat(aged))
        return torch.stack(tokens, dim=1), torch.stack(places, dim=1)

    def _pointer_tokens(self, banks: Sequence[Bank], channels: int) -> tuple[Tensor, Tensor]:
        """Object pointers split into tokens of the memory's width, and their temporal positions."""
        width = self.model.mem_dim
        if not banks[0].pointers:
            nothing = torch.zeros(0, len(banks), width, device=self.device, dtype=self.dtype)
            return nothing, nothing
        tokens = []
        places = []
        for bank in banks:
            pointers = torch.stack([memory.pointer for _, memory in bank.pointers])
            tokens.append(pointers.reshape(-1, width))
            distance = torch.tensor([float(d) for d, _ in bank.pointers], device=self.device)
            places.append(self._pointer_positions(distance / max(bank.longest - 1, 1), channels))
        return torch.stack(tokens, dim=1), torch.stack(places, dim=1)

    def _pointer_positions(self, distance: Tensor, channels: int) -> Tensor:
        width = self.model.mem_dim
        split = channels // width
        if not self.model.config.enable_temporal_pos_encoding_for_object_pointers:
            rows = len(distance) * split
            return torch.zeros(rows, width, device=self.device, dtype=self.dtype)
        half = channels // 2
        step = torch.arange(half, device=self.device, dtype=torch.float32) // 2
        rate = 10000 ** (2 * step / half)
        angle = distance[:, None] / rate
        wave = torch.cat([angle.sin(), angle.cos()], dim=-1).to(self.dtype)
        place = self.model.temporal_positional_encoding_projection_layer(wave)
        return place.repeat_interleave(split, dim=0)

    def settings(self) -> dict[str, Any]:
        """What must be equal for equal answers."""
        import transformers

        return {
            "family": self.card.family,
            "input_size": self.input_size,
            "dtype": str(self.dtype).removeprefix("torch."),
            "device": self.device.type,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }


def _row(maps: Sequence[Tensor], k: int) -> tuple[Tensor, ...]:
    """Maps of one image of a batch."""
    return tuple(each[k : k + 1] for each in maps)


def resize(maps: Tensor, size_hw: tuple[int, int] | Sequence[int]) -> Tensor:
    """(N, C, row, column) floats at another size: bilinear, antialiased when it shrinks; unchanged
    if it fits.
    """
    size = (int(size_hw[0]), int(size_hw[1]))
    if tuple(maps.shape[-2:]) == size:
        return maps
    return F.interpolate(
        maps.float(), size, mode="bilinear", align_corners=False, antialias=True
    ).to(maps.dtype)


def stack_resized(maps: Iterable[Tensor | None], size_hw: Sequence[int]) -> Tensor:
    """(N, 1, row, column) of N maps (row, column), each at the same size."""
    return torch.stack([resize(each[None, None], size_hw)[0] for each in maps if each is not None])


def _groups(keys: Iterable[Hashable]) -> list[list[int]]:
    """Positions of equal keys."""
    positions: dict[Hashable, list[int]] = defaultdict(list)
    for i, key in enumerate(keys):
        positions[key].append(i)
    return list(positions.values())


def _flatten(maps: Tensor) -> Tensor:
    """(N, C, row, column) to (row * column, N, C)."""
    return maps.flatten(2).permute(2, 0, 1)


def _unflatten(tokens: Tensor) -> Tensor:
    """(row * column, N, C) of a square map to (N, C, row, column)."""
    side = math.isqrt(tokens.shape[0])
    return tokens.permute(1, 2, 0).reshape(tokens.shape[1], tokens.shape[2], side, side)
