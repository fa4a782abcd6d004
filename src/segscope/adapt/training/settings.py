"""TrainingSettings of a training run: one value that is printed, saved beside the results and loaded again."""

from __future__ import annotations

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


@dataclass(frozen=True)
class TrainingSettings:
    """How to train.

    Attributes:
        steps: optimiser steps; 0 as many as fit into `minutes`.
        minutes: time budget; 0 for none. With both, whichever ends first.
        batch: examples a step, over all processes.
        accumulate: parts that a batch is worked through in, to save memory.
        rate: highest learning rate; a warm-up leads to it and half a cosine away from it.
        warm_up: share of the steps for warming up.
        decay: weight decay of AdamW, for matrices.
        clip: longest gradient.
        average: rate of the running average of weights that is validated and saved; 0 for none.
        precision: "auto" (bfloat16 on CUDA, float32 elsewhere), "bfloat16" or "float32".
        seed: all chance follows from it.
        workers: threads that prepare examples ahead.
        patience: validations without gain after which to stop; 0 for never.
        validate_every: steps; 0 for a tenth of the run.
        save_every_s: seconds between saved states.
        objects: most objects of one example.
        augment: strength of augmentation, 0 to 1.
        variants: augmented views of each frame where features are kept; more views cost memory.
        cache_bytes: most memory for kept features; 0 switches keeping off.
        prompts: (weight, plan) pairs; see `segscope.simulate.plan`.

    Raises:
        UsageError: numbers out of range, or a plan that cannot be read.
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
        if self.steps < 0 or self.minutes < 0 or not (self.steps or self.minutes):
            raise UsageError(
                f"give --steps or --minutes above 0, got {self.steps} steps and {self.minutes:g} minutes"
            )
        if self.batch < 1 or self.accumulate < 1 or self.batch % self.accumulate:
            raise UsageError(
                f"a batch is worked through in equal parts: got {self.batch} examples in {self.accumulate} parts"
            )
        if self.precision not in ("auto", "bfloat16", "float32"):
            raise UsageError(f"precision is auto, bfloat16 or float32, got {self.precision!r}")
        if not 0 <= self.average < 1 or self.rate <= 0 or not 0 <= self.augment <= 1:
            raise UsageError("the average is 0 to below 1, the rate above 0, augmentation 0 to 1")
        if not self.prompts or any(weight <= 0 for weight, _ in self.prompts):
            raise UsageError(
                "prompts are (weight, plan) pairs with weights above 0, and at least one"
            )
        for _, plan in self.prompts:
            Plan.parse(plan)

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainingSettings:
        """The settings of `as_dict`, also when they went through JSON."""
        known = {item.name for item in fields(cls)}
        chosen = {key: value for key, value in values.items() if key in known}
        if "prompts" in chosen:
            chosen["prompts"] = tuple(
                (float(weight), str(plan)) for weight, plan in chosen["prompts"]
            )
        return cls(**chosen)
