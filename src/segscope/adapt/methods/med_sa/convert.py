"""Published checkpoints of Med-SA, in both layouts of its code.

Until December 2023 a file was SAM with adapters in between. Since January 2024 the decoder's
transformer has been EfficientSAM's, whose MLP has other names and whose layers compute something
else; the encoder's table of positions has 64 x 64 cells at every size of the input and is resized
where it is used, and relative positions are called `rel_h` and `rel_w`. The code drops the tensors
of SAM that the new names no longer match, so relative positions and the decoder's MLP never came
from SAM in these files.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from segscope.adapt.methods.med_sa.method import MedSa
from segscope.adapt.networks.encoder_blocks import places
from segscope.adapt.networks.published_sam import BLOCKS, LAYERS, AdapterNaming, State, parse
from segscope.adapt.networks.sam_inputs import UNIT, resize_relative
from segscope.errors import CheckpointError
from segscope.models.engine import Engine
from segscope.models.recognise import rename_by_rules

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
SINCE_2024 = (
    (r"^(mask_decoder\.transformer\.layers\.\d+\.mlp)\.layers\.0\.0\.", r"\1.lin1."),
    (r"^(mask_decoder\.transformer\.layers\.\d+\.mlp)\.fc\.", r"\1.lin2."),
    (r"\.attn\.rel_([hw])$", r".attn.rel_pos_\1"),
)
RESIDUAL_DECODER = "mask_decoder.transformer.layers.0.mlp.fc.weight"
"""A tensor that only files since January 2024 have."""

POSITIONS = "image_encoder.pos_embed"
PATCH = 16  # pixels
FIRST_ADAPTER = "vision_encoder.layers.0.beside_mlp.down.weight"


def recognise(state: State) -> bool:
    """Whether tensors are those of Med-SA."""
    return "image_encoder.blocks.0.MLP_Adapter.D_fc1.weight" in state


def read(
    state: State, engine: Engine, classes: Sequence[str], *, side: int = 0, depth: int = 1
) -> tuple[MedSa, tuple[str, ...], dict[str, Tensor]]:
    """Method, classes and tensors of an adaptation, from a file of Med-SA.

    Every file contains adapters for depth, trained or not, and does not tell which.

    Args:
        state: the file's tensors.
        engine: the base, a SAM of the same size.
        classes: what it was trained on.
        side: of the input in pixels; 0 where it follows from the file.
        depth: slices of a chunk, for a file that was trained on volumes.

    Raises:
        CheckpointError: another base, tensors that do not fit, or a side that the file does not
            have or does not tell.
    """
    since_2024 = RESIDUAL_DECODER in state
    if since_2024:
        state = _as_first_layout(state, engine, side)
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
        recipe="code",
        legacy_depth_windows=depth > 1,
        legacy_pad_before_norm=True,
        residual_decoder=since_2024,
    )
    prefixes = ["mask_decoder."]
    if whole:
        prefixes.append("vision_encoder.")
    tensors = published.tensors(tuple(prefixes))
    if depth == 1:
        tensors = {name: item for name, item in tensors.items() if ".across_depth." not in name}
    return method, tuple(classes) or ("object",), tensors


def _as_first_layout(state: State, engine: Engine, side: int) -> dict[str, Tensor]:
    """Tensors of a file since January 2024 with the names of the first layout, and tables of
    positions as the code resizes them for an input of `side` pixels.
    """
    renamed = {rename_by_rules(key, SINCE_2024): tensor for key, tensor in state.items()}
    if POSITIONS not in renamed:
        return renamed
    whole_maps = [
        f"image_encoder.blocks.{number}.attn.rel_pos_"
        for number, place in enumerate(places(engine))
        if not place.block.window_size
    ]
    cells = _cells_of_input(state, whole_maps, side)
    table = renamed[POSITIONS].float().permute(0, 3, 1, 2)
    table = F.interpolate(table, (cells, cells), mode="bicubic", align_corners=False)
    renamed[POSITIONS] = table.permute(0, 2, 3, 1)
    for stem in whole_maps:
        for axis in "hw":
            name = stem + axis
            if name in renamed:
                renamed[name] = resize_relative(renamed[name].float(), cells)
    return renamed


def _cells_of_input(state: State, whole_maps: Sequence[str], side: int) -> int:
    """Rows of the encoder's map.

    Raises:
        CheckpointError: the file is for another side than `side`, or does not tell its side.
    """
    lengths = {
        len(state[name])
        for stem in whole_maps
        for name in (stem.replace("rel_pos_", "rel_h"), stem.replace("rel_pos_", "rel_w"))
        if name in state
    }
    if side and (side < PATCH or side % PATCH):
        raise CheckpointError(
            f"the side of SAM's input must be a multiple of {PATCH} pixels, got an input size of "
            f"{side}"
        )
    cells = side // PATCH
    if not lengths:
        if not side:
            raise CheckpointError(
                "this Med-SA file, from January 2024, does not tell the side of its input; add "
                "--input-size (-image_size of its training: 1024 in the guide of Med-SA, 256 by "
                "default)"
            )
        return cells
    own = (max(lengths) + 1) // 2
    if side and own != cells:
        raise CheckpointError(
            f"this Med-SA file is for an input of {own * PATCH} pixels, got an input size of "
            f"{side}; omit --input-size"
        )
    return own
