"""The teacher of KnowSAM: a base with adapters that predicts its own prompts (arXiv 2412.13742,
section 3.2).

It predicts a mask for each class: two tokens predicted from the image embedding take the place of a
box's corners, and the students' fused logits are the mask prompt. No weight of the base changes.
Unlike in the public code adapters start at zero, images are preprocessed as for the base, and SAM
keeps its relative positions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from segscope.adapt.methods.knowsam.students import Prompts
from segscope.adapt.methods.med_sa.layers import Bottleneck
from segscope.adapt.networks.encoder_blocks import extend, places
from segscope.adapt.networks.parameter_groups import feature_channels, network
from segscope.models.engine import Engine, Features
from segscope.models.mini_layers import MiniPrompts
from segscope.models.sam2 import resize

BESIDE = 0.5
"""Scale of the adapters beside MLPs."""

RATIO = 0.25
"""Inner width of the decoder's adapters as a share."""

Hook = Callable[[nn.Module, Any, Any], Any]

HEADS = "knowsam_prompts"
SERIAL = "serial_adapter"
PARALLEL = "parallel_adapter"
FINAL = "final_adapter"


class Teacher:
    """An engine that predicts every class without a prompt.

    Args:
        engine: with the modules of `make_modules` in its network.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.heads: nn.ModuleList = getattr(network(engine), HEADS)

    def __call__(self, features: Sequence[Features], masks: Tensor) -> Tensor:
        """Logits (B, class, row, column) of B square images.

        Args:
            features: of each image.
            masks: (B, class, row, column) logits as mask prompts; they get no gradient.
        """
        embeddings = torch.cat([each.maps[-1] for each in features])
        tokens = torch.stack([head(embeddings) for head in self.heads], 1)  # (B, class, 2, channel)
        masks = masks.detach()
        side = (masks.shape[-2], masks.shape[-1])
        logits = []
        for k, each in enumerate(features):
            low = decode(self.engine, each, tokens[k], masks[k][:, None])
            logits.append(self.engine.to_frame(low, side))
        return torch.stack(logits)


def decode(engine: Engine, features: Features, tokens: Tensor, masks: Tensor) -> Tensor:
    """Logits (O, row, column) of one image from prompts as tokens.

    Args:
        features: of the image.
        tokens: (O, N, channel), in the place of clicks and corners.
        masks: (O, 1, row, column) logits.
    """
    if engine.card.family == "mini":
        return _decode_mini(engine, features, tokens, masks)
    model = network(engine)
    count = len(tokens)
    coarse = features.maps[-1]
    image = coarse.float()
    options = {}
    if engine.card.family != "sam":
        image = engine.unconditioned(features)
        fine = [item.expand(count, -1, -1, -1) for item in features.maps[:-1]]
        options["high_resolution_features"] = fine
    size = (4 * coarse.shape[-2], 4 * coarse.shape[-1])
    dense = model.prompt_encoder.mask_embed(resize(masks.to(image.dtype), size))
    position = model.get_image_wide_positional_embeddings().to(image.dtype)
    logits: Tensor = model.mask_decoder(
        image_embeddings=image.expand(count, -1, -1, -1),
        image_positional_embeddings=position.expand(count, -1, -1, -1),
        sparse_prompt_embeddings=tokens[:, None].to(image.dtype),
        dense_prompt_embeddings=dense,
        multimask_output=False,
        **options,
    )[0]
    return logits[:, 0, 0].float()


def _decode_mini(engine: Engine, features: Features, tokens: Tensor, masks: Tensor) -> Tensor:
    """As `decode`; `mini` also takes prompts as maps, here of the masks alone."""
    model = network(engine)
    grid = features.maps[0].shape[-2:]
    previous = resize(masks.to(features.maps[-1].dtype), grid)
    prompts = MiniPrompts(previous=previous).complete(features.maps[-1])
    dense = model.dense_branch(prompts.maps(), prompts.flags)
    logits: Tensor = model._masks(model.mask_decoder, features.maps, tokens[:, None], dense)[0]
    return logits[:, 0].float()


def make_modules(
    engine: Engine, classes: int, ratio: float, prompt_width: int
) -> dict[str, nn.Module]:
    """The modules that are added to a network, by path.

    Args:
        engine: the base.
        classes: with background.
        ratio: inner width of the encoder's adapters as a share; 0 for none.
        prompt_width: of the layers that predict prompts.
    """
    added: dict[str, nn.Module] = {}
    if ratio:
        for place in places(engine):
            inside = max(1, round(place.width * ratio))
            added[f"{place.name}.after_mixing"] = Bottleneck(place.width, inside)
            added[f"{place.name}.beside_mlp"] = Bottleneck(place.width, inside, scale=BESIDE)
    channels = feature_channels(engine)[-1]
    inside = max(1, round(channels * RATIO))
    decoder = "mask_decoder.transformer"
    for number in range(len(network(engine).mask_decoder.transformer.layers)):
        layer = f"{decoder}.layers.{number}"
        added[f"{layer}.{SERIAL}"] = Bottleneck(channels, inside, scale=1.0)
        added[f"{layer}.{PARALLEL}"] = Bottleneck(channels, inside, scale=BESIDE)
    added[f"{decoder}.{FINAL}"] = Bottleneck(channels, inside)
    added[HEADS] = nn.ModuleList(Prompts(channels, prompt_width) for _ in range(classes))
    return added


def insert_modules(engine: Engine, added: dict[str, nn.Module]) -> None:
    """Put modules into an engine's network, and let its layers call them."""
    model = network(engine)
    children: dict[str, dict[str, nn.Module]] = {}
    for path, module in added.items():
        owner, _, name = path.rpartition(".")
        children.setdefault(owner, {})[name] = module.to(engine.device).eval()
    for place in places(engine):
        if place.name in children:
            extend(place, **children.pop(place.name))
    for owner, modules in children.items():
        for name, module in modules.items():
            model.get_submodule(owner).add_module(name, module)
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
    # SAM 2 would choose among its masks by stability, perhaps not the one that is trained
    model.mask_decoder.dynamic_multimask_via_stability = False


def _after(adapter: nn.Module) -> Hook:
    """A hook that adds to the output of attention; (output, weights) in and out."""
    return lambda _module, _inputs, output: (output[0] + adapter(output[0]), *output[1:])


def _beside(adapter: nn.Module) -> Hook:
    """A hook that adds to the output of an MLP, from its input."""
    return lambda _module, inputs, output: output + adapter(inputs[0])
