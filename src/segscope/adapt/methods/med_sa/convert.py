"""Published checkpoints of Med-SA and SAM-Med2D: whole networks of SAM in Meta's naming, with
adapters in between.

What stands in a file and differs from the base becomes a part of the adaptation, the frozen encoder
too where it is not the base's: at another input size its tables of positions never are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from segscope.adapt.methods.med_sa.method import MedSa
from segscope.adapt.methods.sam_med2d.method import SamMed2d
from segscope.adapt.networks.encoder_blocks import places
from segscope.adapt.networks.parameter_groups import POSITION_TABLES
from segscope.adapt.networks.sam_inputs import MED2D, UNIT
from segscope.errors import CheckpointError
from segscope.models.engine import Engine
from segscope.models.key_renaming import rename

BLOCKS = r"^image_encoder\.blocks\.(\d+)\."
LAYERS = r"vision_encoder.layers.\1."
MED_SA = (
    (BLOCKS + r"Space_Adapter\.", LAYERS + "after_mixing."),
    (BLOCKS + r"MLP_Adapter\.", LAYERS + "beside_mlp."),
    (BLOCKS + r"Depth_Adapter\.", LAYERS + "across_depth.adapter."),
    (r"\.D_fc1\.", ".down."),
    (r"\.D_fc2\.", ".up."),
)
SAM_MED2D = ((BLOCKS + r"Adapter\.", LAYERS + "beside_mlp."),)
State = Mapping[str, Tensor]


def is_med_sa(state: State) -> bool:
    """Whether tensors are those of Med-SA."""
    return "image_encoder.blocks.0.MLP_Adapter.D_fc1.weight" in state


def read_med_sa(
    state: State, engine: Engine, classes: Sequence[str], *, depth: int = 1
) -> tuple[MedSa, tuple[str, ...], dict[str, Tensor]]:
    """Method, classes and tensors of an adaptation, from a file of Med-SA.

    Every file holds adapters for depth, trained or not, and does not say which.

    Args:
        state: the file's tensors.
        engine: the base, a SAM of the same size.
        classes: what it was trained on.
        depth: slices of a chunk, for a file that was trained on volumes.

    Raises:
        CheckpointError: another base, or tensors that do not fit.
    """
    parts = split(state, engine, MED_SA, r"_Adapter\.", "Med-SA")
    if depth == 1:
        parts.adapters = {
            key: item for key, item in parts.adapters.items() if ".across_depth." not in key
        }
    if not parts.same("prompt_encoder."):
        raise CheckpointError(
            f"the prompt encoder in this file is not that of {engine.card.name}, and Med-SA does not train it: it was "
            "made on another base, or is no file of Med-SA"
        )
    first = parts.adapters.get("vision_encoder.layers.0.beside_mlp.down.weight", torch.empty(0, 1))
    whole = not parts.same("vision_encoder.")
    method = MedSa(
        ratio=first.shape[0] / first.shape[1],
        depth=depth,
        whole=whole,
        images=UNIT,
        side=parts.side if parts.side != engine.input_size else 0,
        legacy_depth_windows=depth > 1,
        legacy_pad_before_norm=True,
    )
    wanted = ("mask_decoder.", "vision_encoder.") if whole else ("mask_decoder.",)
    return method, tuple(classes) or ("object",), parts.tensors(wanted)


def is_sam_med2d(state: State) -> bool:
    """Whether tensors are those of SAM-Med2D with its adapters."""
    return "image_encoder.blocks.0.Adapter.channel.0.weight" in state


def read_sam_med2d(
    state: State, engine: Engine, classes: Sequence[str]
) -> tuple[SamMed2d, tuple[str, ...], dict[str, Tensor]]:
    """Method, classes and tensors of an adaptation, from a file of SAM-Med2D.

    Args:
        state: the file's tensors.
        engine: the base, SAM ViT-B.
        classes: what it was trained on.

    Raises:
        CheckpointError: another base, or tensors that do not fit.
    """
    parts = split(state, engine, SAM_MED2D, r"\.Adapter\.", "SAM-Med2D")
    if not all(parts.same(prefix) for prefix in POSITION_TABLES):
        raise CheckpointError(
            f"clicks are placed by another random table than in {engine.card.name}: this file was not made from it"
        )
    whole = not parts.same("vision_encoder.")
    method = SamMed2d(
        layers="dense",
        zero=False,
        three=True,
        shares=True,
        whole=whole,
        images=MED2D,
        side=parts.side if parts.side != engine.input_size else 0,
    )
    wanted = ("mask_decoder.", "prompt_encoder.", *(("vision_encoder.",) if whole else ()))
    tensors = parts.tensors(wanted)
    return (
        method,
        tuple(classes) or ("object",),
        {k: item for k, item in tensors.items() if not k.startswith(POSITION_TABLES)},
    )


class Parts:
    """A published file of SAM's family, under the names of our network.

    Attributes:
        network: tensors of the network itself.
        adapters: what was added.
        base: the engine's own tensors.
        side: of the square input, from the table of positions.
    """

    def __init__(
        self, network: dict[str, Tensor], adapters: dict[str, Tensor], base: dict[str, Tensor]
    ) -> None:
        self.network = network
        self.adapters = adapters
        self.base = base
        self.side = 16 * int(network["vision_encoder.pos_embed"].shape[1])

    def same(self, prefix: str) -> bool:
        """Whether a part of the network is the base's, number for number."""
        return all(
            name in self.network
            and self.network[name].shape == item.shape
            and torch.equal(self.network[name].float().cpu(), item.float().cpu())
            for name, item in self.base.items()
            if name.startswith(prefix)
        )

    def tensors(self, prefixes: tuple[str, ...]) -> dict[str, Tensor]:
        """Adapters, and parameters of the network by the beginnings of their names."""
        held = {name: item for name, item in self.network.items() if name.startswith(prefixes)}
        return {**self.adapters, **held}


