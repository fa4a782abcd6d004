"""Checkpoint: everything a run needs to resume exactly where it was, in one file."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segscope.adapt.method import Adapted
from segscope.adapt.training.curves import Row
from segscope.adapt.validation.selection import Gain, choose_weights, cross_fit_gain, table_of
from segscope.errors import CheckpointError, UsageError, WriteError
from segscope.files import atomic

STATE_FILE = "state.pt"

UNREADABLE = (
    RuntimeError,
    ValueError,
    KeyError,
    TypeError,
    OSError,
    EOFError,
    pickle.UnpicklingError,
)
"""What torch raises for a damaged file, and what tensors of another run raise on their way in."""


class Average:
    """Running average of the trained tensors. It follows faster at first, so that short runs are
    not held back by their starting point.
    """

    def __init__(self, adapted: Adapted, rate: float) -> None:
        self.rate = rate
        self.steps = 0
        self.values = adapted.copy_tensors()

    @torch.no_grad()
    def update(self, adapted: Adapted) -> None:
        self.steps += 1
        rate = min(self.rate, self.steps / (self.steps + 9))
        for name, tensor in adapted.tensors().items():
            if tensor.is_floating_point():
                self.values[name].lerp_(tensor, 1 - rate)
            else:
                self.values[name].copy_(tensor)


@dataclass(eq=False)
class RunProgress:
    """How far a run has come.

    Attributes:
        step: completed steps.
        skipped: consecutive steps whose gradient was not finite.
        seconds: training time, summed over restarts.
        best: figures of the weights that the validation patients have chosen, and their step.
        best_tensors: these weights, by name.
        highest: highest mean Dice so far, which is not always that of `best`.
        stale_validations: validations since then.
        validations: Dice by patient of each validation.
        rows: logged rows of the curves.
    """

    step: int = 0
    skipped: int = 0
    seconds: float = 0.0
    best: dict[str, float] = field(default_factory=dict)
    best_tensors: dict[str, Tensor] = field(default_factory=dict)
    highest: float = 0.0
    stale_validations: int = 0
    validations: list[dict[str, float]] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    def add_validation(self, patients: Mapping[str, float], dice: float) -> None:
        """Add the Dice of each patient, and the mean on which all processes agree."""
        if dice > self.highest or not self.validations:
            self.highest = dice
            self.stale_validations = 0
        else:
            self.stale_validations += 1
        self.validations.append(dict(patients))

    def save_base(self, tensors: dict[str, Tensor]) -> None:
        """Save the network as it was before training."""
        first = self.rows[0]
        figures = {
            name.removeprefix("val "): value
            for name, value in first.items()
            if name.startswith("val ")
        }
        self.best = {**figures, "step": first["step"]}
        self.best_tensors = tensors

    @property
    def latest_is_best(self) -> bool:
        """Whether the validation patients choose the latest weights."""
        return choose_weights(table_of(self.validations)) == len(self.validations) - 1

    @property
    def gain(self) -> Gain:
        """What the run has gained, on patients who did not choose the weights."""
        return cross_fit_gain(table_of(self.validations))

    def as_state(self) -> dict[str, Any]:
        """The progress as the checkpoint stores it; its keys are part of the file format."""
        return {
            "step": self.step,
            "skipped": self.skipped,
            "seconds": self.seconds,
            "best": self.best,
            "kept": self.best_tensors,
            "highest": self.highest,
            "waited": self.stale_validations,
            "validations": self.validations,
            "rows": self.rows,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> RunProgress:
        """The progress that `as_state` stored."""
        return cls(
            step=state["step"],
            skipped=state["skipped"],
            seconds=state["seconds"],
            best=state["best"],
            best_tensors=state["kept"],
            highest=state["highest"],
            stale_validations=state["waited"],
            validations=state["validations"],
            rows=state["rows"],
        )


def save_state(
    folder: Path,
    adapted: Adapted,
    optimizer: torch.optim.Optimizer,
    average: Average,
    progress: RunProgress,
) -> None:
    """Write the state. The old file stays until the new one is complete and on disk.

    Raises:
        WriteError: the disk is full or not writable.
    """
    content: dict[str, Any] = {
        "tensors": {name: tensor.detach() for name, tensor in adapted.tensors().items()},
        "optimizer": optimizer.state_dict(),
        "average": average.values,
        "averaged": average.steps,
        "memo": adapted.memo,
        "progress": progress.as_state(),
    }
    try:
        with atomic(folder / STATE_FILE) as part:
            torch.save(content, part)
    except (WriteError, UsageError, RuntimeError) as error:
        raise WriteError(
            f"cannot write the state of the run to {folder}: {error}. "
            "Free some disk space and continue with --resume"
        ) from error


def load_state(
    folder: Path, adapted: Adapted, optimizer: torch.optim.Optimizer, average: Average
) -> RunProgress | None:
    """Restore the state in a folder; None where there is none yet.

    Raises:
        CheckpointError: the file is damaged, or belongs to another run.
    """
    path = folder / STATE_FILE
    if not path.is_file():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        adapted.fill(content["tensors"])
        optimizer.load_state_dict(content["optimizer"])
        for name, tensor in average.values.items():
            tensor.copy_(content["average"][name])
        average.steps = content["averaged"]
        adapted.memo = content["memo"]
        return RunProgress.from_state(content["progress"])
    except UNREADABLE as error:
        raise CheckpointError(
            f"{path} cannot be resumed: {error}. Start a new run with another --out"
        ) from error
