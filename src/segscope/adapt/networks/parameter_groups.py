"""Parts of the families' networks by the beginnings of their parameters' names."""

from __future__ import annotations

from typing import Any

ENCODER = ("vision_encoder.",)
DECODER = ("mask_decoder.",)
HIGH_RESOLUTION = ("mask_decoder.conv_s0.", "mask_decoder.conv_s1.")
"""In SAM 2 these belong to the decoder by name and to the encoder by use: `encode` runs them."""

PLACES = ("prompt_encoder.shared_embedding.", "shared_image_embedding.")
"""Random matrices that place points and pixels; nothing trains them."""


def prompts(family: str) -> tuple[str, ...]:
    """Where prompts become numbers: in `mini` also as maps."""
    if family == "mini":
        return ("prompt_encoder.", "dense_branch.")
    return ("prompt_encoder.",)


def encoder_maps(engine: Any) -> tuple[int, ...]:
    """Channels of the feature maps of an engine, finest first."""
    model = engine.model
    family = engine.card.family
    if family == "sam":
        return (int(model.config.vision_config.output_channels),)
    if family == "mini":
        encoder = model.vision_encoder
        return tuple(
            int(layer.out_channels) for layer in (encoder.fine, encoder.middle, encoder.coarse)
        )
    decoder = model.mask_decoder
    width = int(model.config.vision_config.fpn_hidden_size)
    return int(decoder.conv_s0.out_channels), int(decoder.conv_s1.out_channels), width
