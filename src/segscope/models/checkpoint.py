"""A checkpoint of the SAM family: what it is, whether it fits, and the network with its weights.

Recognises official files (SAM, SAM 2, SAM 2.1, EdgeTAM and their fine-tunes), our own safetensors
and folders as transformers writes them, by names and shapes of tensors. Every tensor of a file is
used or named as left out, and every tensor of the network is filled from the file: nothing is
guessed.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segscope.errors import CheckpointError
from segscope.models.build import HIERA, NATIVE_SIZE, VIT, build, fill
from segscope.models.key_renaming import rename, rename_hub
from segscope.models.model_cards import CARDS, Card, card, plain_name
from segscope.models.weight_files import file_hash, read_tensors, tensor_hash, write_safetensors

log = logging.getLogger(__name__)

_SAM3_PATCH = "backbone.embeddings.patch_embeddings.projection.weight"
PREFIX = "segscope."  # of our entries in the metadata of safetensors files
RAW_MARKS = {"path_helper": "biosam2", "parameter": "medsam-2-oxford"}
"""Entries beside the weights that the trainers of BioSAM-2 and of MedSAM-2 (Oxford, in 2D) leave,
and no other.
"""


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


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Weights that fit their network.

    Attributes:
        card: of the network, with the input size that will be used.
        version: as `build` takes it.
        tensors: under the names of the transformers module.
        dropped: what was in the file and is not used, with the reason in each entry.
        weights_hash: SHA-256 of the tensors, first 16 hex digits; the same for an official file and
            its conversion.
        source: path that was read.
    """

    card: Card
    version: str
    tensors: dict[str, Tensor]
    dropped: tuple[str, ...]
    weights_hash: str
    source: Path


def read(path: str | Path, *, input_size: int | None = None, name: str | None = None) -> Checkpoint:
    """Read and check a checkpoint.

    Args:
        path: an official .pt or .pth file, a safetensors file, or a folder with config.json and
            model.safetensors.
        input_size: side of the input in pixels. SAM 2 files do not tell it (MedSAM2's look like SAM
            2.1's): default what the file's metadata, its configuration or its name says, else the
            family's.
        name: card that the file belongs to, where the file's name does not show it.

    Raises:
        CheckpointError: not a checkpoint, damaged, unsafe, of no known family, or its tensors do
            not fit.
        UnknownName: no card of that name.
    """
    path = Path(path)
    raw, metadata, aside = read_tensors(path)
    kind = _with_metadata(recognise(raw, path.name), metadata)
    found = _card_for(kind, path, metadata, name)
    side = _side(kind, found, path, metadata, input_size)
    dropped = [f"{key} (beside the weights)" for key in aside]
    if kind.layout == "official":
        tensors, extra = rename(kind.family, raw)
    else:
        tensors, extra = rename_hub(kind.family, raw)
    dropped += [f"{key} (no place in the network)" for key in extra]
    _check(tensors, kind, side, path.name)
    if dropped:
        log.info("%s: not used: %s", path.name, ", ".join(dropped))
    found = dataclasses.replace(found, input_size=side)
    maker = next(
        (RAW_MARKS[key] for key in aside if key in RAW_MARKS), metadata.get(f"{PREFIX}raw")
    )
    if kind.family == "sam2" and maker:
        found = _raw(found, maker)
    if f"{PREFIX}adapted" in metadata:
        found = _adapted(found, metadata[f"{PREFIX}adapted"], path.name)
    return Checkpoint(found, kind.version, tensors, tuple(dropped), tensor_hash(tensors), path)


def network(checkpoint: Checkpoint) -> nn.Module:
    """The network of a checkpoint, in evaluation mode; its parameters are the checkpoint's tensors,
    not copies.
    """
    found = checkpoint.card
    if found.family == "mini":
        from segscope.models.mini import build_mini

        mini = build_mini(found.input_size)
        mini.load_state_dict(checkpoint.tensors)
        return mini.eval()
    model = build(found.family, found.size, found.input_size, version=checkpoint.version, meta=True)
    return fill(model, checkpoint.tensors)


