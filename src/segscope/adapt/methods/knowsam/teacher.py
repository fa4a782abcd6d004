"""The teacher of KnowSAM: a base with adapters that predicts its own prompts (arXiv 2412.13742,
section 3.2).

A mask for each class: two tokens predicted from the image embedding stand where a box's corners
would, and the students' fused logits are the mask prompt. No weight of the base changes. Unlike in
the public code adapters begin as nothing, images are prepared as the base wants them, and SAM
keeps its relative positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from segscope.adapt.methods.knowsam.students import Prompts
from segscope.adapt.methods.med_sa.layers import Bottleneck
from segscope.adapt.networks.encoder_blocks import grow, places
from segscope.adapt.networks.parameter_groups import feature_channels, network
from segscope.models.engine import Engine, Features
from segscope.models.mini import prompt_maps
from segscope.models.sam2 import resize

BESIDE = 0.5
"""Scale of the adapters beside MLPs."""

RATIO = 0.25
"""Inner width of the decoder's adapters as a share."""

HEADS = "knowsam_prompts"
SERIAL = "serial_adapter"
PARALLEL = "parallel_adapter"
FINAL = "final_adapter"


class Teacher:
    """An engine that answers for every class without being asked.

    Args:
        engine: with `put` done to its network.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.heads: Any = getattr(network(engine), HEADS)

    def __call__(self, features: Sequence[Features], masks: Tensor) -> Tensor:
        """Logits (B, class, row, column) of B square images.

        Args:
            features: of each image.
            masks: (B, class, row, column) logits of an earlier answer; they get no gradient.
        """
        embeddings = torch.cat([each.maps[-1] for each in features])
        tokens = torch.stack([head(embeddings) for head in self.heads], 1)  # (B, class, 2, channel)
        masks = masks.detach()
        side = (masks.shape[-2], masks.shape[-1])
        found = [
            self.engine.to_frame(decode(self.engine, each, tokens[k], masks[k][:, None]), side)
            for k, each in enumerate(features)
        ]
        return torch.stack(found)


def decode(engine: Engine, features: Features, tokens: Tensor, masks: Tensor) -> Tensor:
    """Logits (O, row, column) of one image from prompts as tokens.

    Args:
        features: of the image.
        tokens: (O, N, channel), in the place of clicks and corners.
        masks: (O, 1, row, column) logits.
    """
    model = network(engine)
    count = len(tokens)
    sparse = tokens[:, None]
    coarse = features.maps[-1]
    if engine.card.family == "mini":
        grid = features.maps[0].shape[-2:]
        no = torch.zeros(count, dtype=torch.bool, device=tokens.device)
        nothing = tokens.new_zeros(count, 0, 2)
        labels = torch.zeros(count, 0, dtype=torch.long, device=tokens.device)
        last = resize(masks.to(coarse.dtype), grid)
        drawn = prompt_maps(
            4 * grid[0], nothing, labels, tokens.new_zeros(count, 4), no, last, ~no, ~no
        )
        answer: Tensor = model._masks(
            model.mask_decoder, features.maps, sparse, model.dense_branch(*drawn)
        )[0]
        return answer[:, 0].float()
    plain: Any = engine
    if engine.card.family == "sam":
        image = coarse.float()
    else:
        image = plain.plain(features)
    size = (4 * coarse.shape[-2], 4 * coarse.shape[-1])
    more: dict[str, Any] = {}
    if engine.card.family != "sam":
        more["high_resolution_features"] = [
            item.expand(count, -1, -1, -1) for item in features.maps[:-1]
        ]
    position = model.get_image_wide_positional_embeddings().to(image.dtype)
    logits: Tensor = model.mask_decoder(
        image_embeddings=image.expand(count, -1, -1, -1),
        image_positional_embeddings=position.expand(count, -1, -1, -1),
        sparse_prompt_embeddings=sparse.to(image.dtype),
        dense_prompt_embeddings=model.prompt_encoder.mask_embed(
            resize(masks.to(image.dtype), size)
        ),
        multimask_output=False,
        **more,
    )[0]
    return logits[:, 0, 0].float()


def modules(engine: Engine, classes: int, ratio: float, prompt_width: int) -> dict[str, nn.Module]:
    """What is put into a network, by path.

    Args:
        engine: the base.
        classes: with background.
        ratio: inner width of the encoder's adapters as a share; 0 for none.
        prompt_width: of the layers that predict prompts.
    """
    made: dict[str, nn.Module] = {}
    for place in places(engine) if ratio else []:
        inside = max(1, round(place.width * ratio))
        made[f"{place.name}.after_mixing"] = Bottleneck(place.width, inside)
        made[f"{place.name}.beside_mlp"] = Bottleneck(place.width, inside, scale=BESIDE)
    channels = feature_channels(engine)[-1]
    inside = max(1, round(channels * RATIO))
    decoder = "mask_decoder.transformer"
    for number in range(len(network(engine).mask_decoder.transformer.layers)):
        for name, scale in ((SERIAL, 1.0), (PARALLEL, BESIDE)):
            made[f"{decoder}.layers.{number}.{name}"] = Bottleneck(channels, inside, scale=scale)
    made[f"{decoder}.{FINAL}"] = Bottleneck(channels, inside)
    made[HEADS] = nn.ModuleList(Prompts(channels, prompt_width) for _ in range(classes))
    return made


def put(engine: Engine, made: dict[str, nn.Module]) -> None:
    """Put modules into an engine's network, where its layers ask them."""
    model = network(engine)
    inside: dict[str, dict[str, nn.Module]] = {}
    for path, module in made.items():
        owner, _, name = path.rpartition(".")
        inside.setdefault(owner, {})[name] = module.to(engine.device).eval()
    for place in places(engine):
        if place.name in inside:
            grow(place, **inside.pop(place.name))
    for owner, children in inside.items():
        for name, child in children.items():
            model.get_submodule(owner).add_module(name, child)
    transformer = model.mask_decoder.transformer
    for layer in transformer.layers:
        for attention in (
            layer.self_attn,
            layer.cross_attn_token_to_image,
            layer.cross_attn_image_to_token,
        ):
            attention.register_forward_hook(_after(getattr(layer, SERIAL)))
        layer.mlp.register_forward_hook(_beside(getattr(layer, PARALLEL)))
    final = transformer.final_attn_token_to_image
    for _ in range(2):  # twice, as in the public code
        final.register_forward_hook(_after(getattr(transformer, FINAL)))
    # SAM 2 would judge its masks by their stability and may pick another than the one that learns
    model.mask_decoder.dynamic_multimask_via_stability = False


def _after(adapter: nn.Module) -> Any:
    """A hook that adds to what attention answered; (answer, weights) in and out."""
    return lambda _module, _given, answer: (answer[0] + adapter(answer[0]), *answer[1:])


def _beside(adapter: nn.Module) -> Any:
    """A hook that adds to what an MLP answered, from what it was given."""
    return lambda _module, given, answer: answer + adapter(given[0])
