"""Training settings: one value that is printed, saved beside the results and loaded again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from segscope.errors import UsageError
from segscope.simulate.plan import Plan

MIX = (
    (0.5, "box.jitter:share=0.1"),
    (0.32, "clicks:3"),
    (0.06, "scribble.center"),
    (0.12, "mask.morph+clicks:1"),
)
BOXES = ((1.0, "box.jitter:share=0.1"),)
PRECISIONS = ("auto", "bfloat16", "float32")


@dataclass(frozen=True)
class TrainingSettings:
    """How to train.

    Attributes:
        steps: optimiser steps; 0 for as many as fit into `minutes`.
        minutes: time budget; 0 for none. With both, whichever ends first.
        batch: examples per step, over all processes.
        accumulate: parts that a batch is processed in, to save memory.
        rate: peak learning rate; a warm-up leads to it and half a cosine away from it.
        warm_up: share of the steps for warming up.
        decay: weight decay of AdamW, for matrices.
        clip: maximum norm of the gradient.
        average: rate of the running average of weights that is validated and saved; 0 for none.
        precision: "auto" (bfloat16 on CUDA, float32 elsewhere), "bfloat16" or "float32".
        seed: random seed of the whole run.
        workers: threads that prepare examples ahead.
        patience: validations without improvement after which to stop; 0 for never.
        validate_every: steps between validations; 0 for a tenth of the run.
        save_every_s: seconds between saved states.
        objects: maximum number of objects in one example.
        augment: strength of augmentation, 0 to 1.
        variants: augmented views of each frame where features are cached; more views cost memory.
        cache_bytes: memory limit of the feature cache; 0 switches it off.
        prompts: (weight, plan) pairs; see `segscope.simulate.plan`.

    Raises:
        UsageError: a value is out of range, or a plan cannot be parsed.
    """

    steps: int = 0
    minutes: float = 0.0
    batch: int = 4
    accumulate: int = 1
    rate: float = 1e-4
    warm_up: float = 0.05
    decay: float = 0.01
    clip: float = 1.0
    average: float = 0.98
    precision: str = "auto"
    seed: int = 0
    workers: int = 1
    patience: int = 0
    validate_every: int = 0
    save_every_s: float = 60.0
    objects: int = 4
    augment: float = 1.0
    variants: int = 8
    cache_bytes: int = 2 * 2**30
    prompts: tuple[tuple[float, str], ...] = MIX

    def __post_init__(self) -> None:
        self._check_length()
        self._check_batch()
        self._check_optimiser()
        self._check_prompts()

    def _check_length(self) -> None:
        lengths = (self.steps, self.minutes)
        if min(lengths) < 0 or max(lengths) == 0:
            raise UsageError(
                "give --steps or --minutes above 0, "
                f"got {self.steps} steps and {self.minutes:g} minutes"
            )

    def _check_batch(self) -> None:
        if min(self.batch, self.accumulate) < 1 or self.batch % self.accumulate:
            raise UsageError(
                "the batch must divide into equal parts: "
                f"got {self.batch} examples in {self.accumulate} parts"
            )

    def _check_optimiser(self) -> None:
        if self.precision not in PRECISIONS:
            raise UsageError(f"precision is auto, bfloat16 or float32, got {self.precision!r}")
        if self.rate <= 0:
            raise UsageError(f"the learning rate must be above 0, got {self.rate:g}")
        if not 0 <= self.average < 1:
            raise UsageError(f"average must be from 0 to below 1, got {self.average:g}")
        if not 0 <= self.augment <= 1:
            raise UsageError(f"augment must be from 0 to 1, got {self.augment:g}")

    def _check_prompts(self) -> None:
        if not self.prompts or any(weight <= 0 for weight, _ in self.prompts):
            raise UsageError(
                "prompts must be one or more (weight, plan) pairs with weights above 0"
            )
        for _, plan in self.prompts:
            Plan.parse(plan)

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainingSettings:
        """The settings of `as_dict`, also after a round trip through JSON."""
        known = {item.name for item in fields(cls)}
        settings = {key: value for key, value in values.items() if key in known}
        if "prompts" in settings:
            pairs = settings["prompts"]
            settings["prompts"] = tuple((float(weight), str(plan)) for weight, plan in pairs)
        return cls(**settings)
