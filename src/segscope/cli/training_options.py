"""Options that `segscope adapt` and `segscope compare` share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from segscope.cli.options import Device, DeviceOption, JsonOption, split_list
from segscope.errors import UsageError

if TYPE_CHECKING:
    from segscope.adapt.data.training_set import CaseSelection
    from segscope.io.datasets.dataset import DataSet
    from segscope.models.engine import Engine

MIN_PIXELS = 16


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """What to train, on what, and for how long; None leaves a setting to the method."""

    data: Annotated[
        list[Path],
        typer.Option(
            metavar="DATASET", help="Folder or list of a data set with masks; repeatable."
        ),
    ] = field(default_factory=list)
    base: Annotated[str, typer.Option(help="Model or checkpoint file to start from.")] = "mini"
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Output folder. Required.")] = None
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="A,B", help="Use only objects with these labels, or unique parts of them."
        ),
    ] = None
    max_patients: Annotated[
        int,
        typer.Option(min=0, help="Train on a random subset of this many patients; 0 for all."),
    ] = 0
    min_pixels: Annotated[
        int, typer.Option(min=1, help="Ignore objects with fewer pixels on a frame.")
    ] = MIN_PIXELS
    steps: Annotated[
        int | None,
        typer.Option(
            min=1, help="Training steps. Default: by method and number of training images."
        ),
    ] = None
    minutes: Annotated[
        float | None,
        typer.Option(
            min=0.01, help="Training time; sets the number of steps if --steps is absent."
        ),
    ] = None
    batch: Annotated[int | None, typer.Option(min=1, help="Images per step.")] = None
    accumulate: Annotated[
        int | None,
        typer.Option(min=1, help="Split each batch into this many parts, to save memory."),
    ] = None
    learning_rate: Annotated[float | None, typer.Option(help="Peak learning rate, above 0.")] = None
    patience: Annotated[
        int | None,
        typer.Option(
            min=0, help="Stop after this many validations without improvement; 0 for never."
        ),
    ] = None
    precision: Annotated[
        str | None, typer.Option(help="auto, float32 or bfloat16. Default: auto.")
    ] = None
    seed: Annotated[int | None, typer.Option(help="Random seed. Default: 0.")] = None
    prompts: Annotated[
        list[str],
        typer.Option(
            "--prompt",
            metavar="PLAN",
            help="Prompts to train with, as in `segscope evaluate`; repeatable.",
        ),
    ] = field(default_factory=list)
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the interrupted run in --out.")
    ] = False
    device: DeviceOption = Device.auto
    as_json: JsonOption = False

    def check(self) -> None:
        """Refuse a request without a data set or an output folder.

        Raises:
            UsageError: either of them is missing.
        """
        if not self.data:
            raise UsageError(
                "no data set: give --data FOLDER with images and masks (`segscope data list "
                "FOLDER` shows what a folder contains)"
            )
        if self.out is None:
            raise UsageError("no output folder: give one, for example --out my-model")

    @property
    def folder(self) -> Path:
        """The output folder."""
        assert self.out is not None  # `check` refuses this
        return self.out.expanduser()

    def changes(self) -> dict[str, Any]:
        """The training settings that were given, by their names in the trainer."""
        prompts = None
        if self.prompts:
            prompts = tuple((1.0, plan) for plan in self.prompts)
        steps = self.steps
        if steps is None and self.minutes is not None:
            steps = 0  # as many as fit
        settings = {
            "steps": steps,
            "minutes": self.minutes,
            "batch": self.batch,
            "accumulate": self.accumulate,
            "rate": self.learning_rate,
            "patience": self.patience,
            "precision": self.precision,
            "seed": self.seed,
            "prompts": prompts,
        }
        return {name: value for name, value in settings.items() if value is not None}

    def choice(self) -> CaseSelection:
        """The patients and objects to train on."""
        from segscope.adapt.data.training_set import CaseSelection

        return CaseSelection(
            split_list(self.labels), self.max_patients, self.min_pixels, self.seed or 0
        )

    def read_sets(self) -> tuple[DataSet, ...]:
        """The data sets."""
        from segscope.io.datasets.reading import read_dataset

        return tuple(map(read_dataset, self.data))

    def load_base(self) -> Engine:
        """A new copy of the base, in float32, on the device of this process."""
        import torch

        from segscope.adapt.training.distributed import local_device
        from segscope.load import load

        device: str | torch.device = self.device.value
        if device == "cuda" or (device == "auto" and torch.cuda.is_available()):
            device = local_device(torch.device("cuda"))
        return cast("Engine", load(self.base, device=device, dtype=torch.float32))

    def base_source(self) -> str:
        """The base as an adaptation records it: the name of a card, or an absolute path."""
        path = Path(self.base).expanduser()
        if path.exists():
            return str(path.resolve())
        return self.base
