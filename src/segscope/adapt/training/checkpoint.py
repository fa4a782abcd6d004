"""State: all that a run needs to go on exactly where it was; one file, replaced in one move."""

from __future__ import annotations

import os
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segscope.adapt.method import Adapted
from segscope.adapt.training.curves import Row
from segscope.errors import CheckpointError, WriteError

STATE_FILE = "state.pt"


class Average:
    """Running average of what trains. Young averages follow faster, so short runs are not held back
    by their start.
    """

    def __init__(self, adapted: Adapted, rate: float) -> None:
        self.rate = rate
        self.steps = 0
        self.values = {name: item.detach().clone() for name, item in adapted.tensors().items()}

    @torch.no_grad()
    def update(self, adapted: Adapted) -> None:
        self.steps += 1
        rate = min(self.rate, self.steps / (self.steps + 9))
        for name, item in adapted.tensors().items():
            if item.is_floating_point():
                self.values[name].lerp_(item, 1 - rate)
            else:
                self.values[name].copy_(item)


@dataclass(eq=False)
class RunProgress:
    """Where a run stands.

    Attributes:
        step: steps done.
        skipped: steps in a row whose gradient was not finite.
        seconds: spent so far, over all starts.
        best: figures of the weights that are kept, and the step they are of.
        kept: those weights, by name.
        waited: validations since the best.
        rows: what the curves hold.
    """

    step: int = 0
    skipped: int = 0
    seconds: float = 0.0
    best: dict[str, float] = field(default_factory=dict)
    kept: dict[str, Tensor] = field(default_factory=dict)
    waited: int = 0
    rows: list[Row] = field(default_factory=list)


def save_state(
    folder: Path,
    adapted: Adapted,
    optimizer: torch.optim.Optimizer,
    average: Average,
    progress: RunProgress,
) -> None:
    """Write the state. The old one stays until the new one is complete and on disk.

    Raises:
        WriteError: the disk is full or not writable.
    """
    content: dict[str, Any] = {
        "tensors": {name: item.detach() for name, item in adapted.tensors().items()},
        "optimizer": optimizer.state_dict(),
        "average": average.values,
        "averaged": average.steps,
        "memo": adapted.memo,
        "progress": dict(vars(progress)),
    }
    part = folder / f".{STATE_FILE}.part"
    try:
        with part.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(folder / STATE_FILE)
    except (OSError, RuntimeError) as error:
        part.unlink(missing_ok=True)
        raise WriteError(
            f"the state of the run cannot be written to {folder}: {error}. Make room, --resume"
        ) from error


def load_state(
    folder: Path, adapted: Adapted, optimizer: torch.optim.Optimizer, average: Average
) -> RunProgress | None:
    """Take up the state of a folder; None where there is none yet.

    Raises:
        CheckpointError: it is damaged, or of another run.
    """
    path = folder / STATE_FILE
    if not path.is_file():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        adapted.fill(content["tensors"])
        optimizer.load_state_dict(content["optimizer"])
        for name, item in average.values.items():
            item.copy_(content["average"][name])
        average.steps = content["averaged"]
        adapted.memo = content["memo"]
        return RunProgress(**content["progress"])
    except (
        RuntimeError,
        ValueError,
        KeyError,
        TypeError,
        OSError,
        EOFError,
        pickle.UnpicklingError,
    ) as error:
        raise CheckpointError(
            f"{path} cannot be gone on from: {error}. Start again with another --out"
        ) from error
