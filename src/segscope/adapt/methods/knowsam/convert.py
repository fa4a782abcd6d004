"""Files that KnowSAM's public training code leaves: its students, under our names.

No trained weights are published; who trains with that code gets `SGDL_best_model.pth` (students and
fusion under `UNet.`, `VNet.` and `Discriminator.`) and `sam_best_model.pth` (the whole teacher).
Students are read tensor by tensor in the order in which their layers are used, and every shape must
be the expected one. The fusion's branches are taken to stand in the order agreement, certainty,
logits; with two classes the first two have equal shapes, and no file can tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from segscope.adapt.methods.knowsam.method import ROOT, KnowSam
from segscope.adapt.methods.knowsam.students import Fusion, Students
from segscope.errors import CheckpointError
from segscope.models.engine import Engine

STUDENTS = {"UNet.": "u", "VNet.": "v", "Discriminator.": "fusion"}
TEACHER = "super_prompt."


def recognise(state: Mapping[str, Tensor]) -> bool:
    """Whether tensors are those of students or of a teacher."""
    return all(any(key.startswith(part) for key in state) for part in STUDENTS) or any(
        TEACHER in key for key in state
    )


def read(
    state: Mapping[str, Tensor],
    engine: Engine,  # noqa: ARG001 - readers share a signature
    classes: Sequence[str],
) -> tuple[KnowSam, tuple[str, ...], dict[str, Tensor]]:
    """Method, classes and tensors of an adaptation, from a file of students.

    Args:
        state: the file's tensors.
        engine: any base; the students do not use it.
        classes: what its outputs mean, without background.

    Raises:
        CheckpointError: a teacher, or tensors that do not fit.
    """
    if any(TEACHER in key for key in state):
        raise CheckpointError(
            "this is the teacher of a KnowSAM (it predicts prompts: super_prompt), which serves in training only. "
            "Convert the file with the students, SGDL_best_model.pth"
        )
    parts = {
        part: [
            (key, item)
            for key, item in state.items()
            if key.startswith(part) and not key.endswith("num_batches_tracked")
        ]
        for part in STUDENTS
    }
    layers = [item for _, item in parts["UNet."] if item.ndim == 4]
    if not layers:
        raise CheckpointError(
            "the file has no convolutions under UNet.; it is no file of KnowSAM's students"
        )
    width = int(layers[0].shape[0])
    outputs = int(layers[-1].shape[0])
    names = tuple(classes) or tuple(
        "object" if outputs == 2 else f"object {k}" for k in range(1, outputs)
    )
    if len(names) + 1 != outputs:
        raise CheckpointError(
            f"the file has {outputs} outputs, background and {outputs - 1}; got {len(names)} names"
        )
    method = KnowSam(width=width, published_head=True, resample="nearest")
    students = method._students(names)
    tensors: dict[str, Tensor] = {}
    for part, own in STUDENTS.items():
        tensors |= _fitted(part, parts[part], _ordered(students, own))
    return method, names, tensors


def _fitted(
    part: str, theirs: list[tuple[str, Tensor]], ours: list[tuple[str, Tensor]]
) -> dict[str, Tensor]:
    """Tensors of one network under our names, one after another."""
    if len(theirs) != len(ours):
        raise CheckpointError(
            f"{part} has {len(theirs)} tensors in the file; wanted {len(ours)}. Nothing was loaded"
        )
    found = {}
    for (key, item), (name, like) in zip(theirs, ours, strict=True):
        if item.shape != like.shape or key.rpartition(".")[2] != name.rpartition(".")[2]:
            raise CheckpointError(
                f"{key} {tuple(item.shape)} stands in the file where {name} {tuple(like.shape)} is wanted: not the "
                "students of the public code (a U-Net with transposed convolutions and a V-Net without norm). Nothing "
                "was loaded"
            )
        found[ROOT + name] = item
    return found


def _ordered(students: Students, own: str) -> list[tuple[str, Tensor]]:
    """Names and tensors of a part, in the order of use."""
    net: nn.Module = getattr(students, own)
    if isinstance(net, Fusion):
        paths = ["agreement", "certainty", "logits", "join", "out"]
    elif own == "u":
        paths = [f"down.{k}" for k in range(5)] + [
            f"{part}.{k}" for k in range(4) for part in ("enlarge", "up")
        ]
        paths.append("out")
    else:
        paths = ["down.0", *(path for k in range(4) for path in (f"reduce.{k}", f"down.{k + 1}"))]
        paths += [f"{part}.{k}" for k in range(4) for part in ("enlarge", "up")] + ["out"]
    return [
        (f"{own}.{path}.{name}", item)
        for path in paths
        for name, item in net.get_submodule(path).state_dict().items()
    ]
