"""Published checkpoints of SAM2-UNet: the trunk they were trained on, and their tensors under our
names.

A file includes the trunk: `encoder.*` (official names of SAM 2 with `.block` in between), the
adapters as `prompt_learn`, `rfb1` to `rfb4`, `up1` to `up4` of which the last is never used,
`side1`, `side2`, `head`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from segscope.adapt.methods.sam2_unet.method import Sam2Unet
from segscope.adapt.networks import encoder_trunk
from segscope.adapt.networks.output_names import name_outputs
from segscope.adapt.networks.parameter_groups import network
from segscope.errors import CheckpointError
from segscope.models.build import HIERA
from segscope.models.engine import Engine
from segscope.models.recognise import new_name, rename_by_rules

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
    # heads in the order of upsampling: strides 16, 8 and 4
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
        classes: meaning of its outputs; without names they are called "object".

    Raises:
        CheckpointError: another base, or tensors that do not fit.
    """
    _check_trunk(state, engine)
    head = state.get("head.weight")
    if head is None:
        raise CheckpointError("this SAM2-UNet file has no head, head.weight; it is incomplete")
    outputs, width = map(int, head.shape[:2])
    names = name_outputs(outputs, classes)
    if len(names) != outputs:
        raise CheckpointError(
            f"the file has {outputs} outputs; got {len(names)} names for them: {', '.join(names)}"
        )
    narrow = int(state[MARK].shape[0])
    method = Sam2Unet(adapters=narrow, width=width, output="sigmoid", init="default")
    tensors = {}
    for key, tensor in state.items():
        name = _rename(key)
        if name and (not key.startswith("encoder.") or ".prompt_learn." in key):
            tensors[name] = tensor
    return method, names, tensors


def _rename(key: str) -> str:
    """Our name of a trained tensor; empty for an unused one."""
    if _UNUSED.search(key):
        return ""
    key = rename_by_rules(key, _RULES)
    # the file counts blocks from 1
    return re.sub(r"<(\d)>", lambda match: str(int(match[1]) - 1), key)


def _check_trunk(state: Mapping[str, Tensor], engine: Engine) -> None:
    """Refuse a base whose encoder is not the one in the file, which was frozen during training."""
    width = int(state[PATCH].shape[0])
    trunk = _describe_trunk(state, width)
    if engine.card.family != "sam2" or encoder_trunk.trunk(engine).inside[0] != width:
        raise CheckpointError(
            f"this SAM2-UNet was trained on {trunk}; {engine.card.name} is another network"
        )
    own = {
        name: tensor
        for name, tensor in network(engine).state_dict().items()
        if name.startswith("vision_encoder.backbone.")
    }
    published = {
        _trunk_name(key): tensor
        for key, tensor in state.items()
        if key.startswith("encoder.") and ".prompt_learn." not in key
    }
    unmatched = sorted(own.keys() ^ published.keys())
    if unmatched:
        raise CheckpointError(
            f"this SAM2-UNet was trained on {trunk}, whose encoder does not fit "
            f"{engine.card.name}: {len(unmatched)} tensors are in only one of them "
            f"({', '.join(unmatched[:3])})"
        )
    different = [name for name, tensor in own.items() if not _equal(tensor, published[name])]
    if different:
        raise CheckpointError(
            f"the encoder in this SAM2-UNet is not that of {engine.card.name}: "
            f"{len(different)} of {len(own)} tensors differ ({different[0]} ...). Name the file "
            "that it was trained on as base; for the published ones that is SAM 2.0's "
            "sam2_hiera_large.pt"
        )


def _describe_trunk(state: Mapping[str, Tensor], width: int) -> str:
    """The encoder in a file, by its size."""
    depth = 1 + max(int(key.split(".")[2]) for key in state if ".blocks." in key)
    for size, numbers in HIERA.items():
        if (numbers.width, sum(numbers.blocks)) == (width, depth):
            return f"SAM 2 {size}"
    return f"no known Hiera encoder (width {width}, {depth} blocks)"


def _trunk_name(key: str) -> str:
    """The library's name of a tensor of the trunk."""
    official = key.removeprefix("encoder.").replace(".block.", ".")
    return new_name("sam2", f"image_encoder.trunk.{official}")


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one.cpu().float(), other.cpu().float())
