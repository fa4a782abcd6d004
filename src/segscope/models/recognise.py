"""What a set of tensors is (family, size and version of a network of the SAM family, by names and
shapes), and official names of tensors as those of transformers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from segscope.errors import CheckpointError
from segscope.models.build import HIERA, VIT

State = Mapping[str, Tensor]

SAM3_PATCH = "vision_encoder.backbone.embeddings.patch_embeddings.projection.weight"
EDGETAM_STEMS = {
    "image_encoder.trunk.body.stem.conv1.c.weight": "official",
    "vision_encoder.backbone.timm_model.stem.conv1.c.weight": "transformers",
}


@dataclass(frozen=True)
class Kind:
    """What a set of tensors is, judged by names and shapes.

    Attributes:
        layout: "official" names or those of "transformers".
        family, size, version: as `build` takes them.
        input_size: side in pixels where the tensors fix it, else None.
    """

    layout: str
    family: str
    size: str
    version: str = ""
    input_size: int | None = None


@dataclass(frozen=True)
class Names:
    """How a layout names the parts of an image encoder.

    Attributes:
        layout: "official" or "transformers".
        encoder: prefix of the image encoder.
        hiera: prefix of SAM 2's trunk.
        layers: list of SAM's blocks.
        patch: the projection of patches.
    """

    layout: str
    encoder: str
    hiera: str
    layers: str
    patch: str


LAYOUTS = (
    Names("official", "image_encoder.", "image_encoder.trunk.", "blocks", "proj"),
    Names("transformers", "vision_encoder.", "vision_encoder.backbone.", "layers", "projection"),
)


def recognise(state: State, name: str = "checkpoint") -> Kind:
    """Family, size and version of tensors by their names and shapes.

    Raises:
        CheckpointError: of no family that can be loaded; relatives are named.
    """
    for names in LAYOUTS:
        patch = f"patch_embed.{names.patch}.weight"
        if names.hiera + patch in state:
            return _hiera(state, names, names.hiera + patch, name)
        if names.encoder + patch in state:
            return _vit(state, names, names.encoder + patch, name)
    for key, layout in EDGETAM_STEMS.items():
        if key in state:
            return Kind(layout, "edgetam", "m1" if state[key].shape[0] == 24 else "test")
    if _has_prefix(state, "dense_branch."):
        return Kind("transformers", "mini", "mini")
    for key in (SAM3_PATCH, f"detector_model.{SAM3_PATCH}"):
        if key in state:
            return Kind(
                "transformers", "sam3", "tracker" if state[key].shape[0] == 1024 else "test"
            )
    raise CheckpointError(f"{name!r} is no checkpoint that can be loaded: {_describe(state)}.")


def _has_prefix(state: State, *prefixes: str) -> bool:
    """Whether a name begins with one of these prefixes."""
    return any(key.startswith(prefixes) for key in state)


def _describe(state: State) -> str:
    """What an unknown set of tensors looks like."""
    keys = list(state)
    if any(".patch_embed.seq." in key for key in keys):
        return (
            "it looks like MobileSAM (TinyViT encoder), which has no engine here; use edgetam for "
            "a small network"
        )
    if _has_prefix(state, "detector.", "tracker."):
        return (
            "it looks like SAM 3's own file; give the folder with config.json and "
            "model.safetensors instead"
        )
    first = ", ".join(keys[:3])
    if _has_prefix(state, "net.", "model.diffusion", "transformer.", "encoder.", "decoder."):
        return f"its {len(keys)} tensors ({first} ...) belong to another kind of network"
    return (
        f"found {len(keys)} tensors ({first} ...); wanted those of SAM, SAM 2, SAM 2.1, EdgeTAM, "
        "MedSAM, MedSAM2 or one of our own files"
    )


def _count(state: State, prefix: str) -> int:
    """How many numbered members a list of modules has."""
    numbers = {key.removeprefix(prefix).split(".", 1)[0] for key in state if key.startswith(prefix)}
    return 1 + max(map(int, filter(str.isdigit, numbers)), default=-1)


def _hiera(state: State, names: Names, patch: str, name: str) -> Kind:
    width = state[patch].shape[0]
    depth = _count(state, f"{names.hiera}blocks.")
    for size, numbers in HIERA.items():
        if (numbers.width, sum(numbers.blocks)) == (width, depth):
            return Kind(names.layout, "sam2", size, _sam2_version(state))
    known = ", ".join(
        f"{size} ({n.width}, {sum(n.blocks)})" for size, n in HIERA.items() if size != "test"
    )
    raise CheckpointError(
        f"{name!r} has a Hiera encoder of width {width} with {depth} blocks; SAM 2 comes as "
        f"{known}. A network of another shape cannot be loaded."
    )


def _sam2_version(state: State) -> str:
    if _has_prefix(state, "obj_ptr_tpos_proj.", "temporal_positional_encoding_proj"):
        return "2.1"
    return "2.0"


def _vit(state: State, names: Names, patch: str, name: str) -> Kind:
    if any(".Adapter." in key for key in state):
        raise CheckpointError(
            f"{name!r} looks like SAM-Med2D with its adapters, which no card describes; wanted a "
            "plain SAM encoder. `segscope models convert` makes an adaptation of such a file, "
            "which can be loaded."
        )
    width = state[patch].shape[0]
    depth = _count(state, f"{names.encoder}{names.layers}.")
    position = state.get(f"{names.encoder}pos_embed")
    side = None
    if position is not None and position.ndim == 4:
        side = int(position.shape[1]) * 16
    for size, numbers in VIT.items():
        if (numbers.width, numbers.layers) == (width, depth):
            return Kind(names.layout, "sam", size, input_size=side)
    known = ", ".join(
        f"{size} ({n.width}, {n.layers})" for size, n in VIT.items() if size != "test"
    )
    raise CheckpointError(
        f"{name!r} has a ViT encoder of width {width} with {depth} layers; SAM comes as {known}. "
        "A network of another shape cannot be loaded."
    )


Rule = tuple[str, str]

_TRUNK: tuple[Rule, ...] = (
    (r"^image_encoder\.trunk\.body\.", "vision_encoder.backbone.timm_model."),
    (r"^image_encoder\.trunk\.", "vision_encoder.backbone."),
    (r"^image_encoder\.neck\.convs\.(\d+)\.conv\.", r"vision_encoder.neck.convs.\1."),
    (r"^sam_(prompt_encoder|mask_decoder)\.", r"\1."),
    (r"(backbone\.patch_embed)\.proj\.", r"\1.projection."),
    (r"(backbone\.blocks\.\d+)\.norm(\d)\.", r"\1.layer_norm\2."),
)
_PROMPTS: tuple[Rule, ...] = (
    (r"^prompt_encoder\.mask_downscaling\.0\.", "prompt_encoder.mask_embed.conv1."),
    (r"^prompt_encoder\.mask_downscaling\.1\.", "prompt_encoder.mask_embed.layer_norm1."),
    (r"^prompt_encoder\.mask_downscaling\.3\.", "prompt_encoder.mask_embed.conv2."),
    (r"^prompt_encoder\.mask_downscaling\.4\.", "prompt_encoder.mask_embed.layer_norm2."),
    (r"^prompt_encoder\.mask_downscaling\.6\.", "prompt_encoder.mask_embed.conv3."),
    (r"^prompt_encoder\.point_embeddings\.", "prompt_encoder.point_embed."),
    (r"pe_layer\.positional_encoding_gaussian_matrix$", "shared_embedding.positional_embedding"),
)
_MASKS: tuple[Rule, ...] = (
    (r"^mask_decoder\.output_upscaling\.0\.", "mask_decoder.upscale_conv1."),
    (r"^mask_decoder\.output_upscaling\.1\.", "mask_decoder.upscale_layer_norm."),
    (r"^mask_decoder\.output_upscaling\.3\.", "mask_decoder.upscale_conv2."),
    (r"^(mask_decoder\.transformer\.layers\.\d+)\.norm(\d)\.", r"\1.layer_norm\2."),
    (
        r"^mask_decoder\.transformer\.norm_final_attn\.",
        "mask_decoder.transformer.layer_norm_final_attn.",
    ),
)
_HEADS: tuple[Rule, ...] = (  # three layers: first, middle, last
    (r"(_head|_mlps\.\d+|obj_ptr_proj)\.layers\.0\.", r"\1.proj_in."),
    (r"(_head|_mlps\.\d+|obj_ptr_proj)\.layers\.1\.", r"\1.layers.0."),
    (r"(_head|_mlps\.\d+|obj_ptr_proj)\.layers\.2\.", r"\1.proj_out."),
)
_TWO_LAYERS: tuple[Rule, ...] = (
    (r"\.mlp\.layers\.0\.", ".mlp.proj_in."),
    (r"\.mlp\.layers\.1\.", ".mlp.proj_out."),
)
_MEMORY: tuple[Rule, ...] = (
    (r"(attn|cross_attn_image|token_to_image|image_to_token)\.out_proj\.", r"\1.o_proj."),
    (r"^(memory_attention(?:\.layers\.\d+)?)\.norm(\d?)\.", r"\1.layer_norm\2."),
    (
        r"^memory_encoder\.mask_downsampler\.encoder\.12\.",
        "memory_encoder.mask_downsampler.final_conv.",
    ),
    (
        r"^memory_encoder\.mask_downsampler\.encoder\.(0|3|6|9)\.",
        r"memory_encoder.mask_downsampler.layers.<\1>.conv.",
    ),
    (
        r"^memory_encoder\.mask_downsampler\.encoder\.(1|4|7|10)\.",
        r"memory_encoder.mask_downsampler.layers.<\1>.layer_norm.",
    ),
    (r"^memory_encoder\.pix_feat_proj\.", "memory_encoder.feature_projection."),
    (r"^memory_encoder\.out_proj\.", "memory_encoder.projection."),
    (r"^memory_encoder\.fuser\.", "memory_encoder.memory_fuser."),
    (r"(memory_fuser\.layers\.\d+)\.dwconv\.", r"\1.depthwise_conv."),
    (r"(memory_fuser\.layers\.\d+)\.pwconv(\d)\.", r"\1.pointwise_conv\2."),
    (r"(memory_fuser\.layers\.\d+)\.gamma$", r"\1.scale"),
    (r"(memory_fuser\.layers\.\d+)\.norm\.", r"\1.layer_norm."),
    (r"^maskmem_tpos_enc$", "memory_temporal_positional_encoding"),
    (r"^no_mem_embed$", "no_memory_embedding"),
    (r"^no_mem_pos_enc$", "no_memory_positional_encoding"),
    (r"^no_obj_ptr$", "no_object_pointer"),
    (r"^no_obj_embed_spatial$", "occlusion_spatial_embedding_parameter"),
    (r"^obj_ptr_proj\.", "object_pointer_proj."),
    (r"^obj_ptr_tpos_proj\.", "temporal_positional_encoding_projection_layer."),
)
_PERCEIVER: tuple[Rule, ...] = (
    (r"^memory_attention\.layers\.(\d+)\.linear1\.", r"memory_attention.layers.\1.mlp.up_proj."),
    (r"^memory_attention\.layers\.(\d+)\.linear2\.", r"memory_attention.layers.\1.mlp.down_proj."),
    (r"^spatial_perceiver\.latents$", "spatial_perceiver.latents_1d"),
    (r"^spatial_perceiver\.norm\.", "spatial_perceiver.layer_norm."),
    (r"^(spatial_perceiver\.layers\.\d+)\.attn\.norm_x\.", r"\1.layer_norm_input."),
    (r"^(spatial_perceiver\.layers\.\d+)\.attn\.norm_latents\.", r"\1.layer_norm_latents."),
    (r"^(spatial_perceiver\.layers\.\d+)\.attn\.", r"\1.cross_attention."),
    (r"^(spatial_perceiver\.layers\.\d+)\.self_attn\.norm\.", r"\1.layer_norm_self."),
    (r"^(spatial_perceiver\.layers\.\d+)\.self_attn\.", r"\1.self_attention."),
    (r"^(spatial_perceiver\.layers\.\d+)\.ff\.0\.", r"\1.mlp.layer_norm."),
    (r"^(spatial_perceiver\.layers\.\d+)\.ff\.1\.", r"\1.mlp.up_proj."),
    (r"^(spatial_perceiver\.layers\.\d+)\.ff\.3\.", r"\1.mlp.down_proj."),
    (r"^(spatial_perceiver\.layers\.\d+)\.self_ff\.0\.", r"\1.self_mlp.layer_norm."),
    (r"^(spatial_perceiver\.layers\.\d+)\.self_ff\.1\.", r"\1.self_mlp.up_proj."),
    (r"^(spatial_perceiver\.layers\.\d+)\.self_ff\.3\.", r"\1.self_mlp.down_proj."),
    (r"^(spatial_perceiver\..*)\.to_q\.", r"\1.q_proj."),
    (r"^(spatial_perceiver\..*)\.to_out\.", r"\1.o_proj."),
)
_VIT: tuple[Rule, ...] = (
    (r"^image_encoder\.", "vision_encoder."),
    (r"^vision_encoder\.patch_embed\.proj\.", "vision_encoder.patch_embed.projection."),
    (r"^vision_encoder\.blocks\.", "vision_encoder.layers."),
    (r"^(vision_encoder\.layers\.\d+)\.norm(\d)\.", r"\1.layer_norm\2."),
    (r"^vision_encoder\.neck\.0\.", "vision_encoder.neck.conv1."),
    (r"^vision_encoder\.neck\.1\.", "vision_encoder.neck.layer_norm1."),
    (r"^vision_encoder\.neck\.2\.", "vision_encoder.neck.conv2."),
    (r"^vision_encoder\.neck\.3\.", "vision_encoder.neck.layer_norm2."),
)

RULES: dict[str, tuple[Rule, ...]] = {
    "sam": (*_VIT, *_PROMPTS, *_MASKS, *_HEADS),
    "sam2": (*_TRUNK, *_PROMPTS, *_MASKS, *_TWO_LAYERS, *_HEADS, *_MEMORY),
    "edgetam": (*_PERCEIVER, *_TRUNK, *_PROMPTS, *_MASKS, *_TWO_LAYERS, *_HEADS, *_MEMORY),
}

DROPS: dict[str, tuple[str, ...]] = {
    "sam": (r"^pixel_(mean|std)$",),  # preprocessing constants, which the engine has itself
    "sam2": (),
    "edgetam": (),
}
"""Keys that may be in an official file and have no place in the network, by family."""

_SHARED = "prompt_encoder.shared_embedding.positional_embedding"
_POINTS = "prompt_encoder.point_embed."


def rename(family: str, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Tensors of an official checkpoint under the names of transformers' module.

    Args:
        family: "sam", "sam2" or "edgetam".
        state: the official file's tensors.

    Returns:
        The renamed tensors (views where possible), and the keys that were left out on purpose.

    Raises:
        CheckpointError: two keys would get the same name.
    """
    renamed: dict[str, Tensor] = {}
    dropped = []
    for key, value in state.items():
        if any(re.search(pattern, key) for pattern in DROPS[family]):
            dropped.append(key)
            continue
        name = new_name(family, key)
        if name in renamed:
            raise CheckpointError(
                f"two tensors of this checkpoint mean the same one, {name!r}; the second is "
                f"{key!r}."
            )
        renamed[name] = value
    if family != "sam":
        _stack_points(renamed)
    if family == "edgetam":
        _split_pairs(renamed)
    if (
        _SHARED in renamed
    ):  # prompts and image share one random projection, which transformers keeps twice
        renamed["shared_image_embedding.positional_embedding"] = renamed[_SHARED].clone()
    return renamed, dropped


