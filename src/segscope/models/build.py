"""Networks without weights: one explicit transformers configuration for each family and size.

Nothing is left to the library's defaults where a family's released configuration says otherwise:
transformers gives an `EdgeTamVideoConfig()` a Hiera encoder, and changing `image_size` alone leaves
four other sizes behind. Sizes from the released configurations of SAM (arXiv 2304.02643), SAM 2
(2408.00714), EdgeTAM (2501.07256) and SAM 3 (2511.16719). Size `"test"` is a small random network
of the same make, for tests.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from types import MethodType

import torch
from torch import Tensor, nn

from segscope.errors import CheckpointError, UnknownName
from segscope.models import repvit
from segscope.models.library import ConfigFields, LibraryModule

NATIVE_SIZE = {"sam": 1024, "sam2": 1024, "edgetam": 1024, "sam3": 1008}
"""Input side in pixels that each family was trained at."""

TEST_SIZE = {"sam": 128, "sam2": 128, "edgetam": 128, "sam3": 112}
"""Input side in pixels of the test networks."""


@dataclass(frozen=True)
class Hiera:
    """Numbers of a SAM 2 image encoder."""

    width: int
    heads: int
    blocks: tuple[int, int, int, int]
    global_blocks: tuple[int, ...]
    windows: tuple[int, int, int, int] = (8, 4, 14, 7)
    background: int = 7


@dataclass(frozen=True)
class Vit:
    """Numbers of a SAM image encoder."""

    width: int
    layers: int
    heads: int
    global_layers: tuple[int, ...]
    window: int = 14


HIERA = {
    "tiny": Hiera(96, 1, (1, 2, 7, 2), (5, 7, 9)),
    "small": Hiera(96, 1, (1, 2, 11, 2), (7, 10, 13)),
    "base+": Hiera(112, 2, (2, 3, 16, 3), (12, 16, 20), background=14),
    "large": Hiera(144, 2, (2, 6, 36, 4), (23, 33, 43), windows=(8, 4, 16, 8)),
    "test": Hiera(16, 1, (1, 1, 2, 1), (3,), windows=(8, 4, 4, 2)),
}
VIT = {
    "vit-b": Vit(768, 12, 12, (2, 5, 8, 11)),
    "vit-l": Vit(1024, 24, 16, (5, 11, 17, 23)),
    "vit-h": Vit(1280, 32, 16, (7, 15, 23, 31)),
    "test": Vit(32, 2, 2, (1,), window=4),
}
SIZES: dict[str, tuple[str, ...]] = {
    "sam": tuple(VIT),
    "sam2": tuple(HIERA),
    "edgetam": ("m1", "test"),
    "sam3": ("tracker", "test"),
}


def build(
    family: str,
    size: str,
    input_size: int | None = None,
    *,
    version: str = "2.1",
    meta: bool = False,
) -> nn.Module:
    """A network of a family with random weights, in evaluation mode.

    Args:
        family: "sam", "sam2", "edgetam" or "sam3".
        size: one of `SIZES[family]`; "test" is small and, unlike the others, the same at every
            call.
        input_size: side of the square input in pixels, a multiple of the encoder's stride; default:
            what it was trained at.
        version: "2.0" or "2.1"; counts for sam2 only.
        meta: parameters without memory, to be filled by `fill`.

    Raises:
        UnknownName: no such family or size.
        CheckpointError: an input size that the family cannot have.
    """
    if family not in SIZES:
        raise UnknownName("family of models", family, SIZES)
    if size not in SIZES[family]:
        raise UnknownName(f"size of {family}", size, SIZES[family])
    side = input_size or (TEST_SIZE if size == "test" else NATIVE_SIZE)[family]
    # EdgeTAM cuts the stride-16 map into as many windows as it has latents: 16 x 16, 4 x 4 in the
    # test network
    stride = {"sam3": 14, "edgetam": 64 if size == "test" else 256, "sam2": 32}.get(family, 16)
    if side <= 0 or side % stride:
        raise CheckpointError(
            f"{family} wants an input size that is a multiple of {stride} pixels, got {side}."
        )
    make = _MAKERS[family]
    if meta:
        with torch.device("meta"):
            return make(size, side, version).eval()
    if size != "test":
        return make(size, side, version).eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = make(size, side, version).eval()
        _stir(model)
    return model


def fill(model: nn.Module, state: dict[str, Tensor]) -> nn.Module:
    """Give a network from `build(..., meta=True)` its weights without copying them.

    Args:
        model: as built.
        state: every parameter and persistent buffer, by name; the tensors become the model's own.
    """
    model.load_state_dict(state, strict=True, assign=True)
    for path, module in model.named_modules():
        waiting = [name for name, item in module.named_buffers(recurse=False) if item.is_meta]
        for name in waiting:
            setattr(module, name, torch.empty_like(module.get_buffer(name), device="cpu"))
        if waiting:
            # tables that no checkpoint holds (rotary frequencies, positions): the library computes
            # them here
            _owner(model, path)._init_weights(module)
    left = [
        name for name, item in [*model.named_parameters(), *model.named_buffers()] if item.is_meta
    ]
    if left:
        raise AssertionError(f"without a value after loading: {left[:5]}")
    return model


def _owner(model: nn.Module, path: str) -> LibraryModule:
    """The innermost part of the library that knows how to initialise the module at `path`."""
    while path:
        module = model.get_submodule(path)
        if hasattr(module, "_init_weights"):
            return module
        path = path.rpartition(".")[0]
    return model


@torch.no_grad()
def _stir(model: nn.Module) -> None:
    """Give a test network values at which every path is alive: logits of order one, objects mostly
    present.
    """
    for name, item in model.named_parameters():
        if name.endswith("pred_obj_score_head.proj_out.bias"):
            item.fill_(2.0)
        elif name.endswith("bias"):
            item.normal_(std=0.05)
        elif item.ndim == 1:  # scales of normalisations and layers
            item.normal_(mean=1.0, std=0.1)
        elif name.endswith("weight") and not re.search("embed|token", name.split(".")[-2]):
            item.normal_(std=item[0].numel() ** -0.5)
        else:
            item.normal_(std=0.2)


# --- families ------------------------------------------------------------------------------------


def _heads(
    size: str,
    side: int,
    prompts: type,
    masks: type,
    patch: int = 16,
) -> ConfigFields:
    """Configurations of prompt encoder and mask decoder for the families with memory.

    Objects and not dictionaries: transformers 5.17 reads a dictionary for the decoder as one for
        the prompt encoder.
    """
    if size == "test":
        encoder = prompts(image_size=side, patch_size=patch, hidden_size=128)
        decoder = masks(hidden_size=128, mlp_dim=64, iou_head_hidden_dim=32)
    else:
        encoder = prompts(image_size=side, patch_size=patch)
        decoder = masks()
    return {"prompt_encoder_config": encoder, "mask_decoder_config": decoder}


def _narrow(size: str) -> ConfigFields:
    """Widths of the memory parts of a test network."""
    if size != "test":
        return {}
    return {
        "memory_attention_hidden_size": 128,
        "memory_encoder_hidden_size": 128,
        "mask_downsampler_embed_dim": 128,
        "memory_fuser_embed_dim": 128,
        "memory_fuser_intermediate_dim": 64,
    }


def _shallow(size: str) -> ConfigFields:
    """Depth of the memory attention of a test network."""
    if size != "test":
        return {}
    return {"memory_attention_num_layers": 2, "memory_attention_feed_forward_hidden_size": 64}


def _maps(side: int, stride: int = 16) -> list[list[int]]:
    return [[side * step // stride] * 2 for step in (4, 2, 1)]


def _sam2(size: str, side: int, version: str) -> nn.Module:
    from transformers import (
        Sam2HieraDetConfig,
        Sam2VideoConfig,
        Sam2VideoMaskDecoderConfig,
        Sam2VideoModel,
        Sam2VideoPromptEncoderConfig,
        Sam2VisionConfig,
    )

    if version not in ("2.0", "2.1"):
        raise UnknownName("version of SAM 2", version, ("2.0", "2.1"))
    numbers = HIERA[size]
    widths = [numbers.width * 2**stage for stage in range(4)]
    backbone = Sam2HieraDetConfig(
        hidden_size=numbers.width,
        num_attention_heads=numbers.heads,
        blocks_per_stage=list(numbers.blocks),
        embed_dim_per_stage=widths,
        num_attention_heads_per_stage=[numbers.heads * 2**stage for stage in range(4)],
        window_size_per_stage=list(numbers.windows),
        global_attention_blocks=list(numbers.global_blocks),
        window_positional_embedding_background_size=[numbers.background] * 2,
        image_size=[side, side],
    )
    vision = Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=widths[::-1],
        backbone_feature_sizes=_maps(side),
        fpn_hidden_size=128 if size == "test" else 256,
    )
    newer = version == "2.1"
    config = Sam2VideoConfig(
        vision_config=vision,
        image_size=side,
        memory_attention_rope_feat_sizes=[side // 16] * 2,
        enable_occlusion_spatial_embedding=newer,
        enable_temporal_pos_encoding_for_object_pointers=newer,
        **_heads(size, side, Sam2VideoPromptEncoderConfig, Sam2VideoMaskDecoderConfig),
        **_narrow(size),
        **_shallow(size),
    )
    return Sam2VideoModel(config)


def _edgetam(size: str, side: int, _: str) -> nn.Module:
    from transformers import (
        EdgeTamVideoConfig,
        EdgeTamVideoMaskDecoderConfig,
        EdgeTamVideoModel,
        EdgeTamVideoPromptEncoderConfig,
        Sam2HieraDetConfig,
        Sam2VisionConfig,
    )

    widths = repvit.WIDTHS
    depths = repvit.DEPTHS
    neck = 256
    latents = 256
    extra: ConfigFields = {}
    if size == "test":
        widths = (8, 16, 24, 32)
        depths = (2, 1, 1, 1)
        neck = 128
        latents = 16
        extra["memory_attention_mlp_hidden_size"] = 64
        extra["perceiver_resampler_mlp_intermediate_size"] = 64
    # SAM 2's vision model has the same neck; with EdgeTAM's own the library asks for timm, or for
    # the network (5.17)
    stand_in = Sam2HieraDetConfig(
        hidden_size=8,
        blocks_per_stage=[1, 1, 1, 1],
        embed_dim_per_stage=[8, 8, 8, 8],
        num_attention_heads_per_stage=[1, 1, 1, 1],
        global_attention_blocks=[],
    )
    vision = Sam2VisionConfig(
        backbone_config=stand_in,
        backbone_channel_list=list(widths[::-1]),
        backbone_feature_sizes=_maps(side),
        fpn_hidden_size=neck,
    )
    config = EdgeTamVideoConfig(
        vision_config=vision,
        image_size=side,
        memory_attention_num_layers=2,
        memory_attention_rope_feat_sizes=[side // 16] * 2,
        memory_attention_rope_k_sizes=[math.isqrt(latents)] * 2,
        perceiver_resampler_num_latents=latents,
        perceiver_resampler_num_latents_2d=latents,
        enable_occlusion_spatial_embedding=False,
        enable_temporal_pos_encoding_for_object_pointers=False,
        **_heads(size, side, EdgeTamVideoPromptEncoderConfig, EdgeTamVideoMaskDecoderConfig),
        **_narrow(size),
        **extra,
    )
    model = EdgeTamVideoModel(config)
    perceiver = model.spatial_perceiver
    perceiver.forward = MethodType(_one_by_one, perceiver)  # type: ignore[method-assign]
    model.vision_encoder.backbone = repvit.RepVitBackbone(widths, depths)
    return model


def _one_by_one(
    perceiver: LibraryModule, hidden: Tensor, position: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The library's perceiver for any number of objects; its `forward` fails on more than one."""
    if position is None:
        places = [None] * len(hidden)
    else:
        places = position.expand_as(hidden).split(1)
    parts = [
        type(perceiver).forward(perceiver, one, place)
        for one, place in zip(hidden.split(1), places, strict=True)
    ]
    tokens, spots = zip(*parts, strict=True)
    return torch.cat(tokens), torch.cat(spots)


