"""`mini`: segscope's own small network of the SAM 2 family, with weights in the package.

`MiniModel` is transformers' `Sam2VideoModel` at width 128 with another encoder and one more input:
prompts are also drawn as maps (clicks, box, ellipse of the box, earlier answer) that small
convolutions add to the features, which small networks learn from far sooner than from prompt tokens
alone. Memory works exactly as in SAM 2.

Normalisation: `normalise`, on images already resized (antialiased bilinear, squashed) to the
square input. Weights do not depend on the input size; any multiple of 16 from 96 to 512 will do.

`MiniEngine` is SAM 2's engine, with mini's own images and its own way of giving prompts to the
decoder.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import Sam2VideoConfig, Sam2VideoModel
from transformers.models.sam2_video.configuration_sam2_video import (
    Sam2VideoMaskDecoderConfig,
    Sam2VideoPromptEncoderConfig,
)

from segscope.models.engine import Decoded, DecoderPrompt, Features, WindowRule, image_tensor
from segscope.models.mini_layers import (
    WIDTH,
    CompletePrompts,
    DenseBranch,
    MiniEncoder,
    MiniPrompts,
)
from segscope.models.sam2 import (
    MASK_BIAS,
    MASK_SCALE,
    EncodedPixels,
    Sam2Engine,
    resize,
    stack_resized,
)

#: memory frames (prompted ones and the last three) and object pointers; SAM 2 has 7 and 16, these
#: keep objects cheap
MEMORY_FRAMES = 4
POINTERS = 8
#: below this predicted IoU of mask 0 a box is answered by its inscribed ellipse (see
#: recipes/mini/README.md)
GATE_IOU = 0.1
PADDING = -10
CORNERS = (2, 3)
#: places for clicks among the prompt tokens
CLICKS = 10

MaskOutput = tuple[Tensor, Tensor, Tensor, Tensor]
"""Logits (O, 4, S/4, S/4), predicted IoU (O, 4), object score (O, 1), mask tokens (O, 4, WIDTH)."""


def normalise(rgb: Tensor) -> Tensor:
    """Images as the encoder wants them: each one's own mean and deviation over pixels and
    channels taken out.

    Args:
        rgb: (B, row, column, 3) values 0 to 255, uint8 or float.

    Returns:
        (B, 3, row, column) float32.
    """
    pixels = rgb.permute(0, 3, 1, 2).float()
    mean = pixels.mean((1, 2, 3), keepdim=True)
    spread = pixels.std((1, 2, 3), keepdim=True)
    return (pixels - mean) / (spread + 2.0)


def _config(size: int) -> Sam2VideoConfig:
    grid = size // 16
    backbone = {  # stands in while transformers builds itself; MiniEncoder takes its place
        "hidden_size": 16,
        "num_attention_heads": 1,
        "blocks_per_stage": [1, 2, 1, 1],
        "embed_dim_per_stage": [16, 16, 16, 16],
        "num_attention_heads_per_stage": [1, 1, 1, 1],
        "window_size_per_stage": [8, 4, 4, 4],
        "global_attention_blocks": [2],
        "image_size": [size, size],
        "model_type": "sam2_hiera_det_model",
    }
    vision = {
        "model_type": "sam2_vision_model",
        "backbone_config": backbone,
        "backbone_channel_list": [16, 16, 16, 16],
        "backbone_feature_sizes": [[size // 4] * 2, [size // 8] * 2, [grid] * 2],
        "fpn_hidden_size": WIDTH,
    }
    return Sam2VideoConfig(
        vision_config=vision,
        prompt_encoder_config=Sam2VideoPromptEncoderConfig(hidden_size=WIDTH, image_size=size),
        mask_decoder_config=Sam2VideoMaskDecoderConfig(
            hidden_size=WIDTH,
            mlp_dim=256,
            num_attention_heads=4,
            iou_head_hidden_dim=WIDTH,
            dynamic_multimask_via_stability=False,
        ),
        image_size=size,
        num_maskmem=MEMORY_FRAMES,
        max_object_pointers_in_encoder=POINTERS,
        memory_attention_hidden_size=WIDTH,
        memory_attention_num_layers=2,
        memory_attention_downsample_rate=2,
        memory_attention_feed_forward_hidden_size=256,
        memory_attention_dropout=0.0,
        memory_attention_rope_dropout=0.0,
        memory_attention_rope_feat_sizes=[grid, grid],
        memory_encoder_hidden_size=WIDTH,
        mask_downsampler_embed_dim=WIDTH,
        memory_fuser_embed_dim=WIDTH,
        memory_fuser_intermediate_dim=256,
        memory_fuser_num_layers=1,
        memory_fuser_layer_scale_init_value=0.1,
        multimask_output_for_tracking=False,
    )


class MiniModel(Sam2VideoModel):
    """SAM 2's video model at width 128 with a small encoder and dense prompts. See the module's
    text.
    """

    def __init__(self, config: Sam2VideoConfig) -> None:
        super().__init__(config)
        self.vision_encoder = MiniEncoder()
        self.dense_branch = DenseBranch(maps=5, flags=3)
        # SAM places points and pixels by one and the same random matrix; transformers draws two
        where = self.shared_image_embedding.positional_embedding
        self.prompt_encoder.shared_embedding.positional_embedding.copy_(where)
        # where an object is only tracked, the map that memory conditioned says where it roughly
        # lies (4 x 4 values a
        # token); together with the answer on the neighbouring frame it is drawn as prompts are
        self.track_prior = nn.Conv2d(WIDTH, 16, 1)
        self.track_branch = DenseBranch(maps=2, flags=1)
        # a decoder of its own lets tracking learn without touching the answers to prompts
        self.track_decoder = copy.deepcopy(self.mask_decoder)
        # whether the object is still there is told by how sure prior and answer are, sooner than by
        # a token
        first = nn.Linear(6, 32)
        last = nn.Linear(32, 1)
        self.track_presence = nn.Sequential(first, nn.ReLU(), last)
        nn.init.zeros_(last.weight)

    def encode(self, pixels: Tensor) -> list[Tensor]:
        """Maps of normalised images (B, 3, S, S): strides 4, 8, 16 with 16, 32, 128 channels.

        The no-memory embedding is not added (it is zero in `mini`).
        """
        return self.vision_encoder(pixels)

    def decode(
        self, features: Sequence[Tensor], prompts: MiniPrompts
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Masks of O objects. Differentiable.

        Mask 0 answers boxes, several clicks, earlier logits and tracking; masks 1 to 3 are three
        readings of a lone click, to be chosen by predicted IoU.

        Args:
            features: three maps from `encode`, of batch 1 or O; the last may be conditioned on
                memory.
            prompts: of the objects.

        Returns:
            logits (O, 4, S/4, S/4), predicted IoU (O, 4) from 0 to 1, object score (O, 1) logit.
        """
        return self.decode_tokens(features, prompts)[:3]

    def decode_tokens(self, features: Sequence[Tensor], prompts: MiniPrompts) -> MaskOutput:
        """As `decode`, and the mask tokens (O, 4, WIDTH) that `object_pointer_proj` makes object
        pointers from.
        """
        complete = prompts.complete(features[-1])
        dense = self.dense_branch(complete.maps(), complete.flags)
        return self._masks(self.mask_decoder, features, self._prompt_tokens(complete), dense)

    def track_tokens(self, features: Sequence[Tensor], last: Tensor) -> MaskOutput:
        """Masks of O objects that are only tracked; as `decode_tokens`.

        Args:
            features: three maps from `encode`, the last one (O, WIDTH, S/16, S/16) conditioned on
                memory.
            last: (O, 1, S/4, S/4) logits of each object on the neighbouring frame, far below zero
                where it was absent.
        """
        conditioned = features[-1]
        objects = len(conditioned)
        nothing = torch.full((objects, 1, 1), PADDING, device=conditioned.device)
        tokens = self.prompt_encoder._embed_points(
            conditioned.new_zeros(objects, 1, 1, 2), nothing, pad=True
        )
        prior = self.where_tracked(conditioned)
        maps = torch.tanh(torch.cat([last, prior], 1) / 4)
        present = (last > 0).flatten(1).any(1, keepdim=True).to(maps.dtype)
        dense = self.track_branch(maps, present)
        output = self._masks(self.track_decoder, features, tokens, dense)
        logits, iou, score, tokens = output
        signs = [
            *_peak_and_area(prior),
            *_peak_and_area(logits[:, :1]),
            iou[:, 0],
            _peak_and_area(last)[1],
        ]
        return logits, iou, score + self.track_presence(torch.stack(signs, 1)), tokens

    def position(self) -> Tensor:
        """(1, WIDTH, S/16, S/16) sine encoding that memory attention adds to the last map, as SAM
        2's neck makes it.
        """
        make = type(self.memory_encoder.position_encoding)(WIDTH // 2, normalize=True)
        side = cast(int, self.image_size) // 16
        return make((1, WIDTH, side, side), self.no_memory_embedding.device, torch.float32)

    def where_tracked(self, conditioned: Tensor) -> Tensor:
        """(O, 1, S/4, S/4) logits of where objects roughly lie, from the map (O, WIDTH, S/16, S/16)
        after memory.
        """
        return F.pixel_shuffle(self.track_prior(conditioned), 4)

    def _prompt_tokens(self, prompts: CompletePrompts) -> Tensor:
        """(O, 1, max(N, CLICKS) + 3, WIDTH): clicks, two corners and SAM's closing "not a point".

        Padding is no neutral token to attention, so there is always as much of it as in training.
        """
        labels = prompts.labels
        corners = labels.new_tensor(CORNERS).expand(len(labels), 2)
        corners = torch.where(prompts.has_box[:, None], corners, PADDING)
        spare = max(0, CLICKS - prompts.points.shape[1])
        points = F.pad(prompts.points, (0, 0, 0, spare))
        points = torch.cat([points, prompts.boxes.view(-1, 2, 2)], 1)
        labels = torch.cat([F.pad(labels, (0, spare), value=PADDING), corners], 1)
        # transformers adds half a pixel to what it takes for pixel indices; ours are edge
        # coordinates already
        return self.prompt_encoder._embed_points(points[:, None] - 0.5, labels[:, None], pad=True)

    def _masks(
        self,
        decoder: Any,
        features: Sequence[Tensor],
        tokens: Tensor,
        dense: tuple[Tensor, Tensor, Tensor],
    ) -> MaskOutput:
        """transformers' mask decoder, but all four masks at once."""
        fine, middle, coarse = (f + d for f, d in zip(features, dense, strict=True))
        coarse = coarse + self.prompt_encoder.no_mask_embed.weight[..., None, None]
        objects = max(len(coarse), len(tokens))
        coarse, fine, middle = (m.expand(objects, -1, -1, -1) for m in (coarse, fine, middle))
        own = torch.cat(
            [decoder.obj_score_token.weight, decoder.iou_token.weight, decoder.mask_tokens.weight]
        )
        tokens = torch.cat([own.expand(objects, 1, -1, -1), tokens.expand(objects, -1, -1, -1)], 2)
        where = self.get_image_wide_positional_embeddings().expand(objects, -1, -1, -1)
        tokens, image = decoder.transformer(
            point_embeddings=tokens,
            image_embeddings=coarse,
            image_positional_embeddings=where,
            attention_similarity=None,
        )[:2]
        image = image.transpose(2, 3).reshape(coarse.shape)
        image = decoder.activation(
            decoder.upscale_layer_norm(decoder.upscale_conv1(image) + middle)
        )
        image = decoder.activation(decoder.upscale_conv2(image) + fine)
        mask_tokens = tokens[:, 0, 2 : 2 + decoder.num_mask_tokens]
        mixers = [mlp(mask_tokens[:, k]) for k, mlp in enumerate(decoder.output_hypernetworks_mlps)]
        logits = (torch.stack(mixers, 1) @ image.flatten(2)).view(objects, -1, *image.shape[-2:])
        iou = decoder.iou_prediction_head(tokens[:, 0, 1])
        return logits, iou, decoder.pred_obj_score_head(tokens[:, 0, 0]), mask_tokens


def _peak_and_area(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of the 16 highest of (O, 1, row, column) logits, within +-2, and the root of the share
    they cover.
    """
    flat = logits.flatten(1)
    peak = (flat.topk(16, dim=1).values.mean(1) / 4).clamp(-2, 2)
    return peak, (flat.sigmoid().mean(1) + 1e-4).sqrt()


def build_mini(size: int = 256) -> MiniModel:
    """A `MiniModel` with random weights for square inputs of `size` pixels (a multiple of 16, 96 to
    512).
    """
    if size % 16 or not 96 <= size <= 512:
        raise ValueError(
            f"mini takes an input size that is a multiple of 16 from 96 to 512, not {size}"
        )
    return MiniModel(_config(size)).eval()


class MiniEngine(Sam2Engine):
    """Engine of `segscope.models.mini.MiniModel`."""

    uses_previous_logits = True
    # the mean with the mirrored window gives 0.005 more Dice
    window_rule: WindowRule | None = WindowRule(mirrors=True, gate_iou=GATE_IOU)

    def pixels(self, rgb: NDArray[np.uint8], *, video: bool = False) -> Tensor:  # noqa: ARG002
        """(1, 3, side, side) input; images and video frames alike."""
        image = image_tensor(rgb).to(self.device)
        pixels = image.permute(2, 0, 1)[None].float()
        pixels = resize(pixels, (self.input_size, self.input_size))
        return normalise(pixels.permute(0, 2, 3, 1)).to(self.dtype)

    def _encode_pixels(self, pixels: Tensor) -> EncodedPixels:
        encoder = self.model.vision_encoder
        deep = encoder.encode_deep(pixels)
        # learning from examples needs no gradient and no more digits
        half = [each.detach().half() for each in deep]
        return EncodedPixels(encoder.project(deep), self.model.position().to(self.dtype), half)

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

    def _choose(self, output: MaskOutput, multimask: bool) -> Decoded:
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
