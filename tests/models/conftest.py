"""Small networks in the layout of official checkpoints, with weights that depend only on names and
shapes.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.data import parity_folder
from torch import Tensor

from segscope.models.build import build

_BACK = {  # from the names of transformers' modules to official ones, in this order
    "common": (
        (r"^shared_image_embedding\..*", ""),
        (r"shared_embedding\.positional_embedding", "pe_layer.positional_encoding_gaussian_matrix"),
        (r"mask_embed\.conv1\.", "mask_downscaling.0."),
        (r"mask_embed\.layer_norm1\.", "mask_downscaling.1."),
        (r"mask_embed\.conv2\.", "mask_downscaling.3."),
        (r"mask_embed\.layer_norm2\.", "mask_downscaling.4."),
        (r"mask_embed\.conv3\.", "mask_downscaling.6."),
        (r"point_embed\.(\d)", r"point_embeddings.\1"),
        (r"upscale_conv1", "output_upscaling.0"),
        (r"upscale_layer_norm", "output_upscaling.1"),
        (r"upscale_conv2", "output_upscaling.3"),
        (r"(_head|mlps\.\d|pointer_proj)\.layers\.0", r"\1.layers.1"),
        (r"(_head|mlps\.\d|pointer_proj)\.proj_in", r"\1.layers.0"),
        (r"(_head|mlps\.\d|pointer_proj)\.proj_out", r"\1.layers.2"),
        (r"patch_embed\.projection", "patch_embed.proj"),
        (r"mask_decoder\.transformer\.layer_norm_final", "mask_decoder.transformer.norm_final"),
    ),
    "sam": (
        (r"vision_encoder\.neck\.conv1", "image_encoder.neck.0"),
        (r"vision_encoder\.neck\.layer_norm1", "image_encoder.neck.1"),
        (r"vision_encoder\.neck\.conv2", "image_encoder.neck.2"),
        (r"vision_encoder\.neck\.layer_norm2", "image_encoder.neck.3"),
        (r"vision_encoder\.layers", "image_encoder.blocks"),
        (r"vision_encoder\.", "image_encoder."),
        (r"layer_norm(\d)", r"norm\1"),
    ),
    "sam2": (
        (r"vision_encoder\.backbone\.timm_model", "image_encoder.trunk.body"),
        (r"vision_encoder\.backbone", "image_encoder.trunk"),
        (r"vision_encoder\.neck\.convs\.(\d)", r"image_encoder.neck.convs.\1.conv"),
        (r"^(prompt_encoder|mask_decoder)", r"sam_\1"),
        (r"\.mlp\.proj_in", ".mlp.layers.0"),
        (r"\.mlp\.proj_out", ".mlp.layers.1"),
        (r"(memory_attention\.layers\.\d\.)mlp\.up_proj", r"\1linear1"),
        (r"(memory_attention\.layers\.\d\.)mlp\.down_proj", r"\1linear2"),
        (r"spatial_perceiver\.layer_norm", "spatial_perceiver.norm"),
        (r"latents_1d", "latents"),
        (
            r"cross_attention\.|self_attention\.",
            lambda m: "attn." if m[0][0] == "c" else "self_attn.",
        ),
        (r"layer_norm_input", "attn.norm_x"),
        (r"layer_norm_latents", "attn.norm_latents"),
        (r"layer_norm_self", "self_attn.norm"),
        (r"(spatial_perceiver.*\.)self_mlp\.", r"\1self_ff."),
        (r"(spatial_perceiver.*\.)mlp\.", r"\1ff."),
        (r"ff\.layer_norm", "ff.0"),
        (r"ff\.up_proj", "ff.1"),
        (r"ff\.down_proj", "ff.3"),
        (r"(spatial_perceiver.*)\.q_proj", r"\1.to_q"),
        (r"(spatial_perceiver.*)\.o_proj", r"\1.to_out"),
        (r"\.o_proj", ".out_proj"),
        (r"mask_downsampler\.final_conv", "mask_downsampler.encoder.12"),
        (
            r"mask_downsampler\.layers\.(\d)\.conv",
            lambda m: f"mask_downsampler.encoder.{3 * int(m[1])}",
        ),
        (
            r"mask_downsampler\.layers\.(\d)\.layer_norm",
            lambda m: f"mask_downsampler.encoder.{3 * int(m[1]) + 1}",
        ),
        (r"feature_projection", "pix_feat_proj"),
        (r"memory_encoder\.projection", "memory_encoder.out_proj"),
        (r"memory_fuser", "fuser"),
        (r"depthwise_conv", "dwconv"),
        (r"pointwise_conv", "pwconv"),
        (r"(fuser\.layers\.\d)\.scale", r"\1.gamma"),
        (r"layer_norm(\d?)", r"norm\1"),
        (r"memory_temporal_positional_encoding", "maskmem_tpos_enc"),
        (r"no_memory_embedding", "no_mem_embed"),
        (r"no_memory_positional_encoding", "no_mem_pos_enc"),
        (r"no_object_pointer", "no_obj_ptr"),
        (r"occlusion_spatial_embedding_parameter", "no_obj_embed_spatial"),
        (r"object_pointer_proj", "obj_ptr_proj"),
        (r"temporal_positional_encoding_projection_layer", "obj_ptr_tpos_proj"),
    ),
}


def to_official(family: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A module's state dict under the names of the official release: the reverse of what is
    tested.
    """
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        if key == "prompt_encoder.point_embed.weight":
            found |= {
                f"sam_prompt_encoder.point_embeddings.{i}.weight": value[i : i + 1].clone()
                for i in range(4)
            }
            continue
        name = key
        for pattern, to in (*_BACK["common"], *_BACK["sam" if family == "sam" else "sam2"]):
            name = re.sub(pattern, to, name)  # type: ignore[call-overload]
        if name:
            found[name] = value.clone()
    for key in [key for key in found if key.startswith("spatial_perceiver") and ".k_proj." in key]:
        pair = [found.pop(key), found.pop(key.replace("k_proj", "v_proj"))]
        found[key.replace("k_proj", "to_kv")] = torch.cat(pair)
    return found


def synthetic(name: str, shape: tuple[int, ...]) -> Tensor:
    """Numbers for one tensor, from its name: alive (order one) wherever the network looks."""
    draw = (
        np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
    )
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "num_batches_tracked":
        return torch.tensor(0)
    if leaf == "running_var":
        draw = 1 + 0.1 * np.abs(draw)
    elif leaf == "running_mean" or leaf == "bias":
        draw = 0.05 * draw
    elif leaf == "weight" and len(shape) == 1:
        draw = 1 + 0.1 * draw
    elif (
        leaf == "weight"
        and "embed" not in name.split(".")[-2]
        and "token" not in name.split(".")[-2]
    ):
        draw = draw / np.sqrt(np.prod(shape[1:]))
    elif "gaussian" not in leaf:
        draw = 0.2 * draw
    return torch.from_numpy(np.asarray(draw, np.float32))


@pytest.fixture(scope="session")
def official() -> Callable[..., dict[str, Tensor]]:
    """Small official-format state dicts: official("sam2", version="2.0")."""

    def make(family: str, **options: Any) -> dict[str, Tensor]:
        shapes = to_official(family, dict(build(family, "test", **options).state_dict()))
        return {key: synthetic(key, tuple(value.shape)) for key, value in shapes.items()}

    return make


@pytest.fixture
def parity() -> Path:
    """Key tables and reference outputs of the official implementations, where they are."""
    return parity_folder()
