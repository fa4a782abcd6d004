"""Files that KnowSAM's public training code writes: its students, under our names.

No trained weights are published; training with that code gives `SGDL_best_model.pth` (students and
fusion under `UNet.`, `VNet.` and `Discriminator.`) and `sam_best_model.pth` (the whole teacher).
Students are read tensor by tensor in the order in which their layers are used, and every shape must
be the expected one. The fusion's branches are assumed to be in the order agreement, certainty,
logits; with two classes the first two have equal shapes, and a file cannot tell them apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from segscope.adapt.methods.knowsam.method import ROOT, KnowSam
from segscope.adapt.methods.knowsam.students import Students
from segscope.adapt.networks.output_names import name_outputs
from segscope.errors import CheckpointError
from segscope.models.engine import Engine

STUDENTS = {"UNet.": "u", "VNet.": "v", "Discriminator.": "fusion"}
TEACHER = "super_prompt."

_UP = tuple(f"{part}.{level}" for level in range(4) for part in ("enlarge", "up"))
LAYERS = {
    "u": (*(f"down.{level}" for level in range(5)), *_UP, "out"),
    "v": (
        "down.0",
        *("reduce.0", "down.1", "reduce.1", "down.2", "reduce.2", "down.3", "reduce.3", "down.4"),
        *_UP,
        "out",
    ),
    "fusion": ("agreement", "certainty", "logits", "join", "out"),
}
"""Layers of each network in the order of use."""


def recognise(state: Mapping[str, Tensor]) -> bool:
    """Whether tensors are those of students or of a teacher."""
    if _is_teacher(state):
        return True
    networks = {key.partition(".")[0] + "." for key in state}
    return networks >= set(STUDENTS)


def _is_teacher(state: Mapping[str, Tensor]) -> bool:
    return any(TEACHER in key for key in state)


def read(
    state: Mapping[str, Tensor],
    engine: Engine,  # noqa: ARG001 - readers share a signature
    classes: Sequence[str],
) -> tuple[KnowSam, tuple[str, ...], dict[str, Tensor]]:
    """Method, classes and tensors of an adaptation, from a file of students.

    Args:
        state: the file's tensors.
        engine: any base; the students do not use it.
        classes: meaning of its outputs, without background.

    Raises:
        CheckpointError: a teacher, or tensors that do not fit.
    """
    if _is_teacher(state):
        raise CheckpointError(
            "this is the teacher of a KnowSAM (it predicts prompts: super_prompt), which is used "
            "in training only. Convert the file with the students, SGDL_best_model.pth"
        )
    parts = {part: _tensors_of(state, part) for part in STUDENTS}
    layers = [tensor for _, tensor in parts["UNet."] if tensor.ndim == 4]
    if not layers:
        raise CheckpointError(
            "the file has no convolutions under UNet.; it is not a file of KnowSAM's students"
        )
    width = int(layers[0].shape[0])
    names = _name_outputs(int(layers[-1].shape[0]), classes)
    method = KnowSam(width=width, published_head=True, resample="nearest")
    students = method.make_students(names)
    tensors: dict[str, Tensor] = {}
    for part, own in STUDENTS.items():
        tensors |= _match(part, parts[part], _order_tensors(students, own))
    return method, names, tensors


def _tensors_of(state: Mapping[str, Tensor], part: str) -> list[tuple[str, Tensor]]:
    """Names and tensors of one network in a file."""
    return [
        (key, tensor)
        for key, tensor in state.items()
        if key.startswith(part) and not key.endswith("num_batches_tracked")
    ]


def _name_outputs(outputs: int, classes: Sequence[str]) -> tuple[str, ...]:
    """Names of the outputs apart from background."""
    names = name_outputs(outputs - 1, classes)
    if len(names) + 1 != outputs:
        raise CheckpointError(
            f"the file has {outputs} outputs, background and {outputs - 1} classes; "
            f"got {len(names)} names"
        )
    return names


def _match(
    part: str, published: list[tuple[str, Tensor]], own: list[tuple[str, Tensor]]
) -> dict[str, Tensor]:
    """Tensors of one network under our names, one after another."""
    if len(published) != len(own):
        raise CheckpointError(
            f"{part} has {len(published)} tensors in the file, expected {len(own)}. "
            "Nothing was loaded"
        )
    matched = {}
    for (key, tensor), (name, like) in zip(published, own, strict=True):
        same_kind = key.rpartition(".")[2] == name.rpartition(".")[2]
        if tensor.shape != like.shape or not same_kind:
            raise CheckpointError(
                f"the file has {key} {tuple(tensor.shape)} where {name} {tuple(like.shape)} is "
                "expected: not the students of the public code (a U-Net with transposed "
                "convolutions and a V-Net without norm). Nothing was loaded"
            )
        matched[ROOT + name] = tensor
    return matched


def _order_tensors(students: Students, own: str) -> list[tuple[str, Tensor]]:
    """Names and tensors of a part, in the order of use."""
    net: nn.Module = getattr(students, own)
    ordered: dict[str, Tensor] = {}
    for path in LAYERS[own]:
        ordered |= net.get_submodule(path).state_dict(prefix=f"{own}.{path}.")
    return list(ordered.items())
