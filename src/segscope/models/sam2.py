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
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from segscope.models.engine import Bank, Decoded, DecoderPrompt, Features, Memory
from segscope.models.fast_attention import can_share, lighten, memory_attention
from segscope.models.model_cards import Card

ABSENT = -1024.0
"""Logit of every pixel of an object that is not on the frame (SAM 2's value)."""

MASK_SCALE, MASK_BIAS = 20.0, -10.0  # a given mask of 0 and 1 becomes logits of -10 and 10
NOT_A_POINT, CORNERS = -1, (2, 3)  # labels of SAM's prompt encoder


class Sam2Engine:
    """Engine of the SAM 2 families. See `segscope.models.engine.Engine` for what the methods
    promise.
    """

    mean = (0.485, 0.456, 0.406)
    std = (0.229, 0.224, 0.225)
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
        self.model = cast(Any, lighten(model.to(device=device, dtype=dtype).eval()))
        self.card = card
        self.dtype = dtype
        self.weights_hash = weights_hash
        self.device = torch.device(device)
        self.input_size = int(self.model.config.image_size)
        self.memory_frames = int(self.model.num_maskmem)
        self.pointer_limit = int(self.model.config.max_object_pointers_in_encoder)
        self._memory_position: Tensor | None = None
        mean, std = ((0.0,) * 3, (1.0,) * 3) if card.raw else (self.mean, self.std)
        self._mean = torch.tensor(mean, device=self.device)[:, None, None]
        self._std = torch.tensor(std, device=self.device)[:, None, None]

    # --- images --------------------------------------------------------------------------------

    def pixels(self, rgb: NDArray[np.uint8], *, video: bool) -> Tensor:
        """(1, 3, side, side) input of the encoder.

        The released code resizes images as floats with an antialiased bilinear filter, and video
        frames as bytes with a bicubic one; logits differ by up to 0.2 between them, so each keeps
        its rule.
        """
        side = self.input_size
        if video:
            resized = np.asarray(
                Image.fromarray(rgb).resize((side, side), Image.Resampling.BICUBIC)
            )
            pixels = torch.from_numpy(resized.copy()).to(self.device).permute(2, 0, 1).float() / 255
        else:
            pixels = (
                torch.from_numpy(np.ascontiguousarray(rgb)).to(self.device).permute(2, 0, 1).float()
                / 255
            )
            pixels = resize(pixels[None], (side, side))[0]
        return ((pixels - self._mean) / self._std)[None].to(self.dtype)

    def encode(self, rgb: NDArray[np.uint8], *, video: bool = False) -> Features:
        """Features of a image (row, column, 3): strides 4, 8 and 16 of the square input."""
        found = self.model.get_image_features(self.pixels(rgb, video=video), return_dict=True)
        maps = tuple(_unflatten(item) for item in found.fpn_hidden_states)
        position = _unflatten(found.fpn_position_encoding[-1]).to(self.dtype)
        return Features(maps, (rgb.shape[0], rgb.shape[1]), position)

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
        allowed = config.multimask_output_in_sam and (
            not tracking or config.multimask_output_for_tracking
        )
        return bool(
            allowed and config.multimask_min_pt_num <= clicks <= config.multimask_max_pt_num
        )

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

        Padding would not do: the prompt encoder has a label for "ignore", but such a token still
            takes part in
        attention and changes the answer.
        """
        if conditioned is None:
            conditioned = self.plain(features).expand(len(hints), -1, -1, -1)
        parts: list[Decoded | None] = [None] * len(hints)
        for members in _groups(
            (len(hint.points), hint.box is None, hint.previous is None) for hint in hints
        ):
            answer = self._decode_batch(
                features, [hints[i] for i in members], multimask, conditioned[members]
            )
            for row, i in enumerate(members):
                parts[i] = pick(answer, row)
        return stack_decoded([part for part in parts if part is not None])

    def plain(self, features: Features) -> Tensor:
        """(1, channel, row, column) last map for a frame that nothing is remembered of."""
        return features.maps[-1] + self.model.no_memory_embedding.reshape(1, -1, 1, 1)

    def _decode_batch(
        self,
        features: Features,
        hints: Sequence[DecoderPrompt],
        multimask: bool,
        conditioned: Tensor,
    ) -> Decoded:
        previous = None
        if hints[0].previous is not None:
            grid = self.model.prompt_encoder.mask_input_size
            previous = torch.stack(
                [resize(cast(Tensor, hint.previous)[None, None], grid)[0] for hint in hints]
            )
        points, labels = self._tokens(features, hints)
        return self._heads(features, points, labels, previous, multimask, conditioned)

    def _tokens(
        self, features: Features, hints: Sequence[DecoderPrompt]
    ) -> tuple[Tensor | None, Tensor | None]:
        """Points (O, 1, N, 2) in input pixels and labels (O, 1, N); a box is its two corners.

        No hint at all is one "not a point"; a mask alone has no sparse token, as in the released
        image predictor.
        """
        first = hints[0]
        if first.clicks == 0:
            if first.previous is not None:
                return None, None
            points = torch.zeros(len(hints), 1, 1, 2, device=self.device, dtype=self.dtype)
            return points, torch.full(
                points.shape[:3], NOT_A_POINT, device=self.device, dtype=torch.int32
            )
        height, width = features.size_hw
        scale = np.array([self.input_size / width, self.input_size / height])
        rows = []
        labels = []
        for hint in hints:
            if hint.box is None:
                corners = np.zeros((0, 2))
            else:
                corners = np.reshape(hint.box, (2, 2))
            rows.append(np.concatenate([corners, hint.points]) * scale)
            labels.append([*(CORNERS if len(corners) else ()), *hint.positive.astype(int).tolist()])
        xy = torch.as_tensor(np.stack(rows)[:, None], device=self.device, dtype=self.dtype)
        return xy, torch.as_tensor(np.array(labels)[:, None], device=self.device, dtype=torch.int32)

    def _heads(
        self,
        features: Features,
        points: Tensor | None,
        labels: Tensor | None,
        previous: Tensor | None,
        multimask: bool,
        conditioned: Tensor,
    ) -> Decoded:
        count = len(conditioned)
        sparse, dense = self.model.prompt_encoder(points, labels, None, previous)
        if sparse is None:
            sparse = conditioned.new_zeros(count, 1, 0, conditioned.shape[1])
        position = self.model.get_image_wide_positional_embeddings().to(conditioned.dtype)
        masks, iou, tokens, score = self.model.mask_decoder(
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
        side = (self.input_size, self.input_size)
        full = F.interpolate(
            decoded.logits[:, :1].float(), side, mode="bilinear", align_corners=False
        )
        grid = self.model.prompt_encoder.mask_input_size
        full = resize(
            full, (4 * grid[0], 4 * grid[1])
        )  # differs from the input where the stride is not 16 (SAM 3)
        hard = torch.tensor(list(prompted), device=full.device)[:, None, None, None]
        inside = torch.where(hard, (full > 0).float(), torch.sigmoid(full))
        inside = (
            inside * self.model.config.sigmoid_scale_for_mem_enc
            + self.model.config.sigmoid_bias_for_mem_enc
        )
        image = features.maps[-1].expand(len(full), -1, -1, -1)
        maps, position = self.model.memory_encoder(image, inside.to(self.dtype))
        here = (cast(Tensor, decoded.object_score) > 0).to(self.dtype)
        if self.model.occlusion_spatial_embedding_parameter is not None:
            absent = self.model.occlusion_spatial_embedding_parameter[..., None, None]
            maps = maps + (1 - here)[:, None, None, None] * absent
        tokens = self._compress(maps, position)
        pointers = self.model.object_pointer_proj(cast(Tensor, decoded.tokens)[:, 0])
        pointers = here[:, None] * pointers + (1 - here)[:, None] * self.model.no_object_pointer
        scores = cast(Tensor, decoded.object_score).tolist()
        return [
            Memory(tokens[i].to(torch.bfloat16), pointers[i], float(decoded.iou[i, 0]), scores[i])
            for i in range(len(tokens))
        ]

    def _compress(self, maps: Tensor, position: Tensor) -> Tensor:
        """(O, token, channel) memory tokens; their positions are the same on every frame and kept
        once.
        """
        if self.card.family == "edgetam":
            tokens, place = self.model.spatial_perceiver(
                maps, position.to(maps.dtype).expand_as(maps)
            )
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
        given = (resize(masks.to(self.device).float(), side) >= 0.5).float()
        low = resize(given * MASK_SCALE + MASK_BIAS, self.model.prompt_encoder.mask_input_size)
        seen = self._look_at_masks(features, given)
        here = masks.to(self.device).flatten(1).gt(0).any(dim=1).float()
        # absent in the decoder's eyes also loses the pointer, as in the released code
        seen_here = (cast(Tensor, seen.object_score) > 0).float() * here
        ones = torch.ones(len(given), 1, device=self.device)
        answer = Decoded(low, ones, here * MASK_SCALE + MASK_BIAS, seen.tokens)
        memories = self.remember(features, answer, prompted=[True] * len(given))
        lost = cast(Tensor, self.model.no_object_pointer)[0]
        return answer, [
            memory
            if bool(seen_here[i])
            else Memory(memory.map, lost, memory.iou, memory.object_score)
            for i, memory in enumerate(memories)
        ]

    def _look_at_masks(self, features: Features, given: Tensor) -> Decoded:
        """The decoder's tokens for given masks (O, 1, side, side): on the plain map, as it left the
        encoder.
        """
        points = torch.zeros(len(given), 1, 1, 2, device=self.device, dtype=self.dtype)
        labels = torch.full(points.shape[:3], NOT_A_POINT, device=self.device, dtype=torch.int32)
        hint = resize(
            self.model.mask_downsample(given.to(self.dtype)),
            self.model.prompt_encoder.mask_input_size,
        )
        plain = features.maps[-1].expand(len(given), -1, -1, -1)
        return self._heads(features, points, labels, hint, False, plain)

    def attend(self, features: Features, banks: Sequence[Bank]) -> Tensor:
        """(O, channel, row, column) last map, conditioned on each object's bank; equal bank sizes
        share a batch.
        """
        parts: list[Tensor | None] = [None] * len(banks)
        for members in _groups((len(bank.maps), len(bank.pointers)) for bank in banks):
            for i, item in zip(
                members, self._attend_batch(features, [banks[i] for i in members]), strict=True
            ):
                parts[i] = item
        return torch.stack([part for part in parts if part is not None])

    def _attend_batch(self, features: Features, banks: Sequence[Bank]) -> Tensor:
        current = _flatten(features.maps[-1])
        position = _flatten(cast(Tensor, features.position))
        memory, place = self._bank_tokens(banks)
        pointers, pointer_place = self._pointer_tokens(banks, current.shape[-1])
        memory = torch.cat([memory, pointers]).to(self.dtype)
        place = torch.cat([place, pointer_place]).to(self.dtype)
        if can_share(self.model.memory_attention):
            out = memory_attention(
                self.model.memory_attention, current, position, memory, place, len(pointers)
            )
        else:
            if self.card.family == "edgetam":
                extra = {"num_spatial_memory_tokens": len(banks[0].maps)}
            else:
                extra = {}
            out = self.model.memory_attention(
                current_vision_features=current.expand(-1, len(banks), -1),
                current_vision_position_embeddings=position.expand(-1, len(banks), -1),
                memory=memory,
                memory_posision_embeddings=place,
                num_object_pointer_tokens=len(pointers),
                **extra,
            )
        out = out.reshape(len(banks), -1, current.shape[-1])
        return cast(
            Tensor, out.transpose(1, 2).reshape(len(banks), -1, *features.maps[-1].shape[-2:])
        )

    def _bank_tokens(self, banks: Sequence[Bank]) -> tuple[Tensor, Tensor]:
        """Memory tokens and their positions (token, O, channel): place in the map + age, where
        there is one.
        """
        ages = self.model.memory_temporal_positional_encoding.flatten(
            1
        )  # row age - 1; age 0 is the last row
        tokens = [
            torch.cat([memory.map for _, memory in bank.maps]).to(self.dtype) for bank in banks
        ]
        spot = cast(Tensor, self._memory_position)
        places = [
            torch.cat([spot if age is None else spot + ages[age - 1] for age, _ in bank.maps])
            for bank in banks
        ]
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
        split = channels // self.model.mem_dim
        if not self.model.config.enable_temporal_pos_encoding_for_object_pointers:
            return torch.zeros(
                len(distance) * split, self.model.mem_dim, device=self.device, dtype=self.dtype
            )
        half = channels // 2
        rate = 10000 ** (
            2 * (torch.arange(half, device=self.device, dtype=torch.float32) // 2) / half
        )
        angle = distance[:, None] / rate
        wave = torch.cat([angle.sin(), angle.cos()], dim=-1).to(self.dtype)
        place = self.model.temporal_positional_encoding_projection_layer(wave)
        return cast(Tensor, place.repeat_interleave(split, dim=0))

    def settings(self) -> dict[str, Any]:
        """What must be the same for the same answers."""
        import transformers

        return {
            "family": self.card.family,
            "input_size": self.input_size,
            "dtype": str(self.dtype).removeprefix("torch."),
            "device": self.device.type,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }


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


def pick(decoded: Decoded, row: int, mask: int | None = None) -> Decoded:
    """One object of `decoded`, with all its candidates or only candidate `mask`."""
    if mask is None:
        chosen = slice(None)
    else:
        chosen = slice(mask, mask + 1)
    tokens = decoded.tokens
    if tokens is not None:
        # a single answer may come with one token whatever mask was picked inside the decoder
        tokens = tokens[row : row + 1, chosen if tokens.shape[1] > 1 else slice(None)]
    score = None
    if decoded.object_score is not None:
        score = decoded.object_score[row : row + 1]
    return Decoded(
        decoded.logits[row : row + 1, chosen], decoded.iou[row : row + 1, chosen], score, tokens
    )


def stack_decoded(parts: Sequence[Decoded]) -> Decoded:
    """Several objects as one `Decoded`."""
    scores = [part.object_score for part in parts if part.object_score is not None]
    tokens = [part.tokens for part in parts if part.tokens is not None]
    return Decoded(
        torch.cat([part.logits for part in parts]),
        torch.cat([part.iou for part in parts]),
        torch.cat(scores) if scores else None,
        torch.cat(tokens) if tokens else None,
    )


def _groups(keys: Iterable[Hashable]) -> list[list[int]]:
    """Positions of equal keys."""
    found: dict[Hashable, list[int]] = defaultdict(list)
    for i, key in enumerate(keys):
        found[key].append(i)
    return list(found.values())


def _flatten(maps: Tensor) -> Tensor:
    """(N, C, row, column) to (row * column, N, C)."""
    return maps.flatten(2).permute(2, 0, 1)


def _unflatten(tokens: Tensor) -> Tensor:
    """(row * column, N, C) of a square map to (N, C, row, column)."""
    side = math.isqrt(tokens.shape[0])
    return tokens.permute(1, 2, 0).reshape(tokens.shape[1], tokens.shape[2], side, side)