def _sam(size: str, side: int, _: str) -> nn.Module:
    from transformers import (
        SamConfig,
        SamMaskDecoderConfig,
        SamModel,
        SamPromptEncoderConfig,
        SamVisionConfig,
    )

    numbers = VIT[size]
    test = size == "test"
    width = 256
    if test:
        width = 128
    masks: ConfigFields = {
        "layer_norm_eps": 1e-5
    }  # as released; the library's 1e-6 moves logits by up to 6e-4
    if test:
        masks |= {"hidden_size": width, "mlp_dim": 64, "iou_head_hidden_dim": 32}
    config = SamConfig(
        vision_config=SamVisionConfig(
            hidden_size=numbers.width,
            num_hidden_layers=numbers.layers,
            num_attention_heads=numbers.heads,
            global_attn_indexes=list(numbers.global_layers),
            window_size=numbers.window,
            mlp_dim=4 * numbers.width,
            image_size=side,
            output_channels=width,
            num_pos_feats=width // 2,
            initializer_range=0.1 if test else 1e-10,
        ),
        prompt_encoder_config=SamPromptEncoderConfig(image_size=side, hidden_size=width),
        mask_decoder_config=SamMaskDecoderConfig(**masks),
    )
    return SamModel(config)


def _sam3(size: str, side: int, _: str) -> nn.Module:
    from transformers import (
        Sam3TrackerVideoConfig,
        Sam3TrackerVideoMaskDecoderConfig,
        Sam3TrackerVideoModel,
        Sam3TrackerVideoPromptEncoderConfig,
        Sam3VisionConfig,
        Sam3ViTConfig,
    )

    test = size == "test"
    shape: ConfigFields = {"image_size": side, "patch_size": 14}
    if test:
        shape |= {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "window_size": 4,
            "global_attn_indexes": [1],
            "pretrain_image_size": 56,
        }
    vision = Sam3VisionConfig(
        backbone_config=Sam3ViTConfig(**shape),
        backbone_feature_sizes=_maps(side, 14),
        fpn_hidden_size=128 if test else 256,
    )
    config = Sam3TrackerVideoConfig(
        vision_config=vision,
        image_size=side,  # type: ignore[call-arg]
        memory_attention_rope_feat_sizes=[side // 14] * 2,
        **_heads(
            size,
            side,
            Sam3TrackerVideoPromptEncoderConfig,
            Sam3TrackerVideoMaskDecoderConfig,
            patch=14,
        ),
        **_narrow(size),
        **_shallow(size),
    )
    return Sam3TrackerVideoModel(config)


_MAKERS: dict[str, Callable[[str, int, str], nn.Module]] = {
    "sam": _sam,
    "sam2": _sam2,
    "edgetam": _edgetam,
    "sam3": _sam3,
}
