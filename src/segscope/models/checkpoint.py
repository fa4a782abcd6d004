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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segscope.errors import CheckpointError
from segscope.models.build import NATIVE_SIZE, build, fill
from segscope.models.model_cards import CARDS, Card, card, plain_name
from segscope.models.recognise import Kind, recognise, rename, rename_hub
from segscope.models.weight_files import file_hash, read_tensors, tensor_hash, write_safetensors

log = logging.getLogger(__name__)

PREFIX = "segscope."  # of our entries in the metadata of safetensors files
RAW_MARKS = {"path_helper": "biosam2", "parameter": "medsam-2-oxford"}
"""Entries beside the weights that the trainers of BioSAM-2 and of MedSAM-2 (Oxford, in 2D) leave,
and no other.
"""


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
    entry = _card_for(kind, path, metadata, name)
    side = _side(kind, entry, path, metadata, input_size)
    dropped = [f"{key} (beside the weights)" for key in aside]
    if kind.layout == "official":
        tensors, extra = rename(kind.family, raw)
    else:
        tensors, extra = rename_hub(kind.family, raw)
    dropped += [f"{key} (no place in the network)" for key in extra]
    _check(tensors, kind, side, path.name)
    if dropped:
        log.info("%s: not used: %s", path.name, ", ".join(dropped))
    entry = dataclasses.replace(entry, input_size=side)
    maker = metadata.get(f"{PREFIX}raw")
    marks = sorted(RAW_MARKS.keys() & set(aside))
    if marks:
        maker = RAW_MARKS[marks[0]]
    if kind.family == "sam2" and maker:
        entry = _raw(entry, maker)
    if f"{PREFIX}single_mask" in metadata:
        entry = dataclasses.replace(entry, single_mask=True)
    if f"{PREFIX}adapted" in metadata:
        entry = _adapted(entry, metadata[f"{PREFIX}adapted"], path.name)
    return Checkpoint(entry, kind.version, tensors, tuple(dropped), tensor_hash(tensors), path)


def network(checkpoint: Checkpoint) -> nn.Module:
    """The network of a checkpoint, in evaluation mode; its parameters are the checkpoint's tensors,
    not copies.
    """
    entry = checkpoint.card
    if entry.family == "mini":
        from segscope.models.mini import build_mini

        mini = build_mini(entry.input_size)
        mini.load_state_dict(checkpoint.tensors)
        return mini.eval()
    model = build(entry.family, entry.size, entry.input_size, version=checkpoint.version, meta=True)
    return fill(model, checkpoint.tensors)


@contextmanager
def quiet() -> Iterator[None]:
    """transformers' remarks about configurations are no news to a user."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def save(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint as safetensors with what is known of it in the metadata. Complete or not
    at all.
    """
    entry = checkpoint.card
    plain = plain_name(entry.name)
    metadata = {
        "format": "pt",
        f"{PREFIX}layout": "1",
        f"{PREFIX}card": plain,
        f"{PREFIX}family": entry.family,
        f"{PREFIX}size": entry.size,
        f"{PREFIX}version": checkpoint.version,
        f"{PREFIX}input_size": str(entry.input_size),
        f"{PREFIX}weights_hash": checkpoint.weights_hash,
        f"{PREFIX}source": checkpoint.source.name,
        f"{PREFIX}licence": entry.licence,
    }
    if plain != entry.name:
        adapted = [entry.name, entry.trained_on, entry.note]
        metadata[f"{PREFIX}adapted"] = json.dumps(adapted)
    if entry.raw:
        metadata[f"{PREFIX}raw"] = entry.name.removesuffix(f"-{entry.size}")
    if entry.single_mask:
        metadata[f"{PREFIX}single_mask"] = "yes"
    if checkpoint.source.is_file():
        metadata[f"{PREFIX}source_sha256"] = file_hash(checkpoint.source)
    write_safetensors(checkpoint.tensors, path, metadata)


# --- card and input size -------------------------------------------------------------------------


def _with_metadata(kind: Kind, metadata: dict[str, str]) -> Kind:
    """Our own files say what they are; the tensors must agree in family, and decide the rest."""
    family = metadata.get(f"{PREFIX}family", kind.family)
    if family != kind.family:
        raise CheckpointError(
            f"the file says that it is {family!r}, but its tensors are those of {kind.family!r}."
        )
    return kind


def _card_for(kind: Kind, path: Path, metadata: dict[str, str], name: str | None) -> Card:
    """The card of a checkpoint: the requested one, that of the metadata or of the file's name, or
    one by its kind.
    """
    written = metadata.get(f"{PREFIX}card")
    if name is None and written in {entry.name for entry in CARDS}:
        name = written
    if name is not None:
        return _named_card(kind, path, name)
    entry = _fitting_card(kind, path.name.lower())
    if entry is not None:
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


