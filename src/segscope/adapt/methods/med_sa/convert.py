"""Published checkpoints of Med-SA."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from segscope.adapt.methods.med_sa.method import MedSa
from segscope.adapt.networks.published_sam import BLOCKS, LAYERS, AdapterNaming, State, parse
from segscope.adapt.networks.sam_inputs import UNIT
from segscope.errors import CheckpointError
from segscope.models.engine import Engine

NAMING = AdapterNaming(
    "Med-SA",
    r"_Adapter\.",
    (
        (BLOCKS + r"Space_Adapter\.", LAYERS + "after_mixing."),
        (BLOCKS + r"MLP_Adapter\.", LAYERS + "beside_mlp."),
        (BLOCKS + r"Depth_Adapter\.", LAYERS + "across_depth.adapter."),
        (r"\.D_fc1\.", ".down."),
        (r"\.D_fc2\.", ".up."),
    ),
)
FIRST_ADAPTER = "vision_encoder.layers.0.beside_mlp.down.weight"


def recognise(state: State) -> bool:
    """Whether tensors are those of Med-SA."""
    return "image_encoder.blocks.0.MLP_Adapter.D_fc1.weight" in state


def read(
    state: State, engine: Engine, classes: Sequence[str], *, depth: int = 1
) -> tuple[MedSa, tuple[str, ...], dict[str, Tensor]]:
    """Method, classes and tensors of an adaptation, from a file of Med-SA.

    Every file contains adapters for depth, trained or not, and does not tell which.

    Args:
        state: the file's tensors.
        engine: the base, a SAM of the same size.
        classes: what it was trained on.
        depth: slices of a chunk, for a file that was trained on volumes.

    Raises:
        CheckpointError: another base, or tensors that do not fit.
    """
    published = parse(state, engine, NAMING)
    if not published.equals_base("prompt_encoder."):
        raise CheckpointError(
            f"the prompt encoder in this file is not that of {engine.card.name}, and Med-SA does "
            "not train it: the file was trained on another base, or is not from Med-SA"
        )
    adapter = published.adapters.get(FIRST_ADAPTER, torch.empty(0, 1))
    whole = not published.equals_base("vision_encoder.")
    method = MedSa(
        ratio=adapter.shape[0] / adapter.shape[1],
        depth=depth,
        whole=whole,
        images=UNIT,
        side=published.side_unless(engine.input_size),
        legacy_depth_windows=depth > 1,
        legacy_pad_before_norm=True,
    )
    prefixes = ["mask_decoder."]
    if whole:
        prefixes.append("vision_encoder.")
    tensors = published.tensors(tuple(prefixes))
    if depth == 1:
        tensors = {name: item for name, item in tensors.items() if ".across_depth." not in name}
    return method, tuple(classes) or ("object",), tensors