def new_name(family: str, key: str) -> str:
    """The name in transformers' module of one official key."""
    key = rename_by_rules(key, _compiled(family))
    return re.sub(r"<(\d+)>", lambda renamed: str(int(renamed[1]) // 3), key)


@cache
def _compiled(family: str) -> tuple[tuple[re.Pattern[str], str], ...]:
    return tuple((re.compile(pattern), to) for pattern, to in RULES[family])


def _stack_points(renamed: dict[str, Tensor]) -> None:
    """Four (1, d) point embeddings are one (4, d) table in the newer modules."""
    names = [f"{_POINTS}{i}.weight" for i in range(4)]
    if renamed.keys() >= set(names):
        renamed[f"{_POINTS}weight"] = torch.cat([renamed.pop(name) for name in names])


def _split_pairs(renamed: dict[str, Tensor]) -> None:
    """Keys and values come from one matrix in the perceiver's release, from two in transformers."""
    for name in [name for name in renamed if ".to_kv." in name]:
        first, second = renamed.pop(name).chunk(2)
        renamed[name.replace(".to_kv.", ".k_proj.")] = first.clone()
        renamed[name.replace(".to_kv.", ".v_proj.")] = second.clone()


_HUB: dict[str, tuple[Rule, ...]] = {
    "sam3": (
        (r"^detector_model\.vision_encoder\.backbone\.", "vision_encoder.backbone."),
        (r"^tracker_neck\.", "vision_encoder.neck."),
        (r"^tracker_model\.", ""),
    ),
}
_IMAGE = "shared_image_embedding.positional_embedding"


def rename_by_rules(name: str, rules: Iterable[tuple[str | re.Pattern[str], str]]) -> str:
    """A name after the replacements of all rules, one after another."""
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def rename_hub(family: str, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Tensors of a transformers folder under the names of the module; returns as `rename` does.

    SAM 3's folder also holds the concept detector, which the tracker does not use. A table that the
    module keeps twice may have been written once.
    """
    rules = [(re.compile(pattern), to) for pattern, to in _HUB.get(family, ())]
    renamed = {}
    dropped = []
    for key, value in state.items():
        name = rename_by_rules(key, rules)
        if family == "sam3" and name.startswith("detector_model."):
            dropped.append(key)
        else:
            renamed[name] = value
    for one, other in ((_SHARED, _IMAGE), (_IMAGE, _SHARED)):
        if one in renamed and other not in renamed:
            renamed[other] = renamed[one].clone()
    return renamed, dropped