def save(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint as safetensors with what is known of it in the metadata. Complete or not
    at all.
    """
    found = checkpoint.card
    plain = plain_name(checkpoint.card.name)
    metadata = {
        "format": "pt",
        f"{PREFIX}layout": "1",
        f"{PREFIX}card": plain,
        f"{PREFIX}family": found.family,
        f"{PREFIX}size": found.size,
        f"{PREFIX}version": checkpoint.version,
        f"{PREFIX}input_size": str(found.input_size),
        f"{PREFIX}weights_hash": checkpoint.weights_hash,
        f"{PREFIX}source": checkpoint.source.name,
        f"{PREFIX}licence": found.licence,
        **(
            {f"{PREFIX}adapted": json.dumps([found.name, found.trained_on, found.note])}
            if plain != found.name
            else {}
        ),
        **({f"{PREFIX}raw": found.name.removesuffix(f"-{found.size}")} if found.raw else {}),
    }
    if checkpoint.source.is_file():
        metadata[f"{PREFIX}source_sha256"] = file_hash(checkpoint.source)
    write_safetensors(checkpoint.tensors, path, metadata)


# --- what is it? ---------------------------------------------------------------------------------


def recognise(state: Mapping[str, Tensor], name: str = "checkpoint") -> Kind:
    """Family, size and version of tensors by their names and shapes.

    Raises:
        CheckpointError: of no family that can be loaded; relatives are named.
    """
    for layout, trunk, layers in (
        ("official", "image_encoder.", "blocks"),
        ("transformers", "vision_encoder.", "layers"),
    ):
        patch = "projection"
        if layout == "official":
            patch = "proj"
        hiera = trunk + ("trunk." if layout == "official" else "backbone.")
        if f"{hiera}patch_embed.{patch}.weight" in state:
            return _hiera(
                state, layout, f"{hiera}patch_embed.{patch}.weight", f"{hiera}blocks.", name
            )
        if f"{trunk}patch_embed.{patch}.weight" in state:
            return _vit(
                state,
                layout,
                trunk,
                f"{trunk}patch_embed.{patch}.weight",
                f"{trunk}{layers}.",
                name,
            )
    stems = {
        "image_encoder.trunk.body.stem.conv1.c.weight": "official",
        "vision_encoder.backbone.timm_model.stem.conv1.c.weight": "transformers",
    }
    for key, layout in stems.items():
        if key in state:
            return Kind(layout, "edgetam", "m1" if state[key].shape[0] == 24 else "test")
    if any(key.startswith("dense_branch.") for key in state):
        return Kind("transformers", "mini", "mini")
    for key in (f"{prefix}vision_encoder.{_SAM3_PATCH}" for prefix in ("", "detector_model.")):
        if key in state:
            return Kind(
                "transformers", "sam3", "tracker" if state[key].shape[0] == 1024 else "test"
            )
    raise CheckpointError(f"{name!r} is no checkpoint that can be loaded: {_stranger(state)}.")


def _stranger(state: Mapping[str, Tensor]) -> str:
    """What an unknown set of tensors looks like."""
    keys = list(state)
    if any(".patch_embed.seq." in key for key in keys):
        return "it looks like MobileSAM (TinyViT encoder), which has no engine here; use edgetam for a small network"
    if any(key.startswith(("detector.", "tracker.")) for key in keys):
        return "it looks like SAM 3's own file; give the folder with config.json and model.safetensors instead"
    if any(
        key.startswith(("net.", "model.diffusion", "transformer.", "encoder.", "decoder."))
        for key in keys
    ):
        return (
            f"its {len(keys)} tensors ({', '.join(keys[:3])} ...) belong to another kind of network"
        )
    return (
        f"found {len(keys)} tensors ({', '.join(keys[:3])} ...); wanted those of SAM, SAM 2, SAM 2.1, EdgeTAM, MedSAM, "
        "MedSAM2 or one of our own files"
    )


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    """How many numbered members a list of modules has."""
    numbers = [key[len(prefix) :].split(".", 1)[0] for key in state if key.startswith(prefix)]
    return 1 + max((int(number) for number in numbers if number.isdigit()), default=-1)


def _hiera(state: Mapping[str, Tensor], layout: str, patch: str, blocks: str, name: str) -> Kind:
    width = state[patch].shape[0]
    depth = _count(state, blocks)
    for size, numbers in HIERA.items():
        if (numbers.width, sum(numbers.blocks)) == (width, depth):
            newer = any(
                key.startswith(("obj_ptr_tpos_proj.", "temporal_positional_encoding_proj"))
                for key in state
            )
            return Kind(layout, "sam2", size, "2.1" if newer else "2.0")
    raise CheckpointError(
        f"{name!r} has a Hiera encoder of width {width} with {depth} blocks; SAM 2 comes as "
        + ", ".join(
            f"{size} ({n.width}, {sum(n.blocks)})" for size, n in HIERA.items() if size != "test"
        )
        + ". A network of another shape cannot be loaded."
    )


def _vit(
    state: Mapping[str, Tensor], layout: str, trunk: str, patch: str, layers: str, name: str
) -> Kind:
    if any(".Adapter." in key for key in state):
        raise CheckpointError(
            f"{name!r} looks like SAM-Med2D with its adapters, which no card describes; wanted a plain SAM encoder. "
            "`segscope models convert` makes an adaptation of such a file, which can be loaded."
        )
    width = state[patch].shape[0]
    depth = _count(state, layers)
    position = state.get(f"{trunk}pos_embed")
    side = None
    if position is not None and position.ndim == 4:
        side = int(position.shape[1]) * 16
    for size, numbers in VIT.items():
        if (numbers.width, numbers.layers) == (width, depth):
            return Kind(layout, "sam", size, input_size=side)
    raise CheckpointError(
        f"{name!r} has a ViT encoder of width {width} with {depth} layers; SAM comes as "
        + ", ".join(f"{size} ({n.width}, {n.layers})" for size, n in VIT.items() if size != "test")
        + ". A network of another shape cannot be loaded."
    )


def _with_metadata(kind: Kind, metadata: dict[str, str]) -> Kind:
    """Our own files say what they are; the tensors must agree in family, and decide the rest."""
    family = metadata.get(f"{PREFIX}family", kind.family)
    if family != kind.family:
        raise CheckpointError(
            f"the file says that it is {family!r}, but its tensors are those of {kind.family!r}."
        )
    return kind


def _card_for(kind: Kind, path: Path, metadata: dict[str, str], name: str | None) -> Card:
    """The card of a checkpoint: as asked for, as the metadata or the file's name says, or by its
    kind.
    """
    written = metadata.get(f"{PREFIX}card")
    known = written in {entry.name for entry in CARDS}
    if name is not None or known:
        found = card(name or str(written))
        if kind.size == "test" and found.family == kind.family:
            return dataclasses.replace(found, size="test")
        if (found.family, found.size) != (kind.family, kind.size):
            raise CheckpointError(
                f"{path.name!r} holds {kind.family} {kind.size}, not {found.name} ({found.family} {found.size})."
            )
        return found
    fitting = [entry for entry in CARDS if (entry.family, entry.size) == (kind.family, kind.size)]
    for entry in fitting:
        if path.name.lower() in {file.lower() for file in entry.files}:
            return entry
    nickname = re.search(r"medsam-?_?2?", path.name.lower())
    if nickname is not None:
        wanted = "medsam"
        if kind.family == "sam2":
            wanted = "medsam2"
        fitting = [entry for entry in fitting if entry.name == wanted] or fitting
    for entry in fitting:
        if entry.version == kind.version:
            return entry
    return Card(
        name=f"{kind.family}-{kind.size}",
        family=kind.family,  # type: ignore[arg-type]
        size=kind.size,
        input_size=kind.input_size or NATIVE_SIZE.get(kind.family, 256),
        licence="unknown",
        paper="",
        version=kind.version,
        memory=kind.family != "sam",
    )


def _raw(found: Card, maker: str) -> Card:
    """The card of a network whose training divided pixels by 255 and gave clicks as (row, column)."""
    return dataclasses.replace(
        found,
        name=f"{maker}-{found.size}",
        licence="unknown",
        raw=True,
        prompts=tuple(kind for kind in found.prompts if kind in ("box", "mask")),
        note=f"From the trainer of {maker}: images are not normalised, clicks were taught transposed; give boxes.",
    )


def _adapted(found: Card, text: str, name: str) -> Card:
    """The card of a base into which an adaptation was merged."""
    try:
        own, sets, note = json.loads(text)
        return dataclasses.replace(
            found, name=str(own), trained_on=tuple(map(str, sets)), note=str(note)
        )
    except (ValueError, TypeError) as error:
        raise CheckpointError(
            f"{name!r} does not say what was merged into it ({error}); merge it again."
        ) from error


def _side(kind: Kind, found: Card, path: Path, metadata: dict[str, str], asked: int | None) -> int:
    """Side of the input in pixels."""
    if kind.input_size is not None:
        if asked not in (None, kind.input_size):
            raise CheckpointError(
                f"the position table of {path.name!r} is made for an input of {kind.input_size} pixels; got {asked}. "
                f"Leave the input size out."
            )
        return kind.input_size
    if asked is not None:
        return asked
    if f"{PREFIX}input_size" in metadata:
        return int(metadata[f"{PREFIX}input_size"])
    return _configured_side(path) or found.input_size


def _configured_side(folder: Path) -> int | None:
    """Input size from the config.json of a transformers folder."""
    config = folder / "config.json"
    if not config.is_file():
        return None
    try:
        content: Any = json.loads(config.read_text())
    except (ValueError, OSError) as error:
        raise CheckpointError(
            f"{str(config)!r} cannot be read: {error}. Fetch the folder again."
        ) from error
    content = content.get("tracker_config") or content
    side = (content.get("prompt_encoder_config") or {}).get("image_size") or content.get(
        "image_size"
    )
    if isinstance(side, (list, tuple)):
        side = side[0]
    if isinstance(side, int):
        return side
    return None


# --- does it fit? --------------------------------------------------------------------------------


def _wanted(kind: Kind, side: int) -> dict[str, torch.Size]:
    if kind.family == "mini":
        from segscope.models.mini import build_mini

        model: nn.Module = build_mini(side)
    else:
        model = build(kind.family, kind.size, side, version=kind.version, meta=True)
    return {name: value.shape for name, value in model.state_dict().items()}


def _check(tensors: dict[str, Tensor], kind: Kind, side: int, name: str) -> None:
    """Raise unless names and shapes are exactly the network's and every number is finite."""
    wanted = _wanted(kind, side)
    missing = [key for key in wanted if key not in tensors]
    unused = [key for key in tensors if key not in wanted]
    shapes = [
        f"{key} {tuple(tensors[key].shape)} for {tuple(shape)}"
        for key, shape in wanted.items()
        if key in tensors and tensors[key].shape != shape
    ]
    faults = [
        f"{len(found)} {what} ({_few(found)})"
        for found, what in (
            (missing, "missing"),
            (unused, "not known"),
            (shapes, "of another shape"),
        )
        if found
    ]
    if faults:
        label = " ".join(filter(None, (kind.family, kind.version, kind.size)))
        raise CheckpointError(
            f"{name!r} looks like {label} at {side} pixels, but its tensors do not fit: {'; '.join(faults)}. Nothing "
            "was loaded. Wanted: the whole network, unchanged; a saved adaptation is loaded by its folder."
        )
    broken = [
        key
        for key, value in tensors.items()
        if value.is_floating_point() and not bool(value.isfinite().all())
    ]
    if broken:
        raise CheckpointError(
            f"{name!r} holds numbers that are not finite in {len(broken)} tensors ({_few(broken)}): the training that "
            "made it diverged, or the file is damaged. Use an earlier checkpoint or fetch it again."
        )


def _few(items: list[str], most: int = 4) -> str:
    return ", ".join(items[:most]) + (f" and {len(items) - most} more" if len(items) > most else "")
