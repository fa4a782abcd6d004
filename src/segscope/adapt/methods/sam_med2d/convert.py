"""Published checkpoints of SAM-Med2D."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from segscope.adapt.methods.sam_med2d.method import SamMed2d
from segscope.adapt.networks.parameter_groups import POSITION_TABLES
from segscope.adapt.networks.published_sam import BLOCKS, LAYERS, AdapterNaming, State, parse
from segscope.adapt.networks.sam_inputs import MED2D
from segscope.errors import CheckpointError
from segscope.models.engine import Engine

NAMING = AdapterNaming(
    "SAM-Med2D", r"\.Adapter\.", ((BLOCKS + r"Adapter\.", LAYERS + "beside_mlp."),)
)


def recognise(state: State) -> bool:
    """Whether tensors are those of SAM-Med2D with its adapters."""
    return "image_encoder.blocks.0.Adapter.channel.0.weight" in state


def read(
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
    published = parse(state, engine, NAMING)
    if not all(map(published.equals_base, POSITION_TABLES)):
        raise CheckpointError(
            "the random table that encodes click positions is not that of "
            f"{engine.card.name}: the file was trained on another base"
        )
    whole = not published.equals_base("vision_encoder.")
    method = SamMed2d(
        layers="dense",
        zero=False,
        three=True,
        shares=True,
        whole=whole,
        images=MED2D,
        side=published.side_unless(engine.input_size),
    )
    prefixes = ["mask_decoder.", "prompt_encoder."]
    if whole:
        prefixes.append("vision_encoder.")
    tensors = published.tensors(tuple(prefixes))
    tensors = {name: item for name, item in tensors.items() if not name.startswith(POSITION_TABLES)}
    return method, tuple(classes) or ("object",), tensors
