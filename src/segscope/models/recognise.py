"""What a set of tensors is: family, size and version of a network of the SAM family, by names and
shapes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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