def split(
    state: State, engine: Engine, rules: Sequence[tuple[str, str]], mark: str, what: str
) -> Parts:
    """Take a file apart.

    Args:
        state: its tensors.
        engine: the base.
        rules: from names of added tensors to ours.
        mark: pattern of added tensors' names.
        what: name of the method, for messages.

    Raises:
        CheckpointError: a base of another make or size, a network for several classes, unknown
            tensors.
    """
    if engine.card.family != "sam" or engine.card.squash:
        raise CheckpointError(
            f"{what} stands on SAM (sam-vit-b, -l or -h); {engine.card.name} is another network"
        )
    adapters = {}
    rest = {}
    for key, item in state.items():
        if not re.search(mark, key):
            rest[key] = item
            continue
        for pattern, to in rules:
            key = re.sub(pattern, to, key)
        adapters[key] = item
    network, _ = rename("sam", rest)
    model: Any = engine.model  # type: ignore[attr-defined]
    base = dict(model.state_dict())
    own = places(engine)
    if "vision_encoder.pos_embed" not in network:
        raise CheckpointError(
            f"this file of {what} holds adapters only, without the network they were trained with"
        )
    width = network["vision_encoder.pos_embed"].shape[-1]
    depth = len({key for key in network if ".attn.qkv.w" in key})
    if (width, depth) != (own[0].width, len(own)):
        raise CheckpointError(
            f"this file of {what} stands on a ViT of width {width} with {depth} layers; {engine.card.name} has width "
            f"{own[0].width} and {len(own)} layers. Name the base that fits"
        )
    tokens = network.get("mask_decoder.mask_tokens.weight")
    if tokens is not None and len(tokens) != len(base["mask_decoder.mask_tokens.weight"]):
        raise CheckpointError(
            f"this file of {what} has {len(tokens)} mask tokens, one for each of its classes; a decoder that answers "
            "prompts has 4. Networks of several classes without prompts cannot be taken over"
        )
    faults = [sorted(network.keys() - base.keys()), sorted(base.keys() - network.keys())]
    if any(faults):
        raise CheckpointError(
            f"this file of {what} does not fit {engine.card.name}: tensors not known: "
            f"{', '.join(faults[0][:3]) or 'none'}; missing: {', '.join(faults[1][:3]) or 'none'}"
        )
    return Parts(network, adapters, base)