def _fitting_card(kind: Kind, file_name: str) -> Card | None:
    """The card of a kind that names the file, or else has the same version."""
    fitting = [entry for entry in CARDS if (entry.family, entry.size) == (kind.family, kind.size)]
    named = [entry for entry in fitting if file_name in map(str.lower, entry.files)]
    if named:
        return named[0]
    if re.search(r"medsam-?_?2?", file_name) is not None:
        relative = {"sam2": "medsam2"}.get(kind.family, "medsam")
        fitting = [entry for entry in fitting if entry.name == relative] or fitting
    same_version = [entry for entry in fitting if entry.version == kind.version]
    return next(iter(same_version), None)


def _named_card(kind: Kind, path: Path, name: str) -> Card:
    entry = card(name)
    if (kind.family, kind.size) == (entry.family, "test"):
        return dataclasses.replace(entry, size="test")
    if (entry.family, entry.size) != (kind.family, kind.size):
        raise CheckpointError(
            f"{path.name!r} holds {kind.family} {kind.size}, not {entry.name} ({entry.family} "
            f"{entry.size})."
        )
    return entry


def _raw(entry: Card, maker: str) -> Card:
    """The card of a network trained on pixels divided by 255, with clicks as (row, column)."""
    return dataclasses.replace(
        entry,
        name=f"{maker}-{entry.size}",
        licence="unknown",
        raw=True,
        prompts=tuple(kind for kind in entry.prompts if kind in ("box", "mask")),
        note=(
            f"From the trainer of {maker}: images are not normalised, clicks were taught "
            "transposed; give boxes."
        ),
    )


def _adapted(entry: Card, text: str, name: str) -> Card:
    """The card of a base into which an adaptation was merged."""
    try:
        own, sets, note = json.loads(text)
        return dataclasses.replace(
            entry, name=str(own), trained_on=tuple(map(str, sets)), note=str(note)
        )
    except (ValueError, TypeError) as error:
        raise CheckpointError(
            f"{name!r} does not say what was merged into it ({error}); merge it again."
        ) from error


def _side(
    kind: Kind,
    entry: Card,
    path: Path,
    metadata: dict[str, str],
    requested: int | None,
) -> int:
    """Side of the input in pixels."""
    if kind.input_size is not None:
        if requested not in (None, kind.input_size):
            raise CheckpointError(
                f"the position table of {path.name!r} is made for an input of {kind.input_size} "
                "pixels; "
                f"got {requested}. Leave the input size out."
            )
        return kind.input_size
    if requested is not None:
        return requested
    if f"{PREFIX}input_size" in metadata:
        return int(metadata[f"{PREFIX}input_size"])
    return _configured_side(path) or entry.input_size


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
    encoder = content.get("prompt_encoder_config") or {}
    side = encoder.get("image_size") or content.get("image_size")
    match side:
        case [int(rows), *_]:
            return rows
        case int():
            return side
    return None


# --- does it fit? --------------------------------------------------------------------------------


def _expected_shapes(kind: Kind, side: int) -> dict[str, torch.Size]:
    if kind.family == "mini":
        from segscope.models.mini import build_mini

        model: nn.Module = build_mini(side)
    else:
        model = build(kind.family, kind.size, side, version=kind.version, meta=True)
    return {name: value.shape for name, value in model.state_dict().items()}


def _check(tensors: dict[str, Tensor], kind: Kind, side: int, name: str) -> None:
    """Raise unless names and shapes are exactly the network's and every number is finite."""
    faults = _faults(tensors, _expected_shapes(kind, side))
    if faults:
        label = " ".join(filter(None, (kind.family, kind.version, kind.size)))
        raise CheckpointError(
            f"{name!r} looks like {label} at {side} pixels, but its tensors do not fit: "
            f"{'; '.join(faults)}. Nothing was loaded. Wanted: the whole network, unchanged; a "
            "saved adaptation is loaded by its folder."
        )
    broken = [
        key
        for key, value in tensors.items()
        if value.is_floating_point() and not bool(value.isfinite().all())
    ]
    if broken:
        raise CheckpointError(
            f"{name!r} holds numbers that are not finite in {len(broken)} tensors "
            f"({_few(broken)}): the training that made it diverged, or the file is damaged. Use an "
            "earlier checkpoint or fetch it again."
        )


def _faults(tensors: dict[str, Tensor], expected: dict[str, torch.Size]) -> list[str]:
    """How names and shapes differ from the expected ones."""
    shapes = [
        f"{key} {tuple(tensors[key].shape)} for {tuple(expected[key])}"
        for key in sorted(expected.keys() & tensors.keys())
        if tensors[key].shape != expected[key]
    ]
    groups = {
        "missing": sorted(expected.keys() - tensors.keys()),
        "not known": sorted(tensors.keys() - expected.keys()),
        "of another shape": shapes,
    }
    return [f"{len(items)} {what} ({_few(items)})" for what, items in groups.items() if items]


def _few(items: list[str], most: int = 4) -> str:
    text = ", ".join(items[:most])
    if len(items) > most:
        text += f" and {len(items) - most} more"
    return text
