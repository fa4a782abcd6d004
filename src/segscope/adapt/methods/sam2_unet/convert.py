"""Published checkpoints of SAM2-UNet: which trunk they stand on, and their tensors under our names.

A file holds trunk and all: `encoder.*` (official names of SAM 2 with `.block` in between), the
adapters as `prompt_learn`, `rfb1` to `rfb4`, `up1` to `up4` of which the last is never used,
`side1`, `side2`, `head`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from segscope.adapt.methods.sam2_unet.method import Sam2Unet
from segscope.adapt.networks import encoder_trunk
from segscope.errors import CheckpointError
from segscope.models.build import HIERA
from segscope.models.engine import Engine
from segscope.models.key_renaming import new_name

MARK = "encoder.blocks.0.prompt_learn.0.weight"
PATCH = "encoder.patch_embed.proj.weight"

_RULES = (
    (r"^encoder\.blocks\.(\d+)\.prompt_learn\.0\.", r"adapters.\1.down."),
    (r"^encoder\.blocks\.(\d+)\.prompt_learn\.2\.", r"adapters.\1.up."),
    (r"^rfb(\d)\.branch(\d)\.(\d)\.", r"rfb.<\1>.branches.\2.\3."),
    (r"^rfb(\d)\.conv_cat\.", r"rfb.<\1>.join."),
    (r"^rfb(\d)\.conv_res\.", r"rfb.<\1>.shortcut."),
    (r"^up(\d)\.conv\.double_conv\.0\.", r"up.<\1>.first.conv."),
    (r"^up(\d)\.conv\.double_conv\.1\.", r"up.<\1>.first.bn."),
    (r"^up(\d)\.conv\.double_conv\.3\.", r"up.<\1>.second.conv."),
    (r"^up(\d)\.conv\.double_conv\.4\.", r"up.<\1>.second.bn."),
    # heads in the order of our outputs' steps up: strides 16, 8 and 4
    (r"^side1\.", "heads.0."),
    (r"^side2\.", "heads.1."),
    (r"^head\.", "heads.2."),
)
_UNUSED = re.compile(r"^up4\.|\.num_batches_tracked$")


def recognise(state: Mapping[str, Tensor]) -> bool:
    """Whether tensors are those of a SAM2-UNet."""
    return MARK in state and PATCH in state


def read(
    state: Mapping[str, Tensor], engine: Engine, classes: Sequence[str]
) -> tuple[Sam2Unet, tuple[str, ...], dict[str, Tensor]]:
    """Method, classes and tensors of an adaptation, from a published file.

    Args:
        state: the file's tensors.
        engine: the base that it was trained on.
        classes: what its outputs mean; one is "object" where nothing is said.

    Raises:
        CheckpointError: another base, or tensors that do not fit.
    """
    _same_trunk(state, engine)
    outputs = 1
    if "head.weight" in state:
        outputs = int(state["head.weight"].shape[0])
    names = tuple(classes) or tuple(
        "object" if outputs == 1 else f"object {k + 1}" for k in range(outputs)
    )
    if len(names) != outputs:
        raise CheckpointError(
            f"the file has {outputs} outputs; got {len(names)} names for them: {', '.join(names)}"
        )
    narrow = int(state[MARK].shape[0])
    method = Sam2Unet(
        adapters=narrow, width=int(state["head.weight"].shape[1]), output="sigmoid", init="default"
    )
    tensors = {
        _name(key): item
        for key, item in state.items()
        if not key.startswith("encoder.") or ".prompt_learn." in key
    }
    tensors.pop("", None)
    return method, names, tensors


def _name(key: str) -> str:
    """Our name of a trained tensor; empty for what nothing uses."""
    if _UNUSED.search(key):
        return ""
    for pattern, to in _RULES:
        key = re.sub(pattern, to, key)
    return re.sub(r"<(\d)>", lambda found: str(int(found[1]) - 1), key)


def _same_trunk(state: Mapping[str, Tensor], engine: Engine) -> None:
    """Refuse a base whose encoder is not the one in the file, which was frozen when it was trained."""
    width = int(state[PATCH].shape[0])
    depth = 1 + max(int(key.split(".")[2]) for key in state if ".blocks." in key)
    sizes = [
        size
        for size, numbers in HIERA.items()
        if (numbers.width, sum(numbers.blocks)) == (width, depth)
    ]
    if sizes:
        what = f"SAM 2 {sizes[0]}"
    else:
        what = f"no known Hiera encoder (width {width}, {depth} blocks)"
    model: Any = engine.model
    if engine.card.family != "sam2" or encoder_trunk.trunk(engine).inside[0] != width:
        raise CheckpointError(
            f"this SAM2-UNet stands on {what}; {engine.card.name} is another network"
        )
    own = {
        name: item
        for name, item in model.state_dict().items()
        if name.startswith("vision_encoder.backbone.")
    }
    there = {
        new_name(
            "sam2", "image_encoder.trunk." + key.removeprefix("encoder.").replace(".block.", ".")
        ): item
        for key, item in state.items()
        if key.startswith("encoder.") and ".prompt_learn." not in key
    }
    odd = sorted(own.keys() ^ there.keys())
    if odd:
        raise CheckpointError(
            f"this SAM2-UNet stands on {what}, whose encoder does not fit {engine.card.name}: {len(odd)} tensors are "
            f"on one side only ({', '.join(odd[:3])})"
        )
    other = [
        name
        for name, item in own.items()
        if item.shape != there[name].shape or not _close(item, there[name])
    ]
    if other:
        raise CheckpointError(
            f"the encoder in this SAM2-UNet is not that of {engine.card.name}: {len(other)} of {len(own)} tensors "
            f"differ ({other[0]} ...). Name the file that it was trained on as base; the published ones stand on "
            "SAM 2.0's sam2_hiera_large.pt"
        )


def _close(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one.cpu().float(), other.cpu().float())
